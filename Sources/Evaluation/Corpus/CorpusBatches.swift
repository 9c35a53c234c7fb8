// From batches of a corpus to batches of a model.
//
// Legend: B rows, S source positions, U target positions, T positions of a row.

import Corpora
import Models
import Tensors

extension TokenBatch {
    /// Rows of running text.
    public init(_ batch: TextBatch) {
        let shape: Shape = [batch.rows, batch.length]
        self.init(lanes: batch.lanes, inputs: Tensor(batch.inputs, shape), targets: Tensor(batch.targets, shape))
    }

    /// Pairs written one after the other, for a decoder alone.
    public init(_ batch: PromptBatch) {
        let shape: Shape = [batch.rows, batch.length]
        self.init(lanes: batch.lanes, inputs: Tensor(batch.inputs, shape), targets: Tensor(batch.targets, shape))
    }
}

extension SequencePairBatch {
    /// Pairs for an encoder and a decoder.
    public init(_ batch: PairBatch) {
        let shape: Shape = [batch.rows, batch.targetLength]
        self.init(
            lanes: batch.lanes, sources: Tensor(batch.sources, [batch.rows, batch.sourceLength]), sourceLengths: batch.sourceLengths,
            targetInputs: Tensor(batch.targetInputs, shape), targetOutputs: Tensor(batch.targetOutputs, shape))
    }
}

extension PairLimits {
    /// The limits of a run on a corpus: `length` tokens a side, for a decoder-only model in all; stories lose their beginning, for the question
    /// stands last.
    public init(_ corpus: Corpus, model: any LanguageModel, length: Int) {
        self.init(
            maximumSourceLength: length, maximumTargetLength: length, truncatedSide: corpus.manifest.sourceFormat == .babi ? .beginning : .end)
    }
}

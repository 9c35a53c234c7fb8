// From batches of a corpus to batches of a model.
//
// Legend: B rows, S source positions, U target positions, T positions of a row.

import Corpora
import Models
import Tensors

extension ModelBatch {
    /// Rows of running text.
    public init(_ batch: TextBatch) {
        self = .tokens(
            TokenBatch(
                lanes: batch.lanes, inputs: Tensor(batch.inputs, [batch.rows, batch.length]),
                targets: Tensor(batch.targets, [batch.rows, batch.length])))
    }

    /// Pairs for an encoder and a decoder.
    public init(_ batch: PairBatch) {
        self = .pairs(
            SequencePairBatch(
                lanes: batch.lanes, sources: Tensor(batch.sources, [batch.rows, batch.sourceLength]), sourceLengths: batch.sourceLengths,
                targetInputs: Tensor(batch.targetInputs, [batch.rows, batch.targetLength]),
                targetOutputs: Tensor(batch.targetOutputs, [batch.rows, batch.targetLength])))
    }

    /// Pairs written one after the other, for a decoder alone.
    public init(_ batch: PromptBatch) {
        self = .tokens(
            TokenBatch(
                lanes: batch.lanes, inputs: Tensor(batch.inputs, [batch.rows, batch.length]),
                targets: Tensor(batch.targets, [batch.rows, batch.length])))
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

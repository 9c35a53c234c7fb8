// From batches of a corpus to batches of a model: the loader of a run over a corpus.
//
// Legend: B rows, S source positions, U target positions, T positions of a row.

import Corpora
import Diagnostics
import Models
import Sharding
import Tensors

extension TokenBatch {
    /// Rows of running text.
    package init(_ batch: TextBatch) {
        let shape: Shape = [batch.rows, batch.length]
        self.init(lanes: batch.lanes, inputs: Tensor(batch.inputs, shape), targets: Tensor(batch.targets, shape), resets: batch.resets)
    }

    /// Pairs written one after the other, for a decoder alone.
    init(_ batch: PromptBatch) {
        let shape: Shape = [batch.rows, batch.length]
        self.init(lanes: batch.lanes, inputs: Tensor(batch.inputs, shape), targets: Tensor(batch.targets, shape))
    }
}

extension SequencePairBatch {
    /// Pairs for an encoder and a decoder.
    init(_ batch: PairBatch) {
        let shape: Shape = [batch.rows, batch.targetLength]
        self.init(
            lanes: batch.lanes, sources: Tensor(batch.sources, [batch.rows, batch.sourceLength]), sourceLengths: batch.sourceLengths,
            targetInputs: Tensor(batch.targetInputs, shape), targetOutputs: Tensor(batch.targetOutputs, shape))
    }
}

extension PairLimits {
    /// The limits of a run on a corpus: `length` tokens a side, for a decoder-only model in all.
    init(_ corpus: Corpus, length: Int) {
        self.init(maximumSourceLength: length, maximumTargetLength: length, truncatedSide: corpus.profile.truncatedSide)
    }
}

/// The model of a corpus of running text.
/// - Throws: `UserError` (.configuration) for a model that reads pairs.
func textModel(_ model: any LanguageModel, of corpus: Corpus) throws -> any TextLanguageModel {
    guard case .text(let model) = model.form else {
        throw UserError(
            .configuration, "holds running text, which an encoder-decoder cannot be trained on", at: corpus.directory,
            advice: "use model.kind decoder-only, or a corpus of pairs")
    }
    return model
}

/// The training batches of a corpus, in the form that the model reads.
/// - Parameter lanes: the lanes of this rank.
/// - Throws: `UserError` (.configuration) when corpus, model and order do not go together.
func trainingLoader(
    _ corpus: Corpus, _ settings: CorpusSettings, _ configuration: RunConfiguration, for model: any LanguageModel, lanes: [Int]
) throws -> TaskLoader {
    let batch = configuration.batch
    func pairs() throws -> PairLoader {
        try PairLoader(corpus, lanes: batch.lanes, limits: PairLimits(corpus, length: batch.length), seed: configuration.seed)
    }
    func readAhead<Loader: LaneLoader>(_ make: () throws -> Loader) throws -> PrefetchingLoader<Loader> {
        PrefetchingLoader(try make(), twin: try make(), lanes: lanes)
    }
    switch (corpus.kind, model.form) {
    case (.text, _):
        let model = try textModel(model, of: corpus)
        switch settings.order {
        case .windows:
            return try readAhead { try WindowLoader(corpus, lanes: batch.lanes, length: batch.length, seed: configuration.seed) }
                .prepared(for: model) { TokenBatch(try $0.batch(lanes: $1)) }
        case .streams:
            return try readAhead {
                try StreamLoader(corpus, lanes: batch.lanes, owned: lanes, length: batch.length, seed: configuration.seed)
            }.prepared(for: model) { TokenBatch(try $0.batch(lanes: $1)) }
        }
    case (.pairs, .pairs(let model)):
        return MappedLoader(try readAhead(pairs)) {
            let batch = try $0.batch(lanes: $1)
            return PreparedBatch(SequencePairBatch(batch), for: model, cutExamples: batch.cutPairs)
        }
    case (.pairs, .text(let model)):
        guard (model as? any MemorizingModel)?.memorizing == nil else {
            throw UserError(
                .configuration, "asks for running text, and \(corpus.directory) holds pairs, which have nothing before them", at: "model.memorizing",
                advice: "leave it out, or name a corpus of text")
        }
        guard batch.length >= 4 else {
            throw UserError(
                .configuration, "is \(batch.length): a pair in one row takes 4 positions at least", at: "batch.length", advice: "raise it")
        }
        return MappedLoader(try readAhead { MappedLoader(try pairs()) { try $0.promptBatch(lanes: $1) } }) {
            let batch = try $0.batch(lanes: $1)
            return PreparedBatch(TokenBatch(batch), for: model, cutExamples: batch.cutPairs)
        }
    }
}

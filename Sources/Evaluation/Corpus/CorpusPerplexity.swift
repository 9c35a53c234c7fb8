// The loss of a model over a whole corpus, shared among ranks.
//
// Legend: B rows of a batch, T positions.

import Collectives
import Corpora
import Diagnostics
import Models
import NeuralNetworks
import Tensors

/// How a corpus is run through a model.
public struct PerplexitySettings: Sendable {
    /// B.
    public var rows: Int
    /// T: the segment of text, the longest source and target of pairs.
    public var length: Int
    /// The most batches; `nil` for the whole corpus.
    public var maximumBatches: Int?

    public init(rows: Int, length: Int, maximumBatches: Int? = nil) {
        self.rows = rows
        self.length = length
        self.maximumBatches = maximumBatches
    }
}

/// Sums the negative log-likelihood of a corpus. Collective: batches are dealt out to ranks, and sums are added in the order of batches, so
/// that the result is the same bits on any number of ranks.
///
/// Text is read in segments of T tokens, each predicted from the segment alone (the context is reset at every segment), unless the model carries
/// memory from batch to batch of a lane: then B parts of the text are read from their beginnings to their ends. Pairs are predicted from their
/// source. Words are those of the original text, so that perplexities per word compare between tokenizers; text has them only when the whole corpus
/// was read.
///
/// - Returns: nats, predicted tokens and words.
/// - Throws: `UserError`, the same on every rank.
public func evaluatePerplexity(
    model: any LanguageModel, corpus: Corpus, communicator: any Communicator, settings: PerplexitySettings
) throws -> LanguageModelStatistics {
    if corpus.kind == .text, model.memory.contains(where: { $0.lifetime == .lane }) {
        return try evaluateCarrying(model: model, corpus: corpus, communicator: communicator, settings: settings)
    }
    let carries = corpus.kind == .text && model.inputKind == .tokens && model.memory.contains { $0.lifetime == .lane }
    let source = try communicator.onEveryRank { try EvaluationBatches(model: model, corpus: corpus, settings: settings) }
    let batches = min(source.count, settings.maximumBatches ?? .max)
    // Parts that are dealt out: batches, or groups of streams.
    let count = carries ? (settings.rows + streamsPerGroup - 1) / streamsPerGroup : batches
    let own = try communicator.onEveryRank {
        try stride(from: communicator.rank, to: count, by: communicator.size).map { index -> LanguageModelStatistics in
            if carries {
                let streams = Array(index * streamsPerGroup..<min((index + 1) * streamsPerGroup, settings.rows))
                return try carriedStatistics(model, corpus, settings, streams: streams, batches: batches)
            }
            let (batch, words) = try source.batch(index)
            let sums = model.loss(batch, ForwardPass())
            return LanguageModelStatistics(nats: sums.negativeLogLikelihood, tokens: sums.count, words: words)
        }
    }
    var total = try sum(own, of: count, communicator)
    if corpus.kind == .text, batches == source.count { total.words = corpus.manifest.counts.words }
    return total
}

/// The sum of statistics that were dealt out to the ranks in turn, in their order. Collective.
private func sum(_ own: [LanguageModelStatistics], of count: Int, _ communicator: any Communicator) throws -> LanguageModelStatistics {
    let bytes = own.flatMap(\.encoded).withUnsafeBytes { Array($0) }
    let everyRank = try communicator.allGather(bytes).map { bytes in bytes.withUnsafeBytes { Array($0.bindMemory(to: Double.self)) } }
    var total = LanguageModelStatistics()
    for index in 0..<count {
        let place = index / communicator.size * 4
        total += LanguageModelStatistics(encoded: Array(everyRank[index % communicator.size][place..<place + 4]))
    }
    return total
}

/// Text through a model that carries memory: each of B parts of the stream once, from its beginning to its end. Parts go through the model in
/// groups of at most 8, which are dealt out to ranks.
private func evaluateCarrying(
    model: any LanguageModel, corpus: Corpus, communicator: any Communicator, settings: PerplexitySettings
) throws -> LanguageModelStatistics {
    let loader = try communicator.onEveryRank { try SequentialTextLoader(corpus, lanes: settings.rows, length: settings.length) }
    let steps = min(loader.stepCount, settings.maximumBatches ?? .max)
    let groups = (settings.rows + 7) / 8
    let own = try communicator.onEveryRank {
        try stride(from: communicator.rank, to: groups, by: communicator.size).map { group in
            var statistics = LanguageModelStatistics()
            var memory = CarriedMemory([:])
            for step in 0..<steps {
                try loader.seek(to: LoaderPosition(global: [Int64(step)]))
                let batch = try loader.batch(lanes: Array(group * 8..<min(group * 8 + 8, settings.rows)))
                let sums = model.loss(ModelBatch(batch), ForwardPass(memory: memory))
                statistics += LanguageModelStatistics(nats: sums.negativeLogLikelihood, tokens: sums.count, words: 0)
                memory = CarriedMemory(memory.after)
            }
            return statistics
        }
    }
    var total = try sum(own, of: groups, communicator)
    if steps == loader.stepCount { total.words = corpus.manifest.counts.words }
    return total
}

/// Streams that are computed together, whatever the number of ranks.
private let streamsPerGroup = 4

/// Some streams of a text from their beginning, the memory going on from segment to segment.
private func carriedStatistics(
    _ model: any LanguageModel, _ corpus: Corpus, _ settings: PerplexitySettings, streams: [Int], batches: Int
) throws -> LanguageModelStatistics {
    let loader = try SequentialTextLoader(corpus, lanes: settings.rows, length: settings.length)
    var total = LanguageModelStatistics()
    var memory = CarriedMemory([:])
    for _ in 0..<batches {
        let sums = model.loss(ModelBatch(try loader.batch(lanes: streams)), ForwardPass(memory: memory))
        total += LanguageModelStatistics(nats: sums.negativeLogLikelihood, tokens: sums.count, words: 0)
        memory = CarriedMemory(memory.after)
        loader.advance()
    }
    return total
}

/// The batches of one pass over a corpus, each token or pair exactly once.
private struct EvaluationBatches {
    let count: Int
    let batch: (Int) throws -> (batch: ModelBatch, words: Int)

    init(model: any LanguageModel, corpus: Corpus, settings: PerplexitySettings) throws {
        let lanes = Array(0..<settings.rows)
        func position(_ index: Int) -> LoaderPosition { LoaderPosition(global: [Int64(index)]) }
        switch corpus.kind {
        case .text:
            guard model.inputKind == .tokens else { throw ModelFit.wrongModel(corpus) }
            let loader = try SequentialTextLoader(corpus, lanes: settings.rows, length: settings.length)
            count = loader.stepCount
            batch = { index in
                try loader.seek(to: position(index))
                return (ModelBatch(try loader.batch(lanes: lanes)), 0)
            }
        case .pairs:
            let limits = PairLimits(corpus, model: model, length: settings.length)
            let loader = try SequentialPairLoader(corpus, lanes: settings.rows, limits: limits)
            count = loader.stepCount
            let isPairs = model.inputKind == .pairs
            batch = { index in
                try loader.seek(to: position(index))
                if isPairs {
                    let batch = try loader.batch(lanes: lanes)
                    return (ModelBatch(batch), batch.words.reduce(0, +))
                }
                let batch = try loader.promptBatch(lanes: lanes)
                return (ModelBatch(batch), batch.words.reduce(0, +))
            }
        }
    }
}

/// Whether a model and a corpus go together.
public enum ModelFit {
    /// The error for an encoder-decoder on running text.
    public static func wrongModel(_ corpus: Corpus) -> UserError {
        UserError(
            .configuration, "holds running text, which an encoder-decoder cannot be trained on", at: corpus.directory,
            advice: "use model.kind decoder-only, or a corpus of pairs")
    }
}

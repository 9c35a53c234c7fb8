// The loss of a model over a whole corpus, shared among ranks.
//
// Legend: B rows of a batch, T positions.

import Collectives
import Corpora
import Diagnostics
import Evaluation
import Models
import NeuralNetworks
import Sharding
import Tensors

/// How a corpus is run through a model.
struct PerplexitySettings: Sendable {
    /// B.
    var rows: Int
    /// T: the segment of text, the longest source and target of pairs.
    var length: Int
    /// The most batches; `nil` for the whole corpus.
    var maximumBatches: Int?

    /// B rows of at most T tokens at a time.
    init(rows: Int, length: Int, maximumBatches: Int? = nil) {
        self.rows = rows
        self.length = length
        self.maximumBatches = maximumBatches
    }

    /// The same for so many batches at most; `nil` for the whole corpus.
    func limited(to batches: Int?) -> PerplexitySettings { PerplexitySettings(rows: rows, length: length, maximumBatches: batches) }
}

/// Sums the negative log-likelihood of a corpus. Collective: batches are dealt out to ranks, and sums are added in the order of batches, so
/// that the result is the same bits on any number of ranks.
///
/// Text is read in segments of T tokens, each predicted from the segment alone (the context is reset at every segment), unless the model carries
/// memory from batch to batch of a lane: then B parts of the text are read from their beginnings to their ends. A memorizing model finds what its run has
/// stored and what the parts that are computed together have left; the run's pairs stay as they are. Pairs are predicted from their
/// source. Words, bytes and characters are those of the original text, so that figures of them compare between tokenizers; text has them only when the
/// whole corpus was read.
///
/// - Returns: nats, predicted tokens, words and, for text, bytes and characters.
/// - Throws: `UserError`, the same on every rank.
func evaluatePerplexity(
    model: any LanguageModel, corpus: Corpus, communicator: any Communicator, settings: PerplexitySettings
) throws -> LanguageModelStatistics {
    let memorizing = (model as? any MemorizingModel)?.memorizing
    let carries = corpus.kind == .text && (memorizing != nil || model.memory.contains { $0.lifetime == .lane })
    let source = try communicator.onEveryRank { try EvaluationBatches(model: model, corpus: corpus, settings: settings) }
    let batches = min(source.count, settings.maximumBatches ?? .max)
    // Parts that are dealt out: batches, or groups of streams.
    let groups = carries ? streamGroups(settings.rows) : []
    let count = carries ? groups.count : batches
    var total = try sum(count, communicator) { index in
        if carries {
            return try carriedStatistics(textModel(model, of: corpus), corpus, settings, streams: groups[index], batches: batches)
        }
        let (batch, words) = try source.batch(index)
        let sums = batch.loss(ForwardPass())
        return LanguageModelStatistics(nats: sums.negativeLogLikelihood, tokens: sums.count, words: words)
    }
    if corpus.kind == .text, batches == source.count {
        total.words = corpus.manifest.counts.words
        total.bytes = corpus.manifest.counts.textBytes
        total.characters = corpus.manifest.counts.textCharacters ?? 0
    }
    return total
}

/// The sum of statistics of parts that are dealt out to the ranks. Collective.
private func sum(
    _ parts: Int, _ communicator: any Communicator, _ measure: (Int) throws -> LanguageModelStatistics
) throws -> LanguageModelStatistics {
    LanguageModelStatistics(encoded: try communicator.orderedSum(parts: parts, width: 5) { try measure($0).encoded })
}

/// The streams of a text, by those that are computed together, whatever the number of ranks.
func streamGroups(_ rows: Int) -> [[Int]] { stride(from: 0, to: rows, by: 4).map { Array($0..<min($0 + 4, rows)) } }

/// Some streams of a text from their beginning, the memory going on from segment to segment.
private func carriedStatistics(
    _ model: any TextLanguageModel, _ corpus: Corpus, _ settings: PerplexitySettings, streams: [Int], batches: Int
) throws -> LanguageModelStatistics {
    let loader = try SequentialTextLoader(corpus, lanes: settings.rows, length: settings.length)
    var total = LanguageModelStatistics()
    var memory = CarriedMemory([:])
    let own = (model as? any MemorizingModel).flatMap { model in
        model.memorizing.map {
            let capacity = min($0.capacity, batches * streams.count * settings.length)
            return MemorizedPairs($0, heads: model.pairHeads, width: model.pairWidth, capacity: capacity)
        }
    }
    for _ in 0..<batches {
        let pairs = own.map { PairReading(($0.isOfLanes ? [] : [(model as? any MemorizingModel)?.pairs].compactMap { $0 }) + [$0], collects: true) }
        let sums = model.loss(TokenBatch(try loader.batch(lanes: streams)), ForwardPass(memory: memory, pairs: pairs))
        if let left = pairs?.segment { try own?.append([(streams, left)]) }
        total += LanguageModelStatistics(nats: sums.negativeLogLikelihood, tokens: sums.count, words: 0)
        memory = CarriedMemory(memory.after)
        loader.advance()
    }
    return total
}

/// The batches of one pass over a corpus, each token or pair exactly once.
private struct EvaluationBatches {
    let count: Int
    let batch: (Int) throws -> (batch: PreparedBatch, words: Int)

    init(model: any LanguageModel, corpus: Corpus, settings: PerplexitySettings) throws {
        let lanes = Array(0..<settings.rows)
        func position(_ index: Int) -> LoaderPosition { LoaderPosition(global: [Int64(index)]) }
        switch corpus.kind {
        case .text:
            let model = try textModel(model, of: corpus)
            let loader = try SequentialTextLoader(corpus, lanes: settings.rows, length: settings.length)
            count = loader.stepCount
            batch = { index in
                try loader.seek(to: position(index))
                return (PreparedBatch(TokenBatch(try loader.batch(lanes: lanes)), for: model), 0)
            }
        case .pairs:
            let limits = PairLimits(corpus, length: settings.length)
            let loader = try SequentialPairLoader(corpus, lanes: settings.rows, limits: limits)
            count = loader.stepCount
            batch = { index in
                try loader.seek(to: position(index))
                switch model.form {
                case .pairs(let model):
                    let batch = try loader.batch(lanes: lanes)
                    return (PreparedBatch(SequencePairBatch(batch), for: model), batch.words.reduce(0, +))
                case .text(let model):
                    let batch = try loader.promptBatch(lanes: lanes)
                    return (PreparedBatch(TokenBatch(batch), for: model), batch.words.reduce(0, +))
                }
            }
        }
    }
}

// How a text becomes a prompt, and a generated sequence becomes text, as in training.

import Corpora
import Models

/// Prompts of pair corpora: what `Corpus.pairBatch` and `Corpus.promptBatch` put before a target.
public struct PromptFormat: Sendable {
    private let readsPairs: Bool
    private let beginning: Int32
    /// The most tokens of a source.
    public let maximumSource: Int
    /// Which end of a long source is kept.
    public let keepsEnd: Bool

    /// - Parameters:
    ///   - model: the model that reads the prompts.
    ///   - tokenizer: the run's tokenizer.
    ///   - length: the run's `batch.length`: the most tokens of a source; for decoder-only models of the whole sequence.
    ///   - room: tokens that a decoder-only model keeps free for its answer.
    ///   - truncatedSide: what long sources lose.
    init(model: any LanguageModel, tokenizer: SentencePieceTokenizer, length: Int, room: Int, truncatedSide: TruncatedSide) {
        readsPairs = model.readsPairs
        beginning = tokenizer.beginningID
        keepsEnd = truncatedSide == .beginning
        let limit = min(length, model.maximumLength ?? length)
        maximumSource = readsPairs ? limit : max(1, limit - 1 - room)
    }

    /// The prompt of a source.
    public func prompt(_ source: [Int32]) -> [Int32] {
        let kept = source.count <= maximumSource ? source : Array(keepsEnd ? source.suffix(maximumSource) : source.prefix(maximumSource))
        return readsPairs ? kept : kept + [beginning]
    }
}

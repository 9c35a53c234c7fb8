// From summed negative log-likelihoods to perplexity and bits.

import Foundation

/// What a language model's score on a text is computed from; those of parts, or of ranks, can be added.
public struct LanguageModelStatistics: Hashable, Sendable {
    /// The negative log-likelihood of all predicted tokens, in nats.
    public var nats: Double
    /// Predicted tokens, end-of-sentence tokens included.
    public var tokens: Int
    /// Words of the original text, one end of sentence a line included: what word-level papers count.
    public var words: Int
    /// Bytes of the original text.
    public var bytes: Int
    /// Characters (Unicode scalars) of the original text.
    public var characters: Int

    /// - Parameters:
    ///   - nats: summed over tokens.
    ///   - tokens: of the model's vocabulary.
    ///   - words: 0 where they are not known.
    ///   - bytes: 0 where they are not known.
    ///   - characters: 0 where they are not known.
    public init(nats: Double = 0, tokens: Int = 0, words: Int = 0, bytes: Int = 0, characters: Int = 0) {
        self.nats = nats
        self.tokens = tokens
        self.words = words
        self.bytes = bytes
        self.characters = characters
    }

    /// Nats a token: the training loss; `nil` without tokens.
    public var lossPerToken: Double? { tokens > 0 ? nats / Double(tokens) : nil }

    /// e to the nats a token; `nil` without tokens.
    public var perplexityPerToken: Double? { lossPerToken.map { exp($0) } }

    /// e to the nats a word, comparable between vocabularies; `nil` without words.
    public var perplexityPerWord: Double? { words > 0 ? exp(nats / Double(words)) : nil }

    /// Bits a byte of the text; `nil` without bytes.
    public var bitsPerByte: Double? { bytes > 0 ? nats / (Double(bytes) * M_LN2) : nil }

    /// Bits a character of the text, what character-level papers report; `nil` without characters.
    public var bitsPerCharacter: Double? { characters > 0 ? nats / (Double(characters) * M_LN2) : nil }

    /// The counts in one list, for a sum over ranks: nats, tokens, words, bytes, characters.
    public var encoded: [Double] { [nats, Double(tokens), Double(words), Double(bytes), Double(characters)] }

    /// The counts from such a list.
    ///
    /// - Precondition: it has 5 elements.
    public init(encoded: [Double]) {
        precondition(encoded.count == 5, "language model statistics are 5 numbers, got \(encoded.count)")
        self.init(nats: encoded[0], tokens: Int(encoded[1]), words: Int(encoded[2]), bytes: Int(encoded[3]), characters: Int(encoded[4]))
    }

    /// Adds another part.
    public static func += (left: inout LanguageModelStatistics, right: LanguageModelStatistics) {
        left.nats += right.nats
        left.tokens += right.tokens
        left.words += right.words
        left.bytes += right.bytes
        left.characters += right.characters
    }
}

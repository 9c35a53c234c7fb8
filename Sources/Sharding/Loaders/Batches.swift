// What loaders hand out. Letters: B rows, T positions of a row, S source positions, U target positions.

import Corpora

/// Rows of running text.
public struct TextBatch: Sendable, Equatable {
    /// The lane of each row, B.
    public var lanes: [Int]
    /// B.
    public var rows: Int { lanes.count }
    /// T.
    public var length: Int
    /// Token ids [B, T].
    public var inputs: [Int32]
    /// The token that follows each input [B, T]; `ignoredTarget` where a row has ended.
    public var targets: [Int32]
    /// [B, T]: true where the target is the first token of a document, so that nothing before it should be remembered.
    public var resets: [Bool]
    /// Targets that count.
    public var targetCount: Int

    /// Rows of padding.
    init(lanes: [Int], length: Int, padding: Int32) {
        self.lanes = lanes
        self.length = length
        inputs = Array(repeating: padding, count: lanes.count * length)
        targets = Array(repeating: ignoredTarget, count: lanes.count * length)
        resets = Array(repeating: false, count: lanes.count * length)
        targetCount = 0
    }
}

/// Rows of pairs, for models with an encoder and a decoder.
public struct PairBatch: Sendable, Equatable {
    /// The lane of each row, B.
    public var lanes: [Int]
    /// B.
    public var rows: Int { lanes.count }
    /// S, the longest source of the batch, at least 1.
    public var sourceLength: Int
    /// U, the longest target of the batch with its end piece, at least 1.
    public var targetLength: Int
    /// Source ids [B, S], padded.
    public var sources: [Int32]
    /// Tokens of each source, B.
    public var sourceLengths: [Int]
    /// The beginning piece and the target [B, U], padded.
    public var targetInputs: [Int32]
    /// The target and the end piece [B, U]; `ignoredTarget` where padded.
    public var targetOutputs: [Int32]
    /// Tokens of each target with its end piece, B; 0 for a row without a pair.
    public var targetLengths: [Int]
    /// An index into the corpus's labels, or -1 [B].
    public var labels: [Int32]
    /// The number of each pair in the corpus, B; -1 for a row without a pair, which has one padding token as its source and no target.
    public var pairIndices: [Int]
    /// Words and line ends of each target as it was read, B: perplexity per word divides by these.
    public var words: [Int]
    /// Targets that count.
    public var targetCount: Int
    /// Pairs of the step, those of other lanes included, that lost tokens to the limits.
    public var cutPairs = 0
}

/// Rows of pairs written one after the other, for models with a decoder alone: source, beginning piece, target, end piece. Only the target and the
/// end piece are to be predicted.
public struct PromptBatch: Sendable, Equatable {
    /// The lane of each row, B.
    public var lanes: [Int]
    /// B.
    public var rows: Int { lanes.count }
    /// T, the longest row, at least 1.
    public var length: Int
    /// Source, beginning piece, target [B, T], padded.
    public var inputs: [Int32]
    /// The target and the end piece where they are to be predicted, elsewhere `ignoredTarget` [B, T].
    public var targets: [Int32]
    /// Tokens of each row, B; 0 for a row without a pair.
    public var lengths: [Int]
    /// Tokens of each row's prompt: the source and the beginning piece, B.
    public var promptLengths: [Int]
    /// An index into the corpus's labels, or -1 [B].
    public var labels: [Int32]
    /// The number of each pair in the corpus, B; -1 for a row without a pair.
    public var pairIndices: [Int]
    /// Words and line ends of each target as it was read, B.
    public var words: [Int]
    /// Targets that count.
    public var targetCount: Int
    /// Pairs of the step, those of other lanes included, that lost tokens to the limits.
    public var cutPairs = 0
}

// A batch of stories with a question each, for memory networks.
//
// Legend: B questions (one a lane), S sentences of the longest story, W words of the longest sentence, Q words of the longest question.

import Tensors

/// Stories as bags of words in order, each with a question and the class of its answer.
public struct StoryBatch {
    /// The global lane of each question, [B].
    public var lanes: [Int]
    /// Word ids [B, S, W], oldest sentence first; 0 is padding.
    public var sentences: [Int32]
    /// The sentences of each story, [B].
    public var sentenceCounts: [Int]
    /// The age of each sentence, [B, S]: 1 for the latest, and more where blank slots were put between.
    public var ages: [Int32]
    /// Word ids [B, Q]; 0 is padding.
    public var questions: [Int32]
    /// The class of each answer, [B]; -1 does not count.
    public var answers: [Int32]
    /// S, W and Q.
    public var sentenceCapacity: Int
    public var wordCapacity: Int
    public var questionCapacity: Int
}

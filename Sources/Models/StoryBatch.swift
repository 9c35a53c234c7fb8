// A batch of stories with a question each, for memory networks.
//
// Legend: B questions (one a lane).

import Memory

/// Stories, each with a question and the class of its answer.
public struct StoryBatch {
    /// The global lane of each question, [B].
    public var lanes: [Int]
    /// What is read.
    public var stories: MemorizedStories
    /// The class of each answer, [B]; -1 does not count.
    public var answers: [Int32]
    /// The training step that the batch is of, from 0: a linear start ends at one. Evaluation gives the steps done, `Int.max` where it does not know.
    public var step: Int
    /// What the sentences of the first story say, for pictures; empty where nobody looks.
    public var labels: [String]

    /// - Precondition: there are a lane, a story and an answer for each of B.
    public init(lanes: [Int], stories: MemorizedStories, answers: [Int32], step: Int = .max, labels: [String] = []) {
        precondition(
            lanes.count == stories.count && answers.count == lanes.count, "\(lanes.count) lanes, \(stories.count) stories, \(answers.count) answers")
        self.lanes = lanes
        self.stories = stories
        self.answers = answers
        self.step = step
        self.labels = labels
    }
}

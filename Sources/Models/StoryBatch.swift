// A batch of stories with a question each, for memory networks.
//
// Legend: B questions (one a lane).

import Diagnostics
import Memory

/// Stories, each with a question and the class of its answer.
public struct StoryBatch {
    /// The global lane of each question, [B].
    public var lanes: [Int]
    /// What is read.
    public var stories: MemorizedStories
    /// The class of each answer, [B]; -1 does not count.
    public var answers: [Int32]

    /// There are a lane, a story and an answer for each of B.
    public init(lanes: [Int], stories: MemorizedStories, answers: [Int32]) {
        require(
            lanes.count == stories.count && answers.count == lanes.count, "\(lanes.count) lanes, \(stories.count) stories, \(answers.count) answers")
        self.lanes = lanes
        self.stories = stories
        self.answers = answers
    }
}

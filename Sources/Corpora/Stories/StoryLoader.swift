// Questions in shuffled batches. Letters: L lanes.

import Diagnostics

/// Questions with their stories, shuffled anew each epoch.
///
/// The permuted questions of all epochs form one sequence, of which step s gives lane l number s * L + l. Blank slots, where they are wanted, depend
/// on the seed, the step and the lane.
public final class StoryLoader: LaneLoader {
    public typealias Batch = StoryRows

    public let laneCount: Int
    /// What is shuffled.
    public let questions: StoryQuestions
    private let memory: Int
    private let timeNoise: Bool
    private let seed: UInt64
    /// The present step, from 0.
    public private(set) var step = 0
    /// The permutation of the epoch asked for last.
    private var permutation: (epoch: Int, order: Permutation)

    /// - Parameters:
    ///   - questions: at least one.
    ///   - lanes: L.
    ///   - memory: the most sentences of a story; the latest are kept.
    ///   - timeNoise: put blank slots between sentences.
    ///   - seed: of the run.
    public init(_ questions: StoryQuestions, lanes: Int, memory: Int, timeNoise: Bool, seed: UInt64) {
        precondition(lanes >= 1 && memory >= 1 && questions.count >= 1, "\(questions.count) questions for \(lanes) lanes")
        self.questions = questions
        laneCount = lanes
        self.memory = memory
        self.timeNoise = timeNoise
        self.seed = seed
        permutation = (0, Permutation(count: questions.count, seed: seed, stream: 0))
    }

    public var position: LoaderPosition { LoaderPosition(global: [Int64(step)]) }

    public func seek(to position: LoaderPosition) throws {
        guard position.global.count == 1, let step = Int(exactly: position.global[0]), step >= 0 else {
            throw UserError(
                .configuration, "the saved position \(position.global) is none of a list of questions",
                advice: "resume with the task of the saved run")
        }
        self.step = step
    }

    /// The question that a lane gets in the present step.
    public func question(lane: Int) -> Int {
        precondition(lane >= 0 && lane < laneCount, "lane \(lane) of \(laneCount)")
        let ordinal = step * laneCount + lane
        let epoch = ordinal / questions.count
        if permutation.epoch != epoch { permutation = (epoch, Permutation(count: questions.count, seed: seed, stream: UInt64(epoch) << 2)) }
        return permutation.order[ordinal % questions.count]
    }

    public func batch(lanes: [Int]) -> StoryRows {
        var rows = StoryRows(lanes: lanes, step: step)
        for lane in lanes {
            let noise = timeNoise ? SeededChoices(seed: seed, path: [0x6e6f_6973_65, UInt64(step), UInt64(lane)]) : nil
            rows.add(question(lane: lane), of: questions, memory: memory, noise: noise)
        }
        return rows
    }

    public func advance() { step += 1 }
}

// Questions in shuffled order, lane by lane.
//
// Legend: L lanes of the global batch.

import Diagnostics

/// Questions, shuffled anew each epoch. Step by step the L lanes take the next L questions; where an epoch has no L left, the step goes on with the
/// next one.
public final class KnowledgeLoader: LaneLoader {
    public typealias Batch = KnowledgeRows

    public let laneCount: Int
    private let source: KnowledgeExamples
    private let examples: [KnowledgeExample]
    private let seed: UInt64
    /// The epoch and the place in it of lane 0's question.
    private var (epoch, index) = (0, 0)

    /// - Parameters:
    ///   - examples: of the training questions; at least one.
    ///   - source: what made them.
    ///   - lanes: L.
    ///   - seed: of the run.
    /// - Throws: `UserError(.badData)` where there is no question.
    public init(_ examples: [KnowledgeExample], _ source: KnowledgeExamples, lanes: Int, seed: UInt64) throws {
        precondition(lanes >= 1, "\(lanes) lanes")
        guard !examples.isEmpty else {
            throw UserError(.badData, "there is no training question", advice: "name a file of questions that the facts can answer")
        }
        self.examples = examples
        self.source = source
        self.seed = seed
        laneCount = lanes
    }

    public var position: LoaderPosition { LoaderPosition(global: [Int64(epoch), Int64(index)]) }

    public func seek(to position: LoaderPosition) throws {
        guard position.global.count == 2, let epoch = Int(exactly: position.global[0]), let index = Int(exactly: position.global[1]), epoch >= 0,
            (0..<examples.count).contains(index)
        else {
            throw UserError(
                .configuration, "the saved position \(position.global) does not fit these \(examples.count) questions",
                advice: "resume with the questions of the saved run")
        }
        (self.epoch, self.index) = (epoch, index)
    }

    /// The number of a lane's question in this step.
    package func question(ofLane lane: Int) -> Int {
        precondition(lane >= 0 && lane < laneCount, "lane \(lane) of \(laneCount)")
        let (more, place) = (index + lane).quotientAndRemainder(dividingBy: examples.count)
        return Permutation(count: examples.count, seed: seed, stream: UInt64(epoch + more))[place]
    }

    public func batch(lanes: [Int]) -> KnowledgeRows {
        let (seed, epoch, index) = (seed, epoch, index)
        return source.rows(lanes.map { examples[question(ofLane: $0)] }, lanes: lanes) { row in
            SeededChoices(seed: seed, path: [UInt64(epoch), UInt64(index), UInt64(lanes[row])])
        }
    }

    public func advance() {
        let (more, place) = (index + laneCount).quotientAndRemainder(dividingBy: examples.count)
        (epoch, index) = (epoch + more, place)
    }
}

// Questions in shuffled order, lane by lane.

import Diagnostics

/// The training questions of a knowledge base in shuffled order.
public final class KnowledgeLoader: LaneLoader {
    public typealias Batch = KnowledgeRows

    private let source: KnowledgeExamples
    private let examples: [KnowledgeExample]
    private var order: ShuffledOrder

    /// - Parameters:
    ///   - examples: of the training questions; at least one.
    ///   - source: what made them.
    ///   - lanes: of the global batch.
    ///   - seed: of the run.
    /// - Throws: `UserError(.badData)` where there is no question.
    public init(_ examples: [KnowledgeExample], _ source: KnowledgeExamples, lanes: Int, seed: UInt64) throws {
        guard !examples.isEmpty else {
            throw UserError(.badData, "there is no training question", advice: "name a file of questions that the facts can answer")
        }
        (self.examples, self.source) = (examples, source)
        order = ShuffledOrder(count: examples.count, lanes: lanes, seed: seed)
    }

    public var laneCount: Int { order.laneCount }
    public var position: LoaderPosition { order.position }
    public func seek(to position: LoaderPosition) throws { try order.seek(to: position, of: "questions") }
    public func advance() { order.advance() }

    /// The number of a lane's question in this step.
    package func question(ofLane lane: Int) -> Int { order.example(ofLane: lane) }

    public func batch(lanes: [Int]) -> KnowledgeRows {
        source.rows(lanes.map { examples[question(ofLane: $0)] }, lanes: lanes) { [order] row in order.choices(ofLane: lanes[row]) }
    }
}

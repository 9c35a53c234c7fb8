// Which lanes a rank computes, and in which micro-batches.

import Collectives
import Diagnostics

/// The lanes of one rank.
///
/// A reproducible run cuts its lanes into groups, and a rank owns a run of groups in the order of the tree. Any other run deals out its lanes as evenly as
/// they can be had: rank r of P owns the lanes from r L / P up to (r + 1) L / P, rounded down.
struct LaneOwnership {
    /// The lanes of each micro-batch of this rank, in the order in which it runs them.
    let microBatches: [[Int]]

    /// Divides the lanes, and makes the tree that sums their gradients where the run is reproducible.
    ///
    /// - Parameter ranksPerNode: as the tree wants to know it.
    /// - Throws: `UserError` (.configuration) when there are more ranks than can have lanes.
    static func divide(
        _ batch: BatchSettings, reproducible: Bool, rank: Int, size: Int, ranksPerNode: Int = 1
    ) throws -> (LaneOwnership, ReproducibleTree?) {
        let tree = try reproducible ? batch.groups.map { try ReproducibleTree(groupCount: $0, size: size, ranksPerNode: ranksPerNode) } : nil
        return (try LaneOwnership(batch: batch, rank: rank, size: size, tree: tree), tree)
    }

    private init(batch: BatchSettings, rank: Int, size: Int, tree: ReproducibleTree?) throws {
        if let tree {
            require(batch.lanes % tree.groupCount == 0, "\(batch.lanes) lanes in \(tree.groupCount) groups")
            let lanesOfGroup = batch.lanes / tree.groupCount
            microBatches = tree.groups(ofRank: rank).map { Array($0 * lanesOfGroup..<($0 + 1) * lanesOfGroup) }
            return
        }
        func part(_ lanes: Range<Int>, _ index: Int, of count: Int) -> Range<Int> {
            lanes.lowerBound + lanes.count * index / count..<lanes.lowerBound + lanes.count * (index + 1) / count
        }
        guard size <= batch.lanes else {
            throw UserError(
                .configuration, "\(batch.lanes) lanes cannot be shared by \(size) ranks", at: "batch.lanes",
                advice: "start at most \(batch.lanes) ranks, or raise it")
        }
        let own = part(0..<batch.lanes, rank, of: size)
        guard batch.accumulation <= batch.lanes / size else {
            throw UserError(
                .configuration, "\(batch.accumulation) micro-batches cannot share the \(batch.lanes / size) lanes of a rank", at: "batch.accumulation",
                advice: "choose at most \(batch.lanes / size), or start fewer ranks")
        }
        microBatches = (0..<batch.accumulation).map { Array(part(own, $0, of: batch.accumulation)) }
    }
}

// Which lanes a rank computes, and in which micro-batches.

import Collectives
import Diagnostics

/// The lanes of one rank.
///
/// With groups (a power of two that the world size divides), a rank owns the groups whose low bits equal its rank. Without groups, each rank
/// owns L / P consecutive lanes.
struct LaneOwnership {
    /// The lanes of each micro-batch of this rank, in the order in which it runs them.
    let microBatches: [[Int]]

    /// Divides the lanes, and makes the tree that sums their gradients where the run is reproducible.
    /// - Throws: `UserError` (.configuration) when the world size does not fit lanes and groups.
    static func divide(_ batch: BatchSettings, reproducible: Bool, rank: Int, size: Int) throws -> (LaneOwnership, ReproducibleTree?) {
        let tree = try reproducible ? batch.groups.map { try ReproducibleTree(groupCount: $0, size: size) } : nil
        return (try LaneOwnership(batch: batch, rank: rank, size: size, tree: tree), tree)
    }

    private init(batch: BatchSettings, rank: Int, size: Int, tree: ReproducibleTree?) throws {
        let groups = batch.groups ?? size
        guard batch.lanes % groups == 0 else {
            throw UserError(
                .configuration, "\(size) ranks do not divide batch.lanes, which is \(batch.lanes)",
                advice: "start a number of ranks that divides it, or change batch.lanes")
        }
        guard groups % size == 0 else {
            throw UserError(
                .configuration, "\(size) ranks do not divide batch.groups, which is \(groups)",
                advice: "start 1, 2, 4, ... up to \(groups) ranks, or change batch.groups")
        }
        let lanesOfGroup = batch.lanes / groups
        func lanes(_ group: Int) -> [Int] { Array(group * lanesOfGroup..<(group + 1) * lanesOfGroup) }
        if let tree {
            microBatches = tree.groups(ofRank: rank).map(lanes)
            return
        }
        let own = stride(from: rank, to: groups, by: size).flatMap(lanes).sorted()
        guard own.count % batch.accumulation == 0 else {
            throw UserError(
                .configuration, "batch.accumulation is \(batch.accumulation), which does not divide the \(own.count) lanes of a rank",
                advice: "choose a divisor of \(own.count)")
        }
        let part = own.count / batch.accumulation
        microBatches = (0..<batch.accumulation).map { Array(own[$0 * part..<($0 + 1) * part]) }
    }
}

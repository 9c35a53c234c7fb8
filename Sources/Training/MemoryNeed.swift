// What a run takes before its first step, against what the machine has: a system that promises more memory than it has would kill the run instead.

import Collectives
import Diagnostics
import Foundation
import Models
import Optimizers
import Tensors

/// The memory of a run's parameters and of what belongs to them.
package struct MemoryNeed: Sendable {
    /// Trained values.
    package let parameters: Int
    /// Bytes of a batch's positions and of what its lanes remember, of this rank.
    package let batchBytes: Int
    /// Bytes of values, their copy in the type of activations, gradients, optimizer state, partial sums of the reproducible tree, and this rank's share
    /// of a checkpoint, which is copied before it is written. Activations come on top.
    package let bytes: Int
    /// Bytes of values and optimizer state in a checkpoint, over all ranks.
    package let checkpointBytes: Int
    /// Bytes of this rank's optimizer state, of its share of a checkpoint, and of its values with their copy in the type of activations.
    package let optimizerBytes: Int
    package let checkpointShare: Int
    package let valueBytes: Int

    /// The need of training.
    /// - Parameters:
    ///   - ranks: among which a checkpoint is shared out.
    ///   - sharesOptimizer: whether the optimizer's state is shared out among them, too.
    ///   - partialSums: gradients that the reproducible tree keeps beside the present one.
    ///   - residuals: groups of this rank that keep what rounding has left of their gradients.
    ///   - localGroups: groups of this rank, and of all ranks, that have parameters and an optimizer of their own; none where every step is one of the whole.
    ///   - lanes: of this rank.
    ///   - laneBytes: what a lane takes at least: its positions in a batch, and what it remembers.
    ///   - pairBytes: what stored keys and values take on each rank.
    package init(
        parameters: Int, optimizer: OptimizerConfiguration, activations: DataType, ranks: Int = 1, sharesOptimizer: Bool = false, partialSums: Int = 0,
        residuals: Int = 0, localGroups: (own: Int, all: Int) = (0, 0), lanes: Int = 0, laneBytes: Int = 0,
        pairBytes: Int = 0
    ) {
        self.parameters = parameters
        let ofGroup = Self.product(parameters, 4 * (1 + optimizer.slotCount))
        // Groups of their own share no state of an optimizer, but the momentum of the whole.
        let slots = localGroups.all > 0 ? Self.sum(Self.product(localGroups.all, ofGroup), Self.product(parameters, 4)) : Self.product(parameters, 4 * optimizer.slotCount)
        optimizerBytes = localGroups.all > 0
            ? Self.sum(Self.product(localGroups.own, ofGroup), Self.product(parameters, 16))
            : sharesOptimizer && slots > 0 ? (slots - 1) / ranks + 1 : slots
        let values = Self.sum(Self.product(parameters, 8 + (activations == .bfloat16 ? 2 : 0) + 4 * (partialSums + residuals)), optimizerBytes)
        checkpointBytes = Self.sum(Self.product(parameters, 4), slots)
        checkpointShare = Self.sum(checkpointBytes == 0 ? 0 : (checkpointBytes - 1) / ranks + 1, Self.product(parameters, 4 * residuals))
        valueBytes = Self.product(parameters, activations == .bfloat16 ? 6 : 4)
        batchBytes = Self.product(lanes, laneBytes)
        bytes = [values, checkpointShare, batchBytes, pairBytes].reduce(0) { Self.sum($0, $1) }
    }

    /// The need of a rank of a run.
    init(_ configuration: RunConfiguration, _ task: any LearningTask, _ ownership: LaneOwnership, _ tree: ReproducibleTree?, rank: Int, size: Int) {
        self.init(
            parameters: task.model.store.parameterCount, optimizer: configuration.optimizer, activations: configuration.precision.activations, ranks: size,
            sharesOptimizer: configuration.parallel.shardOptimizer, partialSums: tree?.partialSums(ofRank: rank) ?? 0,
            residuals: configuration.parallel.gradients.hasFeedback ? ownership.microBatches.count : 0,
            localGroups: configuration.parallel.localSteps == nil ? (0, 0) : (ownership.microBatches.count, tree?.groupCount ?? 0),
            lanes: ownership.microBatches.reduce(0) { $0 + $1.count }, laneBytes: task.laneBytes + LaneMemory.bytesPerLane(of: task.model),
            pairBytes: MemorizedPairs.bytes(of: task.model))
    }

    /// The need of a rank of a run that is not started.
    /// - Throws: `UserError` (.configuration) when so many ranks cannot share its lanes.
    package init(_ configuration: RunConfiguration, _ task: any LearningTask, rank: Int, size: Int, ranksPerNode: Int) throws {
        let (ownership, tree) = try LaneOwnership.divide(
            configuration.batch, reproducible: configuration.parallel.reproducible, rank: rank, size: size, ranksPerNode: ranksPerNode)
        self.init(configuration, task, ownership, tree, rank: rank, size: size)
    }

    /// A product that is no number of bytes is more than there are.
    static func product(_ a: Int, _ b: Int) -> Int {
        let (value, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? .max : value
    }

    private static func sum(_ a: Int, _ b: Int) -> Int {
        let (value, overflow) = a.addingReportingOverflow(b)
        return overflow ? .max : value
    }

    /// Throws when the ranks of this node together need more than the node has. Collective; call it before anything is allocated.
    ///
    /// - Throws: `UserError` (.configuration), the same on every rank.
    package func check(_ communicator: any Communicator, available: Int? = SystemMemory.availableBytes) throws {
        let ranks = try communicator.allGather(Array(communicator.nodeName.utf8)).count { $0.elementsEqual(communicator.nodeName.utf8) }
        try communicator.onEveryRank { try check(ranks: ranks, node: communicator.nodeName, available: available) }
    }

    private func check(ranks: Int, node: String, available: Int?) throws {
        guard let available, bytes > available / ranks else { return }
        func gigabytes(_ bytes: Int) -> String { String(format: "%.1f GB", Double(bytes) / 1e9) }
        let need = ranks == 1 ? gigabytes(bytes) : "\(gigabytes(bytes)) on each of \(ranks) ranks"
        if batchBytes > bytes - batchBytes {
            throw UserError(
                .configuration,
                "the positions of a batch and the memory of its lanes need \(need) before anything is computed, but \(node) has \(gigabytes(available)) left",
                at: "batch", advice: "make batch.lanes or the sequences smaller, or start more ranks on other nodes")
        }
        throw UserError(
            .configuration,
            "\(parameters.formatted(.number.grouping(.automatic).locale(Locale(identifier: "en_US")))) parameters with gradients, optimizer state and the copy for a checkpoint need \(need), but \(node) has \(gigabytes(available)) left", at: "model",
            advice: "make model.layers or model.width smaller\(ranks == 1 ? "" : ", start fewer ranks on a node,") or use a machine with more memory")
    }
}

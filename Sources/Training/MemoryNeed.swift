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
    /// Bytes of values, their copy in the type of activations, gradients, optimizer state, partial sums of the reproducible tree, and this rank's share
    /// of a checkpoint, which is copied before it is written. Activations come on top.
    package let bytes: Int

    /// The need of training.
    /// - Parameters:
    ///   - ranks: among which a checkpoint is shared out.
    ///   - partialSums: gradients that the reproducible tree keeps beside the present one.
    package init(parameters: Int, optimizer: OptimizerConfiguration, activations: DataType, ranks: Int = 1, partialSums: Int = 0) {
        self.parameters = parameters
        let state = 4 + 4 * optimizer.slotCount
        bytes = parameters * (state + 4 + (activations == .bfloat16 ? 2 : 0) + 4 * partialSums) + (parameters * state + ranks - 1) / ranks
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
        throw UserError(
            .configuration,
            "\(parameters.formatted(.number.grouping(.automatic).locale(Locale(identifier: "en_US")))) parameters with gradients, optimizer state and the copy for a checkpoint need \(need), but \(node) has \(gigabytes(available)) left", at: "model",
            advice: "make model.layers or model.width smaller\(ranks == 1 ? "" : ", start fewer ranks on a node,") or use a machine with more memory")
    }
}

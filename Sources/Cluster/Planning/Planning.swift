// From a run file and a cluster file to a plan: checks, a rehearsal on this machine, and the tables.

import Collectives
import Diagnostics
import Foundation
import Kernels
import Tensors
import Training

/// What `mneme plan` is asked for.
package struct PlanRequest {
    package var nodes: [Int]?
    package var ranksPerNode: Int?
    package var threads: Int?
    /// Seconds between two failures of one node; `nil` for the assumption.
    package var nodeMeanTimeBetweenFailures: Double?
    /// Where this machine's choices of matrix backends are kept.
    package var cacheDirectory: String?

    package init() {}
}

extension Plan {
    /// Rehearses a run on this machine and plans it on a cluster.
    ///
    /// - Throws: `UserError` (.configuration) for a run that does not fit into a node's memory, or more ranks than its lanes can be shared by.
    package static func made(_ configuration: RunConfiguration, on cluster: ClusterDescription, _ request: PlanRequest) throws -> Plan {
        let ranksPerNode = request.ranksPerNode ?? cluster.ranksPerNode
        let threads = request.threads ?? configuration.parallel.threads ?? max(1, cluster.cores / ranksPerNode)
        var assumptions = PlanAssumptions(ranksPerNode: ranksPerNode, threads: threads)
        assumptions.nodeMeanTimeBetweenFailures = request.nodeMeanTimeBetweenFailures ?? assumptions.nodeMeanTimeBetweenFailures
        let run = PlannedRun(configuration, try configuration.task.makeTask(configuration, savedIn: nil))
        let need = try run.need(ranks: 1, ranksPerNode: 1)
        // What fails here would fail there, before anything is computed.
        try requireFit(need.bytes - need.batchBytes - need.checkpointShare, cluster, "before activations")
        try need.check(SingleProcess())

        let load = ProcessorMeasurement.loadAverage
        Workers.count = min(threads, max(1, Workers.usableProcessors))
        let sizes = rehearsed(run, ranksPerNode: ranksPerNode)
        // The task's model is allocated now; a plan asks it for shapes alone from here on.
        var (flops, bandwidth): ([Double], [Double]) = ([], [])
        let rehearsal = try StepRehearsal(configuration, run.task, lanes: sizes, cacheDirectory: request.cacheDirectory) {
            flops.append(ProcessorMeasurement.sustainedMatrixMultiplyRate(configuration.precision.activations, seconds: 0.25) {})
            bandwidth.append(ProcessorMeasurement.sustainedMemoryBandwidth(seconds: 0.25) {})
            MemoryPool.shared.trim()
        }
        func mean(_ speeds: [Double]) -> Double { speeds.reduce(0, +) / Double(speeds.count) }
        var plan = Plan(
            model: configuration.task.modelKind, parameters: need.parameters, rehearsal: rehearsal, localFlopsPerSecond: mean(flops),
            localMemoryBytesPerSecond: mean(bandwidth), cluster: cluster, assumptions: assumptions)
        plan.localLoadAverage = load
        plan.isBFloat16 = configuration.precision == .bfloat16
        try plan.fill(run, nodes: request.nodes)
        if let first = plan.asItIs.last, !plan.asItIs.contains(where: \.fits) {
            try requireFit(first.memoryPerRank.total, cluster, "on each of \(quantity(min(ranksPerNode, first.ranks), "rank")) of a node", ranks: min(ranksPerNode, first.ranks))
        }
        return plan
    }

    /// Sizes of micro-batches to compute here: the smallest and the largest of the table, and two between them.
    private static func rehearsed(_ run: PlannedRun, ranksPerNode: Int) -> [Int] {
        let (most, least) = (run.microBatches(ranks: 1).lanes, run.microBatches(ranks: run.mostRanks).lanes)
        let ratio = Double(most) / Double(least)
        return (0...3).map { Int((Double(least) * pow(ratio, Double($0) / 3)).rounded()) }
    }

    private static func requireFit(_ bytes: Int, _ cluster: ClusterDescription, _ when: String, ranks: Int = 1) throws {
        guard bytes > cluster.memoryBytes / ranks else { return }
        throw UserError(
            .configuration, "the run needs \(bytesShown(bytes)) \(when), but a node of the cluster has \(bytesShown(cluster.memoryBytes))", at: "model",
            advice: "give --ranks-per-node, set parallel.shardOptimizer, or make the model, batch.lanes or batch.length smaller")
    }
}

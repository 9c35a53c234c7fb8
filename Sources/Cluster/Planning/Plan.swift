// How a run would do on a cluster: time of a step, memory, scaling, checkpoints.
//
// Legend: N nodes, P ranks, L lanes of a step.

import Diagnostics
import Foundation
import Training

/// What is assumed where nothing was measured.
package struct PlanAssumptions: Sendable, Encodable {
    /// Ranks of a node, and threads of a rank.
    package var ranksPerNode: Int
    package var threads: Int
    /// Seconds between two failures of one node, on average.
    package var nodeMeanTimeBetweenFailures = 5 * 365 * 86400.0
    /// Seconds from a failure until the program runs again: detection, the scheduler, the start.
    package var restartSeconds = 120.0
    /// Where nodes were not measured with one another: 10 Gbit/s Ethernet.
    package var link = Link(latencySeconds: 30e-6, bytesPerSecond: 1.1e9)
    /// Where no file system was measured.
    package var writeBytesPerSecond = 500e6

    package init(ranksPerNode: Int, threads: Int) { (self.ranksPerNode, self.threads) = (ranksPerNode, threads) }
}

/// A run on a cluster, at several numbers of ranks.
package struct Plan: Sendable, Encodable {
    /// One number of ranks.
    package struct Row: Sendable, Encodable {
        package var nodes: Int
        package var ranks: Int
        /// L, and the most that a rank has of them.
        package var lanes: Int
        package var lanesPerRank: Int
        package var stepSeconds: Double
        /// Of these: forward and backward passes; the update; sums over ranks.
        package var passSeconds: Double
        package var updateSeconds: Double
        package var allReduceSeconds: Double
        /// What of the sums hides behind the backward pass, and is not in the step.
        package var hiddenSeconds: Double
        package var lanesPerSecond: Double
        /// Lanes a second and rank against the first row.
        package var efficiency: Double
        package var memoryPerRank: Memory
        /// Whether the ranks of a node fit into its memory.
        package var fits: Bool
        package var saveSeconds: Double
        /// Seconds of work between two checkpoints, by Young and by Daly, and the same in steps.
        package var youngSeconds: Double
        package var dalySeconds: Double
        package var dalySteps: Int
        package var goodput: Double
    }

    /// Bytes of a rank.
    package struct Memory: Sendable, Encodable {
        package var parameters: Int
        package var gradients: Int
        package var optimizer: Int
        /// Partial sums of the reproducible tree.
        package var partialSums: Int
        package var laneState: Int
        /// The copy of this rank's part of a checkpoint while it is written.
        package var checkpointCopy: Int
        package var activations: Int
        package var total: Int
    }

    package var model: String
    package var parameters: Int
    /// Matrix products of one lane's forward and backward pass, counted.
    package var productFlopsPerLane: Double
    package var rehearsal: StepRehearsal
    /// What large products, and memory, reached here beside the rehearsal, with as many threads.
    package var localFlopsPerSecond: Double
    package var localMemoryBytesPerSecond: Double
    package var isBFloat16 = false
    /// Of this machine before the rehearsal: above half of its cores, other work has disturbed it.
    package var localLoadAverage = 0.0
    /// What is summed at a time, of these what is ready last, and how many steps lie between two sums.
    package var trafficBytes = 0
    package var lastTrafficBytes = 0
    package var trafficInterval = 1
    package var cluster: ClusterDescription
    package var assumptions: PlanAssumptions
    /// The run as it is: its lanes shared by more and more ranks.
    package var asItIs: [Row] = []
    /// With `batch.lanes` that grow with the ranks.
    package var growing: [Row] = []

    package init(
        model: String, parameters: Int, rehearsal: StepRehearsal, localFlopsPerSecond: Double, localMemoryBytesPerSecond: Double,
        cluster: ClusterDescription, assumptions: PlanAssumptions
    ) {
        (self.model, self.parameters, self.rehearsal, self.cluster, self.assumptions) = (model, parameters, rehearsal, cluster, assumptions)
        (self.localFlopsPerSecond, self.localMemoryBytesPerSecond) = (localFlopsPerSecond, localMemoryBytesPerSecond)
        productFlopsPerLane = (rehearsal.points.last.map { $0.flops / Double($0.lanes) }) ?? 0
    }
}

/// What is known of a run before any number of ranks is looked at.
package struct PlannedRun {
    package let configuration: RunConfiguration
    package let task: any LearningTask

    package init(_ configuration: RunConfiguration, _ task: any LearningTask) { (self.configuration, self.task) = (configuration, task) }

    /// The most ranks that its lanes, or groups of them, can be shared by.
    package var mostRanks: Int {
        configuration.parallel.reproducible ? configuration.batch.groups ?? 1 : configuration.batch.lanes / configuration.batch.accumulation
    }

    /// The micro-batches of the rank with the most lanes: how many, and how many lanes each has.
    package func microBatches(ranks: Int) -> (count: Int, lanes: Int) {
        let batch = configuration.batch
        func share(_ count: Int, _ parts: Int) -> Int { (count + parts - 1) / parts }
        if configuration.parallel.reproducible, let groups = batch.groups { return (share(groups, ranks), batch.lanes / groups) }
        return (batch.accumulation, share(share(batch.lanes, ranks), batch.accumulation))
    }

    /// The same run with so many times the lanes, or `nil` where its groups cannot be cut so.
    func growing(_ factor: Int) -> PlannedRun? {
        var configuration = configuration
        configuration.batch.lanes *= factor
        if let groups = configuration.batch.groups {
            guard factor.nonzeroBitCount == 1 else { return nil }
            configuration.batch.groups = groups * factor
        }
        return PlannedRun(configuration, task)
    }

    /// Bytes of a rank without activations, as the run itself asks for them at its start.
    func need(ranks: Int, ranksPerNode: Int) throws -> MemoryNeed {
        try MemoryNeed(configuration, task, rank: 0, size: ranks, ranksPerNode: ranks % ranksPerNode == 0 ? ranksPerNode : 1)
    }
}

extension Plan {
    /// The nodes of a table: powers of two up to so many ranks.
    package static func nodes(upToRanks most: Int, ranksPerNode: Int) -> [Int] {
        sequence(first: 1) { $0 * 2 }.prefix { $0 * ranksPerNode <= most }.map { $0 }
    }

    /// Fills both tables.
    ///
    /// - Parameters:
    ///   - nodes: numbers of nodes; `nil` for powers of two, up to what the lanes allow, and up to 10,000 ranks where the lanes grow.
    /// - Throws: `UserError` (.configuration) where a number of nodes that was asked for has more ranks than lanes can be shared by.
    package mutating func fill(_ run: PlannedRun, nodes asked: [Int]?) throws {
        let ranksPerNode = assumptions.ranksPerNode
        let traffic = PlannedTraffic(run, parameters: parameters, ranks: 1)
        (trafficBytes, lastTrafficBytes, trafficInterval) = (traffic.bytes, traffic.lastBytes, traffic.interval)
        // On part of one node first, so that one sees what its ranks cost each other.
        var sizes: [(nodes: Int, ranks: Int)] = asked?.map { ($0, $0 * ranksPerNode) } ?? []
        if asked == nil {
            sizes = sequence(first: 1) { $0 * 2 }.prefix { $0 < ranksPerNode }.map { (1, $0) }
            sizes += Self.nodes(upToRanks: run.mostRanks, ranksPerNode: ranksPerNode).map { ($0, $0 * ranksPerNode) }
            sizes = sizes.filter { $0.ranks <= run.mostRanks }
        }
        if let size = sizes.first(where: { $0.ranks > run.mostRanks }) {
            throw UserError(
                .configuration, "\(size.ranks) ranks on \(quantity(size.nodes, "node")) cannot share the run's lanes: \(run.mostRanks) can", at: "--nodes",
                advice: "name fewer nodes, give --ranks-per-node, or raise batch.lanes and batch.groups")
        }
        asItIs = try sizes.map { try row(run, nodes: $0.nodes, ranks: $0.ranks) }
        for index in asItIs.indices { asItIs[index].efficiency = asItIs[index].perRank / asItIs[0].perRank }
        guard asked == nil, ranksPerNode <= run.mostRanks else { return }
        growing = try Self.nodes(upToRanks: 10_000, ranksPerNode: ranksPerNode).compactMap { nodes in
            try run.growing(nodes).map { try row($0, nodes: nodes, ranks: nodes * ranksPerNode) }
        }
        for index in growing.indices { growing[index].efficiency = growing[index].perRank / growing[0].perRank }
    }

    /// The figures of one number of ranks.
    private func row(_ run: PlannedRun, nodes: Int, ranks: Int) throws -> Row {
        let onNode = (ranks + nodes - 1) / nodes
        let (count, lanes) = run.microBatches(ranks: ranks)
        let point = rehearsal.point(lanes: lanes)
        let speed = scale(ranksOfNode: onNode, run)
        let passes = Double(count) * (point.productSeconds * speed.products + (point.seconds - point.productSeconds) * speed.memory)
        // The norm and the update pass over memory, and over a part of it where the state is shared out.
        let update = rehearsal.updateSeconds * speed.memory / (run.configuration.parallel.shardOptimizer ? Double(ranks) : 1)
        let traffic = PlannedTraffic(run, parameters: parameters, ranks: ranks)
        // The backward pass, two thirds of both, of the last micro-batch: only then are sums of all micro-batches ready.
        let (reducing, hidden) = allReduceSeconds(traffic, nodes: nodes, ranksOfNode: onNode, backward: passes / Double(count) * 2 / 3)
        let seconds = passes + update + reducing - hidden
        let need = try run.need(ranks: ranks, ranksPerNode: onNode)
        let memory = memory(need, activations: Int(point.activationBytes))
        let write = cluster.writeBytesPerSecond ?? assumptions.writeBytesPerSecond
        let save = Double(need.checkpointBytes) / write
        let read = Double(need.checkpointBytes) / (cluster.readBytesPerSecond ?? assumptions.writeBytesPerSecond)
        let interval = CheckpointInterval(
            save: save, restart: assumptions.restartSeconds + read, meanTimeBetweenFailures: assumptions.nodeMeanTimeBetweenFailures / Double(nodes))
        let work = max(interval.daly, seconds)
        return Row(
            nodes: nodes, ranks: ranks, lanes: run.configuration.batch.lanes, lanesPerRank: count * lanes, stepSeconds: seconds, passSeconds: passes,
            updateSeconds: update, allReduceSeconds: reducing, hiddenSeconds: hidden, lanesPerSecond: Double(run.configuration.batch.lanes) / seconds, efficiency: 1,
            memoryPerRank: memory, fits: memory.total <= cluster.memoryBytes / onNode, saveSeconds: save, youngSeconds: interval.young,
            dalySeconds: interval.daly, dalySteps: max(1, Int(work / seconds)), goodput: interval.goodput(interval: work))
    }

    /// By what the times of the rehearsal are multiplied on a node with so many ranks at work: for products, and for what passes over memory.
    private func scale(ranksOfNode: Int, _ run: PlannedRun) -> (products: Double, memory: Double) {
        let peak = run.configuration.precision == .bfloat16 ? cluster.bfloat16FlopsPerSecond : cluster.float32FlopsPerSecond
        let busy = min(Double(ranksOfNode * assumptions.threads) / Double(cluster.cores), 1)
        // A rank alone gets a core's share of the products, but more than its share of the memory.
        let products = peak * busy / Double(ranksOfNode)
        let memory = min(localMemoryBytesPerSecond * Double(assumptions.threads) / Double(rehearsal.threads), cluster.memoryBytesPerSecond / Double(ranksOfNode))
        return (localFlopsPerSecond / products, localMemoryBytesPerSecond / memory)
    }

    /// Sums inside each node, then between nodes, then a few small ones; and what of those between nodes hides behind the backward pass.
    private func allReduceSeconds(
        _ traffic: PlannedTraffic, nodes: Int, ranksOfNode: Int, backward: Double
    ) -> (seconds: Double, hidden: Double) {
        let buckets = Double((traffic.bytes + traffic.bucketBytes - 1) / traffic.bucketBytes)
        func rounds(_ count: Int) -> Double { count > 1 ? log2(Double(count)).rounded(.up) : 0 }
        var seconds = 0.0
        var latency = 0.0
        var hidden = 0.0
        if ranksOfNode > 1 {
            // Without a measurement: as fast as memory lets one rank read two and write one.
            let inside = cluster.insideNode ?? ClusterDescription.Inside(ranks: 2, latencySeconds: 5e-6, bytesPerSecond: cluster.memoryBytesPerSecond / 6)
            // What all ranks move through one memory grows with them; the latency with the rounds.
            seconds += Double(traffic.bytes) / inside.bytesPerSecond * Double(ranksOfNode - 1) / Double(inside.ranks - 1)
            latency += inside.latencySeconds * rounds(ranksOfNode) / rounds(inside.ranks)
        }
        if nodes > 1 {
            let link = cluster.betweenNodes ?? assumptions.link
            let secondsPerByte = 2 * Double(nodes - 1) / Double(nodes) / link.bytesPerSecond
            seconds += Double(traffic.bytes) * secondsPerByte
            latency += 2 * rounds(nodes) * link.latencySeconds
            if traffic.hides { hidden = min(backward, Double(traffic.bytes - traffic.lastBytes) * secondsPerByte) }
        }
        let interval = Double(traffic.interval)
        // The sums of a step, its requests, and the check of its gradient are three more, local step or not.
        return (seconds / interval + (buckets / interval + 3) * latency, hidden)
    }

    private func memory(_ need: MemoryNeed, activations: Int) -> Memory {
        let copies = need.checkpointShare
        let values = need.valueBytes
        let gradients = 4 * need.parameters
        return Memory(
            parameters: values, gradients: gradients, optimizer: need.optimizerBytes,
            partialSums: max(0, need.bytes - values - gradients - need.optimizerBytes - need.batchBytes - copies), laneState: need.batchBytes,
            checkpointCopy: copies, activations: activations, total: need.bytes + activations)
    }
}

extension Plan.Row {
    /// Lanes a second and rank.
    fileprivate var perRank: Double { lanesPerSecond / Double(ranks) }
}

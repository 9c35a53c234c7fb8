// What a cluster can do, as a file that doctor writes and plan reads.

import Collectives
import Configuration
import Diagnostics
import Foundation
import Storage
import Training

/// The measured constants of a cluster of equal nodes.
package struct ClusterDescription: Sendable, Equatable, Encodable {
    /// What an all-reduce inside a node costs.
    package struct Inside: Sendable, Equatable, Encodable {
        /// The ranks of the node that took part.
        package var ranks: Int
        /// Seconds of the smallest all-reduce.
        package var latencySeconds: Double
        /// Bytes of the buffer a second, in calls of 4 MiB.
        package var bytesPerSecond: Double

        package init(ranks: Int, latencySeconds: Double, bytesPerSecond: Double) {
            (self.ranks, self.latencySeconds, self.bytesPerSecond) = (ranks, latencySeconds, bytesPerSecond)
        }
    }

    /// The processor's name.
    package var processor: String
    /// Of a node.
    package var cores: Int
    package var memoryBytes: Int
    /// The ranks of a node while it was measured.
    package var ranksPerNode: Int
    /// Matrix products of a whole node, all cores at work.
    package var float32FlopsPerSecond: Double
    package var bfloat16FlopsPerSecond: Double
    /// Between memory and processors of a whole node.
    package var memoryBytesPerSecond: Double
    /// `nil` where one rank was measured.
    package var insideNode: Inside?
    /// An exchange of two nodes; `nil` where one node was measured.
    package var betweenNodes: Link?
    /// Bytes a second that all ranks together write with fsync and read; `nil` where no directory was measured.
    package var writeBytesPerSecond: Double?
    package var readBytesPerSecond: Double?

    /// What doctor has measured.
    package init(_ report: DoctorReport) {
        let nodes = report.nodes.count
        processor = report.processor
        cores = report.usableCoresOfNode
        memoryBytes = report.memoryBytes
        ranksPerNode = report.nodes[0].ranks
        float32FlopsPerSecond = report.float32GflopsPerSecond.allThreads.total * 1e9 / Double(nodes)
        bfloat16FlopsPerSecond = report.bfloat16GflopsPerSecond.allThreads.total * 1e9 / Double(nodes)
        memoryBytesPerSecond = report.memoryGigabytesPerSecond.allThreads.total * 1e9 / Double(nodes)
        if nodes == 1, let calls = report.allReduce?.calls, let first = calls.first {
            let usual = calls.first { $0.bytes == BucketSize.usual } ?? calls[calls.count - 1]
            // No small call is faster than the latency, and some are slower by what else the node does.
            let latency = calls.filter { $0.bytes <= 64 << 10 }.map(\.seconds).min() ?? first.seconds
            insideNode = Inside(ranks: report.ranks, latencySeconds: latency, bytesPerSecond: usual.bytesPerSecond)
        } else if let link = report.links?.insideNode {
            // Two ranks sum a buffer by exchanging its halves twice.
            insideNode = Inside(ranks: 2, latencySeconds: 2 * link.latencySeconds, bytesPerSecond: link.bytesPerSecond)
        }
        betweenNodes = report.links?.betweenNodes
        writeBytesPerSecond = report.directory.flatMap { $0.measuredBytes > 0 ? $0.writeBytesPerSecond : nil }
        readBytesPerSecond = report.directory.flatMap { $0.measuredBytes > 0 ? $0.readBytesPerSecond : nil }
    }

    /// Reads a file.
    /// - Throws: `UserError` (.missingInput, .configuration) that names the key and its line.
    package init(contentsOf path: String) throws {
        let tree = try ConfigurationTree(contentsOf: path, overrides: [])
        let root = tree.root
        let positive = Double.leastNonzeroMagnitude...1e18
        processor = try root.string("processor", "The processor's name.", default: "unknown")
        let node = try root.section("node")
        cores = try node.int("cores", "Cores of a node.", in: 1...1_000_000)
        memoryBytes = try node.int("memoryBytes", "Bytes of memory of a node.", in: 1...Int.max)
        ranksPerNode = try node.int("ranks", "Ranks of a node.", default: 1, in: 1...1_000_000)
        let compute = try root.section("compute")
        float32FlopsPerSecond = try compute.double("float32FlopsPerSecond", "Matrix products of a node in float32.", in: positive)
        bfloat16FlopsPerSecond = try compute.double("bfloat16FlopsPerSecond", "The same in bfloat16.", in: positive)
        memoryBytesPerSecond = try compute.double("memoryBytesPerSecond", "Bytes between memory and processors of a node.", in: positive)
        let network = try root.section("network")
        let inside = try network.section("insideNode")
        let ranks = try inside.optionalInt("ranks", "Ranks of the all-reduce that was measured in a node.", in: 2...1_000_000)
        let latency = try inside.optionalDouble("latencySeconds", "Seconds of the smallest all-reduce.", in: 0...1e3)
        let rate = try inside.optionalDouble("bytesPerSecond", "Bytes of the buffer a second.", in: positive)
        if let ranks, let latency, let rate {
            insideNode = Inside(ranks: ranks, latencySeconds: latency, bytesPerSecond: rate)
        } else if ranks != nil || latency != nil || rate != nil {
            throw inside.error(ranks == nil ? "ranks" : latency == nil ? "latencySeconds" : "bytesPerSecond", "is missing", advice: "give all three, or none")
        }
        let between = try network.section("betweenNodes")
        let linkLatency = try between.optionalDouble("latencySeconds", "Seconds of the smallest exchange of two nodes.", in: 0...1e3)
        let linkRate = try between.optionalDouble("bytesPerSecond", "Bytes a second in each direction of a node.", in: positive)
        if let linkLatency, let linkRate {
            betweenNodes = Link(latencySeconds: linkLatency, bytesPerSecond: linkRate)
        } else if linkLatency != nil || linkRate != nil {
            throw between.error(linkLatency == nil ? "latencySeconds" : "bytesPerSecond", "is missing", advice: "give both, or none")
        }
        let files = try root.section("fileSystem")
        writeBytesPerSecond = try files.optionalDouble("writeBytesPerSecond", "Bytes a second that all ranks together write with fsync.", in: positive)
        readBytesPerSecond = try files.optionalDouble("readBytesPerSecond", "Bytes a second that all ranks together read.", in: positive)
        try tree.finish()
    }

    /// The file's text.
    package var yaml: String {
        func number(_ value: Double) -> String { String(format: "%.4g", value) }
        var lines = [
            "# What mneme doctor measured, \(Date.now.formatted(.iso8601.year().month().day())). Numbers may be edited: mneme plan reads them.",
            "processor: \((try? JSONText.line(processor)) ?? "unknown")", "node:", "  cores: \(cores)", "  memoryBytes: \(memoryBytes)", "  ranks: \(ranksPerNode)", "compute:",
            "  float32FlopsPerSecond: \(number(float32FlopsPerSecond))   # matrix products of a node, all cores at work",
            "  bfloat16FlopsPerSecond: \(number(bfloat16FlopsPerSecond))", "  memoryBytesPerSecond: \(number(memoryBytesPerSecond))",
        ]
        if insideNode != nil || betweenNodes != nil { lines.append("network:") }
        if let insideNode {
            lines += [
                "  insideNode:   # an all-reduce of so many ranks", "    ranks: \(insideNode.ranks)", "    latencySeconds: \(number(insideNode.latencySeconds))",
                "    bytesPerSecond: \(number(insideNode.bytesPerSecond))",
            ]
        }
        if let betweenNodes {
            lines += [
                "  betweenNodes:   # an exchange of two nodes, all their ranks at once", "    latencySeconds: \(number(betweenNodes.latencySeconds))",
                "    bytesPerSecond: \(number(betweenNodes.bytesPerSecond))",
            ]
        }
        if let writeBytesPerSecond, let readBytesPerSecond {
            lines += ["fileSystem:", "  writeBytesPerSecond: \(number(writeBytesPerSecond))", "  readBytesPerSecond: \(number(readBytesPerSecond))"]
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Writes the file.
    /// - Throws: `UserError` (.inputOutput).
    package func write(to path: String) throws { try DurableFile.replace(path, by: Array(yaml.utf8)) }
}

// A plan for people: tables, and every assumption behind them.

import Diagnostics
import Foundation
import Kernels

extension Plan {
    /// The tables and the assumptions.
    /// - Parameter checkpointEvery: steps between two checkpoints as the run file has them; `nil` where it does not count steps.
    package func text(checkpointEvery: Int?) -> String {
        var lines = [
            "model \(model), \(parameters.formatted(.number.grouping(.automatic).locale(Locale(identifier: "en_US")))) parameters",
            String(
                format: "matrix products of a lane: %.3f GFLOP, counted; they run at %.1f GFLOP/s here with %@, large ones at %.1f", productFlopsPerLane / 1e9,
                attained / 1e9, quantity(rehearsal.threads, "thread"), localFlopsPerSecond / 1e9),
            "",
        ]
        lines += table(asItIs, "the run as it is")
        if !growing.isEmpty { lines += [""] + table(growing, "with batch.lanes that grow with the ranks") }
        lines += ["", "memory of a rank, at \(quantity(asItIs[0].ranks, "rank"))"] + memoryLines(asItIs[0].memoryPerRank)
        lines += ["", checkpointLine(asItIs[asItIs.count - 1], every: checkpointEvery), "", "assumed"]
        lines += assumed.map { "  \($0)" }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Operations a second of the largest micro-batch's products while they are computed.
    private var attained: Double { rehearsal.points.last.map { $0.flops / max($0.productSeconds, 1e-9) } ?? 0 }

    private func table(_ rows: [Row], _ title: String) -> [String] {
        let head = ["nodes", "ranks", "lanes", "a rank", "step", "passes", "update", "all-reduce", "hidden", "lanes/s", "efficiency", "GB a rank", "checkpoint", "goodput"]
        let cells = rows.map { row in
            [
                "\(row.nodes)", "\(row.ranks)", "\(row.lanes)", "\(row.lanesPerRank)", Self.time(row.stepSeconds), Self.time(row.passSeconds), Self.time(row.updateSeconds),
                Self.time(row.allReduceSeconds), Self.time(row.hiddenSeconds), String(format: "%.4g", row.lanesPerSecond), String(format: "%.0f %%", 100 * row.efficiency),
                String(format: "%.2f", Double(row.memoryPerRank.total) / 1e9) + (row.fits ? "" : " too much"), Self.time(row.dalySeconds),
                String(format: "%.2f %%", 100 * row.goodput),
            ]
        }
        let widths = head.indices.map { column in ([head] + cells).map { $0[column].count }.max() ?? 0 }
        return [title] + ([head] + cells).map { row in
            row.enumerated().map { String(repeating: " ", count: widths[$0.offset] - $0.element.count) + $0.element }.joined(separator: "  ")
        }
    }

    private func memoryLines(_ memory: Memory) -> [String] {
        let parts = [
            ("parameters", memory.parameters), ("gradients", memory.gradients), ("optimizer state", memory.optimizer), ("partial sums", memory.partialSums),
            ("batch and lane state", memory.laneState), ("copy for a checkpoint", memory.checkpointCopy), ("activations", memory.activations), ("together", memory.total),
        ]
        return parts.filter { $0.1 > 0 }.map { "  \($0.0.padding(toLength: 24, withPad: " ", startingAt: 0))\(bytesShown($0.1))" }
    }

    private func checkpointLine(_ row: Row, every: Int?) -> String {
        var line = "checkpoint on \(quantity(row.nodes, "node")): a save takes \(Self.time(row.saveSeconds)); every \(Self.time(row.youngSeconds)) by Young, "
            + "\(Self.time(row.dalySeconds)) by Daly, which is every \(quantity(row.dalySteps, "step"))"
        if let every { line += "; the run file has checkpoint.every: \(every)" }
        return line
    }

    /// What the figures rest on.
    package var assumed: [String] {
        let link = cluster.betweenNodes ?? assumptions.link
        let hasInside = cluster.insideNode != nil
        let usesNodes = (asItIs + growing).contains { $0.nodes > 1 }
        let usesInside = (asItIs + growing).contains { $0.ranks > $0.nodes }
        return [
            "\(quantity(assumptions.ranksPerNode, "rank")) of \(quantity(assumptions.threads, "thread")) on a node of \(quantity(cluster.cores, "core")); all nodes are alike (\(cluster.processor))",
            String(
                format: "passes and update take what they took here, with %@, in proportion to products (%.1f GFLOP/s here) and memory (%.1f GB/s here) of a node there (%.1f GFLOP/s, %.1f GB/s)",
                quantity(rehearsal.threads, "thread"), localFlopsPerSecond / 1e9, localMemoryBytesPerSecond / 1e9, peak / 1e9, cluster.memoryBytesPerSecond / 1e9),
            "the slowest rank is the one with the most lanes; micro-batches between measured sizes (\(rehearsal.points.map { "\($0.lanes)" }.joined(separator: ", ")) lanes) are interpolated",
            traffic,
        ] + (usesInside
            ? [hasInside ? "inside a node it grows in proportion to ranks - 1, from what was measured on \(cluster.insideNode?.ranks ?? 0)" : "no all-reduce was measured inside a node: 5 us, a sixth of the memory's speed"] : [])
            + (usesNodes
                ? [String(format: "between nodes %.2f GB/s each way, %.0f us%@", link.bytesPerSecond / 1e9, link.latencySeconds * 1e6, cluster.betweenNodes == nil ? ", which was not measured" : ""), "no two pairs of nodes share a link"]
                : [])
            + [
                String(
                    format: "saves at %.0f MB/s for all ranks together%@, and training waits for them", (cluster.writeBytesPerSecond ?? assumptions.writeBytesPerSecond) / 1e6,
                    cluster.writeBytesPerSecond == nil ? ", which was not measured" : ""),
                "a node fails once in \(Self.time(assumptions.nodeMeanTimeBetweenFailures)), and \(Self.time(assumptions.restartSeconds)) pass until the program runs again",
                "evaluation, logging and the first steps are left out",
            ]
            + (localLoadAverage > 0.5 * Double(Workers.usableProcessors)
                ? [String(format: "this machine had other work (load %.1f): plan again when it has none, and mistrust these times until then", localLoadAverage)] : [])
    }

    /// What travels, and what of it costs time.
    private var traffic: String {
        let hides = (asItIs + growing).contains { $0.hiddenSeconds > 0 }
        let copy = "\(bytesShown(trafficBytes)) of gradients are summed \(trafficInterval == 1 ? "in each step" : "every \(trafficInterval) steps")"
        return hides
            ? "\(copy); between nodes they hide behind the backward pass of the last micro-batch (two thirds of its time), but for the \(bytesShown(lastTrafficBytes)) that are ready last; nothing hides inside a node"
            : "\(copy); nothing of it hides behind the backward pass"
    }

    private var peak: Double { isBFloat16 ? cluster.bfloat16FlopsPerSecond : cluster.float32FlopsPerSecond }

    /// Seconds in a unit that suits them.
    static func time(_ seconds: Double) -> String {
        switch seconds {
        case ..<1e-3: String(format: "%.0f us", seconds * 1e6)
        case ..<1: String(format: "%.1f ms", seconds * 1e3)
        case ..<120: String(format: "%.1f s", seconds)
        case ..<7200: String(format: "%.0f min", seconds / 60)
        case ..<172_800: String(format: "%.1f h", seconds / 3600)
        case ..<63_072_000: String(format: "%.1f days", seconds / 86400)
        default: String(format: "%.1f years", seconds / 31_536_000)
        }
    }
}

// mneme memory inspect

import ArgumentParser
import Diagnostics
import Foundation
import MemoryBanks
import Models
import NeuralNetworks
import Training

struct MemoryInspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Tell what a bank holds, or what a trained model remembers.",
        discussion: """
            Of a bank: its rules, records, namespaces, bytes, the ages, uses and key lengths of records, and how many are duplicates or were never used.
            Of a run: each memory's name, shape, lifetime, initial value, and what lanes hold in the checkpoint.

            A lifetime is sequence (it starts anew with every sequence), lane (a lane carries it from batch to batch, and checkpoints hold it) or run
            (a bank that lasts).

            Examples:
              mneme memory inspect banks/facts --all
              mneme memory inspect checkpoints/copy-ntm
              mneme memory inspect checkpoints/tiny-shakespeare-lstm --json
            """)

    @Argument(help: ArgumentHelp("The bank, or the run directory.", valueName: "bank|run-dir"))
    var runDirectory: String

    @OptionGroup var scope: BankScopeOptions

    @Option(help: ArgumentHelp("The checkpoint of this step instead of the newest.", valueName: "step"))
    var step: Int?

    @Flag(help: "Print JSON.")
    var json = false

    /// One memory as it is printed.
    private struct Row: Encodable {
        var name: String
        var shape: [Int]
        var axes: [String]
        var lifetime: String
        var initial: String
        /// Of the values that lanes hold in the checkpoint.
        var lanes: Int?
        /// Keys and values that are stored in the checkpoint, in positions.
        var pairs: Int?
        var minimum: Float?
        var mean: Float?
        var maximum: Float?
    }

    func run() throws {
        if MemoryBank.exists(runDirectory) { return try inspectBank() }
        try MemoryBank.requireNone(scope.isGiven, runDirectory)
        ProgramStart.run { communicator in
            // One answer, whatever the number of ranks.
            guard communicator.rank == 0 else { return .finished }
            let run = try LoadedRun(directory: runDirectory, step: step)
            run.passedOver.forEach { CommandLineOutput.note($0) }
            let rows = try run.task.model.memory.map { declaration -> Row in
                var row = Row(
                    name: declaration.name, shape: declaration.shape.array, axes: declaration.axes, lifetime: declaration.lifetime.rawValue,
                    initial: declaration.initial.description)
                if declaration.lifetime == .run, let model = run.task.model as? any MemorizingModel { row.pairs = model.pairs?.count }
                if declaration.lifetime == .lane {
                    let values = try run.laneMemory(declaration)
                    row.lanes = run.configuration.batch.lanes
                    row.minimum = values.min()
                    row.mean = values.reduce(0, +) / Float(max(values.count, 1))
                    row.maximum = values.max()
                }
                return row
            }
            if json {
                try JSONOutput.print(rows)
            } else if rows.isEmpty {
                try print("the model declares no memory")
            } else {
                try rows.forEach { try print(text($0)) }
            }
            return .finished
        }
    }

    private func inspectBank() throws {
        try MemoryBank.requireBank(step != nil, runDirectory, "--step")
        let statistics = try MemoryBank.read(runDirectory).statistics(try scope.scope())
        if json { return try JSONOutput.print(statistics) }
        let rules = statistics.configuration
        func range(_ name: String, _ range: BankStatistics.Range?) throws {
            guard let range else { return }
            try print("\(name): " + String(format: "%.4g ... %.4g, mean %.4g", range.minimum, range.maximum, range.mean))
        }
        try print(
            "\(quantity(statistics.records, "record")) in \(quantity(statistics.namespaces.count, "namespace")), \(quantity(statistics.segments, "segment"))"
                + " of \(statistics.bytes) bytes, commit \(statistics.commit), content \(statistics.contentDigest)")
        for namespace in statistics.namespaces { try print("namespace \(namespace.name): \(quantity(namespace.records, "record"))") }
        try print("values: \(rules.value.rawValue); keys: \(statistics.generation.map { "\($0), compared by \(rules.metric.rawValue)" } ?? "none")")
        try print(
            "capacity: \(rules.capacity.map { "\($0), eviction \(rules.eviction.rawValue)" } ?? "without a limit"); \(statistics.waiting) waiting for admission"
                + "; \(statistics.deleted) deleted; \(quantity(statistics.revertibleCommits, "commit")) can be reverted")
        if let index = statistics.index {
            try print(
                "index: \(quantity(index.lists, "list")), made of \(quantity(index.records, "record")) in commit \(index.commit); "
                    + "\(quantity(statistics.changedSinceIndex, "record")) written since")
        }
        try range("age in steps", statistics.age)
        try range("uses", statistics.uses)
        try range("key length", statistics.norm)
        try print("never used: \(statistics.neverUsed); duplicates: \(statistics.duplicates)")
    }

    private func text(_ row: Row) -> String {
        let extents = zip(row.shape, row.axes).map { quantity($0, $1) }.joined(separator: " x ")
        var line = "\(row.name): \(extents.isEmpty ? "one value" : extents), lifetime \(row.lifetime), initially \(row.initial)"
        if let lanes = row.lanes, let minimum = row.minimum, let mean = row.mean, let maximum = row.maximum {
            line += "; \(quantity(lanes, "lane")) \(lanes == 1 ? "holds" : "hold") "
            line += String(format: "%.3g ... %.3g, mean %.3g", minimum, maximum, mean)
        }
        if let pairs = row.pairs { line += "; \(quantity(pairs, "pair")) stored" }
        return line
    }
}

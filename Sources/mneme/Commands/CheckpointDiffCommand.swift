// `mneme checkpoint diff`

import ArgumentParser
import Checkpoints

struct CheckpointDiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Compare the items of two checkpoints bit for bit.",
        discussion: """
            Exit code 0 where all items are the same, 1 where some differ. Attributes are not compared, and neither is the number of ranks that wrote.

            Examples:
              mneme checkpoint diff checkpoints/a/step-500 checkpoints/b/step-500
            """)

    @Argument(help: "The first checkpoint: a run directory, a checkpoint's directory, or a checkpoint.h5.")
    var first: String

    @Argument(help: "The second checkpoint.")
    var second: String

    @Flag(help: "Print one JSON array of the items that differ.")
    var json = false

    func run() throws {
        let readers = try [first, second].map { try CheckpointReader(directory: CheckpointStore.resolve($0)) }
        let differences = try readers[0].differences(from: readers[1])
        for reader in readers { try reader.close() }
        if json {
            try JSONOutput.print(differences.map { Entry($0.name, $0.difference) })
        } else {
            for (name, difference) in differences { try print("\(name): \(text(of: difference))") }
            try print(differences.isEmpty ? "all items are the same" : "\(differences.count) items differ")
        }
        if !differences.isEmpty { throw ArgumentParser.ExitCode(1) }
    }

    private func text(of difference: CheckpointDifference) -> String {
        switch difference {
        case .onlyInFirst: "only in the first"
        case .onlyInSecond: "only in the second"
        case .shape(let first, let second): "\(first) in the first, \(second) in the second"
        case .values(let count, let largest): "\(count) values differ, by \(largest) at most"
        }
    }

    /// An item that differs, in JSON.
    private struct Entry: Encodable {
        let name: String
        let kind: String
        let count: Int?
        let largest: Double?

        init(_ name: String, _ difference: CheckpointDifference) {
            self.name = name
            switch difference {
            case .onlyInFirst: (kind, count, largest) = ("only in first", nil, nil)
            case .onlyInSecond: (kind, count, largest) = ("only in second", nil, nil)
            case .shape: (kind, count, largest) = ("shape", nil, nil)
            case .values(let values, let difference): (kind, count, largest) = ("values", values, difference)
            }
        }
    }
}

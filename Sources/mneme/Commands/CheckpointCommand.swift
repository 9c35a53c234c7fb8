// `mneme checkpoint`: what can be done with checkpoints from outside a run, and what its commands share.

import ArgumentParser
import Checkpoints
import Diagnostics
import Foundation

struct CheckpointCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "checkpoint",
        abstract: "Work with checkpoints: look into, verify, repair, average and export them.",
        discussion: """
            A PATH may be a run directory (its newest checkpoint is meant), a checkpoint's directory such as checkpoints/wmt-en-de/step-500, or its
            checkpoint.h5. The files are HDF5; checkpoints/FORMAT.md describes them.

            Examples:
              mneme checkpoint inspect checkpoints/wmt-en-de
            """,
        subcommands: [
            CheckpointListCommand.self, CheckpointInspectCommand.self, CheckpointVerifyCommand.self, CheckpointDiffCommand.self,
            CheckpointRepairCommand.self, CheckpointAverageCommand.self, CheckpointExportCommand.self,
        ])
}

/// What the commands about checkpoints print in the same way.
enum CheckpointOutput {
    /// Prints rows as columns. The columns in `right` are set flush right.
    static func print(table rows: [[String]], right: Set<Int> = []) throws {
        var widths = [Int](repeating: 0, count: rows.map(\.count).max() ?? 0)
        for row in rows { for (column, text) in row.enumerated() { widths[column] = max(widths[column], text.count) } }
        for row in rows {
            let cells = row.enumerated().map { column, text in
                let padding = String(repeating: " ", count: widths[column] - text.count)
                return right.contains(column) ? padding + text : column == row.count - 1 ? text : text + padding
            }
            try StandardOutput.print(PathText.shown(cells.joined(separator: "  ")))
        }
    }

    /// A count of bytes for people: `1.5 MB`.
    static func size(_ byteCount: Int) -> String {
        var value = Double(byteCount)
        for unit in ["B", "kB", "MB", "GB"] {
            if value < 1000 { return unit == "B" ? "\(byteCount) B" : String(format: "%.1f %@", value, unit) }
            value /= 1000
        }
        return String(format: "%.1f TB", value)
    }
}

extension CheckpointItemDescription {
    /// The shape as a Python programmer writes it.
    var shapeText: String { "[" + shape.map(String.init).joined(separator: ", ") + "]" }
}

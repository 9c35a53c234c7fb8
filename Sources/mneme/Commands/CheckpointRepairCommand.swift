// `mneme checkpoint repair`

import ArgumentParser
import Checkpoints
import Diagnostics

struct CheckpointRepairCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair",
        abstract: "Restore a damaged or missing file of a checkpoint from its parity, to the bit.",
        discussion: """
            Runs with 'checkpoint.parity: true' write parity beside the shards: one shard that is lost, cut off or damaged comes back, and so \
            does checkpoint.h5. Afterwards the whole checkpoint is verified. Exit code 65 where too much is damaged, or where there is no parity.

            Examples:
              mneme checkpoint repair checkpoints/wmt-en-de/step-500
            """)

    @Argument(help: "A run directory, a checkpoint's directory, or a checkpoint.h5.")
    var path: String

    @Flag(help: "Only say what is damaged; exit code 65 where something is.")
    var dryRun = false

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let directory = try CheckpointStore.resolve(path)
        let repair = try CheckpointRepair(examining: directory)
        if !json { for damage in repair.damage { try print("\(PathText.shown(directory))/\(damage.file): \(damage.what)") } }
        if !dryRun { try repair.restore() }
        if json {
            try JSONOutput.print(
                Report(
                    directory: directory, parity: repair.hasParity, damaged: repair.damage.map { Entry(file: $0.file, problem: $0.what) },
                    repaired: !dryRun && !repair.damage.isEmpty))
        } else if repair.damage.isEmpty {
            try print("\(PathText.shown(directory)): nothing is damaged" + (repair.hasParity ? "" : "; it was written without parity"))
        } else if !dryRun {
            try print("\(PathText.shown(directory)): \(quantity(repair.damage.count, "file")) restored, every checksum right")
        }
        if dryRun, !repair.damage.isEmpty { throw ArgumentParser.ExitCode(Diagnostics.ExitCode.badData.rawValue) }
    }

    /// What was found, in JSON.
    private struct Report: Encodable {
        let directory: String
        let parity: Bool
        let damaged: [Entry]
        let repaired: Bool
    }

    private struct Entry: Encodable {
        let file: String
        let problem: String
    }
}

// `mneme checkpoint list`

import ArgumentParser
import Checkpoints
import Diagnostics
import Foundation
import Storage

struct CheckpointListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List the checkpoints of runs.",
        discussion: """
            Files are opened, but data are not read: 'mneme checkpoint verify' does that.

            Examples:
              mneme checkpoint list checkpoints/wmt-en-de
            """)

    @Argument(help: ArgumentHelp("Run directories.", valueName: "run-dir"))
    var paths: [String]

    @Flag(help: "Print one JSON array.")
    var json = false

    func validate() throws {
        if paths.isEmpty { throw ValidationError("Missing a run directory") }
    }

    func run() throws {
        let checkpoints = try paths.flatMap { path in
            guard Directory.exists(path) != nil else {
                throw UserError(.missingInput, "there is no such directory", at: path, advice: "name a run directory")
            }
            return try CheckpointStore(directory: path).list()
        }
        try show(checkpoints)
        // Scripts see the damage too.
        if checkpoints.contains(where: { !$0.isComplete }) { throw ArgumentParser.ExitCode(Diagnostics.ExitCode.badData.rawValue) }
    }

    private func show(_ checkpoints: [CheckpointSummary]) throws {
        if json {
            return try JSONOutput.print(
                checkpoints.map {
                    Entry(
                        step: $0.step, directory: $0.directory, complete: $0.isComplete, bytes: $0.byteCount, created: $0.created,
                        worldSize: $0.worldSize, problem: $0.problem)
                })
        }
        if checkpoints.isEmpty { return try print("no checkpoints") }
        let header = ["STEP", "SIZE", "RANKS", "CREATED", "STATE", "DIRECTORY"]
        try CheckpointOutput.print(
            table: [header]
                + checkpoints.map {
                    [
                        String($0.step), CheckpointOutput.size($0.byteCount), $0.worldSize.map(String.init) ?? "?", $0.created ?? "?",
                        $0.isComplete ? "complete" : "damaged", $0.directory,
                    ]
                }, right: [0, 1, 2])
        for checkpoint in checkpoints { if let problem = checkpoint.problem { try print(problem) } }
    }

    /// A checkpoint in JSON.
    private struct Entry: Encodable {
        let step: Int
        let directory: String
        let complete: Bool
        let bytes: Int
        let created: String?
        let worldSize: Int?
        let problem: String?
    }
}

// `mneme checkpoint average`

import ArgumentParser
import Checkpoints
import Diagnostics
import Storage
import Training

struct CheckpointAverageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "average",
        abstract: "Average the parameters of several checkpoints into a new run directory.",
        discussion: """
            Means are computed in float64 and do not depend on the order of the arguments. The result can be evaluated, used to translate or \
            generate, and begun from with 'mneme train --from DIR --only parameters'. It holds parameters alone: the optimizer's state, the memory \
            of lanes and the loader's position are left out. Step and configuration are those of the newest checkpoint.

            Examples:
              mneme checkpoint average checkpoints/wmt-en-de --last 5 \\
                  --output checkpoints/wmt-en-de-average
              mneme checkpoint average runs/a/step-400 runs/a/step-500 \\
                  --output runs/a-average
            """)

    @Argument(help: "Run directories (the newest checkpoint of each), checkpoints' directories, or checkpoint.h5 files.")
    var paths: [String]

    @Option(help: ArgumentHelp("Of each run directory this many of its newest checkpoints.", valueName: "count"))
    var last: Int?

    @Option(help: ArgumentHelp("The new run directory.", valueName: "dir"))
    var output: String

    func validate() throws {
        if let last, last < 1 { throw ValidationError("--last is \(last), and must be at least 1") }
    }

    func run() throws {
        let checkpoints = try paths.flatMap(newest)
        guard checkpoints.count > 1 else {
            throw UserError(.usage, "there is one checkpoint alone to average", at: checkpoints.first, advice: "name several, or a run directory with --last")
        }
        let result = try AveragedRun.write(checkpoints, to: output)
        let steps = try checkpoints.map { try CheckpointReader(directory: $0).step }.sorted().map(String.init).joined(separator: ", ")
        try print("\(PathText.shown(output))/step-\(result.step): \(quantity(result.items, "item")), the mean over the steps \(steps)")
    }

    /// The checkpoints that a path means.
    private func newest(_ path: String) throws -> [String] {
        let store = CheckpointStore(directory: path)
        guard let last, Directory.exists(path) == .directory, case let steps = try store.steps(), !steps.isEmpty else { return [try CheckpointStore.resolve(path)] }
        guard steps.count >= last else {
            throw UserError(.missingInput, "it holds \(quantity(steps.count, "checkpoint")), not \(last)", at: path, advice: "ask for fewer")
        }
        return steps.suffix(last).map(store.directory(step:))
    }
}

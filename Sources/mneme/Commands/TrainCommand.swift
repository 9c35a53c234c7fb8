// mneme train

import ArgumentParser
import Checkpoints
import Collectives
import Configuration
import Diagnostics
import Foundation
import Training

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train a model as a run file says, on one rank or under mpirun.",
        discussion: """
            The run goes on by itself from the newest complete checkpoint in its directory. It says what has changed in the run file since
            then, and refuses what would make another run of it, such as other lanes, unless --accept names the key. The signals TERM, INT,
            HUP, USR1, USR2 and XCPU ask it to stop: all ranks finish the step, write a checkpoint and exit with code 75, which means: start
            me again. session.json in the run directory says how the last session ended.

            Examples:
              mneme train launch/runs/tiny-shakespeare.yaml
              mpirun -n 2 mneme train launch/runs/wmt-en-de.yaml --set steps=300 \\
                  --set batch.lanes=32
              mneme train launch/runs/tiny-shakespeare.yaml --accept corpus.order
              mneme train --keys optimizer
              mneme train fine-tune.yaml --from checkpoints/base --only parameters
            """)

    @Argument(help: "The run file; with --keys, the section to list.")
    var file: String?

    @Option(name: .long, help: ArgumentHelp("Override a key of the run file.", valueName: "section.key=value"))
    var set: [String] = []

    @Flag(help: "Start from step 0: checkpoints, metrics and logs of earlier sessions are removed.")
    var fresh = false

    @Option(name: .long, help: ArgumentHelp("Begin a new run with the state of a checkpoint, or of a run's newest.", valueName: "checkpoint"))
    var from: String?

    @Option(name: .long, help: ArgumentHelp("With --from: take the parameters alone.", valueName: "parameters"))
    var only: StartingPart?

    @Option(name: .long, help: ArgumentHelp("With --from: pass over items that are missing, unexpected or reshaped.", valueName: "kind"))
    var allow: [StateMismatch.Kind] = []

    @Flag(help: "Check the configuration, print it with all defaults, and stop.")
    var dryRun = false

    @Option(
        name: .long,
        help: ArgumentHelp("Resume although this key differs from what the run was trained with.", valueName: "section.key"))
    var accept: [String] = []

    @Option(
        help: ArgumentHelp(
            "Stop with a checkpoint before this time has passed: 90m, 24h, 23:50:00 or 1-12:00:00. Without it Slurm, Flux and PBS are asked.",
            valueName: "time"))
    var wallTime: WallTime?

    @Flag(help: "Write what each rank does and when to trace-<rank>.json in the run directory, for Perfetto or Chrome's tracing page.")
    var trace = false

    @Flag(help: "List the keys of run files with type, default and meaning, and stop.")
    var keys = false

    @Flag(help: "With --keys: print JSON.")
    var json = false

    @Flag(help: .hidden)
    var markdown = false

    /// What launch/job says of a start whose ranks have ended before they had the run directory.
    @Flag(help: .hidden)
    var lost = false

    func validate() throws {
        if file == nil, !keys { throw ValidationError("Missing a run file.") }
        if json || markdown, !keys { throw ValidationError("--json goes with --keys.") }
        if from == nil, only != nil || !allow.isEmpty { throw ValidationError("--only and --allow say how --from begins: give --from as well") }
    }

    func run() throws {
        if keys {
            let list = try ConfigurationKeyList(RunConfiguration.keys(), section: file)
            try print(json ? JSONText.line(list.keys) + "\n" : markdown ? list.markdown : list.text(columns: 100), terminator: "")
            return
        }
        let file = file ?? ""
        if dryRun {
            let configuration = try RunConfiguration(contentsOf: file, overrides: set)
            configuration.notices.forEach { CommandLineOutput.note($0) }
            try print(configuration.resolvedYAML, terminator: "")
            return
        }
        if lost {
            return try RunDirectory.noteLostStart(
                RunConfiguration(contentsOf: file, overrides: set), environment: ProcessInfo.processInfo.environment)
        }
        CommandLineOutput.outliveReader()
        let start = Date()
        // Before MPI starts: a request that comes early waits for the first step instead of ending the process.
        StopSignals.watch()
        ProgramStart.run { communicator in
            let configuration = try communicator.onEveryRank {
                var configuration = try RunConfiguration(contentsOf: file, overrides: set)
                try configuration.accept(accept)
                return configuration
            }
            StopSignals.watch(configuration.stopSignals)
            if communicator.rank == 0 {
                configuration.notices.forEach { CommandLineOutput.note($0) }
                if let hint = ProgramStart.blasHint { CommandLineOutput.note(hint) }
            }
            var surroundings = SessionSurroundings()
            surroundings.stopRequest = { StopSignals.received }
            surroundings.cacheDirectory = ProgramStart.cacheDirectory
            surroundings.terminal = CommandLineOutput.terminal
            surroundings.terminalColumns = CommandLineOutput.terminalColumns
            surroundings.environment = ProcessInfo.processInfo.environment
            surroundings.report = { CommandLineOutput.note($0) }
            surroundings.findDeadline = {
                JobDeadline.find(wallTime: wallTime?.seconds, start: start, environment: ProcessInfo.processInfo.environment)
            }
            surroundings.traces = trace
            surroundings.endStandstill = { reason in
                CommandLineOutput.error("\(reason); started again, the run goes on from its last checkpoint")
                _exit(ExitCode.unavailable.rawValue)
            }
            let outcome = try Trainer.train(
                configuration, communicator: communicator, fresh: fresh,
                from: from.map { StartingPoint(path: $0, onlyParameters: only != nil, allowed: Set(allow)) }, surroundings: surroundings)
            switch outcome {
            case .finished: return .finished
            case .stopped: return .stoppedOnRequest
            }
        }
    }
}

/// What `--wall-time` gives.
struct WallTime: ExpressibleByArgument {
    let seconds: Double

    init?(argument: String) {
        guard let seconds = JobDeadline.seconds(of: argument), seconds > 0 else { return nil }
        self.seconds = seconds
    }
}

/// What `--only` names.
enum StartingPart: String, ExpressibleByArgument, CaseIterable {
    case parameters
}

extension StateMismatch.Kind: ExpressibleByArgument {}

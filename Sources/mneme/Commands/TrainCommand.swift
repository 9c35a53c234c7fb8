// mneme train

import ArgumentParser
import Collectives
import Configuration
import Diagnostics
import Training

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train a model as a run file says, on one rank or under mpirun.",
        discussion: """
            The run goes on by itself from the newest complete checkpoint in its directory. It says what has changed in the run file since
            then, and refuses what would make another run of it, such as other lanes, unless --accept names the key. SIGTERM, SIGUSR1 and
            SIGINT ask it to stop: all ranks finish the step, write a checkpoint and exit with code 75, which means: start me again.

            Examples:
              mneme train launch/runs/tiny-shakespeare.yaml
              mpirun -n 2 mneme train launch/runs/wmt-en-de.yaml --set steps=300 \\
                  --set batch.lanes=32
              mneme train launch/runs/tiny-shakespeare.yaml --accept corpus.order
              mneme train --keys optimizer
            """)

    @Argument(help: "The run file; with --keys, the section to list.")
    var file: String?

    @Option(name: .long, help: ArgumentHelp("Override a key of the run file.", valueName: "section.key=value"))
    var set: [String] = []

    @Flag(help: "Start from step 0: checkpoints, metrics and logs of earlier sessions are removed.")
    var fresh = false

    @Flag(help: "Check the configuration, print it with all defaults, and stop.")
    var dryRun = false

    @Option(
        name: .long,
        help: ArgumentHelp("Resume although this key differs from what the run was trained with.", valueName: "section.key"))
    var accept: [String] = []

    @Flag(help: "List the keys of run files with type, default and meaning, and stop.")
    var keys = false

    @Flag(help: "With --keys: print JSON.")
    var json = false

    @Flag(help: .hidden)
    var markdown = false

    func validate() throws {
        if file == nil, !keys { throw ValidationError("Missing a run file.") }
        if json || markdown, !keys { throw ValidationError("--json goes with --keys.") }
    }

    func run() throws {
        if keys {
            let list = try ConfigurationKeyList(RunConfiguration.keys(), section: file)
            print(try json ? JSONLine.encode(list.keys) + "\n" : markdown ? list.markdown : list.text(columns: 100), terminator: "")
            return
        }
        let file = file ?? ""
        if dryRun {
            let configuration = try RunConfiguration(contentsOf: file, overrides: set)
            configuration.notices.forEach { CommandLineOutput.note($0) }
            print(configuration.resolvedYAML, terminator: "")
            return
        }
        // Before MPI starts: a request that comes early waits for the first step instead of ending the process.
        StopSignals.watch()
        ProgramStart.run { communicator in
            let configuration = try communicator.onEveryRank {
                var configuration = try RunConfiguration(contentsOf: file, overrides: set)
                try configuration.accept(accept)
                return configuration
            }
            if communicator.rank == 0 {
                configuration.notices.forEach { CommandLineOutput.note($0) }
                if let hint = ProgramStart.blasHint { CommandLineOutput.note(hint) }
            }
            let trainer = try Trainer(
                configuration, communicator: communicator, fresh: fresh, cacheDirectory: ProgramStart.cacheDirectory,
                terminalColumns: CommandLineOutput.terminalColumns
            ) { CommandLineOutput.note($0) }
            switch try trainer.run() {
            case .finished: return .finished
            case .stopped: return .stoppedOnRequest
            }
        }
    }
}

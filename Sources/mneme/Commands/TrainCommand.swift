// mneme train

import ArgumentParser
import Collectives
import Diagnostics
import Training

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train a model as a run file says, on one rank or under mpirun.",
        discussion: """
            The run goes on by itself from the newest complete checkpoint in its directory. SIGTERM, SIGUSR1 and SIGINT ask it to stop: all ranks
            finish the step, write a checkpoint and exit with code 75, which means: start me again.

            Examples:
              mneme train launch/runs/tiny-shakespeare.yaml
              mpirun -n 2 mneme train launch/runs/wmt-en-de.yaml --set steps=300 \\
                  --set batch.lanes=32
            """)

    @Argument(help: "The run file.")
    var file: String

    @Option(name: .long, help: ArgumentHelp("Override a key of the run file.", valueName: "section.key=value"))
    var set: [String] = []

    @Flag(help: "Start from step 0: checkpoints, metrics and logs of earlier sessions are removed.")
    var fresh = false

    @Flag(help: "Check the configuration, print it with all defaults, and stop.")
    var dryRun = false

    func run() throws {
        if dryRun {
            print(try RunConfiguration(contentsOf: file, overrides: set).resolvedYAML, terminator: "")
            return
        }
        CommandLineOutput.outliveReader()
        // Before MPI starts: a request that comes early waits for the first step instead of ending the process.
        StopSignals.watch()
        ProgramStart.run { communicator in
            let configuration = try communicator.onEveryRank { try RunConfiguration(contentsOf: file, overrides: set) }
            if communicator.rank == 0, let hint = ProgramStart.blasHint { CommandLineOutput.note(hint) }
            let trainer = try Trainer(
                configuration, communicator: communicator, fresh: fresh, cacheDirectory: ProgramStart.cacheDirectory,
                terminal: CommandLineOutput.terminal, terminalColumns: CommandLineOutput.terminalColumns
            ) { CommandLineOutput.note($0) }
            switch try trainer.run() {
            case .finished: return .finished
            case .stopped: return .stoppedOnRequest
            }
        }
    }
}

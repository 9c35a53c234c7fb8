// `mneme supervise`

import ArgumentParser
import Checkpoints
import Configuration
import Diagnostics
import Foundation
import Training

struct SuperviseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "supervise",
        abstract: "Start a run again inside its allocation when a rank or a node is lost.",
        discussion: """
            The command is started, and started again as long as session.json in the run directory says that it makes sense: not when the run is
            finished (0), was asked to stop (75), or ended with an error that would come again (its code). Three starts without a new checkpoint
            (recovery.starts in the run file), or the same error at the same step twice, end with 73. Signals that ask for a stop are handed on as
            USR1, which every launcher passes to its ranks; a second one kills.

            On several hosts (MNEME_HOSTFILE, or the nodes of a Slurm, PBS or LSF job) those in use are asked for a sign of life before each further
            start. One that has failed twice, because it does not answer or because the others waited in vain for a rank on it, is left out; with
            --spares the last hosts are kept back to take the place of such ones.

            Examples:
              mneme supervise -- launch/mpirun 2 train launch/runs/copy-lstm.yaml
              MNEME_HOSTFILE=hosts mneme supervise --spares 1 -- launch/job train launch/runs/copy-lstm.yaml
            """)

    @Option(
        name: .customLong("run"),
        help: ArgumentHelp("The run directory; without it that of the run file behind the word 'train' of the command.", valueName: "dir"))
    var givenDirectory: String?

    @Option(help: ArgumentHelp("Seconds before the first start again; each further one without progress waits twice as long.", valueName: "seconds"))
    var backOff = 1.0

    @Option(help: ArgumentHelp("Hosts, the last ones of the allocation, that wait to take the place of others.", valueName: "count"))
    var spares = 0

    @Argument(parsing: .postTerminator, help: "The command that starts the run.")
    var command: [String] = []

    func validate() throws {
        if command.isEmpty { throw ValidationError("Missing a command behind '--'") }
        if !(0...3600).contains(backOff) { throw ValidationError("--back-off must be from 0 to 3600 seconds") }
        if spares < 0 { throw ValidationError("--spares must not be negative") }
    }

    func run() throws {
        let directory = try givenDirectory ?? runDirectory()
        let policy = RestartPolicy(backOff: backOff)
        let requests = StopRequests()
        let hosts = try SupervisedHosts(environment: ProcessInfo.processInfo.environment, spares: spares, requests: requests)
        while true {
            try hosts?.choose()
            let before = SessionRecord.read(directory)
            let child = try ChildCommand(command)
            var (handedOn, ended) = (requests.count, Int32?.none)
            while ended == nil {
                requests.wait(seconds: 0.1)
                if requests.count > handedOn { child.stop() }
                handedOn = requests.count
                ended = try child.ended()
            }
            let exitCode = ended ?? 0
            let after = SessionRecord.read(directory)
            // A record that did not change is an earlier session's.
            let record = after == before && after?.outcome != .finished ? nil : after
            var decision = policy.decide(exitCode: exitCode, record: record, isAsked: requests.count > 0)
            if let hosts, requests.count == 0, record?.outcome != .finished, record?.outcome != .stopped {
                let haveFailed = try hosts.settle(message: record?.message, backOff: backOff)
                // A launcher that cannot reach a host starts no session.
                if haveFailed, record == nil { decision = .restart(after: backOff, "the command has run no session") }
            }
            switch decision {
            case .end(let code, let reason):
                CommandLineOutput.note("mneme supervise: \(reason); ended with \(code)")
                throw ArgumentParser.ExitCode(code)
            case .restart(let seconds, let reason):
                let step = (try? CheckpointStore(directory: directory).steps().last) ?? 0
                CommandLineOutput.note(
                    "mneme supervise: \(reason) (the command ended with \(exitCode)); starting again in \(String(format: "%g", seconds)) s from step \(step)")
                let end = Date().addingTimeInterval(seconds)
                while Date() < end, requests.count == 0 { requests.wait(seconds: 0.1) }
                if let signal = requests.last {
                    CommandLineOutput.note("mneme supervise: \(StopSignals.name(signal)); the run is not started again")
                    throw ArgumentParser.ExitCode(Diagnostics.ExitCode.stoppedOnRequest.rawValue)
                }
            }
        }
    }

    /// The directory of the run that the command trains.
    private func runDirectory() throws -> String {
        guard let index = command.firstIndex(of: "train") else {
            throw UserError(.usage, "the command has no word 'train'", at: "mneme supervise", advice: "name the run directory with --run")
        }
        var (file, overrides): (String?, [String]) = (nil, [])
        var words = command[(index + 1)...]
        while let word = words.popFirst() {
            if word == "--set", let value = words.popFirst() {
                overrides.append(value)
            } else if word.hasPrefix("--set=") {
                overrides.append(String(word.dropFirst("--set=".count)))
            } else if !word.hasPrefix("-"), file == nil {
                file = word
            }
        }
        guard let file else {
            throw UserError(.usage, "the command names no run file behind 'train'", at: "mneme supervise", advice: "name the run directory with --run")
        }
        return try RunConfiguration(contentsOf: file, overrides: overrides).directory
    }
}

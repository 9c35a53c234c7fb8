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
            finished (0), was asked to stop (75), or ended with an error that would come again (its code). Three starts without a new checkpoint, or
            the same error at the same step twice, end with 73. Signals that ask for a stop are handed on as USR1, which every launcher passes to its
            ranks; a second one kills.

            Examples:
              mneme supervise -- launch/mpirun 2 train launch/runs/copy-lstm.yaml
            """)

    @Option(
        name: .customLong("run"),
        help: ArgumentHelp("The run directory; without it that of the run file behind the word 'train' of the command.", valueName: "dir"))
    var givenDirectory: String?

    @Option(help: "Starts without a new checkpoint after which the run is given up.")
    var starts = 3

    @Option(help: ArgumentHelp("Seconds before the first start again; each further one without progress waits twice as long.", valueName: "seconds"))
    var backOff = 1.0

    @Argument(parsing: .postTerminator, help: "The command that starts the run.")
    var command: [String] = []

    func validate() throws {
        if command.isEmpty { throw ValidationError("Missing a command behind '--'") }
        if starts < 1 { throw ValidationError("--starts must be at least 1") }
        if !(0...3600).contains(backOff) { throw ValidationError("--back-off must be from 0 to 3600 seconds") }
    }

    func run() throws {
        let directory = try givenDirectory ?? runDirectory()
        func checkpoint() -> Int? { try? CheckpointStore(directory: directory).steps().last }
        var policy = RestartPolicy(checkpoint: checkpoint())
        (policy.limit, policy.backOff) = (starts, backOff)
        let requests = StopRequests()
        while true {
            let before = SessionRecord.read(directory)
            let exitCode = try runCommand(requests)
            let after = SessionRecord.read(directory)
            // A record that did not change is an earlier session's.
            let decision = policy.decide(
                exitCode: exitCode, record: after == before && after?.outcome != .finished ? nil : after, checkpoint: checkpoint(),
                isAsked: requests.count > 0)
            switch decision {
            case .end(let code, let reason):
                CommandLineOutput.note("mneme supervise: \(reason); ended with \(code)")
                throw ArgumentParser.ExitCode(code)
            case .restart(let seconds, let reason):
                CommandLineOutput.note(
                    "mneme supervise: \(reason) (the command ended with \(exitCode)); starting again in \(String(format: "%g", seconds)) s from step \(checkpoint() ?? 0)")
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

    /// Runs the command in a process group of its own, and hands on requests to stop.
    /// - Returns: its exit code; 128 and the signal's number where one killed it.
    private func runCommand(_ requests: StopRequests) throws -> Int32 {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setpgroup(&attributes, 0)
        // What this process holds back, the command hears.
        var signals = sigset_t()
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var child = pid_t()
        let failure = posix_spawnp(&child, command[0], nil, &attributes, &words, environ)
        guard failure == 0 else {
            throw UserError(.missingInput, "cannot be started: \(systemReason(failure))", at: command[0], advice: "is it in PATH?")
        }
        var handedOn = requests.count
        var status: Int32 = 0
        while true {
            let ended = waitpid(child, &status, WNOHANG)
            if ended == child { break }
            if ended < 0, errno != EINTR { throw UserError(.software, "cannot wait for it: \(systemReason())", at: command[0]) }
            requests.wait(seconds: 0.1)
            if requests.count > handedOn {
                // The first request lets the ranks save; whoever asks again wants an end.
                if handedOn == 0 { kill(child, SIGUSR1) } else { kill(-child, SIGKILL) }
                handedOn = requests.count
            }
        }
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
    }
}

/// Requests to stop, taken one by one.
private final class StopRequests {
    private(set) var count = 0
    /// The number of the last one.
    private(set) var last: Int32?
    private var signals = sigset_t()

    init() {
        sigemptyset(&signals)
        for signal in StopSignal.usual { sigaddset(&signals, signal.number) }
        sigaddset(&signals, SIGCHLD)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// Waits for a request, for the end of the command, or for some seconds.
    func wait(seconds: Double) {
        var time = timespec(tv_sec: 0, tv_nsec: Int(seconds * 1e9))
        let signal = sigtimedwait(&signals, nil, &time)
        guard signal > 0, signal != SIGCHLD else { return }
        (count, last) = (count + 1, signal)
    }
}

// Requests to stop, from a scheduler or a person.

import CSignals
import Glibc

/// A signal that can ask a session to stop, by its name without `SIG`.
public enum StopSignal: String, Sendable, CaseIterable {
    /// Schedulers send it before they kill.
    case terminate = "TERM"
    /// Ctrl-C.
    case interrupt = "INT"
    /// The terminal has gone.
    case hangUp = "HUP"
    /// Warnings of Slurm, LSF and Grid Engine before a limit, and what `launch/mpirun` makes of every other request.
    case user1 = "USR1"
    case user2 = "USR2"
    case processorTime = "XCPU"
    /// Asks only where the run file says so.
    case alarm = "ALRM"
    /// Asks only where the run file says so.
    case powerFailure = "PWR"

    /// Those that ask unless the run file says otherwise.
    public static let usual: [StopSignal] = [.terminate, .interrupt, .hangUp, .user1, .user2, .processorTime]

    /// The system's number.
    public var number: Int32 {
        switch self {
        case .terminate: SIGTERM
        case .interrupt: SIGINT
        case .hangUp: SIGHUP
        case .user1: SIGUSR1
        case .user2: SIGUSR2
        case .processorTime: SIGXCPU
        case .alarm: SIGALRM
        case .powerFailure: SIGPWR
        }
    }
}

/// What asks a rank to stop: a signal, or a job that ends before another step could be saved.
final class StopWish {
    private let signal: () -> Int32?
    /// The end of the job's time, on rank 0.
    let deadline: JobDeadline?
    /// Seconds before the end by which the last save must begin.
    var margin = 0.0

    init(signal: @escaping () -> Int32?, deadline: JobDeadline?) { (self.signal, self.deadline) = (signal, deadline) }

    /// The number of the signal that came, or ``StopSignals/outOfTime``.
    var number: Int32? { signal() ?? (deadline.map { $0.secondsLeft < margin } == true ? StopSignals.outOfTime : nil) }
}

/// Watches for the signals that ask a session to stop.
///
/// The handler only sets a flag. All ranks look at it at the step boundary, in an evaluation and while they restore, and stop together when any of them
/// was asked to. A second SIGINT ends the process at once.
public enum StopSignals {
    /// Begins to watch for some signals, and leaves the others to the system. PIPE is passed over: a reader that has gone is an error of writing, and no
    /// reason to end.
    public static func watch(_ signals: [StopSignal] = StopSignal.usual) {
        for signal in StopSignal.allCases {
            let status = signals.contains(signal) ? mneme_catch_signal(signal.number) : mneme_leave_signal(signal.number)
            guard status == 0 else { preconditionFailure("signal \(signal.rawValue) cannot be set") }
        }
        guard mneme_ignore_signal(SIGPIPE) == 0, mneme_end_by_foreign_faults() == 0 else { preconditionFailure("signals cannot be set") }
    }

    /// The number of the first signal that came; `nil` when none did.
    public static var received: Int32? {
        let signal = mneme_caught_signal()
        return signal == 0 ? nil : signal
    }

    /// What stands in the place of a signal where the job's time is over.
    public static let outOfTime: Int32 = 1000

    /// What has asked to stop, by its number.
    public static func name(_ signal: Int32) -> String {
        if signal == outOfTime { return "the end of the job's time" }
        return StopSignal.allCases.first { $0.number == signal }.map { "SIG\($0.rawValue)" } ?? "signal \(signal)"
    }
}

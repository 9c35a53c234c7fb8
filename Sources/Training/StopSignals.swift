// Requests to stop, from a scheduler or a person.

import CSignals
import Glibc

/// Watches for the signals that ask a session to stop.
///
/// The handler only sets a flag. All ranks look at it at the step boundary, in an evaluation and while they restore, and stop together when any of them
/// was asked to. A second SIGINT ends the process at once.
public enum StopSignals {
    /// What asks to stop: TERM (schedulers before they kill), INT (Ctrl-C), HUP (a terminal that has gone), USR1, USR2 and XCPU (warnings of Slurm, LSF
    /// and Grid Engine before a limit).
    public static let watched = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU]

    /// Begins to watch. PIPE is passed over: a reader that has gone is an error of writing, and no reason to end.
    public static func watch() {
        for signal in watched {
            guard mneme_catch_signal(signal) == 0 else { preconditionFailure("signal \(signal) cannot be caught") }
        }
        guard mneme_ignore_signal(SIGPIPE) == 0, mneme_end_by_foreign_faults() == 0 else { preconditionFailure("signals cannot be set") }
    }

    /// The number of the first signal that came; `nil` when none did.
    public static var received: Int32? {
        let signal = mneme_caught_signal()
        return signal == 0 ? nil : signal
    }

    /// The name of a signal.
    public static func name(_ signal: Int32) -> String {
        switch signal {
        case SIGTERM: "SIGTERM"
        case SIGINT: "SIGINT"
        case SIGHUP: "SIGHUP"
        case SIGUSR1: "SIGUSR1"
        case SIGUSR2: "SIGUSR2"
        case SIGXCPU: "SIGXCPU"
        default: "signal \(signal)"
        }
    }
}

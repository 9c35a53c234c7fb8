// Requests to stop, from a scheduler or a person.

import CSignals
import Glibc

/// Watches for SIGTERM (schedulers before they kill), SIGUSR1 (`#SBATCH --signal=USR1@300`) and SIGINT (a person's Ctrl-C).
///
/// The handler only sets a flag. All ranks look at it at the step boundary, and stop together when any of them was asked to. A second SIGINT ends the
/// process at once.
public enum StopSignals {
    /// Begins to watch.
    public static func watch() {
        for signal in [SIGTERM, SIGUSR1, SIGINT] {
            guard mneme_catch_signal(signal) == 0 else { preconditionFailure("signal \(signal) cannot be caught") }
        }
    }

    /// The number of the first signal that came; `nil` when none did.
    public static var received: Int32? {
        let signal = mneme_caught_signal()
        return signal == 0 ? nil : signal
    }

    /// The name of a signal that is watched.
    public static func name(_ signal: Int32) -> String {
        switch signal {
        case SIGTERM: "SIGTERM"
        case SIGUSR1: "SIGUSR1"
        case SIGINT: "SIGINT"
        default: "signal \(signal)"
        }
    }
}

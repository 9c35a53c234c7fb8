// How a training session ends, and what the program that it runs in gives it.

import Checkpoints
import Diagnostics
import Storage

/// How a training session ended.
public enum TrainingOutcome: Sendable {
    /// All steps are done.
    case finished
    /// A signal asked to stop; a checkpoint of `step` was written.
    case stopped(signal: Int32, step: Int)
}

/// What a session is given by the program that it runs in, so that it runs in a test, and on threads of one process, too.
public struct SessionSurroundings {
    /// Whether this process computes nothing else: then the session sets its threads, pins them, and chooses its matrix backends.
    public var ownsProcess = true
    /// The signal that asked to stop, if any has.
    public var stopRequest: () -> Int32? = { nil }
    /// Where this machine's choices of matrix backends are kept; `nil` for nowhere, and a fixed rule chooses.
    public var cacheDirectory: String?
    /// Where progress is shown.
    public var terminal = TerminalWriter(descriptor: 2)
    /// The width of the terminal that progress is drawn on; `nil` for plain lines, as in a batch log.
    public var terminalColumns: Int?
    /// The environment variables: they tell the scheduler's job.
    public var environment: [String: String] = [:]
    /// How the lock of the run directory is kept.
    public var lockTiming = DirectoryLock.Timing()
    /// Takes lines for the user, on rank 0.
    public var report: (String) -> Void = { _ in }
    /// Whether each rank writes down what it does and when.
    public var traces = false
    /// Finds out when the job ends; called on rank 0. `nil` where nobody knows of an end.
    public var findDeadline: () -> JobDeadline? = { nil }
    /// Ends the process because ranks wait for one that does not move, and says why; `nil` for no watchdog. Called from another thread.
    public var endStandstill: (@Sendable (String) -> Void)?

    public init() {}
}

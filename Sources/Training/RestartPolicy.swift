// Whether a run whose session has ended is started again inside the same allocation.

import Diagnostics
import Foundation

/// Decides from what sessions leave behind: `session.json`, whether a checkpoint was published since, and what the command ended with.
///
/// Source: the restart limits of NVIDIA's resiliency extension and of Horovod's elastic mode: no more than some starts without progress.
public struct RestartPolicy: Sendable {
    /// What to do.
    public enum Decision: Sendable, Equatable {
        /// End with this code, and why.
        case end(Int32, String)
        /// Start again after some seconds, and why.
        case restart(after: Double, String)
    }

    /// Starts without progress after which it is given up.
    public var limit = 3
    /// Seconds before the first start again; each further one without progress waits twice as long, up to a minute.
    public var backOff = 1.0
    private var best: Int?
    private var startsWithoutProgress = 0
    private var lastError: (message: String, step: Int)?

    /// - Parameter checkpoint: the step of the newest checkpoint before the first start; `nil` for none.
    public init(checkpoint: Int?) { best = checkpoint }

    /// What to do after a session.
    ///
    /// - Parameters:
    ///   - exitCode: what the command ended with; 128 and a signal's number for one that was killed.
    ///   - record: what the session has left; `nil` where there is none that is of this session.
    ///   - checkpoint: the step of the newest checkpoint.
    ///   - isAsked: whether a signal asked to stop.
    public mutating func decide(exitCode: Int32, record: SessionRecord?, checkpoint: Int?, isAsked: Bool) -> Decision {
        if let record, record.outcome == .finished { return .end(ExitCode.finished.rawValue, "the run is finished") }
        if let record, record.outcome == .stopped || isAsked {
            return .end(ExitCode.stoppedOnRequest.rawValue, "stopped: \(record.message ?? "as asked")")
        }
        if isAsked { return .end(ExitCode.stoppedOnRequest.rawValue, "stopped as asked") }
        guard let record else { return .end(exitCode == 0 ? ExitCode.software.rawValue : exitCode, "the command has run no session") }
        if record.outcome == .failed, !record.mayBeStartedAgain {
            return .end(record.exitCode ?? exitCode, record.message ?? "an error that would come again")
        }
        if let checkpoint, checkpoint > best ?? -1 {
            (best, startsWithoutProgress, lastError) = (checkpoint, 0, nil)
        } else {
            startsWithoutProgress += 1
        }
        let reason = record.outcome == .running ? "the session ended without a word" : record.message ?? "the session failed"
        if record.outcome == .failed, let message = record.message {
            if let last = lastError, last.message == message, last.step == record.step {
                return .end(ExitCode.noProgress.rawValue, "the same error at step \(record.step) twice: \(message)")
            }
            lastError = (message, record.step)
        }
        guard startsWithoutProgress < limit else {
            return .end(ExitCode.noProgress.rawValue, "\(quantity(limit, "start")) without a new checkpoint; the last: \(reason)")
        }
        return .restart(after: min(60, backOff * pow(2, Double(max(0, startsWithoutProgress - 1)))), reason)
    }
}

extension SessionRecord {
    /// The record of a run directory; `nil` where there is none that can be read.
    public static func read(_ directory: String) -> SessionRecord? {
        (try? Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(RunDirectory.sessionFile)"))).flatMap {
            try? JSONDecoder().decode(SessionRecord.self, from: $0)
        }
    }
}

// Whether a run whose session has ended is started again inside the same allocation.

import Diagnostics
import Foundation

/// Decides from what a session leaves behind: `session.json`, in which sessions themselves count the starts that came to no new checkpoint
/// (``RecoverySettings/starts``), and what the command ended with.
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

    private let backOff: Double

    /// - Parameter backOff: seconds before the first start again; each further one without progress waits twice as long, up to a minute.
    public init(backOff: Double = 1) { self.backOff = backOff }

    /// What to do after a session.
    ///
    /// - Parameters:
    ///   - exitCode: what the command ended with; 128 and a signal's number for one that was killed.
    ///   - record: what the session has left; `nil` where there is none that is of this session.
    ///   - isAsked: whether a signal asked to stop.
    public func decide(exitCode: Int32, record: SessionRecord?, isAsked: Bool) -> Decision {
        if let record, record.outcome == .finished { return .end(ExitCode.finished.rawValue, "the run is finished") }
        if let record, record.outcome == .stopped || isAsked {
            return .end(ExitCode.stoppedOnRequest.rawValue, "stopped: \(record.message ?? "as asked")")
        }
        if isAsked { return .end(ExitCode.stoppedOnRequest.rawValue, "stopped as asked") }
        guard let record else { return .end(exitCode == 0 ? ExitCode.software.rawValue : exitCode, "the command has run no session") }
        let starts = record.startsWithoutProgress ?? 0
        if record.mayBeStartedAgain {
            let reason = record.outcome == .running ? "the session ended without a word" : record.message ?? "the session failed"
            return .restart(after: min(60, backOff * pow(2, Double(max(0, starts - 1)))), reason)
        }
        guard record.outcome == .running else { return .end(record.exitCode ?? exitCode, record.message ?? "an error that would come again") }
        return .end(ExitCode.noProgress.rawValue, "\(quantity(starts, "start")) without a new checkpoint; the last session ended without a word")
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

// The directory of a run and its one owner: the lock, durable files, what --fresh sets aside, and how the last session ended.

import Checkpoints
import Diagnostics
import Foundation
import Storage

/// How a session ended, or that it has not: `session.json`.
///
/// A launcher decides from this file whether to start the run again, since launchers and schedulers lose exit codes.
public struct SessionRecord: Codable, Sendable, Equatable {
    /// How a session stands.
    public enum Outcome: String, Codable, Sendable {
        /// It runs, or died without a word.
        case running
        /// All steps are done.
        case finished
        /// It was asked to stop and saved.
        case stopped
        /// It ended with an error.
        case failed
    }

    /// How the session stands.
    public var outcome: Outcome
    /// The last step that it is known to have done.
    public var step: Int
    /// The step of the newest checkpoint that was published; `nil` before the first.
    public var checkpoint: Int?
    /// Whether starting the run again makes sense, now that the session has ended so or if it dies as it stands: false when it is finished, an error
    /// would come again, or too many starts came to no new checkpoint.
    public var mayBeStartedAgain: Bool
    /// The code that the session ended with; `nil` while it runs.
    public var exitCode: Int32?
    /// The error, or what asked it to stop.
    public var message: String?
    /// How many sessions in a row, this one the last, have published no checkpoint and not ended well; `nil` in records of earlier versions.
    public var startsWithoutProgress: Int?
    /// Who it is.
    public var session: SessionIdentity
    /// The number of ranks.
    public var ranks: Int
    /// When it ended, UTC, ISO 8601.
    public var ended: String?

    /// The record of a session that has not ended, or has ended so.
    package init(
        outcome: Outcome, step: Int, checkpoint: Int?, mayBeStartedAgain: Bool, exitCode: Int32? = nil, message: String? = nil, session: SessionIdentity,
        ranks: Int
    ) {
        (self.outcome, self.step, self.checkpoint, self.mayBeStartedAgain) = (outcome, step, checkpoint, mayBeStartedAgain)
        (self.exitCode, self.message, self.session, self.ranks) = (exitCode, message, session, ranks)
    }
}

/// A run directory while this session owns it. Rank 0 alone has one.
public final class RunDirectory {
    /// The directory.
    public let path: String
    /// How the session before ended; `nil` for the first, or where its record cannot be read.
    public let previous: SessionRecord?
    private let lock: DirectoryLock
    private var record: SessionRecord
    /// ``RecoverySettings/starts``.
    private let mostStarts: Int

    static let matrixProductsFile = "matrix-products.json"
    static let bucketsFile = "gradient-buckets.json"
    static let sessionFile = "session.json"
    static let configurationFile = "run.yaml"
    private static let discarding = ".discarding"
    private static let discarded = ".discarded"

    /// Makes the directory where it does not exist, takes its lock, and brings it into the state in which sessions leave it: what a crash has left is
    /// removed, and a run that `--fresh` set aside comes back unless a checkpoint has taken its place.
    ///
    /// - Parameters:
    ///   - ranks: the number of ranks of this session.
    ///   - mostStarts: starts in a row that may come to no new checkpoint.
    ///   - report: takes lines for the user.
    /// - Throws: `UserError`: (.unavailable) where another session has the directory; (.inputOutput).
    public init(
        claiming path: String, ranks: Int, mostStarts: Int = RecoverySettings().starts, environment: [String: String],
        timing: DirectoryLock.Timing = .init(), report: (String) -> Void
    ) throws {
        self.path = path
        self.mostStarts = mostStarts
        try Directory.make(path)
        guard withSystemPath(path, { access($0, W_OK) }) == 0 else {
            throw UserError(.inputOutput, "cannot write into the directory: \(systemReason())", at: path, advice: "check the permissions")
        }
        let identity = SessionIdentity(environment: environment)
        lock = try DirectoryLock(directory: path, identity: identity, timing: timing, waiting: report)
        previous = (try? DurableFile.read("\(path)/\(Self.sessionFile)")).flatMap { try? JSONDecoder().decode(SessionRecord.self, from: Data($0)) }
        record = SessionRecord(
            outcome: .running, step: previous?.step ?? 0, checkpoint: previous?.checkpoint, mayBeStartedAgain: true, session: identity, ranks: ranks)
        count(starts: startsBefore + 1)
        if let predecessor = lock.predecessor { report("taking over from \(predecessor.description), which is dead") }
        if let previous, previous.outcome == .running {
            let step = max(previous.step, (try? checkpoints.steps().last ?? 0) ?? 0)
            report("the session before, \(previous.session.description), ended without a word after step \(step)")
        }
        try settleFresh(report)
        try CheckpointWriter.sweep(path).forEach(report)
    }

    /// The checkpoints.
    public var checkpoints: CheckpointStore { CheckpointStore(directory: path) }

    /// Makes sure that the directory is still this session's.
    /// - Throws: `UserError` (.unavailable).
    func requireOwner() throws { try lock.requireHeld() }

    /// Makes sure that a run which has saved checkpoints still has some: without them a session would begin at step 0 and write over its metrics.
    /// - Throws: `UserError` (.missingInput).
    func requireCheckpoints() throws {
        guard let step = previous?.checkpoint else { return }
        throw UserError(
            .missingInput, "holds no checkpoint, and the session before published one of step \(step)", at: path,
            advice: "bring the checkpoints back (is the file system mounted?), or start again with --fresh")
    }

    /// Replaces a file of the directory.
    func write(_ bytes: [UInt8], to name: String) throws { try DurableFile.replace("\(path)/\(name)", by: bytes) }

    // MARK: The session's record

    /// How many sessions in a row before this one have come to no new checkpoint.
    var startsBefore: Int {
        guard let previous, previous.outcome == .running || previous.outcome == .failed else { return 0 }
        return previous.startsWithoutProgress ?? 0
    }

    /// The one place that says when a run is given up. Whoever starts runs again reads `mayBeStartedAgain`.
    private func count(starts: Int) {
        record.startsWithoutProgress = starts
        record.mayBeStartedAgain = starts < mostStarts
    }

    /// Counts a start of a run whose ranks were lost before they had its directory.
    /// - Throws: `UserError` (.unavailable) where another session has it.
    public static func noteLostStart(_ configuration: RunConfiguration, environment: [String: String]) throws {
        let directory = try RunDirectory(
            claiming: configuration.directory, ranks: 0, mostStarts: configuration.recovery.starts, environment: environment) { _ in }
        guard directory.previous?.outcome != .finished else { return directory.abandon() }
        try directory.end(.failed, step: directory.previous?.step ?? 0, exitCode: .unavailable)
    }

    /// Notes where the session stands.
    package func note(step: Int, checkpoint: Int? = nil) throws {
        record.step = step
        if let checkpoint {
            record.checkpoint = checkpoint
            count(starts: 0)
        }
        try writeRecord()
    }

    /// Notes how the session ended, and gives the directory back.
    /// - Throws: `UserError` (.inputOutput) where that cannot be written: to those who read the record, the session died without a word.
    package func end(_ outcome: SessionRecord.Outcome, step: Int, exitCode: ExitCode, message: String? = nil) throws {
        record.outcome = outcome
        record.step = step
        record.exitCode = exitCode.rawValue
        record.message = message
        record.ended = Date().formatted(.iso8601)
        switch exitCode {
        case .stoppedOnRequest: count(starts: 0)
        case .unavailable, .inputOutput:
            // An error that a machine makes may not come again; one that has come again will.
            let hasComeAgain = message != nil && previous?.outcome == .failed && previous?.message == message && previous?.step == step
            if record.mayBeStartedAgain, !hasComeAgain { break }
            record.mayBeStartedAgain = false
            record.exitCode = ExitCode.noProgress.rawValue
            let starts = quantity(record.startsWithoutProgress ?? 0, "start")
            let times = hasComeAgain ? "the same error at step \(step) twice" : "\(starts) without a new checkpoint"
            record.message = times + (message.map { ": \($0)" } ?? "")
        case .finished:
            count(starts: 0)
            record.mayBeStartedAgain = false
        default: record.mayBeStartedAgain = false
        }
        defer { lock.release() }
        if lock.isHeld { try writeRecord() }
    }

    /// Notes the error that ended the session, as far as that can be written: the error is told in other ways too.
    func end(by error: any Error, step: Int) { try? end(.failed, step: step, exitCode: error.exitCode, message: "\(error)") }

    /// Gives the directory back without a word.
    package func abandon() { lock.release() }

    private func writeRecord() throws {
        try Failpoint.sessionWrite.pass(path)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try write(Array(try encoder.encode(record)) + [UInt8(ascii: "\n")], to: Self.sessionFile)
    }

    // MARK: --fresh

    /// Sets the earlier run aside: its checkpoints and files get a hidden directory, from which they come back unless this session publishes a
    /// checkpoint. To be called when everything that could refuse the session was checked.
    /// - Parameter files: the task's own files in the directory.
    func setEarlierRunAside(files: [String]) throws {
        if Directory.exists("\(path)/\(Self.discarded)") != nil { return removeOwn(files: files) }
        let aside = "\(path)/\(Self.discarding)"
        try Directory.make(aside)
        for name in try ownNames(files: files) {
            try Failpoint.freshMove.pass("\(path)/\(name)")
            try Directory.rename("\(path)/\(name)", to: "\(aside)/\(name)")
        }
        // From here on, checkpoints in the directory are the new run's.
        try Directory.synchronize(aside)
        try Failpoint.freshCommit.pass(path)
        try Directory.rename(aside, to: "\(path)/\(Self.discarded)")
        try Directory.synchronize(path)
        record.checkpoint = nil
        record.step = 0
        count(starts: 1)
    }

    /// Removes what was set aside, now that a checkpoint of the new run is there.
    /// - Returns: a line where that failed.
    func discardEarlierRun() -> String? {
        let discarded = "\(path)/\(Self.discarded)"
        guard Directory.exists(discarded) != nil else { return nil }
        do { try Directory.removeAtomically(discarded) } catch { return "warning: \(error)" }
        return nil
    }

    /// Ends what a `--fresh` of an earlier session has begun.
    private func settleFresh(_ report: (String) -> Void) throws {
        let (discarding, discarded) = ("\(path)/\(Self.discarding)", "\(path)/\(Self.discarded)")
        if Directory.exists(discarded) != nil {
            if try !checkpoints.steps().isEmpty {
                if let warning = discardEarlierRun() { report(warning) }
            } else {
                removeOwn(files: try Directory.names(in: discarded))
                try bringBack(discarded)
                report("the session before began anew with --fresh and saved no checkpoint: the earlier run is back")
            }
        }
        if Directory.exists(discarding) != nil { try bringBack(discarding) }
    }

    private func bringBack(_ aside: String) throws {
        for name in try Directory.names(in: aside) { try Directory.rename("\(aside)/\(name)", to: "\(path)/\(name)") }
        try Directory.synchronize(path)
        try Directory.remove(aside)
        record.checkpoint = try checkpoints.steps().last ?? record.checkpoint
    }

    /// Removes the files of a run that has no checkpoint.
    private func removeOwn(files: [String]) {
        for name in (try? ownNames(files: files)) ?? [] where !name.hasPrefix("step-") { try? Directory.remove("\(path)/\(name)") }
    }

    /// The names in the directory that a run makes. Others are somebody else's and stay.
    private func ownNames(files: [String]) throws -> [String] {
        let known = Set([Self.matrixProductsFile, Self.bucketsFile, Self.configurationFile, RunGoodput.fileName] + files)
        let steps = Set(try checkpoints.steps().map { CheckpointFormat.directory(step: $0) })
        return try Directory.names(in: path).filter { known.contains($0) || steps.contains($0) || MetricSinks.isOwn($0) || TraceFile.isOwn($0) }
    }
}

// Starts the runs of a sweep, and waits for them.

import Collectives
import Diagnostics
import Foundation
import Storage
import Training

/// The runs of a sweep, one after the other or side by side.
struct SweepRunner {
    /// A run that has been started.
    private struct Running {
        let point: SweepPoint
        let child: ChildCommand
        /// Which of the runs side by side it is.
        let place: Int
        /// What stood in its directory before.
        let record: SessionRecord?
    }

    /// Seconds for which a directory may be another session's: one that was left by a sweep that was killed saves and ends.
    private static let patience = 60.0

    private let file: String
    private let command: [String]
    private let directory: SweepDirectory
    private let requests: StopRequests
    private let policy = RestartPolicy()
    private var waiting: [(point: SweepPoint, notBefore: Date)]
    private var running: [Running] = []
    /// The processors of the runs that are side by side; one empty list for runs one after the other on all of them.
    private var shares: [[Int32]] = [[]]
    /// When a run was first found to be another session's, by its name.
    private var heldSince: [String: Date] = [:]
    /// When all runs have to be stopped.
    var end: Date?

    /// - Parameters:
    ///   - command: what stands before the word `train` of a command line; empty for this program.
    ///   - waiting: the points to train.
    init(file: String, command: [String], directory: SweepDirectory, requests: StopRequests, waiting: [SweepPoint]) {
        (self.file, self.directory, self.requests) = (file, directory, requests)
        self.command = command.isEmpty ? [(try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "mneme"] : command
        self.waiting = waiting.map { ($0, .distantPast) }
    }

    /// Lets some runs stand side by side, each on its part of the cores that this process may use.
    /// - Throws: `UserError` (.usage) where there are fewer cores than runs, and no launcher may have more elsewhere.
    mutating func divideProcessors(_ count: Int) throws {
        let isAlone = command.count == 1
        guard let shares = processorShares(count) ?? (isAlone ? nil : [[Int32]](repeating: [], count: count)) else {
            throw UserError(
                .usage, "this process may not use so many cores", at: "--parallel \(count)",
                advice: "give fewer, or a launcher that has more behind '--'")
        }
        self.shares = shares
    }

    /// Trains until every run has ended, or until a request to stop.
    ///
    /// - Returns: the code that says that starting the sweep again makes sense: 75 where work is left because of a request or the time, 69 or 74
    ///   where a run was lost; `nil` where every run has come to its end.
    /// - Throws: `UserError`; runs that have been started are stopped before.
    mutating func run() throws -> Int32? {
        var (isStopping, wasStopped) = (false, false)
        var lost: Int32?
        var problem: (any Error)?
        var handedOn = requests.count
        while true {
            isStopping = isStopping || requests.count > 0 || problem != nil || end.map { $0.timeIntervalSinceNow < 1 } ?? false
            if isStopping ? running.isEmpty : waiting.isEmpty && running.isEmpty { break }
            do {
                if !isStopping { try startRuns() }
                requests.wait(seconds: 0.1)
                if requests.count > handedOn { for one in running { one.child.stop() } }
                handedOn = requests.count
                for one in running {
                    guard let code = try one.child.ended() else { continue }
                    running.removeAll { $0.place == one.place }
                    switch try ended(one, code) {
                    case ExitCode.stoppedOnRequest.rawValue?: (isStopping, wasStopped) = (true, true)
                    case let code?: lost = lost ?? code
                    case nil: break
                    }
                }
            } catch {
                if problem == nil { for one in running { one.child.stop() } }
                problem = problem ?? error
            }
        }
        if let problem { throw problem }
        return wasStopped || isStopping && !waiting.isEmpty ? ExitCode.stoppedOnRequest.rawValue : lost
    }

    private mutating func startRuns() throws {
        while let place = shares.indices.first(where: { place in !running.contains { $0.place == place } }),
            let index = waiting.firstIndex(where: { $0.notBefore < Date() })
        {
            let point = waiting.remove(at: index).point
            directory.note(nil, of: point)
            var words = command + ["train", file] + point.overrides.flatMap { ["--set", $0] }
            words += ["--set", "run=\(try JSONText.line(point.directory))"]
            if let end { words += ["--wall-time", "\(Int(end.timeIntervalSinceNow))s"] }
            var log: Int32?
            if shares.count > 1 {
                log = try Self.openLog(logFile(point))
            }
            defer { if let log { close(log) } }
            say(point, "starts" + (log == nil ? "" : ", with its messages in \(logFile(point))"))
            running.append(
                Running(
                    point: point, child: try ChildCommand(words, processors: shares[place], output: log, stopsWithParent: true), place: place,
                    record: SessionRecord.read(point.directory)))
        }
    }

    /// Decides what becomes of a run whose command has ended.
    /// - Returns: 75 where nothing more is to be started, the code of a run that was lost, or `nil`.
    private mutating func ended(_ one: Running, _ exitCode: Int32) throws -> Int32? {
        let after = SessionRecord.read(one.point.directory)
        let record = after == one.record ? nil : after
        switch policy.decide(exitCode: exitCode, record: record, isAsked: requests.count > 0) {
        case .restart(let seconds, let reason):
            say(one.point, "\(reason) (it ended with \(exitCode)); starting again in \(String(format: "%g", seconds)) s")
            waiting.insert((one.point, Date().addingTimeInterval(seconds)), at: 0)
        case .end(ExitCode.finished.rawValue, _):
            let report = try directory.save()
            let value = report.points[one.point.number - 1].value.map { String(format: "%.6g", $0) } ?? "no number"
            say(one.point, "finished, \(report.metric) \(value)")
        case .end(ExitCode.stoppedOnRequest.rawValue, let reason):
            say(one.point, reason)
            return ExitCode.stoppedOnRequest.rawValue
        case .end(let code, let reason):
            if code == ExitCode.unavailable.rawValue, record == nil {
                let since = heldSince[one.point.name] ?? Date()
                heldSince[one.point.name] = since
                if since.timeIntervalSinceNow > -Self.patience {
                    say(one.point, "its directory cannot be had; trying again in 2 s")
                    waiting.append((one.point, Date().addingTimeInterval(2)))
                    return nil
                }
            }
            say(one.point, "\(reason); ended with \(code)")
            if [ExitCode.unavailable, .inputOutput].contains(where: { $0.rawValue == code }) { return code }
            let message = record == nil ? Self.lastLine(logFile(one.point)) ?? reason : reason
            directory.note(SweepFailure(code: code, message: message), of: one.point)
            try directory.save()
        }
        return nil
    }

    private func logFile(_ point: SweepPoint) -> String { "\(point.directory).log" }

    private static func openLog(_ path: String) throws -> Int32 {
        let descriptor = withSystemPath(path) { open($0, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644) }
        guard descriptor >= 0 else { throw UserError(.inputOutput, "cannot be opened: \(systemReason())", at: path) }
        return descriptor
    }

    /// The last line that a run has printed; `nil` where its messages did not go to a file.
    private static func lastLine(_ path: String) -> String? {
        (try? DurableFile.read(path)).flatMap { $0.split(separator: UInt8(ascii: "\n")).last }.map { String(decoding: $0, as: UTF8.self) }
    }

    private func say(_ point: SweepPoint, _ what: String) {
        CommandLineOutput.note("mneme sweep: point \(point.number), \(point.name): \(what)")
    }
}

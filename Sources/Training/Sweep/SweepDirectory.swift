// The directory of a sweep: sweep.json, the link to the best run, and the one sweep that has it.

import Diagnostics
import Foundation
import Storage

/// A sweep's directory. Its runs lie in it, each in a directory of its own with a lock of its own.
public final class SweepDirectory {
    /// The path.
    public let path: String
    private let grid: SweepGrid
    private let file: String
    private let metric: Metric
    private let environment: [String: String]
    private var lock: DirectoryLock?
    /// How runs have ended for good, by name, where their own records do not say it: what this process knows, and what sweep.json says besides.
    private var (noted, failures) = ([String: SweepFailure?](), [String: SweepFailure]())
    /// The figures of runs that are finished.
    private var known: [String: RunFigures] = [:]

    private static let reportFile = "sweep.json"
    private static let bestLink = "best"

    /// What sweep.json says of an earlier start.
    private struct Stored: Decodable {
        struct Point: Decodable {
            let name: String
            let state: SweepReport.State
            let code: Int32?
            let message: String?
        }
        let settings: [String: String]
        let points: [Point]
    }

    /// Nothing is made, and nothing written, before ``hold()`` or ``save()``.
    ///
    /// - Parameters:
    ///   - file: the run file.
    ///   - metric: what the best run is chosen by.
    ///   - environment: tells the scheduler's job, for the lock.
    /// - Throws: `UserError`: (.configuration) where the directory holds a sweep of another grid or another run; (.badData) where sweep.json is
    ///   damaged.
    public init(_ grid: SweepGrid, file: String, metric: Metric, environment: [String: String]) throws {
        (self.grid, self.file, self.metric, self.environment) = (grid, file, metric, environment)
        path = grid.directory
        try readReport()
    }

    /// Takes over what sweep.json says, once it is known to be of the same runs. A grid may grow; its points keep their directories.
    private func readReport() throws {
        let place = "\(path)/\(Self.reportFile)"
        guard Directory.exists(place) != nil else { return }
        guard let stored = try? JSONDecoder().decode(Stored.self, from: Data(DurableFile.read(place))) else {
            throw UserError(.badData, "is no record of a sweep", at: place, advice: "remove it: the runs tell the rest")
        }
        let points = Dictionary(grid.points.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
        // Where no run has begun there is nothing to keep together.
        let begun = stored.points.filter { $0.state != .waiting }
        if let missing = begun.first(where: { points[$0.name] == nil }) {
            throw UserError(
                .configuration, "is of another grid: it has the point \(missing.name), and this one has not", at: place,
                advice: "give the same values (more may be added), or another directory with --output")
        }
        if let point = begun.first.flatMap({ points[$0.name] }) {
            let now = point.identity
            if let key = Set(stored.settings.keys).union(now.keys).sorted().first(where: { stored.settings[$0] != now[$0] }) {
                throw UserError(
                    .configuration, "its runs have \(key) \(stored.settings[key] ?? "left out"), and now it is \(now[key] ?? "left out")", at: place,
                    advice: "set it back, or give another directory with --output")
            }
        }
        for point in stored.points where noted[point.name] == nil {
            failures[point.name] = point.code.map { SweepFailure(code: $0, message: point.message) }
        }
    }

    /// Takes the directory until the process ends, and reads sweep.json again.
    /// - Throws: `UserError` (.unavailable) where another sweep has it; as the initialiser.
    public func hold() throws {
        try Directory.make(path)
        let identity = SessionIdentity(environment: environment)
        do { lock = try DirectoryLock(directory: path, name: "sweep.lock", identity: identity) } catch let error as UserError
        where error.exitCode == .unavailable {
            throw UserError(
                .unavailable, error.what.replacing("session has this run directory", with: "sweep has this directory"), at: path,
                advice: "wait for it, stop it, or give another directory with --output")
        }
        try readReport()
    }

    /// Notes how a run has ended for good; `nil` for one that starts again.
    public func note(_ failure: SweepFailure?, of point: SweepPoint) {
        noted[point.name] = .some(failure)
        failures[point.name] = failure
    }

    /// How everything stands.
    /// - Throws: as ``SweepReport``.
    public func report() throws -> SweepReport { try SweepReport(grid, file: file, metric: metric, failures: failures, known: &known) }

    /// Writes how everything stands to sweep.json, and lets `best` name the best run. Tasks of an array, which do not hold the directory, take it for
    /// that moment, and wait up to a minute for it.
    /// - Throws: `UserError`: (.unavailable) where a sweep has it all that time; (.inputOutput); as ``SweepReport``.
    @discardableResult
    public func save() throws -> SweepReport {
        if lock != nil { return try write() }
        let limit = Date().addingTimeInterval(60)
        while lock == nil {
            do { try hold() } catch let error as UserError where error.exitCode == .unavailable && Date() < limit { usleep(100_000) }
        }
        defer { release() }
        return try write()
    }

    /// Gives the directory back.
    public func release() {
        lock?.release()
        lock = nil
    }

    private func write() throws -> SweepReport {
        let report = try report()
        try DurableFile.replace("\(path)/\(Self.reportFile)", by: Array((JSONText.line(report) + "\n").utf8))
        let (link, new) = ("\(path)/\(Self.bestLink)", "\(path)/.\(Self.bestLink)")
        guard let best = report.best, (try? FileManager.default.destinationOfSymbolicLink(atPath: link)) != best else { return report }
        withSystemPath(new, unlink)
        guard withSystemPaths(best, new, symlink) == 0 else {
            throw UserError(.inputOutput, "cannot be made: \(systemReason())", at: link, advice: "sweep.json names the best run")
        }
        try Directory.rename(new, to: link)
        return report
    }
}

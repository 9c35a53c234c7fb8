// What is known of a sweep: how each run stands, its figures, and which is the best. The contents of sweep.json and of the table.

import Diagnostics
import Foundation
import Storage

/// A sweep as its run directories show it.
public struct SweepReport: Sendable, Encodable {
    /// How a run stands.
    public enum State: String, Sendable, Codable {
        /// No session has begun.
        case waiting
        /// A session has begun, and the run is not finished: it runs, was stopped, or lost a rank.
        case unfinished
        /// All steps are done.
        case finished
        /// It ended with an error that would come again.
        case failed
    }

    /// One run.
    public struct Point: Sendable, Encodable {
        /// Its place in the grid, from 1.
        public let number: Int
        /// The run directory's name in that of the sweep.
        public let name: String
        /// The values of the keys that vary.
        public let settings: [String: String]
        public let state: State
        /// The last step that is known to be done, of `steps`.
        public let step: Int
        public let steps: Int
        /// What it ended with where it failed.
        public var code: Int32?
        public var message: String?
        /// The figure that the best is chosen by, of a run that is finished; `nil` where it is no number.
        public var value: Double?
        /// Every figure of the last logged step and the last evaluation, of a run that is finished.
        public var figures: [String: Double] = [:]
    }

    /// The runs that differ in their seed alone.
    public struct Group: Sendable, Encodable {
        /// The values of the other keys that vary.
        public let settings: [String: String]
        /// Runs that are finished, and those that there are.
        public let finished: Int
        public let points: Int
        /// Of the figure that the best is chosen by, over the finished runs.
        public let median: Double?
        public let smallest: Double?
        public let largest: Double?
    }

    /// The run file.
    public let file: String
    /// The directory of the sweep, in which the runs' lie.
    public let directory: String
    /// The keys that vary with their values, as they were given.
    public let vary: [SweepAxis]
    /// The figure that the best is chosen by.
    public let metric: String
    public let better: Metric.Better
    /// What the first run that has begun learns from, apart from the keys that vary.
    let settings: [String: String]
    public let points: [Point]
    public let groups: [Group]
    /// The name of the best run; `nil` before one is finished.
    public let best: String?

    /// Reads what the runs have left in their directories.
    ///
    /// - Parameters:
    ///   - file: the run file.
    ///   - metric: what the best is chosen by; one that has a better value.
    ///   - failures: the codes and messages of runs that ended for good, by name, which session.json does not tell.
    ///   - known: the figures of runs that are finished, by name, which are read once.
    /// - Throws: `UserError` (.usage) where a finished run does not have the figure, with those that it has.
    public init(_ grid: SweepGrid, file: String, metric: Metric, failures: [String: SweepFailure] = [:], known: inout [String: RunFigures]) throws {
        (self.file, directory, vary) = (file, grid.directory, grid.axes)
        (self.metric, better) = (metric.comparableName, metric.better ?? .smaller)
        points = try grid.points.map { try Self.point($0, metric, failures[$0.name], &known[$0.name]) }
        settings = grid.points[points.firstIndex { $0.state != .waiting } ?? 0].identity
        let better = better
        best = points.filter { $0.value != nil }.min { one, other in
            let (first, second) = (one.value ?? 0, other.value ?? 0)
            return better == .smaller ? first < second : first > second
        }?.name
        let others = grid.axes.map(\.key).filter { $0 != "seed" }
        var groups: [[Point]] = []
        for point in points where others.count < grid.axes.count {
            func isAlike(_ group: [Point]) -> Bool { others.allSatisfy { group[0].settings[$0] == point.settings[$0] } }
            if let index = groups.firstIndex(where: isAlike) { groups[index].append(point) } else { groups.append([point]) }
        }
        self.groups = groups.map { group in
            let values = group.compactMap(\.value).sorted()
            return Group(
                settings: group[0].settings.filter { $0.key != "seed" }, finished: group.count { $0.state == .finished }, points: group.count,
                median: Self.median(values), smallest: values.first, largest: values.last)
        }
    }

    /// The middle of values in rising order, the mean of the two middle ones of an even number; `nil` for none.
    static func median(_ values: [Double]) -> Double? {
        values.isEmpty ? nil : (values[(values.count - 1) / 2] + values[values.count / 2]) / 2
    }

    private static func point(_ point: SweepPoint, _ metric: Metric, _ failure: SweepFailure?, _ known: inout RunFigures?) throws -> Point {
        let record = SessionRecord.read(point.directory)
        let steps = point.configuration.steps
        var state = record == nil ? State.waiting : .unfinished
        var (code, message) = (Int32?.none, String?.none)
        if let record, record.outcome == .finished {
            state = record.step >= steps ? .finished : .unfinished
        } else if let record, record.outcome == .failed, !record.mayBeStartedAgain {
            (state, code, message) = (.failed, record.exitCode, record.message)
        } else if let failure {
            (state, code, message) = (.failed, failure.code, failure.message)
        }
        var result = Point(
            number: point.number, name: point.name, settings: Dictionary(uniqueKeysWithValues: point.settings.map { ($0.key, $0.value) }),
            state: state, step: record?.step ?? 0, steps: steps, code: code, message: message)
        guard state == .finished, let record else { return result }
        let figures = try known.flatMap { $0.session == record.session ? $0 : nil } ?? RunFigures(point.directory, record.session)
        known = figures
        guard let value = figures.values[metric.comparableName] else {
            throw UserError(
                .usage, "the run has no \(metric.comparableName)", at: point.directory,
                advice: "choose among \(figures.values.keys.sorted().joined(separator: ", "))")
        }
        result.value = value.isFinite ? value : nil
        result.figures = figures.values
        return result
    }
}

/// How a run ended for good.
public struct SweepFailure: Sendable, Codable {
    /// The exit code.
    public let code: Int32
    /// Why.
    public let message: String?

    /// - Parameters:
    ///   - code: the exit code.
    ///   - message: what the session said of it, where it said anything.
    public init(code: Int32, message: String?) { (self.code, self.message) = (code, message) }
}

/// The figures by which a run of a sweep is compared with the others, from metrics.jsonl.
public struct RunFigures: Sendable {
    /// The session that the run was finished by.
    let session: SessionIdentity
    /// Every figure that can be compared, by its name.
    let values: [String: Double]

    /// - Throws: `UserError` (.missingInput).
    init(_ directory: String, _ session: SessionIdentity) throws {
        self.session = session
        let lines = try DurableFile.read("\(directory)/\(MetricsFile.name)").split(separator: UInt8(ascii: "\n"))
        let steps = lines.compactMap { StepMetrics(line: Data($0)) }
        let figures = Metric.comparable.compactMap { metric in Self.value(metric, steps).map { (metric.comparableName, $0) } }
        values = Dictionary(uniqueKeysWithValues: figures)
    }

    /// The value of a figure; `nil` where no step has it.
    ///
    /// A score of an evaluation is that of the last one. A figure of steps is of one batch each, and one batch says little of a run: it is the mean
    /// over the last tenth of the logged steps.
    private static func value(_ metric: Metric, _ steps: [StepMetrics]) -> Double? {
        if metric.group == .validation {
            return steps.reversed().lazy.compactMap { $0.validationEntries.first { $0.metric.name == metric.name }?.value }.first
        }
        let values = steps.compactMap { $0[metric] }
        guard !values.isEmpty else { return nil }
        let last = values.suffix((values.count + 9) / 10)
        return last.reduce(0, +) / Double(last.count)
    }
}

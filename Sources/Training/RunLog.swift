// What a run writes for people and programs to read: metrics.jsonl, log.txt and the progress line.

import Diagnostics
import Foundation
import Storage

extension TaskScores {
    /// The members of a step's JSON object, each after a comma.
    fileprivate var json: String {
        let fields = (loss.map { [Score("loss", $0)] } ?? []) + scores
        return fields.map { ",\"validation_\($0.name)\":\(StepMetrics.number($0.value))" }.joined()
    }
}

/// What is known after a logged step.
public struct StepMetrics: Sendable {
    /// The optimizer step, from 1.
    public var step: Int
    /// Predicted tokens since the start of the run.
    public var tokens: Int
    /// The mean training loss of the step's tokens, nats.
    public var loss: Double
    /// The gradient's global norm before clipping.
    public var gradientNorm: Double
    /// The norm of the loss's gradient by what the lanes brought with them from their last batches, all lanes together, scaled as the gradient; `nil`
    /// where nothing is carried that has a gradient. A recurrent network whose gradients vanish shows it here.
    public var carriedGradientNorm: Double?
    /// The learning rate of the step.
    public var learningRate: Double
    /// Seconds of training since the start of the run, over all its sessions.
    public var seconds: Double
    /// Predicted tokens a second since the last logged step.
    public var tokensPerSecond: Double
    /// The evaluation after the step, where there was one.
    public var validation: TaskScores?

    /// One JSON object. Numbers are written with the fewest digits that read back to the same bits.
    public var json: String {
        let carried = carriedGradientNorm.map { ["\"carried_gradient_norm\":\(Self.number($0))"] } ?? []
        let fields = [
            "\"step\":\(step)", "\"tokens\":\(tokens)", "\"loss\":\(Self.number(loss))", "\"gradient_norm\":\(Self.number(gradientNorm))",
        ] + carried + [
            "\"learning_rate\":\(Self.number(learningRate))", "\"seconds\":\(Self.number(seconds))",
            "\"tokens_per_second\":\(Self.number(tokensPerSecond))",
        ]
        return "{" + fields.joined(separator: ",") + (validation?.json ?? "") + "}"
    }

    /// JSON has no NaN and no infinity; they become null.
    fileprivate static func number(_ value: Double) -> String { value.isFinite ? "\(value)" : "null" }
}

/// The files of a run that grow line by line. Only rank 0 has one.
public final class RunLog {
    private let metrics: FileHandle
    private let text: FileHandle
    private let metricsPath: String
    private let progress: ProgressLine
    /// The line that metrics.jsonl ended with when it was opened.
    private let resumedLine: String?

    /// Opens (and makes, if need be) the run directory's files.
    /// - Parameters:
    ///   - directory: the run directory, which exists.
    ///   - targets: what progress lines count: tokens, answers.
    ///   - step: the step that the run resumes from; later lines of `metrics.jsonl` are of a future that did not last, and are removed.
    /// - Throws: `UserError` (.inputOutput).
    public init(directory: String, targets: String, resumingFrom step: Int, totalSteps: Int, terminalColumns: Int?) throws {
        metricsPath = "\(directory)/metrics.jsonl"
        resumedLine = try Self.keepLines(of: metricsPath, through: step)
        metrics = try Self.openForAppending(metricsPath)
        text = try Self.openForAppending("\(directory)/log.txt")
        progress = ProgressLine(totalSteps: totalSteps, columns: terminalColumns, targets: targets)
    }

    /// Writes a line of text to log.txt and the terminal.
    public func note(_ message: String) throws {
        progress.interrupt(with: message)
        try write(text, "\(Self.timestamp()) \(message)\n", "log.txt")
    }

    /// Writes a step's metrics everywhere.
    public func record(_ step: StepMetrics) throws {
        try Failpoint.logWrite.pass(metricsPath)
        try write(metrics, step.json + "\n", metricsPath)
        try write(text, "\(Self.timestamp()) \(progress.plain(step))\n", "log.txt")
        progress.show(step)
    }

    /// Whether metrics.jsonl ended at this step, without an evaluation, when it was opened.
    public func lacksValidation(of step: Int) -> Bool {
        guard let resumedLine else { return false }
        return Self.step(of: resumedLine) == step && !resumedLine.contains("\"validation_")
    }

    /// Completes the line that ``lacksValidation(of:)`` told of. Must come before any step is recorded.
    public func complete(with validation: TaskScores?) throws {
        guard let resumedLine, let validation else { return }
        let end = try metrics.offset()
        try metrics.truncate(atOffset: end - UInt64(resumedLine.utf8.count + 1))
        try write(metrics, resumedLine.dropLast() + validation.json + "}\n", metricsPath)
    }

    /// Waits until every line of metrics.jsonl is on the disk, so that no checkpoint outlives the metrics of its steps.
    public func synchronize() throws {
        guard fsync(metrics.fileDescriptor) == 0 || errno == EINVAL else {
            throw UserError(.inputOutput, "cannot be synced: \(systemReason())", at: metricsPath)
        }
    }

    /// Ends the progress line.
    public func finish() { progress.finish() }

    private func write(_ handle: FileHandle, _ line: String, _ path: String) throws {
        do { try handle.write(contentsOf: Data(line.utf8)) } catch {
            throw UserError(
                .inputOutput, "cannot write: \(systemReason(of: error))", at: path,
                advice: "free space on the file system and start the run again")
        }
    }

    private static func openForAppending(_ path: String) throws -> FileHandle {
        if !FileManager.default.fileExists(atPath: path) { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        guard let handle = FileHandle(forWritingAtPath: path) else {
            throw UserError(.inputOutput, "cannot be opened for writing: \(String(cString: strerror(errno)))", at: path)
        }
        _ = try? handle.seekToEnd()
        return handle
    }

    /// Rewrites the file without the lines of steps after `step`, and without a last line that a crash cut short.
    /// - Returns: the last line that is left.
    private static func keepLines(of path: String, through step: Int) throws -> String? {
        guard let data = FileManager.default.contents(atPath: path), !data.isEmpty else { return nil }
        let lines = String(decoding: data, as: UTF8.self).split(separator: "\n")
        let kept = lines.filter { line in
            guard line.hasSuffix("}"), let number = Self.step(of: line) else { return false }
            return number <= step
        }
        if kept.count < lines.count || data.last != UInt8(ascii: "\n") {
            try Failpoint.logRewind.pass(path)
            try DurableFile.replace(path, by: Data(kept.map { $0 + "\n" }.joined().utf8))
        }
        return kept.last.map(String.init)
    }

    /// The step of a line of metrics.jsonl.
    private static func step(of line: some StringProtocol) -> Int? {
        line.hasPrefix("{\"step\":") ? Int(line.dropFirst(8).prefix { $0.isNumber }) : nil
    }

    private static func timestamp() -> String { Date().formatted(.iso8601) }
}

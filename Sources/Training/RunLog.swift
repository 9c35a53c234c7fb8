// What a run writes for people and programs to read: metrics.jsonl, log.txt and the progress line.

import Diagnostics
import Foundation

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
    /// The learning rate of the step.
    public var learningRate: Double
    /// Seconds of training since the start of the run, over all its sessions.
    public var seconds: Double
    /// Predicted tokens a second since the last logged step.
    public var tokensPerSecond: Double
    /// The mean loss of the validation corpus, nats a token, when it was evaluated.
    public var validationLoss: Double?
    /// exp(validation loss per word), when the corpus counts words.
    public var validationPerplexityPerWord: Double?

    /// One JSON object. Numbers are written with the fewest digits that read back to the same bits.
    public var json: String {
        var fields = [
            "\"step\":\(step)", "\"tokens\":\(tokens)", "\"loss\":\(Self.number(loss))", "\"gradient_norm\":\(Self.number(gradientNorm))",
            "\"learning_rate\":\(Self.number(learningRate))", "\"seconds\":\(Self.number(seconds))", "\"tokens_per_second\":\(Self.number(tokensPerSecond))",
        ]
        if let validationLoss {
            fields.append("\"validation_loss\":\(Self.number(validationLoss))")
            fields.append("\"validation_perplexity\":\(Self.number(exp(validationLoss)))")
        }
        if let validationPerplexityPerWord { fields.append("\"validation_perplexity_per_word\":\(Self.number(validationPerplexityPerWord))") }
        return "{" + fields.joined(separator: ",") + "}"
    }

    /// JSON has no NaN and no infinity; they become null.
    private static func number(_ value: Double) -> String { value.isFinite ? "\(value)" : "null" }
}

/// The files of a run that grow line by line. Only rank 0 has one.
public final class RunLog {
    private let metrics: FileHandle
    private let text: FileHandle
    private let metricsPath: String
    private let progress: ProgressLine

    /// Opens (and makes, if need be) the run directory's files.
    /// - Parameters:
    ///   - directory: the run directory, which exists.
    ///   - step: the step that the run resumes from; later lines of `metrics.jsonl` are of a future that did not last, and are removed.
    /// - Throws: `UserError` (.inputOutput).
    public init(directory: String, resumingFrom step: Int, totalSteps: Int) throws {
        metricsPath = "\(directory)/metrics.jsonl"
        try Self.keepLines(of: metricsPath, through: step)
        metrics = try Self.openForAppending(metricsPath)
        text = try Self.openForAppending("\(directory)/log.txt")
        progress = ProgressLine(totalSteps: totalSteps)
    }

    /// Writes a line of text to log.txt and the terminal.
    public func note(_ message: String) throws {
        progress.interrupt(with: message)
        try write(text, "\(Self.timestamp()) \(message)\n", "log.txt")
    }

    /// Writes a step's metrics everywhere.
    public func record(_ step: StepMetrics) throws {
        try write(metrics, step.json + "\n", metricsPath)
        try write(text, "\(Self.timestamp()) \(ProgressLine.plain(step, totalSteps: progress.totalSteps))\n", "log.txt")
        progress.show(step)
    }

    /// Ends the progress line.
    public func finish() { progress.finish() }

    private func write(_ handle: FileHandle, _ line: String, _ path: String) throws {
        do { try handle.write(contentsOf: Data(line.utf8)) } catch {
            throw UserError(.inputOutput, "cannot write: \(error.localizedDescription)", at: path, advice: "free space on the file system and start the run again")
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
    private static func keepLines(of path: String, through step: Int) throws {
        guard let data = FileManager.default.contents(atPath: path), !data.isEmpty else { return }
        let lines = String(decoding: data, as: UTF8.self).split(separator: "\n")
        let kept = lines.filter { line in
            guard line.hasSuffix("}"), line.hasPrefix("{\"step\":"), let number = Int(line.dropFirst(8).prefix { $0.isNumber }) else { return false }
            return number <= step
        }
        if kept.count == lines.count && data.last == UInt8(ascii: "\n") { return }
        let rest = kept.map { $0 + "\n" }.joined()
        do { try Data(rest.utf8).write(to: URL(fileURLWithPath: path), options: .atomic) } catch {
            throw UserError(.inputOutput, "cannot be rewritten: \(error.localizedDescription)", at: path)
        }
    }

    private static func timestamp() -> String { Date().formatted(.iso8601) }
}

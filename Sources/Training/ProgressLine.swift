// The line that shows how far a run is: redrawn in place on a terminal, one line a logged step elsewhere.

import Foundation

/// Progress of a run, on standard error.
final class ProgressLine {
    let totalSteps: Int
    private let columns: Int?
    private let targets: String
    private var isShown = false
    private var firstStep: (step: Int, seconds: Double)?

    /// - Parameters:
    ///   - columns: the width of the terminal to draw on; `nil` for plain lines.
    ///   - targets: what is counted: tokens, answers.
    init(totalSteps: Int, columns: Int?, targets: String) {
        self.totalSteps = totalSteps
        self.columns = columns
        self.targets = targets
    }

    /// A step as one plain line.
    func plain(_ metrics: StepMetrics, timeLeft: String? = nil) -> String {
        var line = "step \(metrics.step)/\(totalSteps)  loss \(Self.number(metrics.loss))  gradient norm \(Self.number(metrics.gradientNorm))"
        line += "  learning rate \(String(format: "%.3g", metrics.learningRate))  \(Self.rate(metrics.tokensPerSecond)) \(targets)/s"
        if let validation = metrics.validation {
            line += "  validation"
            if let loss = validation.loss { line += " loss \(Self.number(loss))" }
            if let first = validation.scores.first { line += "  \(first.name.replacing("_", with: " ")) \(Self.number(first.value))" }
        }
        if let timeLeft { line += "  \(timeLeft) left" }
        return line
    }

    /// Shows a step.
    func show(_ metrics: StepMetrics) {
        let left = timeLeft(metrics)
        guard let columns else { return emit(plain(metrics, timeLeft: left) + "\n") }
        let width = 24
        let done = min(width, width * metrics.step / max(totalSteps, 1))
        let bar = String(repeating: "█", count: done) + String(repeating: "░", count: width - done)
        let line = "\(bar) \(plain(metrics, timeLeft: left))"
        emit("\r\u{1B}[K" + String(line.prefix(max(columns - 1, 20))))
        isShown = true
        if metrics.validation != nil { finish() }
    }

    /// Prints a message above the progress line.
    func interrupt(with message: String) {
        if isShown { emit("\r\u{1B}[K") }
        isShown = false
        emit(message + "\n")
    }

    /// Leaves the last line standing.
    func finish() {
        if isShown { emit("\n") }
        isShown = false
    }

    private func timeLeft(_ metrics: StepMetrics) -> String? {
        guard let first = firstStep else {
            firstStep = (metrics.step, metrics.seconds)
            return nil
        }
        let seconds = (metrics.seconds - first.seconds) / Double(max(metrics.step - first.step, 1)) * Double(totalSteps - metrics.step)
        return Self.duration(seconds)
    }

    /// "42 s", "3 min 05 s", "2 h 10 min", "3 d 4 h".
    static func duration(_ seconds: Double) -> String {
        let s = Int(max(0, seconds).rounded())
        switch s {
        case ..<60: return "\(s) s"
        case ..<3600: return String(format: "%d min %02d s", s / 60, s % 60)
        case ..<86_400: return String(format: "%d h %02d min", s / 3600, s / 60 % 60)
        default: return "\(s / 86_400) d \(s / 3600 % 24) h"
        }
    }

    private static func number(_ value: Double) -> String { String(format: abs(value) < 100 ? "%.4f" : "%.1f", value) }
    private static func rate(_ value: Double) -> String { String(format: value < 100 ? "%.1f" : "%.0f", value) }

    /// A terminal that has gone away, or a full disk behind the batch log, is no reason to end the run.
    private func emit(_ text: String) { try? FileHandle.standardError.write(contentsOf: Data(text.utf8)) }
}

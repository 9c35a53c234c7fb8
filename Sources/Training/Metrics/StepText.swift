// A step in words, for log.txt and the terminal.

import Foundation

/// How a step reads: `step 100/4000  loss 2.3807  gradient norm 3.8590  learning rate 0.002  8383 tokens/s`.
package struct StepText: Sendable {
    package let totalSteps: Int
    /// What is counted: tokens, answers.
    package let targets: String

    package init(totalSteps: Int, targets: String) {
        self.totalSteps = totalSteps
        self.targets = targets
    }

    /// A step as one line.
    package func line(_ metrics: StepMetrics, timeLeft: String? = nil) -> String {
        var parts = ["step \(metrics.step)/\(totalSteps)"]
        parts += metrics.entries.filter { $0.metric.group != .validation }.compactMap { part($0.metric, $0.value) }
        // Of an evaluation the loss and the most telling score.
        let validation = metrics.validationEntries
        let shown = validation.prefix(metrics.validation?.loss == nil ? 1 : 2).compactMap { part($0.metric, $0.value) }
        if !shown.isEmpty { parts.append((["validation"] + [shown.joined(separator: "  ")]).joined(separator: " ")) }
        if let timeLeft { parts.append("\(timeLeft) left") }
        return parts.joined(separator: "  ")
    }

    private func part(_ metric: Metric, _ value: Double) -> String? {
        switch metric.display {
        case .fixed(let label): "\(label) \(String(format: abs(value) < 100 ? "%.4f" : "%.1f", value))"
        case .significant(let label): "\(label) \(String(format: "%.3g", value))"
        case .rate: "\(String(format: value < 100 ? "%.1f" : "%.0f", value)) \(targets)/s"
        case nil: nil
        }
    }

    /// "42 s", "3 min 05 s", "2 h 10 min", "3 d 4 h".
    package static func duration(_ seconds: Double) -> String {
        let s = Int(max(0, seconds).rounded())
        switch s {
        case ..<60: return "\(s) s"
        case ..<3600: return String(format: "%d min %02d s", s / 60, s % 60)
        case ..<86_400: return String(format: "%d h %02d min", s / 3600, s / 60 % 60)
        default: return "\(s / 86_400) d \(s / 3600 % 24) h"
        }
    }
}

// Which sinks a run has.

import Diagnostics
import Foundation
import Storage

extension MetricSinks {
    /// The sinks of a run on rank 0, whose directory exists. Nothing is recorded before `rewind(to:)`.
    ///
    /// - Parameters:
    ///   - targets: what progress lines count: tokens, answers.
    ///   - terminal: where progress is shown.
    ///   - columns: the width of the terminal to draw on; `nil` for plain lines.
    /// - Throws: `UserError` (.inputOutput) where metrics.jsonl cannot be opened. The others can be done without.
    convenience init(_ configuration: RunConfiguration, targets: String, terminal: TerminalWriter, columns: Int?) throws {
        let directory = configuration.directory
        let text = StepText(totalSteps: configuration.steps, targets: targets)
        var sinks: [any MetricSink] = [
            try MetricsFile(directory: directory), LogFile(directory: directory, text: text),
            TerminalProgress(text: text, terminal: terminal, columns: columns),
        ]
        if configuration.logTensorBoard { sinks.append(EventFile(directory: directory, configuration: configuration.resolvedYAML)) }
        if let path = configuration.logPrometheus {
            let name = PathText.shown(Directory.lastName(of: directory))
            sinks.append(
                PrometheusFile(path: path.contains("/") ? path : "\(directory)/\(path)", run: name, totalSteps: configuration.steps))
        }
        self.init(sinks, histogramEvery: configuration.logHistograms)
    }

    /// Whether a file of a run directory is a sink's: starting afresh sets it aside.
    package static func isOwn(_ name: String) -> Bool {
        [MetricsFile.name, LogFile.name].contains(name) || name.hasPrefix(EventFile.prefix) || name.hasSuffix(PrometheusFile.suffix)
    }
}

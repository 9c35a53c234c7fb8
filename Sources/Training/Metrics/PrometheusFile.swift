// The newest figures as a text file for Prometheus: what node_exporter's textfile collector reads.

import Diagnostics
import Foundation

/// The sink of a monitoring system. The file holds the newest value of each figure and is replaced as a whole at each logged step.
///
/// The text format is Prometheus's exposition format 0.0.4.
package final class PrometheusFile: MetricSink {
    /// What node_exporter looks for.
    package static let suffix = ".prom"

    private let path: String
    private let run: String
    private let totalSteps: Int
    private var newest: [String: (metric: Metric, value: Double)] = [:]
    private var order: [String] = []
    private var isRunning = true
    private var problem: String?
    private var isInTrouble = false

    /// - Parameters:
    ///   - path: the file, which ends in `.prom`.
    ///   - run: the label `run` of every figure.
    package init(path: String, run: String, totalSteps: Int) {
        self.path = path
        self.run = run
        self.totalSteps = totalSteps
    }

    package func record(_ metrics: StepMetrics) {
        for (metric, value) in metrics.entries where newest.updateValue((metric, value), forKey: metric.name) == nil { order.append(metric.name) }
        replace()
    }

    package func rewind(to step: Int) {
        isRunning = true
        var metrics = StepMetrics(step: step)
        metrics.validation = nil
        record(metrics)
    }

    /// Says that nobody trains any more; the figures stay.
    package func finish() {
        isRunning = false
        replace()
    }

    package func takeProblem() -> String? {
        defer { problem = nil }
        return problem
    }

    /// The file's text.
    package var text: String {
        var text = ""
        func add(_ name: String, _ type: String, _ help: String, _ value: String) {
            text += "# HELP mneme_\(name) \(help)\n# TYPE mneme_\(name) \(type)\nmneme_\(name){run=\"\(Self.escaped(run))\"} \(value)\n"
        }
        add("running", "gauge", "1 while a session trains, 0 after it has ended by itself", isRunning ? "1" : "0")
        add("steps_planned", "gauge", "optimizer steps of the whole run", "\(totalSteps)")
        for (metric, value) in order.compactMap({ newest[$0] }) {
            let grows = metric.isCount || metric.name == Metric.seconds.name
            let unit = metric.unit == .none ? "" : " (\(metric.unit.rawValue))"
            add(metric.name + (grows ? "_total" : ""), grows ? "counter" : "gauge", metric.meaning + unit, Self.number(value, isCount: metric.isCount))
        }
        return text
    }

    private func replace() {
        let (temporary, bytes) = ("\(path).\(getpid()).tmp", Array(text.utf8))
        let isWritten = withSystemPath(temporary) { file -> Bool in
            guard let stream = fopen(file, "w") else { return false }
            let isWhole = fwrite(bytes, 1, bytes.count, stream) == bytes.count
            return fclose(stream) == 0 && isWhole
        }
        if isWritten, withSystemPaths(temporary, path, rename) == 0 {
            isInTrouble = false
            return
        }
        let reason = systemReason()
        withSystemPath(temporary, unlink)
        if !isInTrouble { problem = "\(PathText.shown(path)): cannot be replaced: \(reason); the run goes on without" }
        isInTrouble = true
    }

    private static func number(_ value: Double, isCount: Bool) -> String {
        if isCount, let whole = Int(exactly: value) { return "\(whole)" }
        return value.isNaN ? "NaN" : value.isInfinite ? (value > 0 ? "+Inf" : "-Inf") : "\(value)"
    }

    private static func escaped(_ label: String) -> String {
        label.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }
}

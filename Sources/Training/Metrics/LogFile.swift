// log.txt: what the terminal shows, with the time of each line.

import Foundation

/// The sink for people who read later. Lines that cannot be written are dropped.
package final class LogFile: MetricSink {
    package static let name = "log.txt"

    private let path: String
    private let text: StepText
    private var file: AppendedFile?
    private var problem: String?
    private var isInTrouble = false

    package init(directory: String, text: StepText) {
        path = "\(directory)/\(Self.name)"
        self.text = text
        do { file = try AppendedFile(path) } catch { report("\(error)") }
    }

    package func record(_ metrics: StepMetrics) { write(text.line(metrics)) }
    package func note(_ message: String) { write(message) }

    package func synchronize() { _ = file?.synchronize() }

    package func takeProblem() -> String? {
        defer { problem = nil }
        return problem
    }

    private func write(_ line: String) {
        guard let file else { return }
        if let reason = file.append(Array("\(Date().formatted(.iso8601)) \(line)\n".utf8)) {
            report("\(path): cannot be written: \(reason); the run goes on without")
        }
    }

    private func report(_ what: String) {
        if !isInTrouble { problem = what }
        isInTrouble = true
    }
}

// TensorBoard: events.out.tfevents.* in the run directory, one file for each session.

import Diagnostics
import Foundation
import Storage

/// The sink that TensorBoard reads: `tensorboard --logdir checkpoints`.
package final class EventFile: MetricSink {
    package static let prefix = "events.out.tfevents."

    private let directory: String
    private let configuration: String
    private let host: String
    private var file: AppendedFile?
    private var hasConfiguration = false
    /// The last step that earlier sessions recorded, or this one.
    private var lastStep = 0
    private var problem: String?

    /// - Parameters:
    ///   - configuration: the run's configuration, shown as a text.
    ///   - host: part of the file's name.
    package init(directory: String, configuration: String, host: String = ProcessInfo.processInfo.hostName) {
        self.directory = directory
        self.configuration = configuration
        self.host = host
    }

    package func record(_ metrics: StepMetrics) {
        // A step that is completed by its evaluation has its other figures already.
        let entries = metrics.step == lastStep ? metrics.validationEntries : metrics.entries
        lastStep = metrics.step
        let values = entries.filter { $0.metric.name != Metric.step.name }.map { metric, value in
            let unit = metric.unit == .none ? "" : " (\(metric.unit.rawValue))"
            return TensorBoardEvent.scalar(metric.tag, value, meaning: metric.meaning + unit)
        }
        write(.summary(Self.now, step: metrics.step, values))
    }

    package func record(_ histograms: [GradientHistogram], step: Int) {
        write(.summary(Self.now, step: step, histograms.map { TensorBoardEvent.histogram("gradients/\($0.name)", $0) }))
    }

    /// Begins a file, the first event of which says that later steps of earlier files do not count.
    package func rewind(to step: Int) throws {
        lastStep = step
        if file == nil { open() }
        write(.start(Self.now, step: step + 1))
        guard !hasConfiguration else { return }
        hasConfiguration = true
        let block = configuration.split(separator: "\n", omittingEmptySubsequences: false).map { "    \($0)\n" }.joined()
        write(.summary(Self.now, step: step, [TensorBoardEvent.text("configuration", block)]))
    }

    package func synchronize() { _ = file?.synchronize() }

    package func takeProblem() -> String? {
        defer { problem = nil }
        return problem
    }

    /// TensorBoard reads files in the order of their names, which is that of their seconds: a session that starts within the second of the one before
    /// counts as a later one.
    private func open() {
        let names = (try? Directory.names(in: directory)) ?? []
        let seconds = names.filter { $0.hasPrefix(Self.prefix) }.compactMap { Int($0.dropFirst(Self.prefix.count).prefix { $0 != "." }) }
        let second = max(Int(Self.now), (seconds.max() ?? 0) + 1)
        do {
            file = try AppendedFile("\(directory)/\(Self.prefix)\(String(format: "%010d", second)).\(host).\(getpid())")
            write(.version(Self.now))
        } catch { problem = "\(error); the run goes on without TensorBoard" }
    }

    private func write(_ event: TensorBoardEvent) {
        guard let file, let reason = file.append(event.record) else { return }
        problem = "\(file.path): cannot be written: \(reason); the run goes on without TensorBoard"
        self.file = nil
    }

    private static var now: Double { Date().timeIntervalSince1970 }
}

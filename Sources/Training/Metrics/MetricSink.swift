// Where a run's figures and messages go.

import Diagnostics

/// One place that takes the figures of steps: a file, the terminal. Rank 0 alone has sinks.
///
/// A sink never ends a run: what it cannot write it drops or keeps for later, and says so once in `problem`.
public protocol MetricSink: AnyObject {
    /// Takes the figures of a logged step. The step that was recorded last may come again, completed by its evaluation.
    func record(_ metrics: StepMetrics)
    /// Takes a message for people.
    func note(_ message: String)
    /// Takes how a step's gradients are distributed.
    func record(_ histograms: [GradientHistogram], step: Int)
    /// Drops what was recorded of later steps: the run goes on from `step`, and does them again. Comes before anything is recorded, too, to open
    /// what earlier sessions wrote.
    /// - Throws: `UserError` (.inputOutput) where going on would spoil what earlier sessions wrote.
    func rewind(to step: Int) throws
    /// Returns when everything recorded so far would survive a power cut, or cannot be made to.
    func synchronize()
    /// Ends the session.
    func finish()
    /// What went wrong since this was last read. Reading takes it away.
    func takeProblem() -> String?
}

extension MetricSink {
    public func note(_ message: String) {}
    public func record(_ histograms: [GradientHistogram], step: Int) {}
    public func rewind(to step: Int) throws {}
    public func synchronize() {}
    public func finish() {}
    public func takeProblem() -> String? { nil }
}

/// All sinks of a run. Ranks other than 0 have none, and record into nothing.
public final class MetricSinks {
    private let sinks: [any MetricSink]
    private let histogramEvery: Int?
    /// The step that was recorded last, in this session or, after `rewind(to:)`, in the ones before.
    public private(set) var last: StepMetrics?

    /// - Parameters:
    ///   - sinks: where figures go.
    ///   - histogramEvery: steps between two histograms of the gradients; `nil` for none.
    public init(_ sinks: [any MetricSink] = [], histogramEvery: Int? = nil) {
        self.sinks = sinks
        self.histogramEvery = histogramEvery
    }

    /// Records the figures of a logged step; the last one again to complete it.
    public func record(_ metrics: StepMetrics) {
        last = metrics
        for sink in sinks { sink.record(metrics) }
        reportProblems()
    }

    /// Writes a message for people.
    public func note(_ message: String) {
        for sink in sinks { sink.note(message) }
    }

    /// Whether the gradients of this step are wanted.
    public func wantsHistograms(of step: Int) -> Bool { !sinks.isEmpty && histogramEvery.map { step % $0 == 0 } ?? false }

    /// Records how a step's gradients are distributed.
    public func record(_ histograms: [GradientHistogram], step: Int) {
        for sink in sinks { sink.record(histograms, step: step) }
        reportProblems()
    }

    /// Goes back to a step: what was recorded of later ones is dropped. Once before anything is recorded.
    /// - Throws: `UserError` (.inputOutput).
    public func rewind(to step: Int) throws {
        for sink in sinks { try sink.rewind(to: step) }
        last = sinks.lazy.compactMap { ($0 as? MetricsFile)?.last }.first
        reportProblems()
    }

    /// Whether the last recorded step is this one, and has no evaluation.
    public func lacksValidation(of step: Int) -> Bool { last?.step == step && last?.validation == nil }

    /// Completes the last recorded step by its evaluation.
    public func complete(with validation: TaskScores?) {
        guard var metrics = last, validation != nil else { return }
        metrics.validation = validation
        record(metrics)
    }

    /// Makes what was recorded so far as durable as the disk allows. A checkpoint calls it before it is published, so that a run that goes on from
    /// there finds the lines of its past.
    public func synchronize() {
        for sink in sinks { sink.synchronize() }
        reportProblems()
    }

    /// Ends the session.
    public func finish() {
        for sink in sinks { sink.finish() }
        reportProblems()
    }

    private func reportProblems() {
        for problem in sinks.compactMap({ $0.takeProblem() }) { note("warning: \(problem)") }
    }
}

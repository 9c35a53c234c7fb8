// The sinks other than metrics.jsonl: none of them ends a run, and each says what it was given.

import Diagnostics
import Foundation
import TestSupport
import Testing

import Training

@Suite struct MetricSinkTests {
    private let text = StepText(totalSteps: 4000, targets: "tokens")

    @Test("a step reads as it always did")
    func stepText() {
        var metrics = StepMetrics(step: 200)
        metrics[.tokens] = 3
        metrics[.loss] = 0.51414
        metrics[.gradientNorm] = 1234.56
        metrics[.carriedGradientNorm] = 1
        metrics[.learningRate] = 0.002
        metrics[.tokensPerSecond] = 10044.3
        #expect(text.line(metrics) == "step 200/4000  loss 0.5141  gradient norm 1234.6  learning rate 0.002  10044 tokens/s")
        metrics.validation = TaskScores(examples: 1, loss: 2, scores: [.init("bits_per_byte", 1.25), .init("perplexity", 3)])
        #expect(text.line(metrics, timeLeft: "1 min 49 s").hasSuffix("10044 tokens/s  validation loss 2.0000  bits per byte 1.2500  1 min 49 s left"))
        metrics.validation?.loss = nil
        #expect(text.line(metrics).hasSuffix("10044 tokens/s  validation bits per byte 1.2500"))
    }

    @Test("every figure has a name of its own, in snake case, and a meaning")
    func declarations() {
        let names = Metric.all.map(\.name)
        #expect(Set(names).count == names.count)
        for metric in Metric.all {
            #expect(metric.name.wholeMatch(of: /[a-z]+(_[a-z0-9]+)*/) != nil && !metric.meaning.isEmpty && !metric.meaning.hasSuffix("."))
        }
        #expect(Metric.validation("hits_at_1_all").name == "validation_hits_at_1_all" && Metric.validation("loss").tag == "validation/loss")
    }

    @Test("log.txt on a full disk is told once, and ends nothing")
    func fullLog() throws {
        try withScratchDirectory { directory in
            symlink("/dev/full", "\(directory)/log.txt")
            let sinks = MetricSinks([LogFile(directory: directory, text: text), Recorder()])
            let recorder = Recorder()
            let both = MetricSinks([LogFile(directory: directory, text: text), recorder])
            for step in 1...3 { both.record(sampleMetrics(step)) }
            sinks.note("a message")
            #expect(recorder.notes.count == 1 && recorder.notes[0].contains("log.txt: cannot be written: No space left on device"), "\(recorder.notes)")
            #expect(recorder.steps == [1, 2, 3])
        }
    }

    @Test("a log that cannot be opened is told, and ends nothing")
    func noLog() throws {
        try withScratchDirectory { directory in
            try FileManager.default.createDirectory(atPath: "\(directory)/log.txt", withIntermediateDirectories: false)
            let recorder = Recorder()
            let sinks = MetricSinks([LogFile(directory: directory, text: text), recorder])
            try sinks.rewind(to: 0)
            sinks.record(sampleMetrics(1))
            #expect(recorder.notes.count == 1 && recorder.notes[0].contains("Is a directory"), "\(recorder.notes)")
        }
    }

    @Test("a reader who stops reading holds up nobody; progress is dropped first, and messages are kept")
    func stuckReader() throws {
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        let terminal = TerminalWriter(descriptor: ends[1])
        let progress = TerminalProgress(text: text, terminal: terminal, columns: nil)
        for step in 1...20_000 { progress.record(sampleMetrics(step)) }
        progress.note("a message in the crowd")
        #expect(!terminal.flush(within: 0.2))
        // It is not waited for again.
        let start = ContinuousClock.now
        for _ in 0..<1000 { terminal.writeNow("lost\n", within: 1000) }
        #expect(start.duration(to: .now) < .seconds(StartedRun.hangLimit))

        nonisolated(unsafe) var read = Data()
        let handle = FileHandle(fileDescriptor: ends[0], closeOnDealloc: true)
        while !String(decoding: read, as: UTF8.self).contains("a message in the crowd\n") { read += handle.availableData }
        let lines = String(decoding: read, as: UTF8.self).split(separator: "\n")
        #expect(lines[0].hasPrefix("step 1/4000") && lines.count < 10_000)
        #expect(lines.contains { $0.hasSuffix("lines were not shown: nobody read them)") })
        #expect(terminal.flush(within: StartedRun.hangLimit))
        terminal.writeNow("heard again\n")
        #expect(String(decoding: handle.availableData, as: UTF8.self) == "heard again\n")
        close(ends[1])
    }

    @Test("the progress line is shorter than the terminal, however narrow that is", arguments: [1, 2, 5, 12, 40, 80, 300])
    func progressFits(columns: Int) {
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        let terminal = TerminalWriter(descriptor: ends[1])
        let progress = TerminalProgress(text: text, terminal: terminal, columns: columns)
        progress.record(sampleMetrics(2000))
        #expect(terminal.flush(within: StartedRun.hangLimit))
        let written = String(decoding: FileHandle(fileDescriptor: ends[0], closeOnDealloc: true).availableData, as: UTF8.self)
        #expect(written.hasPrefix("\r\u{1B}[K") && written.count - 4 < columns, "\(written.debugDescription)")
        close(ends[1])
    }

    @Test("a reader who has gone away is forgotten")
    func goneReader() throws {
        signal(SIGPIPE, SIG_IGN)
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        close(ends[0])
        let terminal = TerminalWriter(descriptor: ends[1])
        for _ in 0..<100 { terminal.write("nobody\n") }
        #expect(terminal.flush(within: StartedRun.hangLimit))
        terminal.writeNow("nobody\n")
        close(ends[1])
    }

    @Test("the text file of Prometheus has the newest value of each figure, with help, type and label")
    func prometheus() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/metrics.prom"
            let sink = PrometheusFile(path: path, run: "a \"b\"\\", totalSteps: 50)
            sink.rewind(to: 0)
            sink.record(sampleMetrics(10, validation: TaskScores(examples: 1, loss: 2.5, scores: [])))
            var metrics = sampleMetrics(20)
            metrics[.loss] = .nan
            sink.record(metrics)
            let text = try String(contentsOfFile: path, encoding: .utf8)
            let label = #"{run="a \"b\"\\"}"#
            for line in [
                "mneme_running\(label) 1", "mneme_steps_planned\(label) 50", "mneme_step_total\(label) 20", "mneme_tokens_total\(label) 20000",
                "# TYPE mneme_tokens_total counter", "mneme_loss\(label) NaN", "# TYPE mneme_loss gauge", "mneme_validation_loss\(label) 2.5",
                "# HELP mneme_loss mean training loss of the step's tokens (nats)",
            ] { #expect(text.split(separator: "\n").contains { $0 == line }, "\(line)\n\(text)") }
            sink.finish()
            #expect(try String(contentsOfFile: path, encoding: .utf8).contains("mneme_running\(label) 0\n"))
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["metrics.prom"])
        }
    }

    @Test("a place that Prometheus's file cannot be put into is told once")
    func noPlaceForPrometheus() throws {
        let sink = PrometheusFile(path: "/nonexistent/metrics.prom", run: "r", totalSteps: 1)
        sink.record(sampleMetrics(1))
        #expect(sink.takeProblem()?.contains("/nonexistent/metrics.prom: cannot be replaced: No such file or directory") == true)
        sink.record(sampleMetrics(2))
        #expect(sink.takeProblem() == nil)
    }

    @Test("a histogram counts every value once, in buckets that rise")
    func histogram() {
        let values: [Float] = [0, -0.0, 1, 1.1, -3, -3.9, 1e-30, Float.greatestFiniteMagnitude, -Float.leastNonzeroMagnitude]
        let result = GradientHistogram(name: "w", values: values, zeros: 5, scale: 2)
        #expect(result.count == 14 && result.buckets.reduce(0) { $0 + $1.count } == 14)
        #expect(result.minimum == Double(-3.9 as Float) * 2 && result.maximum == Double(Float.greatestFiniteMagnitude) * 2)
        #expect(zip(result.buckets, result.buckets.dropFirst()).allSatisfy { $0.limit < $1.limit })
        // Each value lies in the bucket whose limit is the first that is not below it.
        var counts = [Int](repeating: 0, count: result.buckets.count)
        for value in values + [0, 0, 0, 0, 0] {
            let wide = Double(value) * 2
            if let index = result.buckets.firstIndex(where: { wide < $0.limit || wide == $0.limit && wide < 0 }) ?? result.buckets.indices.last {
                counts[index] += 1
            }
        }
        #expect(counts == result.buckets.map(\.count), "\(result.buckets)")
        #expect(GradientHistogram(name: "none", values: []).count == 0)
    }
}

/// A sink that remembers.
private final class Recorder: MetricSink {
    var notes: [String] = []
    var steps: [Int] = []
    func record(_ metrics: StepMetrics) { steps.append(metrics.step) }
    func note(_ message: String) { notes.append(message) }
}

// metrics.jsonl: what lines say, what a resume keeps of them, what a full disk does.

import Diagnostics
import Foundation
import TestSupport
import Testing

import Training

/// A step with every figure, none of them round.
func sampleMetrics(_ step: Int, validation: TaskScores? = nil) -> StepMetrics {
    var metrics = StepMetrics(step: step)
    metrics[.tokens] = Double(step * 1000)
    metrics[.loss] = 1 / 3.0 / Double(step)
    metrics[.gradientNorm] = 0.1 + 0.2
    metrics[.learningRate] = 5e-324
    metrics[.seconds] = 1e21 / 3
    metrics[.tokensPerSecond] = 12345.678
    metrics.validation = validation
    return metrics
}

@Suite struct MetricsFileTests {
    private func lines(_ directory: String) throws -> [String] {
        try String(contentsOfFile: "\(directory)/metrics.jsonl", encoding: .utf8).split(separator: "\n").map(String.init)
    }

    @Test("the members are those of earlier versions, in their order; numbers read back to the same bits, and those that JSON lacks are null")
    func line() throws {
        var metrics = sampleMetrics(10, validation: TaskScores(examples: 7, loss: .nan, scores: [.init("perplexity", .infinity), .init("error", 0.1)]))
        metrics[.carriedGradientNorm] = -.infinity
        let text = try JSONText.line(metrics)
        #expect(
            text == """
                {"step":10,"tokens":10000,"loss":0.03333333333333333,"gradient_norm":0.30000000000000004,"carried_gradient_norm":null,\
                "learning_rate":5e-324,"seconds":3.333333333333333e+20,"tokens_per_second":12345.678,"validation_loss":null,\
                "validation_perplexity":null,"validation_error":0.1}
                """)
        let read = try #require(StepMetrics(line: Data(text.utf8)))
        for (metric, value) in metrics.entries where metric.group != .validation && value.isFinite {
            #expect(read[metric]?.bitPattern == value.bitPattern, "\(metric.name)")
        }
        #expect(read[.carriedGradientNorm]?.isNaN == true && read.validation?.loss?.isNaN == true)
        #expect(read.validation?.scores.contains(.init("error", 0.1)) == true)
    }

    @Test("a line of an earlier version, and one of a later version, is read")
    func otherVersions() throws {
        let old = #"{"step":20,"tokens":640,"loss":2.5,"gradient_norm":1.5,"learning_rate":0.001,"seconds":1.25,"tokens_per_second":512.0}"#
        let metrics = try #require(StepMetrics(line: Data(old.utf8)))
        #expect(metrics.step == 20 && metrics[.loss] == 2.5 && metrics[.tokens] == 640 && metrics.validation == nil)
        let later = try #require(StepMetrics(line: Data(#"{"step":3,"flavour":"sweet","weight":2.5}"#.utf8)))
        #expect(try JSONText.line(later) == #"{"step":3,"weight":2.5}"#)
        for wrong in ["", "{}", #"{"step":"#, #"{"step":1.5}"#, "[1]", "\0\0\0"] { #expect(StepMetrics(line: Data(wrong.utf8)) == nil, "\(wrong)") }
    }

    @Test("a resume keeps the lines up to its step, whatever a crash has left behind them", arguments: [
        "", #"{"step":35,"lo"#, #"{"step":40,"loss":1}"# + "\n" + #"{"step":50}"#, "\0\0\0\0\0\0", "\n\n", "nonsense\n",
    ])
    func rewinding(tail: String) throws {
        try withScratchDirectory { directory in
            let first = try MetricsFile(directory: directory)
            for step in [10, 20, 30] { first.record(sampleMetrics(step)) }
            let whole = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/metrics.jsonl"))
            try (whole + Data(tail.utf8)).write(to: URL(fileURLWithPath: "\(directory)/metrics.jsonl"))
            for (step, kept) in [(30, 3), (25, 2), (10, 1), (5, 0)] {
                let resumed = try MetricsFile(directory: directory)
                try resumed.rewind(to: step)
                #expect(try lines(directory).count == kept)
                #expect(resumed.last?.step == (kept > 0 ? kept * 10 : nil))
            }
        }
    }

    @Test("a last line without its end is a line")
    func noNewline() throws {
        try withScratchDirectory { directory in
            try #"{"step":1,"loss":2}"#.write(toFile: "\(directory)/metrics.jsonl", atomically: false, encoding: .utf8)
            let file = try MetricsFile(directory: directory)
            try file.rewind(to: 1)
            file.record(sampleMetrics(2))
            #expect(try lines(directory).count == 2)
            #expect(try lines(directory)[0] == #"{"step":1,"loss":2}"#)
        }
    }

    @Test("the evaluation of the last step completes its line, in this session and in the next one")
    func completing() throws {
        try withScratchDirectory { directory in
            let scores = TaskScores(examples: 3, loss: 1.5, scores: [.init("perplexity", 4.25)])
            let whole = try MetricsFile(directory: directory)
            for step in [1, 2] { whole.record(sampleMetrics(step, validation: step == 2 ? scores : nil)) }
            let expected = try lines(directory)
            try FileManager.default.removeItem(atPath: "\(directory)/metrics.jsonl")

            let first = MetricSinks([try MetricsFile(directory: directory)])
            try first.rewind(to: 0)
            #expect(!first.lacksValidation(of: 2))
            for step in [1, 2] { first.record(sampleMetrics(step)) }
            let second = MetricSinks([try MetricsFile(directory: directory)])
            try second.rewind(to: 2)
            #expect(second.lacksValidation(of: 2) && !second.lacksValidation(of: 1))
            second.complete(with: scores)
            #expect(try lines(directory) == expected)
            #expect(!second.lacksValidation(of: 2))
            second.record(sampleMetrics(3))
            #expect(try lines(directory).dropLast() == expected[...])
        }
    }

    @Test("while the disk is full lines wait, and are written when there is room", .enabled(if: TinyDisk.isPermitted))
    func fullDisk() throws {
        try withTinyDisk(kilobytes: 64) { directory in
            let sinks = MetricSinks([try MetricsFile(directory: directory)])
            try sinks.rewind(to: 0)
            sinks.record(sampleMetrics(1))
            try fill("\(directory)/filler")
            // More than a page, so that the last block of the file has no room either.
            for step in 2...100 { sinks.record(sampleMetrics(step)) }
            sinks.synchronize()
            let before = try lines(directory)
            #expect(before.count < 100 && before.allSatisfy { $0.hasSuffix("}") })
            try FileManager.default.removeItem(atPath: "\(directory)/filler")
            sinks.record(sampleMetrics(101))
            #expect(try lines(directory) == (1...101).map { try JSONText.line(sampleMetrics($0)) })
        }
    }

    @Test("what waits is bounded, and a problem is told once until writing works again", .enabled(if: TinyDisk.isPermitted))
    func boundedWaiting() throws {
        try withTinyDisk(kilobytes: 64) { directory in
            let file = try MetricsFile(directory: directory, mostWaiting: 2000)
            try fill("\(directory)/filler")
            var problems: [String] = []
            for step in 1...200 {
                file.record(sampleMetrics(step))
                if let problem = file.takeProblem() { problems.append(problem) }
            }
            #expect(problems.count == 1 && problems[0].contains("No space left on device") && problems[0].contains("wait in memory"))
            try FileManager.default.removeItem(atPath: "\(directory)/filler")
            file.finish()
            let kept = try lines(directory)
            #expect(kept.last == (try JSONText.line(sampleMetrics(200))) && kept.count < 200)
            #expect(file.takeProblem()?.contains("lost") == true)
        }
    }

    @Test("what cannot be opened is told before anything is trained, and a FIFO does not hang")
    func cannotBeOpened() throws {
        try withScratchDirectory { directory in
            mkfifo("\(directory)/metrics.jsonl", 0o600)
            let error = #expect(throws: UserError.self) { _ = try MetricsFile(directory: directory) }
            #expect(error?.exitCode == .inputOutput)
        }
    }

    private func fill(_ path: String) throws {
        let file = try AppendedFile(path)
        while file.append([UInt8](repeating: 1, count: 4096)) == nil {}
    }
}

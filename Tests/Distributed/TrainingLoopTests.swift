// What the loop does besides stepping: checkpoints by time, retention, fresh starts, evaluation and logging.

import Foundation
import Synchronization
import Testing
import TestSupport

@Suite(.serialized) struct TrainingLoopTests {
    private func step(_ line: String) -> Int? { Int(line.dropFirst("{\"step\":".count).prefix { $0.isNumber }) }

    @Test func logsAndEvaluatesWhenAsked() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch, "log.every=4", "evaluation.every=5", "steps=13")
            try run.train()
            #expect(run.metrics.compactMap(step) == [4, 5, 8, 10, 12, 13])
            #expect(run.metrics.filter { $0.contains("validation_loss") }.compactMap(step) == [5, 10, 13])
            let never = try TrainingRun(.windows, "never", in: scratch, "log.every=4", "evaluation.every=never", "steps=13")
            try never.train()
            #expect(never.metrics.compactMap(step) == [4, 8, 12, 13])
            #expect(!never.metrics.contains { $0.contains("validation_loss") })
            #expect(try never.differences(from: run, step: 13) == [])
        }
    }

    @Test func keepsTheNewestCheckpoints() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch, "checkpoint.every=2", "checkpoint.keep=3", "steps=11")
            try run.train()
            #expect(run.checkpointSteps == [8, 10, 11])
            #expect(run.leftovers == [])
        }
    }

    @Test func writesCheckpointsByTheClock() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(
                .windows, "run", in: scratch, "checkpoint.every=1 s", "checkpoint.keep=100", "steps=1000000", "log.every=10",
                "evaluation.every=never")
            let session = try run.start()
            #expect(session.wait { run.checkpointSteps.count >= 2 })
            kill(session.identifier, SIGTERM)
            let end = try session.finish()
            #expect(end.status == 75, "\(end.standardError)")
            #expect(run.checkpointSteps.count >= 3, "\(run.checkpointSteps)")
            #expect(Double(run.checkpointSteps.count) <= end.seconds + 2, "more often than once a second: \(run.checkpointSteps) in \(end.seconds) s")
        }
    }

    @Test func aFinishedRunIsFinished() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch)
            try run.train()
            let metrics = run.metrics
            let again = try run.train()
            #expect(again.standardError.contains("resuming at step 12"))
            #expect(run.metrics == metrics && run.checkpointSteps == [9, 12])
        }
    }

    @Test func startsAfreshWhenAsked() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch)
            try run.train()
            let first = run.timelessMetrics
            let other = try run.with("seed=8").train(flags: "--fresh")
            #expect(other.standardError.contains("starting at step 0"))
            #expect(run.metrics.count == 12 && run.timelessMetrics != first)
            let log = try String(contentsOfFile: run.directory + "/log.txt", encoding: .utf8)
            // Twelve steps, and the line of the goodput.
            #expect(log.split(separator: "\n").count == 13)
        }
    }

    @Test func bucketsAreMeasuredOnceForEachNumberOfRanks() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch, "model.width=256", "evaluation.every=never", "batch.length=16", "steps=1")
            func record() throws -> [[String: Any]] {
                let data = try Data(contentsOf: URL(fileURLWithPath: run.directory + "/gradient-buckets.json"))
                return try #require(JSONSerialization.jsonObject(with: data) as? [[String: Any]])
            }
            try run.trainOnThreads(2)
            let first = try record()
            #expect(first.map { $0["ranks"] as? Int } == [2])
            try run.with("steps=2").trainOnThreads(3)
            let second = try record()
            #expect(second.map { $0["ranks"] as? Int } == [2, 3])
            // What two ranks have measured holds for their later sessions, and a size in the run file measures nothing.
            try run.with("steps=3").trainOnThreads(2)
            try run.with("steps=4", "parallel.bucketBytes=100000").trainOnThreads(4)
            #expect(try record() as NSArray == second as NSArray)
            try "{".write(toFile: run.directory + "/gradient-buckets.json", atomically: true, encoding: .utf8)
            let said = Mutex<[String]>([])
            try run.with("steps=5").trainOnThreads(2) { line in said.withLock { $0.append(line) } }
            #expect(said.withLock { $0.contains { $0.contains("gradient-buckets.json: is no record of bucket sizes") } }, "\(said.withLock { $0 })")
            #expect(try record().count == 1)
            let small = try TrainingRun(.windows, "small", in: scratch, "steps=1")
            try small.trainOnThreads(2)
            #expect(!FileManager.default.fileExists(atPath: small.directory + "/gradient-buckets.json"))
        }
    }

    @Test func aDryRunPrintsWhatItWouldTrain() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch)
            let dry = try run.train(flags: "--dry-run")
            #expect(dry.standardOutput.contains("momentum") == false && dry.standardOutput.contains("shardOptimizer: false"), "\(dry.standardOutput)")
            #expect(!FileManager.default.fileExists(atPath: run.directory))
        }
    }
}

// One session at a time in a run directory.

import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct SessionOwnershipTests {
    @Test("a second session is refused, names the first, and does it no harm", arguments: [nil, 2] as [Int?])
    func twoSessions(ranks: Int?) throws {
        guard ranks == nil || MPIRun.launcher != nil else { return }
        try withScratchDirectory { scratch in
            let settings = "steps=400"
            let run = try TrainingRun(.eraseAdd, "run", in: scratch, settings, "checkpoint.every=20", "evaluation.every=never")
            let first = try run.start(ranks: ranks)
            #expect(first.wait { run.metrics.count >= 3 })
            for flags in [[], ["--fresh"]] {
                let second = try MPIRun.start(ranks: ranks, executable: "mneme", arguments: run.arguments + flags, extraEnvironment: [:]).finish()
                let isOver = run.metrics.count >= 400
                #expect(isOver || second.status == 69, "\(second.standardError)")
                #expect(isOver || second.standardError.contains("another session has this run directory: process "), "\(second.standardError)")
            }
            let end = try first.finish()
            #expect(end.status == 0, "\(end.standardError)")
            #expect(run.metrics.count == 400)
            let whole = try TrainingRun(.eraseAdd, "whole", in: scratch, settings, "checkpoint.every=20", "evaluation.every=never")
            try whole.train(ranks: ranks)
            try run.expectSame(as: whole, step: 400)
        }
    }

    @Test("session.json says how the last session ended; a session that died is taken over at once")
    func records() throws {
        try withScratchDirectory { scratch in
            func record(_ run: TrainingRun) throws -> [String: Any] {
                let data = try Data(contentsOf: URL(fileURLWithPath: "\(run.directory)/session.json"))
                return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
            }
            let run = try TrainingRun(.eraseAdd, "run", in: scratch, "steps=300", "checkpoint.every=50", "evaluation.every=never")
            let first = try run.start()
            #expect(first.wait { run.metrics.count >= 60 && run.checkpointSteps == [50] })
            kill(first.identifier, SIGKILL)
            _ = try first.finish()
            #expect(try record(run)["outcome"] as? String == "running")
            #expect(FileManager.default.fileExists(atPath: "\(run.directory)/run.lock"))

            let second = try run.start()
            #expect(second.wait { run.metrics.count >= 120 })
            kill(second.identifier, SIGTERM)
            let stopped = try second.finish()
            #expect(stopped.status == 75 && stopped.standardError.contains("taking over from process \(first.identifier)"), "\(stopped.standardError)")
            #expect(stopped.standardError.contains("ended without a word after step 50"), "\(stopped.standardError)")
            #expect(try record(run)["outcome"] as? String == "stopped" && record(run)["mayBeStartedAgain"] as? Bool == true)
            #expect(try record(run)["exitCode"] as? Int == 75 && record(run)["message"] as? String == "SIGTERM")

            try run.train()
            #expect(try record(run)["outcome"] as? String == "finished" && record(run)["mayBeStartedAgain"] as? Bool == false)
            #expect(try record(run)["step"] as? Int == 300 && record(run)["checkpoint"] as? Int == 300)
            #expect(!FileManager.default.fileExists(atPath: "\(run.directory)/run.lock"))

            let failed = try MPIRun.runAlone(executable: "mneme", arguments: run.with("optimizer.learningRate=1e30", "steps=310").arguments)
            #expect(failed.status == 65)
            #expect(try record(run)["outcome"] as? String == "failed" && record(run)["mayBeStartedAgain"] as? Bool == false)
        }
    }
}

// Ranks that do not move: named by those that wait, and the job ends with 69.

import Foundation
import Testing
import TestSupport

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct StandstillTests {
    private func run(_ name: String, in scratch: String, _ settings: String...) throws -> TrainingRun {
        var run = try TrainingRun(.eraseAdd, name, in: scratch, "evaluation.every=never", "watchdog.atLeast=2", "watchdog.first=30")
        run.settings += settings
        return run
    }

    @Test("a rank that is stopped: the others name it, and the session after goes on", arguments: [0, 1])
    func stopped(rank: Int) throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch, "steps=100000", "checkpoint.every=2000")
            let session = try run.start(ranks: 2)
            let isThere = session.wait { run.metrics.count >= 4 }
            let stopped = session.ranks[rank]
            try #require(isThere && kill(stopped, SIGSTOP) == 0)
            let end = try session.finish()
            kill(stopped, SIGKILL)
            #expect(end.status == 69, "\(end.status): \(end.standardError.suffix(600))")
            #expect(end.standardError.contains("rank \(rank) (") && end.standardError.contains("process \(stopped)) does not answer"), "\(end.standardError.suffix(600))")
            #expect(end.standardError.contains("nothing has moved for"))
            let record = try String(contentsOfFile: "\(run.directory)/session.json", encoding: .utf8)
            // Rank 0 keeps the record: where it is the one that is stopped, the next session sees that it ended without a word.
            #expect(record.contains(rank == 0 ? "\"running\"" : "does not answer"), "\(record)")
            let next = try run.with("steps=\(run.metrics.count + 2)").train(ranks: 2)
            #expect(next.standardError.contains("step "))
        }
    }

    @Test("a rank that hangs in a write is named with its section")
    func hangs() throws {
        try withScratchDirectory { scratch in
            var run = try run("run", in: scratch, "steps=100000", "checkpoint.every=20")
            run.environment["MNEME_FAILPOINT"] = "evaluation.batch:6:stall@1"
            run.settings += ["evaluation.every=10"]
            let end = try run.start(ranks: 2).finish()
            #expect(end.status == 69, "\(end.status): \(end.standardError.suffix(600))")
            #expect(end.standardError.contains("rank 1 (") && end.standardError.contains("it has been in evaluation"), "\(end.standardError.suffix(600))")
        }
    }

    @Test("a rank that stops by a defect of its own is gone at once, and the others with it", arguments: [0, 1])
    func defect(rank: Int) throws {
        try withScratchDirectory { scratch in
            var run = try run("run", in: scratch, "steps=100000", "checkpoint.every=20", "watchdog.enabled=false")
            run.environment["MNEME_FAILPOINT"] = "evaluation.batch:6:trap@\(rank)"
            run.settings += ["evaluation.every=10"]
            let end = try run.start(ranks: 2).finish()
            #expect(end.status != 0 && !end.isTimedOut)
            #expect(end.standardError.contains("the failpoint evaluation.batch traps"), "\(end.standardError.suffix(600))")
        }
    }

    @Test("without the watchdog, and with it when all is well, nothing is said")
    func quiet() throws {
        try withScratchDirectory { scratch in
            let with = try TrainingRun(.eraseAdd, "with", in: scratch, "steps=20")
            let without = try TrainingRun(.eraseAdd, "without", in: scratch, "steps=20", "watchdog.enabled=false")
            #expect(try !with.train(ranks: 2).standardError.contains("moved"))
            #expect(try !without.train(ranks: 2).standardError.contains("moved"))
            try with.expectSame(as: without, step: 20)
        }
    }
}

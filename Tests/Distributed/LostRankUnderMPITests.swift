// Ranks that are killed under Open MPI 5, and the others that go on.

import Foundation
import Testing
import TestSupport

@Suite(.serialized, .enabled(if: MPIRun.hasFaultTolerance, "the mpirun in PATH is not Open MPI 5's"))
struct LostRankUnderMPITests {
    @Test("a rank is killed: the others go on at once, and nothing is lost", arguments: [0, 1, 2], [false, true])
    func killed(rank: Int, isShared: Bool) throws {
        try withScratchDirectory { scratch in
            func run(_ name: String) throws -> TrainingRun {
                try TrainingRun(
                    .carried, name, in: scratch, "parallel.reproducible=true", "batch.groups=8", "steps=150", "checkpoint.every=never", "evaluation.every=50",
                    "parallel.shardOptimizer=\(isShared)", "parallel.gradients=int8")
            }
            let whole = try run("whole")
            try whole.trainOnThreads(1)
            let run = try run("run")
            let session = try MPIRun.start(
                ranks: 3, options: ["--with-ft", "ulfm"], executable: "mneme", arguments: run.arguments, extraEnvironment: run.environment)
            let isThere = session.wait { run.metrics.count >= 20 }
            try #require(isThere && kill(session.ranks[rank], SIGKILL) == 0)
            let end = try session.finish()
            #expect(!end.isTimedOut)
            #expect(end.standardError.contains("rank \(rank) was lost after step ") && end.standardError.contains("with 2 ranks, and nothing is lost"), "\(end.standardError)")
            try run.expectSame(as: whole, step: 150)
            let record = try String(contentsOfFile: "\(run.directory)/session.json", encoding: .utf8)
            #expect(record.contains("\"finished\""), "\(record)")
        }
    }
}

// Runs that are killed and started again give the same numbers as runs that nobody disturbed.

import Foundation
import Testing
import TestSupport

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct TrainingResumeTests {
    /// Starts a session, kills one of its processes when `lines` steps are logged, and waits for the end.
    private func killed(_ run: TrainingRun, ranks: Int?, rank: Int = 0, whenLogged lines: Int) throws -> FinishedRun {
        let session = try run.start(ranks: ranks)
        let isThere = session.wait { run.metrics.count >= lines }
        let victim = ranks == nil ? session.identifier : session.ranks[rank]
        try #require(isThere && kill(victim, SIGKILL) == 0)
        let end = try session.finish()
        #expect(end.isKilled && !end.isTimedOut, "status \(end.status): \(end.standardError)")
        return end
    }

    @Test(arguments: [TrainingFixture.Kind.streams, .pairs, .carriedMachine, .generated])
    func alone(kind: TrainingFixture.Kind) throws {
        try withScratchDirectory { scratch in
            let whole = try TrainingRun(kind, "whole", in: scratch, "steps=24")
            try whole.train()
            let run = try TrainingRun(kind, "killed", in: scratch, "steps=24")
            _ = try killed(run, ranks: nil, whenLogged: 8)
            #expect(run.metrics.count < 24, "the run ended before it was killed")
            let second = try run.train()
            #expect(second.standardError.contains("resuming at step"), "\(second.standardError)")
            try run.expectSame(as: whole, step: 24)
        }
    }

    @Test(arguments: zip([TrainingFixture.Kind.windows, .carriedWords, .turingMachine], [0, 1, 0]))
    func twoRanks(kind: TrainingFixture.Kind, rank: Int) throws {
        try withScratchDirectory { scratch in
            let whole = try TrainingRun(kind, "whole", in: scratch, "steps=24")
            try whole.train(ranks: 2)
            let run = try TrainingRun(kind, "killed", in: scratch, "steps=24")
            _ = try killed(run, ranks: 2, rank: rank, whenLogged: 8)
            #expect(run.metrics.count < 24, "the run ended before it was killed")
            let second = try run.train(ranks: 2)
            #expect(second.standardError.contains("resuming at step"), "\(second.standardError)")
            try run.expectSame(as: whole, step: 24)
        }
    }

    @Test("in two sessions, as in one: every kind of model and of data, ranks being threads", arguments: TrainingFixture.Kind.allCases)
    func twoSessions(kind: TrainingFixture.Kind) throws {
        try withScratchDirectory { scratch in
            for ranks in [1, 2] {
                let whole = try TrainingRun(kind, "whole\(ranks)", in: scratch, "evaluation.every=never")
                try whole.trainOnThreads(ranks)
                let run = try TrainingRun(kind, "stopped\(ranks)", in: scratch, "evaluation.every=never")
                try run.with("steps=7").trainOnThreads(ranks)
                #expect(run.checkpointSteps.last == 7 && run.metrics.count == 7)
                try run.trainOnThreads(ranks)
                try run.expectSame(as: whole)
            }
        }
    }

    @Test("in bfloat16, with layers computed again, two threads a rank", arguments: [TrainingFixture.Kind.windows, .pairs])
    func bfloat16(kind: TrainingFixture.Kind) throws {
        try withScratchDirectory { scratch in
            let settings = ["steps=24", "precision=bfloat16", "model.recompute=true", "parallel.threads=2"]
            var (whole, run) = (try TrainingRun(kind, "whole", in: scratch), try TrainingRun(kind, "killed", in: scratch))
            whole.settings = settings
            run.settings = settings
            try whole.train(ranks: 2)
            _ = try killed(run, ranks: 2, whenLogged: 8)
            try run.train(ranks: 2)
            try run.expectSame(as: whole, step: 24)
        }
    }

    @Test("a run goes on in the other precision where that is accepted")
    func changeOfPrecision() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch)
            try run.train()
            let second = try run.with("steps=15", "precision=bfloat16").train(flags: "--accept", "precision")
            #expect(second.standardError.contains("resuming at step 12"), "\(second.standardError)")
            #expect(run.checkpointSteps.max() == 15)
        }
    }

    @Test(
        "a model that reads word by word is evaluated and generates after training",
        arguments: [
            TrainingFixture.Kind.recurrent, .carriedWords, .carriedMachine, .carriedComputer, .carriedSegments, .carriedDeltaNet, .carriedSparseRows,
        ])
    func languageCommands(kind: TrainingFixture.Kind) throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(kind, "run", in: scratch)
            try run.train()
            try "Mary went".write(toFile: "\(scratch)/prompt.txt", atomically: true, encoding: .utf8)
            let generate = ["generate", run.directory, "\(scratch)/prompt.txt", "--maximum-tokens", "5", "--temperature", "0"]
            for arguments in [["evaluate", run.directory, "--json"], generate] {
                let result = try MPIRun.runAlone(executable: "mneme", arguments: arguments)
                #expect(result.status == 0 && !result.standardOutput.isEmpty, "\(arguments): \(result.standardError)")
            }
        }
    }

    @Test("killed at any moment, checkpoints are complete or absent")
    func killsWhileWriting() throws {
        try withScratchDirectory { scratch in
            let settings = ["steps=36", "checkpoint.every=1", "model.width=128", "evaluation.every=never", "checkpoint.keep=3"]
            var whole = try TrainingRun(.windows, "whole", in: scratch)
            whole.settings = settings
            try whole.train(ranks: 2)
            var run = try TrainingRun(.windows, "killed", in: scratch)
            run.settings = settings
            var kills = 0
            var delays = [3, 29, 17].makeIterator()
            while kills < 3, let delay = delays.next() {
                let before = run.metrics.count
                let session = try run.start(ranks: 2)
                guard session.wait(until: { run.metrics.count >= before + 4 }) else {
                    _ = try session.finish()
                    break
                }
                usleep(UInt32(delay * 500))
                let children = session.ranks
                if session.isRunning, children.count == 2 { kill(children[kills % 2], SIGKILL) }
                let end = try session.finish()
                kills += end.isKilled ? 1 : 0
                let verified = try MPIRun.runAlone(
                    executable: "mneme", arguments: ["checkpoint", "verify"] + run.checkpointSteps.map { "\(run.directory)/step-\($0)" })
                #expect(verified.status == 0, "after kill \(kills): \(verified.standardOutput)\(verified.standardError)")
                if end.status == 0 { break }
            }
            #expect(kills == 3)
            let last = try run.train(ranks: 2)
            #expect(!last.standardError.contains("passing over"), "\(last.standardError)")
            #expect(run.leftovers == [])
            try run.expectSame(as: whole, step: 36)
        }
    }
}

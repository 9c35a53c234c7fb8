// Steps that go wrong: what each policy makes of them, on several ranks of which one alone sees the fault.

import Diagnostics
import Foundation
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct RecoveryTests {
    /// A session on two ranks; the gradient of the fifth step has a NaN on rank 1.
    private func session(_ run: TrainingRun, failpoint: String? = "step.gradient:4:error@1", ranks: Int? = 2) throws -> FinishedRun {
        var run = run
        run.environment["MNEME_FAILPOINT"] = failpoint
        return try MPIRun.start(ranks: ranks, executable: "mneme", arguments: run.arguments, extraEnvironment: run.environment).finish()
    }

    private func run(_ name: String, in scratch: String, _ settings: String...) throws -> TrainingRun {
        var run = try TrainingRun(.carried, name, in: scratch)
        run.settings += settings
        return run
    }

    @Test("a step that is skipped leaves parameters and lanes as they were, and is counted")
    func skipped() throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch, "recovery.notFinite=skip")
            let session = try session(run)
            #expect(session.status == 0, "\(session.standardError)")
            #expect(session.standardError.contains("step 5 is skipped: another rank's gradient went wrong"), "\(session.standardError)")
            #expect(run.metrics.count == 12)
            #expect(run.metrics[3].contains("skipped_steps") == false && run.metrics[11].contains(#""skipped_steps":1"#), "\(run.metrics)")
            // What was skipped is part of the state: a resume counts on.
            let more = try self.session(run.with("steps=14"), failpoint: nil)
            #expect(more.status == 0 && run.metrics[13].contains(#""skipped_steps":1"#), "\(more.standardError)")
        }
    }

    @Test("a step that is repeated gives the bits of a run without the fault")
    func repeated() throws {
        try withScratchDirectory { scratch in
            let whole = try run("whole", in: scratch)
            #expect(try session(whole, failpoint: nil).status == 0)
            let run = try run("run", in: scratch, "recovery.notFinite=repeat")
            let session = try session(run)
            #expect(session.status == 0 && session.standardError.contains("step 5 was repeated"), "\(session.standardError)")
            try run.expectSame(as: whole)
        }
    }

    @Test("a run goes back to its newest checkpoint, leaves out the batches since, and reaches its end")
    func back() throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch, "recovery.notFinite=back")
            let session = try session(run)
            #expect(session.status == 0, "\(session.standardError)")
            #expect(session.standardError.contains("the run goes back to step 3 and leaves out 2 batches"), "\(session.standardError)")
            #expect(run.metrics.count == 12 && run.checkpointSteps.last == 12)
        }
    }

    @Test("a fault that comes at every start ends with 65, and with 73 at the third")
    func noProgress() throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch, "checkpoint.every=never")
            for status in [65, 65, 73, 73] as [Int32] {
                let session = try session(run)
                #expect(session.status == status, "\(session.standardError)")
                #expect(session.standardError.contains("sessions before came to no new checkpoint either") == (status == 73), "\(session.standardError)")
            }
            #expect(try session(run, failpoint: nil).status == 0)
        }
    }

    @Test("a gradient beyond the usual is told from those before it, and too many skipped steps end the run")
    func spikes() throws {
        try withScratchDirectory { scratch in
            let spiky = ["optimizer.clip=0", "recovery.spikeAfter=3", "recovery.spikeFactor=1.0001", "steps=60", "evaluation.every=never"]
            var run = try TrainingRun(.eraseAdd, "run", in: scratch)
            run.settings += spiky
            let session = try session(run, failpoint: nil, ranks: nil)
            #expect(session.status == 65, "\(session.standardError)")
            #expect(session.standardError.contains("times the usual"), "\(session.standardError)")
            #expect(session.standardError.contains("it is the 11th step of the last 100 that went wrong, more than recovery.limit"), "\(session.standardError)")
        }
    }

    @Test("ranks that compute their neighbour's part again: the bits of a run without, on any number of ranks; a rank that computes wrong is found")
    func verified() throws {
        try withScratchDirectory { scratch in
            for kind in [TrainingFixture.Kind.carriedComputer, .pairs] {
                func run(_ name: String) throws -> TrainingRun {
                    try TrainingRun(kind, "\(kind)-\(name)", in: scratch, "parallel.reproducible=true", "batch.groups=8", "steps=6")
                }
                let whole = try run("whole")
                try whole.trainOnThreads(1)
                for ranks in [1, 3, 4] {
                    let verified = try run("on\(ranks)").with("parallel.verify=2")
                    try verified.trainOnThreads(ranks)
                    #expect(try verified.differences(from: whole, step: 6) == [])
                }
            }
            let run = try run("faulty", in: scratch, "parallel.reproducible=true", "batch.groups=8", "parallel.verify=2")
            // A rank passes the place twice in a checked step: with its neighbour's part, and with its own as it trains.
            let one = try session(run, failpoint: "step.verify:2:error@1", ranks: 2)
            #expect(one.status == 69 && one.standardError.contains("step 4: rank 0"), "\(one.standardError)")
            #expect(one.standardError.contains("compute different bits of the same part"), "\(one.standardError)")
            let both = try session(run, failpoint: "step.verify:0:error@1,step.verify:0:error@1", ranks: 3)
            #expect(both.status == 69 && both.standardError.contains("computes other bits than both of its neighbours"), "\(both.standardError)")
            #expect(both.standardError.contains("rank 1 ("), "\(both.standardError)")
            #expect(try session(run, failpoint: nil, ranks: 3).status == 0)
            // What faulty ranks had computed is in no checkpoint.
            let steady = try self.run("steady", in: scratch, "parallel.reproducible=true", "batch.groups=8")
            try steady.trainOnThreads(1)
            #expect(try run.differences(from: steady) == [])
        }
    }
}

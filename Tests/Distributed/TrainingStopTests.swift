// Requests to stop: all ranks end at the next step with a checkpoint and code 75, and nothing is lost.

import Foundation
import Testing
import TestSupport

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct TrainingStopTests {
    private static let steps = 40

    private func run(_ name: String, in scratch: String, _ kind: TrainingFixture.Kind = .windows) throws -> TrainingRun {
        // An evaluation each step: wherever the stop falls, the next session has one to make up for.
        try TrainingRun(kind, name, in: scratch, "steps=\(Self.steps)", "checkpoint.every=1000", "evaluation.every=1")
    }

    /// Sends a signal when four steps are logged, and checks the end of the session.
    /// - Parameter steps: those of the run.
    private func stopped(_ run: TrainingRun, _ session: StartedRun, signal: Int32, before steps: Int = steps, to target: () -> Int32) throws {
        let isThere = session.wait { run.metrics.count >= 4 }
        try #require(isThere && kill(target(), signal) == 0)
        let end = try session.finish()
        #expect(end.status == 75, "\(end.standardError)")
        #expect(end.standardError.contains("a checkpoint is written, start the run again to go on"), "\(end.standardError)")
        let logged = run.metrics.count
        #expect(logged < steps && run.checkpointSteps == [logged], "\(logged) steps, checkpoints \(run.checkpointSteps)")
        let last = run.metrics.last ?? ""
        #expect(!last.contains("validation_loss"), "a stop does not wait for an evaluation: \(last)")
    }

    @Test func alone() throws {
        try withScratchDirectory { scratch in
            let whole = try run("whole", in: scratch, .streams)
            try whole.train()
            for signal in [SIGTERM, SIGUSR1, SIGINT, SIGHUP, SIGUSR2, SIGXCPU] {
                let run = try run("stopped\(signal)", in: scratch, .streams)
                let session = try run.start()
                try stopped(run, session, signal: signal) { session.identifier }
                try run.train()
                try run.expectSame(as: whole, step: Self.steps)
            }
        }
    }

    @Test("the run file says which signals ask; the others do what the system says, and nohup's HUP is passed over")
    func signalsOfTheRunFile() throws {
        try withScratchDirectory { scratch in
            let asked = try run("asked", in: scratch).with("signals=[ALRM, USR1]")
            let first = try asked.start()
            try stopped(asked, first, signal: SIGALRM) { first.identifier }
            let ended = try run("ended", in: scratch).with("signals=[ALRM, USR1]", "steps=4000", "evaluation.every=never")
            let session = try ended.start()
            let isThere = session.wait { ended.metrics.count >= 4 }
            try #require(isThere && kill(session.identifier, SIGTERM) == 0)
            #expect(try session.finish().status == 128 + SIGTERM && ended.checkpointSteps == [])

            let kept = try run("kept", in: scratch)
            let program = MPIRun.productsFolder.path + "/mneme"
            let script = try MPIRun.start(ranks: nil, executable: "/bin/sh", arguments: ["-c", "trap '' HUP; exec \"$0\" \"$@\"", program] + kept.arguments)
            let isTraining = script.wait { kept.metrics.count >= 4 }
            try #require(isTraining && kill(script.identifier, SIGHUP) == 0)
            #expect(try script.finish().status == 0 && kept.metrics.count == Self.steps)
        }
    }

    enum Target: Sendable, CaseIterable { case firstRank, lastRank, launcher }

    @Test func twoRanks() throws {
        try withScratchDirectory { scratch in
            let whole = try run("whole", in: scratch)
            try whole.train(ranks: 2)
            for (target, signal) in zip(Target.allCases, [SIGTERM, SIGUSR1, SIGUSR1]) {
                let run = try run("stopped-\(target)", in: scratch)
                let session = try run.start(ranks: 2)
                try stopped(run, session, signal: signal) {
                    switch target {
                    case .firstRank: session.ranks[0]
                    case .lastRank: session.ranks[1]
                    case .launcher: session.identifier
                    }
                }
                try run.train(ranks: 2)
                try run.expectSame(as: whole, step: Self.steps)
            }
        }
    }

    /// Open MPI's mpirun passes SIGTERM on to the ranks and kills them a second later; its own code is not theirs. Others wait for the ranks.
    @Test func terminatingTheLauncherItselfLosesNothing() throws {
        try withScratchDirectory { scratch in
            let whole = try run("whole", in: scratch)
            try whole.train(ranks: 2)
            let run = try run("stopped", in: scratch)
            let session = try run.start(ranks: 2)
            let isThere = session.wait { run.metrics.count >= 4 }
            try #require(isThere && kill(session.identifier, SIGTERM) == 0)
            let end = try session.finish()
            // The second that the ranks have is enough for this model's checkpoint, or it is not.
            #expect(!end.isTimedOut && end.status != 0, "\(end.standardError)")
            let saved = run.checkpointSteps
            let second = try run.train(ranks: 2)
            #expect(second.standardError.contains(saved.isEmpty ? "starting at step 0" : "resuming at step \(saved[0]) "), "\(second.standardError)")
            try run.expectSame(as: whole, step: Self.steps)
        }
    }

    @Test(arguments: [SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGXCPU])
    func theLaunchScriptPassesItOn(signal: Int32) throws {
        try withScratchDirectory { scratch in
            // So many that the run cannot be at its end before the signal has gone through script and launcher to the ranks.
            let steps = 100 * Self.steps
            let run = try run("stopped", in: scratch).with("steps=\(steps)")
            let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../launch/mpirun").standardized
            let session = try MPIRun.start(
                ranks: nil, executable: script.path, arguments: ["2"] + run.arguments,
                extraEnvironment: MPIRun.environment.merging(["MNEME": MPIRun.productsFolder.path + "/mneme"]) { $1 })
            try stopped(run, session, signal: signal, before: steps) { session.identifier }
        }
    }

    @Test("signals that come while oneDNN computes change no number and no memory", arguments: ["DEFAULT", "AVX2"])
    func duringProducts(instructions: String) throws {
        let run = try MPIRun.start(
            ranks: nil, executable: "distributed-checks", arguments: ["signals"], extraEnvironment: ["ONEDNN_MAX_CPU_ISA": instructions]
        ).finish()
        #expect(run.status == 0, "\(run.status): \(run.standardError.suffix(400))")
    }

    @Test("a fault that another process sends ends a session without the words of a crash", arguments: [SIGSEGV, SIGABRT, SIGQUIT, SIGBUS])
    func faultsFromOutside(signal: Int32) throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch).with("steps=4000", "evaluation.every=never")
            let session = try run.start()
            let isThere = session.wait { run.metrics.count >= 4 }
            try #require(isThere && kill(session.identifier, signal) == 0)
            let end = try session.finish()
            #expect(end.status == 128 + signal && !end.standardError.contains("crashed"), "\(end.status): \(end.standardError.suffix(400))")
        }
    }

    @Test("launch/mpirun binds no rank to a part of its node: each may use every core", arguments: [1, 2])
    func bindsNothing(ranks: Int) throws {
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../launch/mpirun").standardized
        let nproc = try MPIRun.runAlone(executable: "/usr/bin/env", arguments: ["nproc"]).standardOutput
        let run = try MPIRun.runAlone(
            executable: script.path, arguments: ["\(ranks)", "--ignore=0"],
            extraEnvironment: MPIRun.environment.merging(["MNEME": "/usr/bin/nproc"]) { $1 })
        #expect(run.status == 0 && run.standardOutput == String(repeating: nproc, count: ranks), "\(run.standardOutput)\(run.standardError)")
    }

    @Test("a shard that is cut off while it is mapped ends the run with a line that names it", arguments: [nil, 2])
    func shardCutOff(ranks: Int?) throws {
        try withScratchDirectory { scratch in
            let corpus = "\(scratch)/text"
            try FileManager.default.copyItem(atPath: "\(TrainingFixture.shared().directory)/text", toPath: corpus)
            let run = try run("run", in: scratch).with("steps=100000", "evaluation.every=never", "corpus.shards=\(corpus)")
            let session = try run.start(ranks: ranks)
            let isThere = session.wait { run.metrics.count >= 4 }
            try #require(isThere)
            for name in try FileManager.default.contentsOfDirectory(atPath: corpus) where name.hasSuffix(".h5") { truncate("\(corpus)/\(name)", 0) }
            let end = try session.finish()
            #expect(end.status == 74, "\(end.status): \(end.standardError.suffix(400))")
            #expect(end.standardError.contains("mneme: error: \(corpus)/shard-"), "\(end.standardError.suffix(400))")
            #expect(end.standardError.contains(": bytes of it have gone while it was read") && !end.standardError.contains("crashed"))
        }
    }

    @Test("a reader that goes away does not end a run")
    func brokenPipe() throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch)
            let command = ([MPIRun.productsFolder.path + "/mneme"] + run.arguments).map { "'\($0)'" }.joined(separator: " ")
            let end = try MPIRun.runAlone(executable: "/bin/bash", arguments: ["-c", "set -o pipefail; \(command) 2>&1 | head -n 3 >/dev/null"])
            #expect(end.status == 0 && run.metrics.count == Self.steps, "\(end.status)")
        }
    }
}

// Damage on purpose: a session is killed, or fails, at every step of a save, a removal, a replacement, a rewind and --fresh, and the next one goes on.

import Checkpoints
import Diagnostics
import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct FailpointTests {
    /// A run of 12 steps with a checkpoint at each second one.
    private func run(_ name: String, in scratch: String) throws -> TrainingRun {
        try TrainingRun(.eraseAdd, name, in: scratch, "checkpoint.every=2", "checkpoint.keep=2")
    }

    private func session(_ run: TrainingRun, failpoint: String?, ranks: Int? = nil, flags: [String] = []) throws -> FinishedRun {
        var run = run
        run.environment["MNEME_FAILPOINT"] = failpoint
        return try MPIRun.start(ranks: ranks, executable: "mneme", arguments: run.arguments + flags, extraEnvironment: run.environment).finish()
    }

    /// The names in a run directory that a crash may leave and a start has to clear away.
    private func hidden(_ run: TrainingRun) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: run.directory)) ?? []).filter { $0.hasPrefix(".") || $0.contains("lock") }
    }

    /// The places of a save, of the removal of an old checkpoint, and of the files beside them.
    private static let ofSaves: [Failpoint] = [
        .shardWrite, .shardSync, .joinedWrite, .partialSync, .publishRename, .publishedSync, .exchangedRemove, .removalRename, .removalSync,
        .removalUnlink, .removalDirectory, .fileWrite, .fileSync, .fileRename, .directorySync, .sessionWrite, .logWrite,
    ]

    /// How often a place is passed before the kill. MNEME_CAMPAIGN=1 kills a hundred times in all.
    private static let passes = ProcessInfo.processInfo.environment["MNEME_CAMPAIGN"] == nil ? [0, 2] : Array(0..<6)

    @Test("killed at every step of a save and of a removal: the next session goes on, bit for bit, and leaves nothing behind", arguments: ofSaves)
    func killedAtASave(_ point: Failpoint) throws {
        try withScratchDirectory { scratch in
            let steps = 20
            let whole = try run("whole", in: scratch).with("steps=\(steps)")
            try whole.train()
            // With parity, every second shard is parity.
            let ofParity = [.shardWrite, .shardSync].contains(point) ? [1, 3] : []
            for (after, parity) in Self.passes.map({ ($0, false) }) + ofParity.map({ ($0, true) }) {
                let run = try run("killed\(after)-\(parity)", in: scratch).with("steps=\(steps)", "checkpoint.parity=\(parity)")
                let first = try session(run, failpoint: "\(point.rawValue):\(after):kill")
                #expect(first.status == 137, "\(point.rawValue) after \(after): \(first.status) \(first.standardError)")
                // Every checkpoint that has its name is whole.
                for step in run.checkpointSteps { try CheckpointReader(directory: "\(run.directory)/step-\(step)").verify() }
                let second = try session(run, failpoint: nil)
                #expect(second.status == 0, "\(second.standardError)")
                #expect(!second.standardError.contains("passing over"))
                try run.expectSame(as: whole, step: steps)
                #expect(hidden(run) == [])
                #expect(run.checkpointSteps == [steps - 2, steps])
            }
        }
    }

    @Test("killed while metrics are cut back, and while a checkpoint of the same step is replaced")
    func killedAtAResume() throws {
        try withScratchDirectory { scratch in
            let whole = try run("whole", in: scratch)
            try whole.train()
            for point in [Failpoint.logRewind, .publishRename, .publishedSync, .exchangedRemove] {
                let run = try run("killed-\(point.rawValue)", in: scratch)
                try run.train()
                // The newest checkpoint is damaged: step 12 is done again and replaced, its metrics are cut.
                let shard = "\(run.directory)/step-12/shard-0-of-1.h5"
                try Data("damage".utf8).write(to: URL(fileURLWithPath: shard))
                let killed = try session(run, failpoint: "\(point.rawValue):kill")
                #expect(killed.status == 137, "\(point.rawValue): \(killed.standardError)")
                let last = try session(run, failpoint: nil)
                #expect(last.status == 0, "\(last.standardError)")
                try run.expectSame(as: whole)
                #expect(hidden(run) == [])
            }
        }
    }

    @Test("an old checkpoint that cannot be removed is a warning, and the run goes on", arguments: [Failpoint.removalRename, .removalUnlink])
    func removalFails(_ point: Failpoint) throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch)
            let end = try session(run, failpoint: "\(point.rawValue):error")
            #expect(end.status == 0, "\(end.standardError)")
            #expect(end.standardError.contains("warning: "), "\(end.standardError)")
            #expect(run.metrics.count == 12 && run.checkpointSteps.suffix(2) == [10, 12])
        }
    }

    @Test("a record of the session that cannot be written, the last one too, is said, and the next session has nothing to do twice", arguments: [1, 2])
    func recordFails(ranks: Int) throws {
        guard ranks == 1 || MPIRun.launcher != nil else { return }
        try withScratchDirectory { scratch in
            let whole = try run("whole", in: scratch)
            try whole.train(ranks: ranks)
            // Until a session comes to its end without having passed the place that often.
            var writes = 0
            while writes < 100 {
                let run = try run("run-\(writes)", in: scratch)
                let end = try session(run, failpoint: "session.write:\(writes):error@0", ranks: ranks)
                if end.status == 0 { break }
                #expect(end.status == 74, "\(writes): \(end.status) \(end.standardError)")
                #expect(end.standardError.contains("the failpoint session.write says so"), "\(writes): \(end.standardError)")
                let second = try session(run, failpoint: nil, ranks: ranks)
                #expect(second.status == 0, "\(writes): \(second.standardError)")
                try run.expectSame(as: whole)
                #expect(hidden(run) == [])
                writes += 1
            }
            // At each of the six checkpoints, and at the end.
            #expect(writes >= 7 && writes < 100)
        }
    }

    @Test("--fresh: killed or failing anywhere before its first checkpoint, the earlier run is as it was")
    func fresh() throws {
        try withScratchDirectory { scratch in
            let whole = try run("whole", in: scratch)
            try whole.train()
            let other = try run("other", in: scratch).with("seed=8")
            try other.train()
            for order in ["fresh.move:kill", "fresh.move:2:kill", "fresh.commit:kill", "log.write:kill", "checkpoint.publish.rename:kill", "checkpoint.publish.rename:error"] {
                let run = try run("run-\(order)", in: scratch)
                try run.train()
                let broken = try session(run.with("seed=8"), failpoint: order, flags: ["--fresh"])
                #expect(broken.status == (order.hasSuffix("kill") ? 137 : 74), "\(order): \(broken.standardError)")
                // Without --fresh, the earlier run is back: finished.
                let back = try session(run, failpoint: nil)
                #expect(back.status == 0 && back.standardError.contains("resuming at step 12"), "\(order): \(back.standardError)")
                try run.expectSame(as: whole)
                // With --fresh it goes for good, once there is a checkpoint.
                let anew = try session(run.with("seed=8"), failpoint: nil, flags: ["--fresh"])
                #expect(anew.status == 0, "\(anew.standardError)")
                try run.expectSame(as: other)
                #expect(hidden(run) == [])
            }
        }
    }

    @Test("--fresh that is refused, and a first step that fails, discard nothing; foreign files stay")
    func freshRefused() throws {
        try withScratchDirectory { scratch in
            let whole = try run("whole", in: scratch)
            try whole.train()
            let run = try run("run", in: scratch)
            try run.train()
            try "mine".write(toFile: "\(run.directory)/thesis.txt", atomically: true, encoding: .utf8)
            for (setting, code) in [("schedule.kind=plateau", 78), ("optimizer.learningRate=1e30", 65)] as [(String, Int32)] {
                let refused = try session(run.with(setting, "evaluation.every=never"), failpoint: nil, flags: ["--fresh"])
                #expect(refused.status == code, "\(setting): \(refused.standardError)")
                let back = try session(run, failpoint: nil)
                #expect(back.status == 0 && back.standardError.contains("resuming at step 12"), "\(setting): \(back.standardError)")
                try run.expectSame(as: whole)
            }
            try run.train(flags: "--fresh")
            #expect(try String(contentsOfFile: "\(run.directory)/thesis.txt", encoding: .utf8) == "mine")
        }
    }

    @Test("a float that changes on one rank is found before the next publication, and the rank is named", arguments: [0, 1, 2])
    func drift(rank: Int) throws {
        guard MPIRun.launcher != nil else { return }
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch, "batch.lanes=12", "checkpoint.every=4")
            let end = try session(run, failpoint: "parameter.drift:5:error@\(rank)", ranks: 3)
            #expect(end.status == 69, "\(end.standardError)")
            #expect(end.standardError.contains("rank \(rank) has drifted from the others: 'parameters/"), "\(end.standardError)")
            #expect(run.checkpointSteps == [4])
            let second = try session(run, failpoint: nil, ranks: 3)
            #expect(second.status == 0 && second.standardError.contains("resuming at step 4"), "\(second.standardError)")
        }
    }

    @Test("a passing error at a resume stops the session instead of going back")
    func passingError() throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch)
            try run.train()
            let metrics = run.metrics
            let end = try session(run.with("steps=14"), failpoint: "restore.item:3:error")
            #expect(end.status == 74 && !end.standardError.contains("passing over"), "\(end.standardError)")
            #expect(run.metrics == metrics && run.checkpointSteps == [10, 12])
            // All checkpoints gone, as on a file system that is not mounted: nothing is begun anew in silence.
            try FileManager.default.moveItem(atPath: "\(run.directory)/step-10", toPath: "\(scratch)/step-10")
            try FileManager.default.moveItem(atPath: "\(run.directory)/step-12", toPath: "\(scratch)/step-12")
            let gone = try session(run.with("steps=14"), failpoint: nil)
            #expect(gone.status == 66 && gone.standardError.contains("holds no checkpoint, and the session before published one of step 12"))
            #expect(run.metrics == metrics)
        }
    }

    @Test("killed in an evaluation and in a collective: the next session goes on, bit for bit", arguments: ["evaluation.batch:1:kill", "collective:40:kill@1"])
    func killedBetween(order: String) throws {
        guard MPIRun.launcher != nil else { return }
        try withScratchDirectory { scratch in
            let whole = try run("whole", in: scratch)
            try whole.train(ranks: 2)
            let run = try run("killed", in: scratch)
            let killed = try session(run, failpoint: order, ranks: 2)
            #expect(killed.isKilled && !killed.isTimedOut, "\(killed.status) \(killed.standardError)")
            let second = try session(run, failpoint: nil, ranks: 2)
            #expect(second.status == 0, "\(second.standardError)")
            try run.expectSame(as: whole)
        }
    }

    @Test("sharding that is killed at a shard goes on, and makes the same bytes")
    func killedAtACorpusShard() throws {
        try withScratchDirectory { scratch in
            let fixture = try TrainingFixture.shared().directory
            func shard(_ name: String, failpoint: String? = nil) throws -> FinishedRun {
                try MPIRun.start(
                    ranks: nil, executable: "mneme",
                    arguments: [
                        "corpus", "shard", "--format", "text", "--document", "line", "--shard-size", "4000", "--tokenizer", "\(fixture)/t.model", "--output",
                        "\(scratch)/\(name)", "\(fixture)/text.txt",
                    ], extraEnvironment: failpoint.map { ["MNEME_FAILPOINT": $0] } ?? [:]
                ).finish()
            }
            #expect(try shard("whole").status == 0)
            #expect(try shard("killed", failpoint: "corpus.shard:1:kill").status == 137)
            #expect(try shard("killed").status == 0)
            let files = try FileManager.default.contentsOfDirectory(atPath: "\(scratch)/whole").sorted()
            #expect(try FileManager.default.contentsOfDirectory(atPath: "\(scratch)/killed").sorted() == files && files.count > 2)
            for file in files {
                #expect(FileManager.default.contentsEqual(atPath: "\(scratch)/whole/\(file)", andPath: "\(scratch)/killed/\(file)"), "\(file)")
            }
        }
    }
}

// A rank is lost and the job goes on: the others save the last finished step and train on, with the bits of a run that nobody disturbed.

import Collectives
import Foundation
import Synchronization
import Tensors
import Testing
import TestSupport

@Suite struct LostRankTests {
    /// What runs of this suite differ in.
    struct Case: Sendable, CustomTestStringConvertible {
        let kind: TrainingFixture.Kind
        let settings: [String]
        var testDescription: String { "\(kind.rawValue) \(settings)" }
    }

    static let cases = [
        Case(kind: .eraseAdd, settings: []),
        Case(kind: .carriedComputer, settings: []),
        Case(kind: .streams, settings: ["parallel.gradients=int8"]),
        Case(kind: .carried, settings: ["parallel.shardOptimizer=true", "parallel.gradients=int8"]),
        Case(kind: .generated, settings: ["parallel.shardOptimizer=true"]),
        Case(kind: .carried, settings: ["parallel.localSteps=5"]),
    ]

    private func run(_ variant: Case, _ name: String, in scratch: String) throws -> TrainingRun {
        var run = try TrainingRun(
            variant.kind, name, in: scratch, "parallel.reproducible=true", "batch.groups=8", "parallel.bucketBytes=16384", "recovery.starts=100")
        run.settings += variant.settings
        return run
    }

    @Test("a rank of four is lost at any moment: the others finish the run with its bits", arguments: cases)
    func anyMoment(variant: Case) throws {
        try withScratchDirectory { scratch in
            let whole = try run(variant, "whole", in: scratch)
            try whole.trainOnThreads(1)
            var random = RandomStream(key: 11)
            let saved = Mutex(0)
            for attempt in 0..<12 {
                let run = try run(variant, "lost\(attempt)", in: scratch)
                // A run makes some hundreds of calls: each is lost within another part of it.
                let (rank, calls) = (Int.random(in: 0..<4, using: &random), attempt * 20 + Int.random(in: 0..<20, using: &random))
                try run.trainOnThreads(4, lifetimes: [rank: calls]) { line in
                    if line.hasPrefix("resuming at step") { saved.withLock { $0 += 1 } }
                }
                #expect(run.timelessMetrics == whole.timelessMetrics, "rank \(rank) lost at call \(calls)")
                #expect(try run.differences(from: whole) == [], "rank \(rank) lost at call \(calls)")
            }
            #expect(saved.withLock { $0 } >= 4, "few of the losses fell into the training")
        }
    }

    @Test("no finished step is lost with a rank, though no checkpoint was ever asked for")
    func nothingLost() throws {
        try withScratchDirectory { scratch in
            let variant = Case(kind: .carriedComputer, settings: ["checkpoint.every=never", "evaluation.every=never"])
            let run = try run(variant, "run", in: scratch)
            try run.trainOnThreads(3, lifetimes: [1: 150])
            let log = try String(contentsOfFile: "\(run.directory)/log.txt", encoding: .utf8)
            let line = try #require(log.split(separator: "\n").first { $0.contains("was lost after step") }, "\(log)")
            #expect(line.contains("rank 1 was lost after step ") && line.contains("the run goes on with 2 ranks, and nothing is lost"))
            let step = try #require(Int(line.split(separator: "after step ")[1].split(separator: ":")[0]))
            #expect(run.checkpointSteps.contains(step))
        }
    }

    @Test("two neighbours are lost at once, and one after the other: the run goes on from what there is")
    func several() throws {
        try withScratchDirectory { scratch in
            let variant = Self.cases[1]
            let whole = try run(variant, "whole", in: scratch)
            try whole.trainOnThreads(1)
            for (index, lifetimes) in [[1: 140, 2: 140], [0: 90, 2: 160], [0: 100, 1: 180, 3: 260]].enumerated() {
                let run = try run(variant, "run\(index)", in: scratch)
                try run.trainOnThreads(4, lifetimes: lifetimes)
                try run.expectSame(as: whole)
            }
        }
    }

    @Test("nobody is lost: the same bits, and errors of all ranks end the run as ever")
    func nobody() throws {
        try withScratchDirectory { scratch in
            let whole = try run(Self.cases[3], "whole", in: scratch)
            try whole.trainOnThreads(2)
            let run = try run(Self.cases[3], "run", in: scratch)
            try run.trainOnThreads(2, lifetimes: [:])
            try run.expectSame(as: whole)
            let failing = try self.run(Self.cases[0], "failing", in: scratch).with("optimizer.learningRate=1e30", "optimizer.clip=0")
            #expect {
                try failing.trainOnThreads(2, lifetimes: [:])
            } throws: { "\($0)".contains("not finite") }
        }
    }

    @Test("an error of all ranks between steps: what was trained since the last checkpoint is saved before the end")
    func savesBeforeError() throws {
        try withScratchDirectory { scratch in
            var run = try TrainingRun(.eraseAdd, "run", in: scratch)
            run.environment["MNEME_FAILPOINT"] = "evaluation.batch:3:error"
            let end = try MPIRun.start(ranks: nil, executable: "mneme", arguments: run.arguments, extraEnvironment: run.environment).finish()
            #expect(end.status != 0, "\(end.standardError)")
            #expect(run.checkpointSteps.last == 10, "\(run.checkpointSteps)")
        }
    }
}

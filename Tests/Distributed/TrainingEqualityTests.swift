// The same run on other numbers of ranks, and with its batch cut in other ways.

import Foundation
import Testing
import TestSupport

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct TrainingEqualityTests {
    // What is compared to rounding has a smooth non-linearity where it trains for long: a rectifier whose input is within rounding of zero may let the
    // gradient of one position through in one run alone.
    @Test(
        "2 ranks with half the lanes each give the parameters of 1 rank with all", arguments: [TrainingFixture.Kind.windows, .pairs], ["0", "0.1"])
    func halfTheLanesEach(kind: TrainingFixture.Kind, dropout: String) throws {
        try withScratchDirectory { scratch in
            func run(_ name: String) throws -> TrainingRun {
                try TrainingRun(kind, name, in: scratch, "steps=20", "model.dropout=\(dropout)", "model.activation=gelu").onOneBackend
            }
            let (alone, shared) = (try run("alone"), try run("shared"))
            try alone.train()
            try shared.train(ranks: 2)
            let difference = try shared.relativeDifference(from: alone, step: 20)
            #expect(difference.worst < 1e-5, "\(difference)")
        }
    }

    @Test(
        "accumulation gives the parameters of one batch",
        arguments: [(TrainingFixture.Kind.windows, "gelu", 20), (.pairs, "gelu", 20), (.pairs, "relu", 4)])
    func accumulation(kind: TrainingFixture.Kind, activation: String, steps: Int) throws {
        try withScratchDirectory { scratch in
            func run(_ name: String, _ parts: Int) throws -> TrainingRun {
                try TrainingRun(
                    kind, name, in: scratch, "steps=\(steps)", "model.activation=\(activation)", "batch.accumulation=\(parts)").onOneBackend
            }
            let whole = try run("whole", 1)
            try whole.train()
            for (parts, ranks) in [(4, nil), (2, 2)] as [(Int, Int?)] {
                let run = try run("parts\(parts)", parts)
                try run.train(ranks: ranks)
                let difference = try run.relativeDifference(from: whole, step: steps)
                #expect(difference.worst < 1e-5, "\(parts) parts: \(difference)")
                print("accumulation \(parts) on \(ranks ?? 1), \(kind), \(activation): \(difference)")
            }
        }
    }

    /// With the backends that each run measures for itself. A rectifier whose input is within rounding of zero may let the gradient of one position
    /// through in one run alone: one element of a bias then moves, and all parameters together hardly do.
    @Test("accumulation gives the parameters of one batch, on whichever backends", arguments: [TrainingFixture.Kind.windows, .pairs])
    func accumulationOnMeasuredBackends(kind: TrainingFixture.Kind) throws {
        try withScratchDirectory { scratch in
            let whole = try TrainingRun(kind, "whole", in: scratch, "steps=20")
            try whole.train()
            let run = try TrainingRun(kind, "parts", in: scratch, "steps=20", "batch.accumulation=2")
            try run.train(ranks: 2)
            let difference = try run.relativeDifference(from: whole, step: 20)
            #expect(difference.all < 1e-5, "\(difference)")
        }
    }

    /// A run whose bits do not depend on ranks. It saves at its end alone: what saves in the middle may change is looked for where runs resume.
    private func reproducibleRun(_ kind: TrainingFixture.Kind, _ name: String, in scratch: String, _ settings: String...) throws -> TrainingRun {
        var run = try TrainingRun(kind, name, in: scratch, "parallel.reproducible=true", "batch.groups=8", "checkpoint.every=100")
        run.settings += settings
        return run
    }

    /// The same bits on several numbers of ranks, and through changes of their number.
    private func expectSameBits(_ kind: TrainingFixture.Kind, on sizes: [Int], _ train: (TrainingRun, _ ranks: Int) throws -> Void) throws {
        try withScratchDirectory { scratch in
            func run(_ name: String) throws -> TrainingRun {
                try reproducibleRun(kind, name, in: scratch)
            }
            let alone = try run("alone")
            try train(alone, 1)
            for ranks in sizes {
                let run = try run("on\(ranks)")
                try train(run, ranks)
                try run.expectSame(as: alone)
            }
            // The schedule has no end, so that shorter sessions are parts of the longer run; but their last steps have evaluations of their own.
            let changing = try run("changing").with("evaluation.every=never")
            for (ranks, steps) in [(3, 4), (1, 7), (sizes.last ?? 4, 12)] { try train(changing.with("steps=\(steps)"), ranks) }
            #expect(try changing.differences(from: alone) == [])
        }
    }

    @Test(
        "reproducible: the same bits on 1, 2, 3, 4, 6 and 7 ranks that are threads, and through changes of world size",
        arguments: TrainingFixture.Kind.allCases)
    func reproducibleOnThreads(kind: TrainingFixture.Kind) throws {
        try expectSameBits(kind, on: [2, 3, 4, 6, 7]) { try $0.trainOnThreads($1) }
    }

    @Test(
        "reproducible: the same bits with 1, 2 and 3 threads",
        arguments: [
            (TrainingFixture.Kind.windows, ["model.width=192"]), (.pairs, ["model.width=192"]), (.recurrent, ["model.width=256"]),
            (.carriedWords, []), (.carriedComputer, []), (.carriedSegments, ["model.width=192"]), (.carriedDeltaNet, ["model.width=192"]),
            (.carriedSparseRows, []), (.carriedAssociations, []), (.memoryNetwork, []), (.keyValueMemory, []), (.eraseAdd, []),
        ])
    func threads(kind: TrainingFixture.Kind, settings: [String]) throws {
        try withScratchDirectory { scratch in
            func trained(_ threads: Int) throws -> TrainingRun {
                var run = try reproducibleRun(kind, "with\(threads)", in: scratch, "steps=4", "batch.groups=2", "parallel.threads=\(threads)")
                run.settings += settings
                try run.train()
                return run
            }
            let alone = try trained(1)
            for threads in [2, 3] { try trained(threads).expectSame(as: alone, step: 4) }
        }
    }

    @Test(
        "reproducible: the same bits on 1, 2, 3 and 4 ranks, and through changes of world size",
        arguments: [TrainingFixture.Kind.streams, .pairs, .carriedComputer])
    func reproducible(kind: TrainingFixture.Kind) throws {
        try expectSameBits(kind, on: [2, 3, 4]) { try $0.train(ranks: $1 == 1 ? nil : $1) }
    }

    @Test(
        "ranks that share out the optimizer's state: the bits of those that do not, and through changes of world size and back to whole states",
        arguments: [TrainingFixture.Kind.streams, .pairs, .carriedComputer])
    func sharedOptimizer(kind: TrainingFixture.Kind) throws {
        try withScratchDirectory { scratch in
            func run(_ name: String) throws -> TrainingRun {
                try reproducibleRun(kind, name, in: scratch, "parallel.bucketBytes=16384")
            }
            let alone = try run("alone")
            try alone.trainOnThreads(1)
            for ranks in [2, 3, 7] {
                let run = try run("on\(ranks)").with("parallel.shardOptimizer=true")
                try run.trainOnThreads(ranks)
                try run.expectSame(as: alone)
            }
            let changing = try run("changing").with("evaluation.every=never")
            for (ranks, steps, isShared) in [(3, 4, true), (1, 7, true), (2, 9, false), (4, 12, true)] {
                try changing.with("steps=\(steps)", "parallel.shardOptimizer=\(isShared)").trainOnThreads(ranks)
            }
            #expect(try changing.differences(from: alone) == [])
        }
    }

    @Test(
        "rounded gradients: the same bits on any number of ranks, with the optimizer's state shared out, and what is left over of them through changes of world size",
        arguments: [TrainingFixture.Kind.streams, .pairs, .carriedComputer], ["bfloat16", "int8"])
    func roundedGradients(kind: TrainingFixture.Kind, format: String) throws {
        try withScratchDirectory { scratch in
            func run(_ name: String) throws -> TrainingRun {
                try reproducibleRun(kind, name, in: scratch, "parallel.bucketBytes=16384", "parallel.gradients=\(format)")
            }
            let alone = try run("alone")
            try alone.trainOnThreads(1)
            let whole = try run("whole").with("parallel.gradients=float32")
            try whole.trainOnThreads(1)
            #expect(try whole.differences(from: alone) != [], "nothing was rounded")
            for (ranks, isShared) in [(2, false), (3, true), (7, false)] {
                let run = try run("on\(ranks)").with("parallel.shardOptimizer=\(isShared)")
                try run.trainOnThreads(ranks)
                try run.expectSame(as: alone)
            }
            let changing = try run("changing").with("evaluation.every=never")
            for (ranks, steps, isShared) in [(3, 4, true), (1, 7, false), (2, 9, true), (8, 12, false)] {
                try changing.with("steps=\(steps)", "parallel.shardOptimizer=\(isShared)").trainOnThreads(ranks)
            }
            #expect(try changing.differences(from: alone) == [])
        }
    }

    @Test("rounded gradients over MPI: the bits of one rank")
    func roundedGradientsOverMPI() throws {
        for format in ["bfloat16", "int8"] {
            try withScratchDirectory { scratch in
                func run(_ name: String) throws -> TrainingRun {
                    try reproducibleRun(.streams, name, in: scratch, "parallel.gradients=\(format)")
                }
                let alone = try run("alone")
                try alone.trainOnThreads(1)
                for ranks in [2, 3] {
                    let run = try run("on\(ranks)")
                    try run.train(ranks: ranks)
                    try run.expectSame(as: alone)
                }
            }
        }
    }

    @Test(
        "groups that make steps by themselves: the same bits on any number of ranks, and through changes of world size between two meetings",
        arguments: [TrainingFixture.Kind.streams, .carriedComputer], ["float32", "int8"])
    func localSteps(kind: TrainingFixture.Kind, format: String) throws {
        try withScratchDirectory { scratch in
            func run(_ name: String) throws -> TrainingRun {
                try reproducibleRun(kind, name, in: scratch, "parallel.bucketBytes=16384", "parallel.localSteps=5",
                    "parallel.gradients=\(format)")
            }
            let alone = try run("alone")
            try alone.trainOnThreads(1)
            let whole = try run("whole").with("parallel.localSteps=1")
            try whole.trainOnThreads(1)
            #expect(try whole.differences(from: alone) != [], "no step was local")
            for ranks in [2, 3, 7] {
                let run = try run("on\(ranks)")
                try run.trainOnThreads(ranks)
                try run.expectSame(as: alone)
            }
            let changing = try run("changing").with("evaluation.every=never")
            for (ranks, steps) in [(3, 4), (1, 7), (2, 9), (8, 12)] { try changing.with("steps=\(steps)").trainOnThreads(ranks) }
            #expect(try changing.differences(from: alone) == [])
        }
    }

    @Test("a run goes over to rounded gradients and back to whole ones")
    func changingFormat() throws {
        try withScratchDirectory { scratch in
            let run = try reproducibleRun(.streams, "run", in: scratch, "evaluation.every=never")
            for (steps, format) in [(4, "float32"), (7, "int8"), (9, "float32"), (12, "bfloat16")] {
                try run.with("steps=\(steps)", "parallel.gradients=\(format)").trainOnThreads(2)
            }
            #expect(run.checkpointSteps.last == 12)
        }
    }

    @Test("not reproducible: other world sizes resume as well")
    func changingWorldSize() throws {
        try withScratchDirectory { scratch in
            let steady = try TrainingRun(.streams, "steady", in: scratch)
            try steady.train()
            let changing = try TrainingRun(.streams, "changing", in: scratch)
            for (ranks, steps) in [(3, 4), (nil, 7), (4, 12)] as [(Int?, Int)] { try changing.with("steps=\(steps)").train(ranks: ranks) }
            let difference = try changing.relativeDifference(from: steady, step: 12)
            #expect(difference.worst < 1e-5, "\(difference)")
        }
    }
}

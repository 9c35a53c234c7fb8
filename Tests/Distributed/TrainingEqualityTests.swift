// The same run on other numbers of ranks, and with its batch cut in other ways.

import Foundation
import Testing
import TestSupport

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct TrainingEqualityTests {
    @Test("2 ranks with half the lanes each give the parameters of 1 rank with all", arguments: [TrainingFixture.Kind.windows, .pairs], ["0", "0.1"])
    func halfTheLanesEach(kind: TrainingFixture.Kind, dropout: String) throws {
        try withScratchDirectory { scratch in
            let alone = try TrainingRun(kind, "alone", in: scratch, "steps=20", "model.dropout=\(dropout)").onOneBackend
            try alone.train()
            let shared = try TrainingRun(kind, "shared", in: scratch, "steps=20", "model.dropout=\(dropout)").onOneBackend
            try shared.train(ranks: 2)
            let difference = try shared.relativeDifference(from: alone, step: 20)
            #expect(difference.worst < 1e-5, "\(difference)")
        }
    }

    @Test("accumulation gives the parameters of one batch", arguments: [TrainingFixture.Kind.windows, .pairs])
    func accumulation(kind: TrainingFixture.Kind) throws {
        try withScratchDirectory { scratch in
            let whole = try TrainingRun(kind, "whole", in: scratch, "steps=20").onOneBackend
            try whole.train()
            for (parts, ranks) in [(4, nil), (2, 2)] as [(Int, Int?)] {
                let run = try TrainingRun(kind, "parts\(parts)", in: scratch, "steps=20", "batch.accumulation=\(parts)").onOneBackend
                try run.train(ranks: ranks)
                let difference = try run.relativeDifference(from: whole, step: 20)
                #expect(difference.worst < 1e-5, "\(parts) parts: \(difference)")
                print("accumulation \(parts) on \(ranks ?? 1), \(kind): \(difference)")
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

    @Test(
        "reproducible: the same bits on 1, 2 and 4 ranks, and through changes of world size",
        arguments: [
            TrainingFixture.Kind.streams, .pairs, .carried, .carriedWords, .carriedMachine, .carriedComputer, .generated, .turingMachine,
            .neuralComputer, .memoryNetwork, .keyValueMemory, .eraseAdd,
        ])
    func reproducible(kind: TrainingFixture.Kind) throws {
        try withScratchDirectory { scratch in
            func run(_ name: String, _ settings: String...) throws -> TrainingRun {
                var run = try TrainingRun(kind, name, in: scratch, "parallel.reproducible=true", "batch.groups=4")
                run.settings += settings
                return run
            }
            let alone = try run("alone")
            try alone.train()
            for ranks in [2, 4] {
                let run = try run("on\(ranks)")
                try run.train(ranks: ranks)
                try run.expectSame(as: alone)
            }
            // The schedule has no end, so that shorter sessions are parts of the longer run.
            let changing = try run("changing", "evaluation.every=never")
            let steady = try run("steady", "evaluation.every=never")
            try steady.train()
            for (ranks, steps) in [(2, 4), (nil, 7), (4, 12)] as [(Int?, Int)] { try changing.with("steps=\(steps)").train(ranks: ranks) }
            try changing.expectSame(as: steady)
        }
    }

    @Test("not reproducible: other world sizes resume as well")
    func changingWorldSize() throws {
        try withScratchDirectory { scratch in
            let steady = try TrainingRun(.streams, "steady", in: scratch)
            try steady.train()
            let changing = try TrainingRun(.streams, "changing", in: scratch)
            for (ranks, steps) in [(2, 4), (nil, 7), (4, 12)] as [(Int?, Int)] { try changing.with("steps=\(steps)").train(ranks: ranks) }
            let difference = try changing.relativeDifference(from: steady, step: 12)
            #expect(difference.worst < 1e-5, "\(difference)")
        }
    }
}

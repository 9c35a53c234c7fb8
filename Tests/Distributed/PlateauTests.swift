// A learning rate that follows the validation loss is the same on any number of ranks, and after any stop.

import Foundation
import Testing
import TestSupport

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct PlateauTests {
    /// A threshold so high that losses are better some of the time.
    private func run(_ name: String, in scratch: String, every: Int = 2) throws -> TrainingRun {
        try TrainingRun(
            .carriedWords, name, in: scratch, "steps=24", "schedule={kind: plateau, factor: 0.5, patience: 0, threshold: 0.02, floor: 1e-5}",
            "evaluation={every: \(every), batches: 1}")
    }

    /// The learning rates of all steps.
    private func rates(_ run: TrainingRun) throws -> [Double] {
        try run.metrics.map { line in
            let object = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            return try #require(object["learning_rate"] as? Double)
        }
    }

    @Test("killed and stopped: the rates, the metrics and the checkpoint of a run that nobody disturbed", arguments: [SIGKILL, SIGTERM], [nil, 2])
    func resumed(signal: Int32, ranks: Int?) throws {
        try withScratchDirectory { scratch in
            // With an evaluation after every step a stop always comes before one.
            let every = signal == SIGTERM ? 1 : 2
            let whole = try run("whole", in: scratch, every: every)
            try whole.train(ranks: ranks)
            let rates = try rates(whole)
            #expect(Set(rates).count >= 3 && rates == rates.sorted(by: >), "\(rates)")
            let disturbed = try run("disturbed", in: scratch, every: every)
            for lines in [6, 14] {
                let session = try disturbed.start(ranks: ranks)
                let isThere = session.wait { disturbed.metrics.count >= lines }
                try #require(isThere && kill(ranks == nil ? session.identifier : session.ranks[0], signal) == 0)
                let end = try session.finish()
                #expect((signal == SIGTERM ? end.status == 75 : end.isKilled), "\(end.standardError)")
            }
            #expect(disturbed.metrics.count < 24, "the run ended before it was stopped")
            try disturbed.train(ranks: ranks)
            try disturbed.expectSame(as: whole, step: 24)
        }
    }

    @Test("reproducible: the same on 1, 2 and 4 ranks, and in sessions that end between evaluations")
    func ranks() throws {
        try withScratchDirectory { scratch in
            func reproducible(_ name: String) throws -> TrainingRun {
                try run(name, in: scratch).with("parallel.reproducible=true", "batch.groups=4")
            }
            let alone = try reproducible("alone")
            try alone.train()
            #expect(Set(try rates(alone)).count >= 3)
            for ranks in [2, 4] {
                let shared = try reproducible("on\(ranks)")
                try shared.train(ranks: ranks)
                try shared.expectSame(as: alone, step: 24)
            }
            // The last step of a session is evaluated whether or not one is due; the learning rate follows those that are.
            let changing = try reproducible("changing")
            for (ranks, steps) in [(2, 5), (nil, 9), (4, 24)] as [(Int?, Int)] { try changing.with("steps=\(steps)").train(ranks: ranks) }
            #expect(try rates(changing) == rates(alone))
            #expect(try changing.differences(from: alone, step: 24) == [])
        }
    }
}

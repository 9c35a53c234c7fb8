// Records that a model learns to find from answers alone: on any number of ranks, in banks that are edited.

import Collectives
import Foundation
import TestSupport
import Testing
import Training

@Suite("Records found by answers alone") struct MarginalRecallTests {
    private func configuration(_ directory: String, _ settings: String...) throws -> RunConfiguration {
        let yaml = """
            run: \(directory)
            seed: 3
            steps: 8
            task: {kind: biographies, people: 30, examples: 30}
            model: {kind: lookup, lookupLoss: sequence, records: 6, keyWidth: 64, layers: 2, width: 32, heads: 4, context: 24}
            batch: {lanes: 4, groups: 2}
            optimizer: {kind: adamw, learningRate: 6e-3, weightDecay: 0, clip: 1.0}
            schedule: {kind: cosine, warmup: 2}
            parallel: {reproducible: true, threads: 1}
            checkpoint: {every: 4}
            evaluation: {every: 4}
            log: {every: 4}

            """
        let file = "\(directory).yaml"
        try yaml.write(toFile: file, atomically: true, encoding: .utf8)
        return try RunConfiguration(contentsOf: file, overrides: settings)
    }

    private func train(_ configuration: RunConfiguration, ranks: Int) throws {
        try LoopbackCommunicator.run(size: ranks) { communicator in
            var surroundings = SessionSurroundings()
            surroundings.ownsProcess = false
            surroundings.report = { _ in }
            surroundings.findDeadline = { JobDeadline.find(wallTime: nil, environment: [:]) }
            _ = try Trainer.train(configuration, communicator: communicator, fresh: false, from: nil, surroundings: surroundings)
        }
    }

    private func metrics(_ directory: String) throws -> [String] {
        try String(contentsOfFile: "\(directory)/metrics.jsonl", encoding: .utf8).split(separator: "\n").map {
            String($0.replacing(/"(seconds|tokens_per_second)":[^,}]*/, with: ""))
        }
    }

    @Test("the same bits on one and two ranks, in training and in evaluation", arguments: ["sequence", "token"])
    func anyRanks(_ form: String) throws {
        try withScratchDirectory { scratch in
            for ranks in [1, 2] { try train(configuration("\(scratch)/on\(ranks)", "model.lookupLoss=\(form)"), ranks: ranks) }
            let (one, two) = try (metrics("\(scratch)/on1"), metrics("\(scratch)/on2"))
            #expect(one.count == 2 && one.last?.contains("\"validation_record_first\":") == true)
            #expect(one == two)
        }
    }
}

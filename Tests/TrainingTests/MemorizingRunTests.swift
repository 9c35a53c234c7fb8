// Runs of a Transformer that memorizes: the same bits on any number of ranks and in sessions that were stopped, evaluation, and what it is good for.

import Checkpoints
import Collectives
import Corpora
import Diagnostics
import Foundation
import Models
import NeuralNetworks
import Optimizers
import Sharding
import Storage
import Synchronization
import TestSupport
import Tensors
import Testing
import Training

@Suite("Runs that memorize")
struct MemorizingRunTests {
    /// Corpora of a few hundred lines.
    private func makeCorpora(_ directory: String) throws {
        let lines = syntheticLines(200)
        let tokenizer = try tokenizer(.bpe, 400)
        for (name, range) in [("train", 0..<150), ("valid", 150..<200)] {
            let file = "\(directory)/\(name).txt"
            try lines[range].joined(separator: "\n").write(toFile: file, atomically: true, encoding: .utf8)
            var options = ReaderOptions()
            options.documents = .line
            let plan = ShardingPlan(
                reading: .text, inputs: [file], options: options, rules: CorpusFormat.text.profile.cleaning, tokenizer: tokenizer,
                output: "\(directory)/\(name)")
            _ = try CorpusSharder(plan, communicator: SingleProcess()).run()
        }
    }

    private func configuration(
        _ directory: String, _ name: String, _ memorizing: String, model: String = "kind: decoder-only, context: 16",
        _ settings: String...
    ) throws -> RunConfiguration {
        let yaml = """
            run: \(directory)/\(name)
            seed: 7
            steps: 8
            model: {\(model), layers: 3, width: 24, heads: 3, dropout: 0.1, memorizing: \(memorizing)}
            corpus: {shards: \(directory)/train, validation: \(directory)/valid, order: streams}
            batch: {lanes: 8, length: 12, groups: 8}
            optimizer: {kind: adamw, learningRate: 1e-2, clip: 1.0}
            parallel: {reproducible: true}
            checkpoint: {every: 3, keep: 4}
            evaluation: {every: 4, batches: 3}
            log: {every: 1}

            """
        let file = "\(directory)/\(name).yaml"
        try yaml.write(toFile: file, atomically: true, encoding: .utf8)
        return try RunConfiguration(contentsOf: file, overrides: settings)
    }

    @discardableResult
    private func train(
        _ configuration: RunConfiguration, ranks: Int, from start: StartingPoint? = nil, stop: @escaping @Sendable (_ rank: Int) -> Int32? = { _ in nil }
    ) throws -> [TrainingOutcome] {
        try LoopbackCommunicator.run(size: ranks) { communicator in
            var surroundings = SessionSurroundings()
            surroundings.ownsProcess = false
            surroundings.report = { _ in }
            surroundings.stopRequest = { stop(communicator.rank) }
            return try Trainer.train(configuration, communicator: communicator, from: start, surroundings: surroundings)
        }
    }

    private func metrics(_ directory: String) throws -> [String] {
        try String(contentsOfFile: "\(directory)/metrics.jsonl", encoding: .utf8).split(separator: "\n").map {
            String($0.replacing(/"(seconds|tokens_per_second)":[^,}]*/, with: ""))
        }
    }

    private func differences(_ one: String, _ other: String, step: Int) throws -> [String] {
        let readers = try [one, other].map { try CheckpointReader(directory: "\($0)/step-\(step)") }
        defer { for reader in readers { try? reader.close() } }
        return try readers[0].differences(from: readers[1]).map(\.name)
    }

    @Test(
        "the same bits on 1, 2, 3 and 4 ranks, and in sessions on changing numbers of ranks that were asked to stop",
        arguments: [
            ("kind: decoder-only, context: 16", "{capacity: 500, nearest: 5}"),
            ("kind: decoder-only, context: 16", "{capacity: 160, nearest: 5, lists: 4, probes: 2}"),
            ("kind: decoder-only, context: 16", "{capacity: 400, nearest: 5, scope: lane, layer: 2}"),
            ("kind: transformer-xl, memory: 10, window: 4", "{capacity: 500, nearest: 5, scope: lane}"),
        ])
    func anyRanks(model: String, memorizing: String) throws {
        try withScratchDirectory { scratch in
            try makeCorpora(scratch)
            try train(configuration(scratch, "whole", memorizing, model: model), ranks: 1)
            let whole = "\(scratch)/whole"
            let lines = try metrics(whole)
            #expect(lines.count == 8 && lines.dropFirst().allSatisfy { $0.contains("\"memory_hit_rate\"") && $0.contains("\"memory_age\"") })
            #expect(!lines[0].contains("memory_"), "nothing is stored before the first step")
            for ranks in [2, 3, 4] {
                try train(configuration(scratch, "on\(ranks)", memorizing, model: model), ranks: ranks)
                #expect(try metrics("\(scratch)/on\(ranks)") == lines)
                #expect(try differences("\(scratch)/on\(ranks)", whole, step: 8).isEmpty)
            }
            for (ranks, limit) in [(3, 3), (1, 2)] {
                let steps = Mutex(0)
                let outcomes = try train(configuration(scratch, "changing", memorizing, model: model), ranks: ranks) { rank in
                    guard rank == ranks - 1 else { return nil }
                    return steps.withLock {
                        $0 += 1
                        return $0 > limit ? SIGTERM : nil
                    }
                }
                for outcome in outcomes { if case .finished = outcome { Issue.record("finished on \(ranks) ranks") } }
            }
            try train(configuration(scratch, "changing", memorizing, model: model), ranks: 4)
            #expect(try metrics("\(scratch)/changing") == lines)
            #expect(try differences("\(scratch)/changing", whole, step: 8).isEmpty)
        }
    }

    @Test("what is computed again changes no bit, and groups that train by themselves memorize too")
    func otherWays() throws {
        try withScratchDirectory { scratch in
            try makeCorpora(scratch)
            let memorizing = "{capacity: 500, nearest: 5}"
            try train(configuration(scratch, "whole", memorizing), ranks: 1)
            try train(configuration(scratch, "again", memorizing, "model.recompute=true"), ranks: 2)
            #expect(try differences("\(scratch)/again", "\(scratch)/whole", step: 8).isEmpty)
            for ranks in [1, 3] { try train(configuration(scratch, "local\(ranks)", memorizing, "parallel.localSteps=2"), ranks: ranks) }
            #expect(try differences("\(scratch)/local1", "\(scratch)/local3", step: 8).isEmpty)
            #expect(try metrics("\(scratch)/local1")[7].contains("\"memory_gate\""))
        }
    }

    @Test("an evaluation finds what the run and the text before have left, leaves the run's pairs as they are, and finds the same on any number of ranks")
    func evaluation() throws {
        try withScratchDirectory { scratch in
            try makeCorpora(scratch)
            let configuration = try configuration(scratch, "run", "{capacity: 500, nearest: 5}", "evaluation.every=never")
            try train(configuration, ranks: 1)
            func loss(ranks: Int, forgetting: Bool = false) throws -> Double? {
                // Where a product is divided depends on the number of threads, which other tests change.
                try withThreads(1) { try LoopbackCommunicator.run(size: ranks) { communicator in
                    let run = try LoadedRun(directory: configuration.directory, communicator: communicator)
                    let model = try #require(run.task.model as? any MemorizingModel)
                    let stored = try #require(model.pairs as? MemorizedPairs)
                    #expect(stored.count == 500)
                    let before = Array(UnsafeBufferPointer(start: stored.pair(0), count: 500 * 48))
                    if forgetting { model.pairs = nil }
                    let report = try run.task.report(
                        EvaluationRequest(directory: configuration.directory, corpus: "\(scratch)/valid"), communicator)
                    #expect(before == Array(UnsafeBufferPointer(start: stored.pair(0), count: 500 * 48)))
                    guard case .number(let perplexity)? = report.values["perplexity"] else { return nil }
                    return perplexity
                }[0] }
            }
            let one = try #require(try loss(ranks: 1))
            // But for rounding: weights that are constant are packed after some products of one shape, and ranks see fewer of them.
            let three = try #require(try loss(ranks: 3))
            #expect(abs(three - one) < 1e-6 * one)
            #expect(try loss(ranks: 1, forgetting: true) != one)
        }
    }

    @Test("shuffled windows, and a checkpoint of another capacity, are refused by the name of the key")
    func refused() throws {
        try withScratchDirectory { scratch in
            try makeCorpora(scratch)
            let windows = #expect(throws: UserError.self) { try configuration(scratch, "run", "{}", "corpus.order=windows") }
            #expect(windows?.description.contains("'model.memorizing' asks for corpus.order streams") == true, "\(String(describing: windows))")
            try train(configuration(scratch, "run", "{capacity: 500}"), ranks: 1)
            let capacity = #expect(throws: UserError.self) { try train(configuration(scratch, "run", "{capacity: 400}", "steps=9"), ranks: 2) }
            #expect(capacity?.description.contains("model.memorizing.capacity") == true, "\(String(describing: capacity))")
            let from = #expect(throws: UserError.self) {
                try train(configuration(scratch, "other", "{capacity: 400}"), ranks: 1, from: StartingPoint(path: "\(scratch)/run"))
            }
            #expect(from?.description.contains("'memorized/pairs'") == true, "\(String(describing: from))")
        }
    }
}

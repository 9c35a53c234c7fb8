// Generated tasks as runs: what a run file may say, what is measured and shown, and that small models learn the small ones.

import Collectives
import Diagnostics
import Foundation
import Models
import NeuralNetworks
import Optimizers
import Tensors
import Testing
import Training

/// A task as a run file names it.
private func makeTask(_ task: String, _ model: String, lanes: Int = 32, seed: Int = 1) throws -> any LearningTask {
    let yaml = "seed: \(seed)\nsteps: 10\ntask: {\(task)}\nmodel: {\(model)}\nbatch: {lanes: \(lanes)}\noptimizer: {kind: adamw}\n"
    let configuration = try RunConfiguration(yaml: yaml, file: "run.yaml")
    let made = try configuration.task.makeTask(configuration, savedIn: nil)
    made.model.store.allocate(seed: configuration.seed)
    return made
}

/// Trains with AdamW; returns the mean loss of the last ten steps.
private func train(_ task: any LearningTask, steps: Int, learningRate: Double, lanes: Int = 32) throws -> Double {
    let store = task.model.store
    let optimizer = try makeOptimizer(OptimizerConfiguration(kind: .adamw, weightDecay: 0), parameterCount: store.flatCount)
    let step = TrainingStep(store: store, optimizer: optimizer, update: .init(clip: 1, lanes: lanes), communicator: SingleProcess())
    let loader = try task.makeLoader(owning: Array(0..<lanes))
    var last: [Double] = []
    for number in 1...steps {
        let batch = try loader.batch(lanes: Array(0..<lanes))
        let outcome = try step.run(step: number, learningRate: learningRate * min(1, Double(steps - number) / Double(steps / 3)) + 1e-5) { _, tape in
            batch.loss(ForwardPass(tape: tape, stepsDone: number - 1))
        }
        try loader.advance()
        last = last.suffix(9) + [outcome.loss]
    }
    return last.reduce(0, +) / Double(last.count)
}

private func score(_ name: String, _ scores: TaskScores?) throws -> Double { try #require(scores?.scores.first { $0.name == name }, "\(name)").value }

@Suite("Generated tasks as runs") struct GeneratedTaskTests {
    @Test("delayed copy is solved", arguments: ["lstm, forgetBias: 1", "gru", "gru-reset-before"])
    func delayedCopy(_ kind: String) throws {
        let task = try makeTask("kind: delayed-copy, symbols: 4, length: 2, delay: 6, examples: 256", "kind: \(kind), width: 32")
        _ = try train(task, steps: 500, learningRate: 1e-2)
        #expect(try score("accuracy", task.evaluate(.validation, SingleProcess())) > 0.99)
        #expect(try score("sequence_accuracy", task.evaluate(.test, SingleProcess())) > 0.98)
    }

    @Test("the adding problem is solved", arguments: ["lstm, forgetBias: 1", "gru"])
    func adding(_ kind: String) throws {
        let task = try makeTask("kind: adding, length: 12, examples: 256", "kind: \(kind), width: 24")
        _ = try train(task, steps: 600, learningRate: 1e-2)
        #expect(try score("mean_squared_error", task.evaluate(.test, SingleProcess())) < 0.01)
    }

    @Test(
        "keys are recalled: one by attention, which reads symbols as tokens, several by a delta rule",
        arguments: [
            ("decoder-only, layers: 1, width: 32, heads: 2, context: 16, feedForward: 32", "1"),
            ("transformer-xl, layers: 2, width: 32, heads: 1, feedForward: 32, memory: 0, preNorm: true", "1"),
            ("gated-deltanet, layers: 1, width: 32, heads: 1, feedForward: 32, embedding: 32", "[1, 3]"),
            ("sparse-delta, layers: 1, width: 32, heads: 1, rows: 64, feedForward: 32, embedding: 32, start: learned", "[1, 3]"),
        ])
    func keyValueRecall(_ kind: String, pairs: String) throws {
        let task = try makeTask("kind: mqar, vocabulary: 12, pairs: \(pairs), length: 16, examples: 256, testLengths: [4]", "kind: \(kind)")
        let chance = try score("accuracy", task.evaluate(.test, SingleProcess()))
        #expect(chance < 0.3)
        _ = try train(task, steps: 700, learningRate: 1e-2)
        let scores = try task.evaluate(.test, SingleProcess())
        #expect(try score("accuracy", scores) > 0.95, "\(String(describing: scores))")
        if pairs != "1" { #expect(try score("accuracy_length_4", scores) > 0.5) }
        #expect(try task.example(0).input.count == 1)
    }

    @Test("copy of short sequences is learned by an Elman network")
    func copy() throws {
        let task = try makeTask("kind: copy, bits: 2, lengths: [1, 2], examples: 256, testLengths: [6]", "kind: elman, width: 48")
        _ = try train(task, steps: 700, learningRate: 5e-3)
        let scores = try task.evaluate(.test, SingleProcess())
        #expect(try score("bit_errors_per_sequence", scores) < 0.1)
        #expect(try score("bit_errors_per_sequence_length_6", scores) > 1, "nothing that an Elman network generalises to")
    }

    @Test("an untrained model is measured at chance, and test lengths belong to the test alone")
    func chance() throws {
        let task = try makeTask("kind: copy, bits: 4, lengths: 5, examples: 100, testLengths: [9, 12]", "kind: lstm, width: 8")
        let validation = try #require(try task.evaluate(.validation, SingleProcess()))
        #expect(validation.examples == 100)
        #expect(validation.scores.map(\.name) == ["bit_errors_per_sequence", "bits_per_sequence", "sequence_accuracy"])
        #expect(abs(try score("bit_errors_per_sequence", validation) - 10) < 1.5)
        #expect(abs(try score("bits_per_sequence", validation) - 20) < 1)
        #expect(abs(try #require(validation.loss) - log(2)) < 0.05)
        let test = try task.evaluate(.test, SingleProcess())
        #expect(abs(try score("bits_per_sequence_length_12", test) - 48) < 2)
        #expect(try score("bits_per_sequence", test) != score("bits_per_sequence", validation), "other sequences")
    }

    @Test("an example shows what was read and answered")
    func example() throws {
        let copy = try makeTask("kind: copy, bits: 3, lengths: 4", "kind: lstm, width: 8")
        let shown = try copy.example(0)
        #expect(shown.input.count == 4 && shown.input[3] == "....1....")
        #expect(shown.expected?.split(separator: " ").count == 4 && shown.answer.count == shown.expected?.count)
        #expect(shown.pictures.map(\.name) == ["input", "hidden state", "answer"])
        #expect(try copy.example(0) == shown && copy.example(1) != shown)
        #expect(throws: UserError.self) { try copy.example(-1) }
        let delayed = try makeTask("kind: delayed-copy, symbols: 4, length: 1, delay: 2", "kind: gru, width: 8, embedding: 3").example(3)
        #expect(delayed.input.count == 1 && delayed.input[0].hasSuffix(" 4 5 4") && delayed.probability != nil)
        #expect(delayed.input[0].hasPrefix(try #require(delayed.expected)))
    }

    @Test(
        "mistakes in a run file are named",
        arguments: [
            ("kind: copy, lengths: [5, 2]", "kind: lstm, width: 8", "lengths"), ("kind: copy, lenghts: [1, 2]", "kind: lstm, width: 8", "lengths"),
            ("kind: copy", "kind: lstn, width: 8", "lstm"), ("kind: copie", "kind: lstm, width: 8", "copy"),
            ("kind: associative-recall, items: [1, 3]", "kind: lstm, width: 8", "items"),
            ("kind: adding, length: 1", "kind: lstm, width: 8", "length"),
            ("kind: copy", "kind: gru, width: 8, forgetBias: 1", "forgetBias"),
            ("kind: priority-sort, length: 4, answers: 5", "kind: gru, width: 8", "answers"),
            ("kind: segment-recall, keys: 4, pairs: 5", "kind: transformer-xl, layers: 1, width: 8, heads: 2", "pairs"),
            ("kind: segment-recall, distance: [1, 1]", "kind: transformer-xl, layers: 1, width: 8, heads: 2", "names a distance twice"),
            ("kind: segment-recall, distance: [0, 2], recurrence: 1", "kind: transformer-xl, layers: 1, width: 8, heads: 2", "recurrence"),
            ("kind: segment-recall, keys: 4", "kind: decoder-only, layers: 1, width: 8, heads: 2, context: 5", "context"),
            ("kind: segment-recall", "kind: encoder-decoder, layers: 1, width: 8, heads: 2", "transformer-xl"),
            ("kind: copy", "kind: gru", "width"), ("kind: adding, testLengths: [1]", "kind: gru, width: 8", "testLengths"),
            ("kind: mqar, length: 31", "kind: lstm, width: 8", "length"), ("kind: mqar, vocabulary: 16", "kind: lstm, width: 8", "vocabulary"),
            ("kind: mqar, vocabulary: 40, testLengths: [20]", "kind: lstm, width: 8", "testLengths"),
            ("kind: mqar", "kind: decoder-only, layers: 1, width: 8, heads: 2, context: 63", "context"),
            ("kind: mqar", "kind: decoder-only, layers: 1, width: 8, heads: 2, memorizing: {layer: 0}", "memorizing"),
            ("kind: mqar", "kind: transformer-xl, layers: 1, width: 8, heads: 2", "set it to 0"),
            ("kind: mqar", "kind: gated-deltanet, layers: 1, width: 8, heads: 2, convolution: 1", "convolution"),
            ("kind: mqar", "kind: sparse-delta, layers: 1, width: 8, heads: 2, rows: 10", "9 and 16"),
            ("kind: mqar", "kind: sparse-delta, layers: 1, width: 8, heads: 2, rows: 9, writes: 10", "writes"),
            ("kind: mqar", "kind: sparse-delta, layers: 1, width: 8, heads: 2, keyWidth: 3", "keyWidth"),
            ("kind: mqar", "kind: recurrent-memory, layers: 1, width: 8, heads: 2, segment: 1", "segment"),
            ("kind: mqar", "kind: encoder-decoder, layers: 1, width: 8, heads: 2", "decoder-only"),
            ("kind: copy", "kind: decoder-only, layers: 1, width: 8, heads: 2", "lstm"),
        ])
    func mistakes(_ task: String, _ model: String, _ word: String) {
        let error = #expect(throws: UserError.self) { try makeTask(task, model) }
        #expect("\(error.map { "\($0)" } ?? "")".contains(word))
    }

    @Test(
        "the run files of these tasks are complete",
        arguments: [
            "copy-lstm", "delayed-copy", "adding", "associative-recall-lstm", "priority-sort-lstm", "repeat-copy-lstm", "overwrite-lstm", "copy-ntm",
            "overwrite-erase-add", "associative-recall-ntm", "priority-sort-ntm", "repeat-copy-dnc", "segment-recall-xl", "memory-tiers",
            "mqar-deltanet", "mqar-attention", "mqar-lstm", "mqar-forgetting", "mqar-sparse-delta",
        ])
    func runFiles(_ name: String) throws {
        let runs = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../launch/runs")
        let configuration = try RunConfiguration(contentsOf: runs.appending(path: "\(name).yaml").path)
        let task = try configuration.task.makeTask(configuration, savedIn: nil)
        task.model.store.allocate(seed: 1, gradients: false)
        #expect(try task.example(0).expected?.isEmpty == false && configuration.run == name)
    }
}

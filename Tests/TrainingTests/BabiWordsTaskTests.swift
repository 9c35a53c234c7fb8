// bAbI word by word as a task: learned from a few stories, measured by task, answered and explained.

import Collectives
import Diagnostics
import Foundation
import Models
import NeuralNetworks
import Optimizers
import Tensors
import TestSupport
import Testing
import Training

@Suite("bAbI word by word") struct BabiWordsTaskTests {
    private static let people = ["Mary", "John", "Sandra"]
    private static let places = ["garden", "kitchen", "office"]

    /// Stories of two moves and a question about the first or the second.
    private func write(_ scratch: String) throws {
        var text = ""
        for number in 0..<36 {
            let (first, second) = (Self.people[number % 3], Self.people[(number + 1) % 3])
            let (here, there) = (Self.places[number / 3 % 3], Self.places[number / 9 % 3])
            let asksFirst = number % 2 == 0
            text += "1 \(first) went to the \(here).\n2 \(second) went to the \(there).\n"
            text += "3 Where is \(asksFirst ? first : second)?\t\(asksFirst ? here : there)\t\(asksFirst ? 1 : 2)\n"
        }
        try text.write(toFile: "\(scratch)/qa1_x_train.txt", atomically: true, encoding: .utf8)
        try (text + "1 Mary went to the moon.\n2 Where is Mary?\tmoon\t1\n").write(
            toFile: "\(scratch)/qa1_x_test.txt", atomically: true, encoding: .utf8)
    }

    private func task(_ scratch: String, _ more: String = "", savedIn directory: String? = nil) throws -> BabiWordsTask {
        let yaml = """
            steps: 10
            task: {kind: babi-words, data: \(scratch), tasks: 1, validation: 0\(more)}
            model: {kind: gru, width: 32, embedding: 12}
            batch: {lanes: 12}
            optimizer: {kind: adamw}

            """
        let configuration = try RunConfiguration(yaml: yaml, file: "run.yaml")
        let task = try #require(try configuration.task.makeTask(configuration, savedIn: directory) as? BabiWordsTask)
        task.model.store.allocate(seed: 1)
        return task
    }

    @Test("stories are learned, and an answer unseen in training is wrong")
    func learning() throws {
        try withScratchDirectory { scratch in
            try write(scratch)
            let task = try task(scratch, ", blanks: 1")
            #expect(task.summary.contains("36 stories") && !task.hasValidation)
            let store = task.model.store
            let optimizer = try makeOptimizer(OptimizerConfiguration(kind: .adamw, weightDecay: 0), parameterCount: store.flatCount)
            let step = TrainingStep(store: store, optimizer: optimizer, update: .init(clip: 1, lanes: 12), communicator: SingleProcess())
            let loader = try task.makeLoader(owning: Array(0..<12))
            for number in 1...500 {
                let batch = try loader.batch(lanes: Array(0..<12))
                _ = try step.run(step: number, learningRate: number < 300 ? 1e-2 : 2e-3) { _, tape in
                    batch.loss(ForwardPass(tape: tape, stepsDone: number - 1))
                }
                try loader.advance()
            }
            let scores = try #require(try task.evaluate(.test, SingleProcess()))
            #expect(scores.examples == 37)
            let error = try #require(scores.scores.first { $0.name == "error" }).value
            #expect(error > 0.99 / 37 && error < 0.1, "the unseen answer, and hardly another, is wrong: \(error)")
            #expect(scores.details.map(\.name) == ["error_task_1", "unseen_answers", "unknown_words"])

            let answer = try task.answer("John went to the office.\nMary went to the kitchen.\nWhere is John?")
            #expect(answer.answer == "office" && answer.expected == nil && (answer.probability ?? 0) > 0.5)
            #expect(answer.input == ["john went to the office . mary went to the kitchen . where is john ? _ -"])
            let shown = try task.example(0)
            #expect(shown.expected == "garden" && shown.answer == "garden" && !shown.pictures.isEmpty)
            #expect(throws: UserError.self) { try task.example(99) }

            // A run directory has the vocabulary, and gives the same answers with the same parameters.
            for file in task.files { try Data(file.bytes).write(to: URL(filePath: "\(scratch)/\(file.name)")) }
            let saved = try self.task(scratch, ", blanks: 1", savedIn: scratch)
            for parameter in store.parameters {
                try #require(saved.model.store[parameter.name]).value.floats.update(from: parameter.value.floats, count: parameter.shape.count)
            }
            #expect(try saved.evaluate(.test, SingleProcess())?.scores == scores.scores)
            #expect(try saved.identity.map(\.value) == task.identity.map(\.value))
        }
    }

    @Test("a limit that no story keeps is named; long stories are counted in the first line of the run")
    func limits() throws {
        try withScratchDirectory { scratch in
            try write(scratch)
            #expect(throws: UserError.self) { try task(scratch, ", maximumSteps: 4") }
            #expect(try task(scratch, ", maximumSteps: 40").summary.contains("left out") == false)
        }
    }
}

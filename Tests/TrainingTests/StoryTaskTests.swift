// Story tasks as runs: that a memory network learns simulated stories, whatever the ranks, and what people see.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Models
import NeuralNetworks
import Optimizers
import TestSupport
import Tensors
import Testing
import Training

@Suite("Story tasks as runs") struct StoryTaskTests {
    /// Simulated stories of some tasks, in a directory of their own.
    private final class SimulatedSet {
        let path: String

        init(tasks: [Int], stories: Int = 200) throws {
            path = FileManager.default.temporaryDirectory.appending(path: "mneme-stories-\(UUID().uuidString)").path
            _ = try BabiSimulator(seed: 9).write(tasks: tasks.compactMap { BabiTask($0) }, counts: [.train: stories, .test: 40], to: path)
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func configuration(
            _ tasks: [Int], lanes: Int = 16, model: String = "width: 20, linearStart: 100", extra: String = ""
        ) throws -> RunConfiguration {
            try RunConfiguration(
                yaml: "seed: 3\nsteps: 600\ntask: {kind: babi, data: \(path), tasks: [\(tasks.map(\.description).joined(separator: ", "))]\(extra)}\n"
                    + "model: {kind: memory-network, \(model)}\nbatch: {lanes: \(lanes), groups: 4}\n"
                    + "optimizer: {kind: sgd, learningRate: 0.01, clip: 40, clipPer: parameter, reduction: sum}\n", file: "run.yaml")
        }
    }

    /// Trains on one rank; returns the task.
    private func train(_ configuration: RunConfiguration, steps: Int) throws -> any LearningTask {
        let task = try configuration.task.makeTask(configuration, savedIn: nil)
        let store = task.model.store
        store.allocate(seed: configuration.seed)
        let lanes = Array(0..<configuration.batch.lanes)
        let optimizer = try makeOptimizer(configuration.optimizer, parameterCount: store.flatCount)
        let step = TrainingStep(
            store: store, optimizer: optimizer,
            update: .init(
                clip: configuration.optimizer.clip, clipPer: configuration.optimizer.clipPer, reduction: configuration.optimizer.reduction,
                lanes: lanes.count),
            communicator: SingleProcess())
        let loader = try task.makeLoader(owning: lanes)
        for number in 1...steps {
            let batch = try loader.batch(lanes: lanes)
            _ = try step.run(step: number, learningRate: configuration.optimizer.learningRate) { _, tape in
                batch.loss(ForwardPass(tape: tape, stepsDone: number - 1))
            }
            try loader.advance()
        }
        return task
    }

    @Test("one supporting fact is learned, and the hops point at it")
    func learning() throws {
        let set = try SimulatedSet(tasks: [1])
        let task = try train(try set.configuration([1]), steps: 1500)
        let scores = try #require(try task.evaluate(.test, SingleProcess()))
        let error = try #require(scores.scores.first { $0.name == "error" }).value
        #expect(error <= 0.05 && scores.scores.contains { $0.name == "failed_tasks" })
        #expect(scores.details.contains { $0.name == "error_task_1" && $0.value == error } && scores.details.contains { $0.name == "training_error" })
        let answering = try #require(task as? any AnsweringTask)
        let shown = try answering.answer("Mary went to the garden.\nJohn went to the office.\nMary travelled to the kitchen.\nZork.\nWhere is John?")
        #expect(shown.answer == "office" && shown.notes.contains { $0.contains("zork") } && shown.notes.contains { $0.contains("without a word") })
        let picture = try #require(shown.pictures.first)
        #expect(picture.rows == 3 && picture.columns == 3 && picture.columnLabels[1] == "john went to the office")
        #expect((0..<3).contains { picture.values[$0 * 3 + 1] > 0.8 })
        #expect(throws: UserError.self) { try answering.answer("Where is John?") }
        let example = try task.example(0)
        #expect(example.expected != nil && example.notes.contains { $0.contains("supporting facts") })
        #expect(throws: UserError.self) { try task.example(1_000_000) }
    }

    @Test("of one task the last questions are held out, of several a random choice; identity and files tell one run from another")
    func parts() throws {
        let set = try SimulatedSet(tasks: [1, 20], stories: 50)
        let single = try set.configuration([1]).task.makeTask(try set.configuration([1]), savedIn: nil)
        let joint = try set.configuration([1, 20]).task.makeTask(try set.configuration([1, 20]), savedIn: nil)
        #expect(single.hasValidation && joint.hasValidation && single.identity.map(\.value) != joint.identity.map(\.value))
        #expect(joint.summary.hasPrefix("bAbI tasks 1, 20") && single.summary.hasPrefix("bAbI task 1: "))
        let directory = FileManager.default.temporaryDirectory.appending(path: "mneme-run-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        for file in joint.files { try Data(file.bytes).write(to: directory.appending(path: file.name)) }
        let configuration = try set.configuration([1, 20])
        let saved = try configuration.task.makeTask(configuration, savedIn: directory.path)
        #expect(saved.identity.map(\.value) == joint.identity.map(\.value) && saved.model.store.parameterCount == joint.model.store.parameterCount)
        joint.model.store.allocate(seed: 1)
        saved.model.store.allocate(seed: 1, gradients: false)
        let (mine, other) = (try joint.evaluate(.test, SingleProcess()), try saved.evaluate(.test, SingleProcess()))
        #expect(mine?.scores == other?.scores)
    }

    @Test("what a run file may get wrong is named")
    func mistakes() throws {
        let set = try SimulatedSet(tasks: [1], stories: 5)
        for (tasks, model, extra, word) in [
            ([1], "width: 20", ", memmory: 5", "memory"), ([1], "width: 20, hopps: 3", "", "hops"), ([21], "width: 20", "", "tasks"),
            ([2], "width: 20", "", "task 2"), ([1], "width: 20", ", maximumBadRecords: -1", "maximumBadRecords"),
        ] {
            let error = #expect(throws: UserError.self) {
                let configuration = try set.configuration(tasks, model: model, extra: extra)
                _ = try configuration.task.makeTask(configuration, savedIn: nil)
            }
            #expect(error.map { "\($0)".contains(word) } == true, "\(word)")
        }
    }
}

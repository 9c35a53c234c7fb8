// What a session that resumes says about a configuration that has changed.

import Diagnostics
import Foundation
import Testing
import Training

@Suite("The configuration of a session that resumes") struct ResumeComparisonTests {
    private static let text = """
        run: checkpoints/a
        seed: 1
        steps: 20
        task: {kind: copy}
        model: {kind: lstm, width: 4}
        batch: {lanes: 4}
        optimizer: {learningRate: 1e-3}
        """

    private func run(_ overrides: [String]) throws -> RunConfiguration {
        let path = FileManager.default.temporaryDirectory.appending(path: "mneme-resume-\(UUID().uuidString).yaml").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Self.text.write(toFile: path, atomically: true, encoding: .utf8)
        return try RunConfiguration(contentsOf: path, overrides: overrides)
    }

    private func lines(_ overrides: String..., saved: String? = nil, accepting keys: [String] = []) throws -> [String] {
        var present = try run(overrides)
        try present.accept(keys)
        return try ResumeComparison(saved: saved ?? run([]).resolvedYAML, present: present, checkpoint: "a/step-12", step: 12).lines
    }

    private func refusal(_ overrides: String...) -> String {
        let error = #expect(throws: UserError.self) {
            try ResumeComparison(saved: run([]).resolvedYAML, present: run(overrides), checkpoint: "a/step-12", step: 12)
        }
        #expect(error?.exitCode == .configuration)
        return error?.description ?? ""
    }

    @Test("the same configuration, however it is written, says nothing")
    func same() throws { #expect(try lines("optimizer.learningRate=0.001", "seed=1", "log={every: 10}") == []) }

    @Test("what changes the training is said, in a line each")
    func noted() throws {
        #expect(
            try lines("optimizer.learningRate=0.5", "schedule.kind=cosine", "model.dropout=0.1") == [
                "model.dropout is 0.1 from here on; up to step 12 it was 0.0",
                "optimizer.learningRate is 0.5 from here on; up to step 12 it was 0.001",
                "schedule.kind is cosine from here on; up to step 12 it was constant",
            ])
    }

    @Test("what changes nothing is said in one line")
    func free() throws {
        #expect(
            try lines("steps=30", "log.every=1", "run=checkpoints/b", "evaluation.batches=3") == [
                "changed without effect on what is learned: run (checkpoints/b, was checkpoints/a), steps (30, was 20), "
                    + "evaluation.batches (3, was null), log.every (1, was 10)"
            ])
    }

    @Test("steps below the checkpoint's are said")
    func fewerSteps() throws {
        #expect(
            try lines("steps=5") == [
                "changed without effect on what is learned: steps (5, was 20)",
                "steps is 5, and the checkpoint is of step 12: nothing is left to train",
            ])
        #expect(try lines("steps=12").count == 1)
    }

    @Test(
        "what makes another run of it is refused, unless it is accepted",
        arguments: [
            ("seed", "2", "1"), ("batch.lanes", "8", "4"), ("batch.groups", "2", "null"), ("model.width", "8", "4"),
            ("optimizer.kind", "sgd", "adamw"),
            ("precision", "bfloat16", "float32"), ("task.bits", "3", "8"), ("task.lengths", "[1, 3]", "[1, 20]"),
        ])
    func refused(_ key: String, _ now: String, _ before: String) throws {
        let message = refusal("\(key)=\(now)")
        #expect(
            message == "a/step-12: the run was trained with \(key) \(before), not \(now); "
                + "set it back, accept the change with --accept \(key), or start again with --fresh")
        let accepted = try lines("\(key)=\(now)", accepting: [key])
        #expect(accepted.contains("\(key) is \(now) from here on; up to step 12 it was \(before)"), "\(accepted)")
        #expect(throws: UserError.self) { try lines("\(key)=\(now)", accepting: ["steps"]) }
    }

    @Test("all that is refused is named at once")
    func several() {
        #expect(
            refusal("batch.lanes=8", "seed=2", "log.every=1")
                == "a/step-12: the run was trained with seed 1, not 2, batch.lanes 4, not 8; set them back, accept the change with "
                + "--accept seed --accept batch.lanes, or start again with --fresh")
    }

    @Test("of another kind, the kind is named and not the keys that come with it")
    func kinds() {
        let message = refusal("model={kind: ntm}")
        #expect(message.hasPrefix("a/step-12: the run was trained with model.kind lstm, not ntm"), "\(message)")
        #expect(!message.contains("readHeads"))
    }

    @Test("a key that the checkpoint does not know had its default")
    func newerKeys() throws {
        let saved = Self.text
        #expect(try lines(saved: saved) == [])
        #expect(try lines("optimizer.clip=2", saved: saved) == ["optimizer.clip is 2.0 from here on; up to step 12 it was 1.0"])
        #expect(try lines(saved: saved + "\ncheck_numerics: true\n") == ["changed without effect on what is learned: checkNumerics (false, was true)"])
    }

    @Test("accepting a key that there is not is an error; one that has not changed may be accepted")
    func accepting() throws {
        #expect(try lines(accepting: ["seed", "batch.lanes"]) == [])
        let error = #expect(throws: UserError.self) { try lines(accepting: ["batch.lane"]) }
        #expect(error?.description == "--accept: the run file has no key 'batch.lane'; did you mean 'batch.lanes'?")
        #expect(error?.exitCode == .usage)
    }
}

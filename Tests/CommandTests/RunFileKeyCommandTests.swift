// mneme train --keys and --accept, and what a session says that resumes with a changed run file.

import Foundation
import TestSupport
import Testing

@Suite struct RunFileKeyCommandTests {
    @Test("--keys lists a section as text and as JSON; the whole list fits 100 columns")
    func keys() throws {
        let text = try mneme(["train", "--keys", "optimizer"]).standardOutput
        #expect(text.contains("\noptimizer\n") && text.contains("\n  where optimizer.kind is sgd\n") && !text.contains("\nmodel"))
        let all = try mneme(["train", "--keys"]).standardOutput.split(separator: "\n")
        #expect(all.count > 300 && all.allSatisfy { $0.count <= 100 })
        let keys = try #require(
            try JSONSerialization.jsonObject(with: Data(try mneme(["train", "--keys", "batch", "--json"]).standardOutput.utf8)) as? [[String: Any]])
        let lanes = try #require(keys.first { $0["name"] as? String == "batch.lanes" })
        #expect(lanes["type"] as? String == "an integer from 1 to 1048576" && lanes["on_resume"] as? String == "refused" && lanes["default_value"] == nil)
        let wrong = try mneme(["train", "--keys", "optimzer"], expecting: 64)
        #expect(wrong.standardError == "mneme: error: --keys: run files have no section or key 'optimzer'; did you mean 'optimizer'?\n")
        #expect(try mneme(["train"], expecting: 64).standardError.contains("Missing a run file"))
    }

    @Test("a resume says what has changed, and refuses what makes another run of it unless it is accepted")
    func resume() throws {
        try withScratchDirectory { scratch in
            let file = "\(scratch)/run.yaml"
            try """
                run: \(scratch)/run
                steps: 4
                task: {kind: copy, bits: 2, lengths: [1, 2], examples: 32}
                model: {kind: lstm, width: 8}
                batch: {lanes: 4}
                parallel: {threads: 1}
                log: {every: 1}
                """.write(toFile: file, atomically: true, encoding: .utf8)
            try mneme(["train", file])
            func checkpoints() throws -> [String] {
                try FileManager.default.contentsOfDirectory(atPath: "\(scratch)/run").filter { $0.hasPrefix("step-") }.sorted()
            }
            let changed = ["train", file, "--set", "steps=6", "--set", "batch.lanes=8", "--set", "optimizer.learningRate=0.5"]
            let refused = try mneme(changed, expecting: 78)
            #expect(
                refused.standardError == "mneme: error: \(scratch)/run/step-4: the run was trained with batch.lanes 4, not 8; set it back, "
                    + "accept the change with --accept batch.lanes, or start again with --fresh\n")
            #expect(try checkpoints() == ["step-4"])
            let accepted = try mneme(changed + ["--accept", "batch.lanes"]).standardError
            for line in [
                "batch.lanes is 8 from here on; up to step 4 it was 4",
                "optimizer.learningRate is 0.5 from here on; up to step 4 it was 0.001",
                "changed without effect on what is learned: steps (6, was 4)", "resuming at step 4 from \(scratch)/run/step-4",
            ] {
                #expect(accepted.split(separator: "\n").contains { $0 == line }, "\(line)\n\(accepted)")
            }
            #expect(try checkpoints() == ["step-4", "step-6"])
            // The next session compares with what was accepted.
            #expect(try mneme(changed).standardError.contains("from here on") == false)
            let fewer = try mneme(changed + ["--set", "steps=5"]).standardError
            #expect(fewer.contains("steps is 5, and the checkpoint is of step 6: nothing is left to train\n"), "\(fewer)")
            let otherRule = ["--set", "optimizer.kind=sgd", "--set", "steps=7"]
            #expect(try mneme(changed + otherRule, expecting: 78).standardError.contains("trained with optimizer.kind adamw, not sgd"))
            try mneme(changed + otherRule + ["--accept", "optimizer.kind"])
            #expect(try mneme(changed + ["--accept", "batch.lane"], expecting: 64).standardError.contains("did you mean 'batch.lanes'?"))
        }
    }

    @Test("a run directory that is not the run's own is refused before --fresh removes anything")
    func foreignDirectory() throws {
        try withScratchDirectory { scratch in
            let foreign = "\(scratch)/step-1/thesis.txt"
            try FileManager.default.createDirectory(atPath: "\(scratch)/step-1", withIntermediateDirectories: true)
            try FileManager.default.createDirectory(atPath: "\(scratch)/sub", withIntermediateDirectories: true)
            try "mine".write(toFile: foreign, atomically: true, encoding: .utf8)
            let settings = ["steps=1", "task.kind=copy", "model.kind=lstm", "model.width=4", "batch.lanes=4", "run=\(scratch)/sub/.."]
            try "".write(toFile: "\(scratch)/empty.yaml", atomically: true, encoding: .utf8)
            let run = try mneme(["train", "\(scratch)/empty.yaml", "--fresh"] + settings.flatMap { ["--set", $0] }, expecting: 78)
            #expect(run.standardError.contains("which is no directory of the run's own"), "\(run.standardError)")
            #expect(try String(contentsOfFile: foreign, encoding: .utf8) == "mine")
        }
    }
}

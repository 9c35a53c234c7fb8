// `mneme sweep`: real runs of a tiny task.

import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct SweepCommandTests {
    /// A sweep in a directory of its own.
    private struct Sweep {
        let scratch: String
        var words: [String]
        var environment: [String: String] = [:]

        init(_ scratch: String, _ words: String...) throws {
            self.scratch = scratch
            let yaml = """
                run: \(scratch)/run
                seed: 1
                steps: 12
                task: {kind: overwrite, keys: 5, values: 7, length: 20, examples: 64}
                model: {kind: erase-add, rows: 20, width: 12, controller: {width: 24}}
                batch: {lanes: 8, groups: 2}
                optimizer: {kind: adamw, learningRate: 1e-3, clip: 1.0}
                parallel: {reproducible: true}
                checkpoint: {every: 5, keep: 2}
                evaluation: {every: 6, batches: 2}
                log: {every: 1}

                """
            try yaml.write(toFile: "\(scratch)/run.yaml", atomically: true, encoding: .utf8)
            self.words = ["sweep", "\(scratch)/run.yaml"] + words
        }

        func start(_ more: String...) throws -> StartedRun {
            try MPIRun.start(ranks: nil, executable: "mneme", arguments: words + more, extraEnvironment: environment)
        }

        func run(_ more: String..., expecting status: Int32 = 0, _ location: SourceLocation = #_sourceLocation) throws -> FinishedRun {
            let run = try MPIRun.runAlone(executable: "mneme", arguments: words + more, extraEnvironment: environment)
            #expect(run.status == status, "\(run.standardOutput)\(run.standardError)", sourceLocation: location)
            return run
        }

        func lines(_ point: String) -> [[String: Any]] {
            ((try? String(contentsOfFile: "\(scratch)/run-sweep/\(point)/metrics.jsonl", encoding: .utf8)) ?? "").split(separator: "\n").compactMap {
                try? jsonObject(String($0))
            }
        }

        /// The result of a run, computed here: the mean loss of the last two of 12 steps.
        func loss(_ point: String) throws -> Double {
            let losses = lines(point).compactMap { $0["loss"] as? Double }
            try #require(losses.count == 12)
            return (losses[10] + losses[11]) / 2
        }

        func session(_ point: String) throws -> [String: Any] {
            try jsonObject(String(contentsOfFile: "\(scratch)/run-sweep/\(point)/session.json", encoding: .utf8))
        }

        func record() throws -> [String: Any] { try jsonObject(String(contentsOfFile: "\(scratch)/run-sweep/sweep.json", encoding: .utf8)) }

        /// The states of all points, by their names.
        func states() throws -> [String: String] {
            let points = try #require(record()["points"] as? [[String: Any]])
            return Dictionary(uniqueKeysWithValues: points.compactMap { point in (point["name"] as? String).map { ($0, point["state"] as? String ?? "") } })
        }
    }

    @Test("the table and sweep.json say what metrics.jsonl says; a second start trains nothing; more values and more steps are added")
    func table() throws {
        try withScratchDirectory { scratch in
            let rates = ["optimizer.learningRate=1e-2,1e-4"]
            let sweep = try Sweep(scratch, "--vary", rates[0])
            let run = try sweep.run("--vary", "seed=1..3", "--show", "validation_loss")
            var results: [String: [Double]] = [:]
            var all: [(name: String, loss: Double)] = []
            let table = run.standardOutput.split(separator: "\n").map { $0.split(separator: " ", omittingEmptySubsequences: true).map(String.init) }
            #expect(table[0] == ["POINT", "optimizer.learningRate", "seed", "training_loss", "validation_loss", "STATE"])
            for (index, (rate, seed)) in [("0.01", 1), ("0.01", 2), ("0.01", 3), ("0.0001", 1), ("0.0001", 2), ("0.0001", 3)].enumerated() {
                let name = "learningRate=\(rate),seed=\(seed)"
                let loss = try sweep.loss(name)
                let validation = try #require(sweep.lines(name).last?["validation_loss"] as? Double)
                #expect(table[index + 1] == ["\(index + 1)", rate, "\(seed)", String(format: "%.6g", loss), String(format: "%.6g", validation), "finished"])
                results[rate, default: []].append(loss)
                all.append((name, loss))
            }
            for (row, rate) in [(9, "0.01"), (10, "0.0001")] {
                let sorted = try #require(results[rate]).sorted()
                #expect(table[row] == [rate, "3/3"] + [sorted[1], sorted[0], sorted[2]].map { String(format: "%.6g", $0) })
            }
            let best = try #require(all.min { $0.loss < $1.loss })
            #expect(try sweep.record()["best"] as? String == best.name)
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "\(scratch)/run-sweep/best") == best.name)
            #expect(run.standardOutput.contains("The best is \(best.name), training_loss \(String(format: "%.6g", best.loss)): \(scratch)/run-sweep/best"))
            try mneme(["evaluate", "\(scratch)/run-sweep/best"])

            // Nothing is trained again: no session comes after the first ones.
            let sessions = try all.map { try sweep.session($0.name)["session"] as? NSDictionary }
            let again = try sweep.run("--vary", "seed=1..3", "--json")
            #expect(try all.map { try sweep.session($0.name)["session"] as? NSDictionary } == sessions)
            #expect(try jsonObject(again.standardOutput) as NSDictionary == sweep.record() as NSDictionary)
            let dry = try sweep.run("--vary", "seed=1..4", "--dry-run")
            #expect(dry.standardOutput.components(separatedBy: "waiting").count == 3, "\(dry.standardOutput)")
            let more = try Sweep(scratch, "--vary", "optimizer.learningRate=0.01").run("--vary", "seed=1..3", expecting: 78)
            #expect(more.standardError.contains("is of another grid: it has the point learningRate=0.0001"), "\(more.standardError)")
            _ = try sweep.run("--vary", "seed=1..4", "--set", "steps=14")
            #expect(sweep.lines(best.name).count == 14 && sweep.lines("learningRate=0.01,seed=4").count == 14)
            #expect(try sweep.states().values.allSatisfy { $0 == "finished" } && sweep.states().count == 8)
        }
    }

    @Test("a request to stop reaches the runs that are side by side; the sweep goes on from their checkpoints, also when it was killed", arguments: [SIGTERM, SIGKILL])
    func goesOn(signal: Int32) throws {
        try withScratchDirectory { scratch in
            var sweep = try Sweep(scratch, "--vary", "seed=1..3", "--parallel", "2")
            // As many steps as nobody waits for.
            sweep.words += ["--set", "steps=100000", "--set", "evaluation.every=never", "--set", "log.every=100", "--set", "checkpoint.every=50"]
            let started = try sweep.start()
            let isUnderWay = started.wait { sweep.lines("seed=1").count > 1 && sweep.lines("seed=2").count > 1 }
            try #require(isUnderWay)
            #expect(try sweep.run(expecting: 69).standardError.contains("another sweep has this directory: process \(started.identifier)"))
            try #require(kill(started.identifier, signal) == 0)
            let stopped = try started.finish()
            #expect(stopped.status == (signal == SIGTERM ? 75 : 128 + SIGKILL), "\(stopped.standardError)")
            if signal == SIGTERM {
                #expect(try sweep.states() == ["seed=1": "unfinished", "seed=2": "unfinished", "seed=3": "waiting"])
                #expect(try sweep.session("seed=1")["outcome"] as? String == "stopped")
            }
            let reached = sweep.lines("seed=1").last?["step"] as? Int ?? 0
            let end = 100 * (max(reached, sweep.lines("seed=2").last?["step"] as? Int ?? 0) / 100 + 4)
            let finished = try sweep.run("--set", "steps=\(end)")
            #expect(try sweep.states().values.allSatisfy { $0 == "finished" })
            #expect(sweep.lines("seed=1").last?["step"] as? Int == end && sweep.lines("seed=3").last?["step"] as? Int == end)
            let log = try String(contentsOfFile: "\(scratch)/run-sweep/seed=1.log", encoding: .utf8)
            #expect(log.contains("resuming at step "), "\(log)\(finished.standardError)")
            // What was stopped and went on has the bits of a run that was not.
            try mneme([
                "train", "\(scratch)/run.yaml", "--set", "run=\(scratch)/whole", "--set", "steps=\(end)", "--set", "evaluation.every=never", "--set", "log.every=100",
            ])
            try mneme(["checkpoint", "diff", "\(scratch)/whole", "\(scratch)/run-sweep/seed=1"])
        }
    }

    @Test("each task of a job array trains the point of its number; tasks beside one another lose nothing of what others note")
    func array() throws {
        try withScratchDirectory { scratch in
            var sweep = try Sweep(scratch, "--vary", "seed=1..3", "--array")
            #expect(try sweep.run(expecting: 64).standardError.contains("no variable tells the number of a task"))
            sweep.environment["SLURM_ARRAY_TASK_ID"] = "0"
            #expect(try sweep.run(expecting: 64).standardError.contains("number the tasks from 1 to 3"))
            sweep.environment["SLURM_ARRAY_TASK_ID"] = "4"
            #expect(try sweep.run().standardError.contains("there are 3 points, and none for task 4"))
            sweep.environment = ["PBS_ARRAY_INDEX": "2"]
            _ = try sweep.run()
            #expect(try sweep.states() == ["seed=1": "waiting", "seed=2": "finished", "seed=3": "waiting"])
            let tasks = try [("SLURM_ARRAY_TASK_ID", "1"), ("LSB_JOBINDEX", "3"), ("SGE_TASK_ID", "2")].map { variable, task in
                sweep.environment = [variable: task]
                return try sweep.start()
            }
            for task in tasks { #expect(try task.finish().status == 0) }
            #expect(try sweep.states() == ["seed=1": "finished", "seed=2": "finished", "seed=3": "finished"])
            let best = try #require(["seed=1", "seed=2", "seed=3"].min { try sweep.loss($0) < sweep.loss($1) })
            #expect(try sweep.record()["best"] as? String == best)
        }
    }

    @Test("a run that fails is listed and does not end the others; it is started again when that is asked for")
    func failures() throws {
        try withScratchDirectory { scratch in
            // A learning rate beyond which the parameters are no numbers any more.
            var sweep = try Sweep(scratch, "--vary", "optimizer.learningRate=1e38,1e-3", "--set", "optimizer.kind=sgd", "--set", "optimizer.clip=0")
            let name = "learningRate=1e+38"
            let failed = try sweep.run(expecting: 65)
            #expect(try sweep.states() == [name: "failed", "learningRate=0.001": "finished"])
            #expect(failed.standardOutput.contains("failed with 65 at step"), "\(failed.standardOutput)")
            #expect(failed.standardError.contains("--retry starts them again"))
            #expect(try sweep.record()["best"] as? String == "learningRate=0.001")
            let first = try sweep.session(name)["startsWithoutProgress"] as? Int
            _ = try sweep.run(expecting: 65)
            #expect(try sweep.session(name)["startsWithoutProgress"] as? Int == first)
            _ = try sweep.run("--retry", expecting: 65)
            _ = try sweep.run("--retry", expecting: 73)
            // Runs that never begin: each is listed with what it said last.
            sweep = try Sweep("\(scratch)", "--vary", "seed=1,2", "--output", "\(scratch)/other", "--parallel", "2", "--set", "task={kind: babi, data: /none/such}")
            sweep.words += ["--set", "model={kind: memory-network, width: 8}"]
            let missing = try sweep.run(expecting: 66)
            #expect(missing.standardOutput.contains("failed with 66 at step 0: mneme: error: /none/such"), "\(missing.standardOutput)")
        }
    }

    @Test("a lost rank lets a run start again by itself, through a launcher too; three starts that come no further are the end", .enabled(if: MPIRun.launcher != nil))
    func launcher() throws {
        try withScratchDirectory { scratch in
            let launch = URL(filePath: #filePath).appending(path: "../../../launch/mpirun").standardized.path
            var sweep = try Sweep(scratch, "--vary", "seed=1,2", "--set", "checkpoint.every=3")
            sweep.environment = MPIRun.environment.merging(["MNEME": MPIRun.productsFolder.path + "/mneme", "MNEME_FAILPOINT": "step.gradient:7:kill@1"]) { $1 }
            let run = try sweep.run("--", launch, "2")
            #expect(run.standardError.contains("the session ended without a word"), "\(run.standardError)")
            #expect(try sweep.states() == ["seed=1": "finished", "seed=2": "finished"])
            #expect(try sweep.session("seed=1")["ranks"] as? Int == 2)
            sweep.environment["MNEME_FAILPOINT"] = "step.gradient:1:kill@1"
            let none = try sweep.run("--output", "\(scratch)/other", "--", launch, "2", expecting: 73)
            #expect(none.standardOutput.contains("3 starts without a new checkpoint"), "\(none.standardOutput)")
        }
    }

    @Test("what cannot be trained is refused in one line, and nothing is made")
    func badInput() throws {
        try withScratchDirectory { scratch in
            let sweep = try Sweep(scratch)
            #expect(try sweep.run(expecting: 64).standardError.contains("Missing --vary"))
            #expect(try sweep.run("--vary", "seed=2..1", expecting: 64).standardError.contains("2..1 is an empty range"))
            #expect(try sweep.run("--vary", "sede=1", expecting: 78).standardError.contains("did you mean 'seed'?"))
            let metric = try sweep.run("--vary", "seed=1", "--choose", "seconds", expecting: 64)
            #expect(metric.standardError.contains("runs cannot be compared by 'seconds'; choose among training_loss, validation_accuracy"), "\(metric.standardError)")
            #expect(try sweep.run("--vary", "seed=1", "--array", "--parallel", "2", expecting: 64).standardError.contains("leave one of them out"))
            #expect(try sweep.run("--vary", "seed=1", "--", "/none/such", expecting: 66).standardError.contains("/none/such: cannot be started"))
            #expect(try sweep.run("--vary", "seed=1", "--parallel", "9999", expecting: 64).standardError.contains("may not use so many cores"))
            #expect(!FileManager.default.fileExists(atPath: "\(scratch)/run-sweep/seed=1"))
        }
    }
}

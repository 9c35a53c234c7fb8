// The training loop on threads of this process: no launcher, no subprocess, no process-wide state.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import Storage
import Synchronization
import TestSupport
import Testing
import Training

@Suite struct SessionTests {
    /// A tiny run of a generated task.
    private func configuration(_ directory: String, _ settings: String...) throws -> RunConfiguration {
        let yaml = """
            run: \(directory)
            seed: 7
            steps: 12
            task: {kind: overwrite, keys: 5, values: 7, length: 20, examples: 64}
            model: {kind: erase-add, rows: 20, width: 12, controller: {width: 24}}
            batch: {lanes: 8, groups: 4}
            optimizer: {kind: adamw, learningRate: 1e-3, clip: 1.0}
            parallel: {reproducible: true}
            checkpoint: {every: 3, keep: 2}
            evaluation: {every: 4, batches: 2}
            log: {every: 1}

            """
        let file = "\(directory).yaml"
        try yaml.write(toFile: file, atomically: true, encoding: .utf8)
        return try RunConfiguration(contentsOf: file, overrides: settings)
    }

    /// Sessions of the same run, one a thread. A rank that is asked to stop hears it once `stop` says so.
    @discardableResult
    private func train(
        _ configuration: RunConfiguration, ranks: Int, fresh: Bool = false, from start: StartingPoint? = nil, stop: @escaping @Sendable (_ rank: Int) -> Int32? = { _ in nil }, wallTime: Double? = nil,
        report: @escaping @Sendable (String) -> Void = { _ in }
    ) throws -> [TrainingOutcome] {
        try LoopbackCommunicator.run(size: ranks) { communicator in
            var surroundings = SessionSurroundings()
            surroundings.ownsProcess = false
            surroundings.stopRequest = { stop(communicator.rank) }
            surroundings.report = report
            surroundings.findDeadline = { JobDeadline.find(wallTime: wallTime, environment: [:]) }
            return try Trainer.train(configuration, communicator: communicator, fresh: fresh, from: start, surroundings: surroundings)
        }
    }

    private func metrics(_ directory: String) throws -> [String] {
        try String(contentsOfFile: "\(directory)/metrics.jsonl", encoding: .utf8).split(separator: "\n").map {
            String($0.replacing(/"(seconds|tokens_per_second)":[^,}]*/, with: ""))
        }
    }

    /// The names of items in which the checkpoints of a step differ.
    private func differences(_ one: String, _ other: String, step: Int) throws -> [String] {
        let readers = try [one, other].map { try CheckpointReader(directory: "\($0)/step-\(step)") }
        defer { for reader in readers { try? reader.close() } }
        return try readers[0].differences(from: readers[1]).map(\.name)
    }

    @Test("the same bits on 1, 2 and 4 ranks, and in sessions on changing numbers of ranks that were asked to stop")
    func anyRanks() throws {
        try withScratchDirectory { scratch in
            let whole = "\(scratch)/whole"
            try train(configuration(whole), ranks: 1)
            for ranks in [2, 4] {
                let other = "\(scratch)/on\(ranks)"
                try train(configuration(other), ranks: ranks)
                #expect(try metrics(other) == metrics(whole))
                #expect(try differences(other, whole, step: 12).isEmpty)
            }
            let changing = "\(scratch)/changing"
            for (ranks, limit) in [(4, 3), (1, 4), (2, 6)] {
                // The last rank alone is asked, after some steps.
                let steps = Mutex(0)
                let outcomes = try train(configuration(changing), ranks: ranks) { rank in
                    guard rank == ranks - 1 else { return nil }
                    return steps.withLock {
                        $0 += 1
                        return $0 > limit ? SIGTERM : nil
                    }
                }
                for outcome in outcomes {
                    guard case .stopped(SIGTERM, let step) = outcome else {
                        Issue.record("\(outcome) on \(ranks) ranks")
                        continue
                    }
                    #expect(try CheckpointStore(directory: changing).steps().last == step)
                }
            }
            let lines = Mutex<[String]>([])
            try train(configuration(changing), ranks: 4) { _ in nil } report: { line in lines.withLock { $0.append(line) } }
            let said = lines.withLock { $0 }
            #expect(said.contains { $0.hasPrefix("resuming at step") && !$0.contains("step 0 ") })
            #expect(try metrics(changing) == metrics(whole))
            #expect(try differences(changing, whole, step: 12).isEmpty)
        }
    }

    @Test("a stop request is heard in the middle of an evaluation, and the next session makes up for it", arguments: [1, 2])
    func stopsInEvaluation(ranks: Int) throws {
        try withScratchDirectory { scratch in
            let settings = ["evaluation.batches=40", "task.examples=2560"]
            func configured(_ directory: String) throws -> RunConfiguration { try configuration(directory, settings[0], settings[1]) }
            try train(configured("\(scratch)/whole"), ranks: ranks)
            let run = "\(scratch)/run"
            // A rank looks once a step boundary, and once a round of an evaluation: the 9th look is inside the evaluation of step 4.
            let looks = Mutex(0)
            let outcomes = try train(configured(run), ranks: ranks) { rank in
                guard rank == 0 else { return nil }
                return looks.withLock {
                    $0 += 1
                    return $0 > 8 ? SIGUSR1 : nil
                }
            }
            guard case .stopped(SIGUSR1, 4) = outcomes[0] else { throw CheckFailure("\(outcomes)") }
            #expect(try metrics(run).count == 4 && metrics(run).last?.contains("validation_") == false)
            try train(configured(run), ranks: ranks)
            #expect(try metrics(run) == metrics("\(scratch)/whole"))
            #expect(try differences(run, "\(scratch)/whole", step: 12).isEmpty)
        }
    }

    @Test("a session stops with a checkpoint before its job's time is over, and one with time enough does not", arguments: [1, 2])
    func wallTime(ranks: Int) throws {
        try withScratchDirectory { scratch in
            let (run, whole) = ("\(scratch)/run", "\(scratch)/whole")
            let lines = Mutex<[String]>([])
            try train(configuration(whole), ranks: ranks, wallTime: 36_000) { line in lines.withLock { $0.append(line) } }
            #expect(lines.withLock { $0.contains { $0.hasPrefix("the job ends at ") && $0.contains("(--wall-time)") } })
            // Less than is kept for a save that was never seen: the first step boundary is the last.
            let outcomes = try train(configuration(run), ranks: ranks, wallTime: 8)
            for outcome in outcomes { guard case .stopped(StopSignals.outOfTime, 1) = outcome else { throw CheckFailure("\(outcome)") } }
            let record = try String(contentsOfFile: "\(run)/session.json", encoding: .utf8)
            #expect(record.contains("the end of the job's time") && record.contains("\"mayBeStartedAgain\" : true"), "\(record)")
            try train(configuration(run), ranks: ranks)
            #expect(try metrics(run) == metrics(whole) && differences(run, whole, step: 12).isEmpty)
        }
    }

    @Test("a run begins with another's parameters, or with all of its state; what does not fit is listed and refused")
    func startingPoint() throws {
        try withScratchDirectory { scratch in
            let base = "\(scratch)/base"
            try train(configuration(base), ranks: 1)
            for (index, onlyParameters) in [true, false].enumerated() {
                let tuned = "\(scratch)/tuned\(index)"
                // So small a learning rate leaves the parameters as they came.
                try train(configuration(tuned, "optimizer.learningRate=1e-30", "optimizer.weightDecay=0", "steps=1"), ranks: 2, from: StartingPoint(path: base, onlyParameters: onlyParameters))
                let different = try differences(tuned, base, step: 1, 12)
                #expect(!different.contains { $0.hasPrefix("parameters/") })
                #expect(different.contains { $0.hasPrefix("optimizer/") })
                // Moments that came along hardly move in a step; new ones begin at nothing.
                let moment = try CheckpointReader(directory: "\(tuned)/step-1").statistics(of: try #require(different.first { $0.hasPrefix("optimizer/second_moment") }))
                let before = try CheckpointReader(directory: "\(base)/step-12").statistics(of: try #require(different.first { $0.hasPrefix("optimizer/second_moment") }))
                #expect(onlyParameters ? moment.norm < 0.5 * before.norm : moment.norm > 0.9 * before.norm)
            }
            let wider = "\(scratch)/wider"
            let error = #expect(throws: UserError.self) {
                try train(configuration(wider, "model.width=16"), ranks: 1, from: StartingPoint(path: base, onlyParameters: true))
            }
            #expect(error?.exitCode == .configuration && error?.description.contains("--allow reshaped") == true, "\(String(describing: error))")
            #expect(!FileManager.default.fileExists(atPath: "\(wider)/metrics.jsonl"))
            let lines = Mutex<[String]>([])
            try train(configuration(wider, "model.width=16"), ranks: 1, from: StartingPoint(path: base, onlyParameters: true, allowed: [.reshaped])) { _ in nil } report: { line in
                lines.withLock { $0.append(line) }
            }
            let said = lines.withLock { $0 }
            #expect(said.contains { $0.hasPrefix("passing over: 'parameters/") })
        }
    }

    private func differences(_ one: String, _ other: String, step: Int, _ otherStep: Int) throws -> [String] {
        let readers = [try CheckpointReader(directory: "\(one)/step-\(step)"), try CheckpointReader(directory: "\(other)/step-\(otherStep)")]
        defer { for reader in readers { try? reader.close() } }
        return try readers[0].differences(from: readers[1]).map(\.name)
    }

    @Test("a damaged checkpoint that a resume passes over does not count as kept")
    func damagedIsNotKept() throws {
        try withScratchDirectory { scratch in
            let run = "\(scratch)/run"
            try train(configuration(run, "steps=6"), ranks: 1)
            #expect(try CheckpointStore(directory: run).steps() == [3, 6])
            try Data("damage".utf8).write(to: URL(fileURLWithPath: "\(run)/step-6/shard-0-of-1.h5"))
            let lines = Mutex<[String]>([])
            // Step 5 is published beside 3, which is good, and 6, which is not.
            try train(configuration(run, "steps=5"), ranks: 1) { _ in nil } report: { line in lines.withLock { $0.append(line) } }
            let said = lines.withLock { $0 }
            #expect(said.contains { $0.hasPrefix("passing over \(run)/step-6: ") })
            #expect(try CheckpointStore(directory: run).steps() == [3, 5, 6])
        }
    }

    @Test("something of somebody else in an old checkpoint: it stays, with a warning")
    func foreignFiles() throws {
        try withScratchDirectory { scratch in
            let run = "\(scratch)/run"
            try train(configuration(run, "steps=3"), ranks: 1)
            try "notes".write(toFile: "\(run)/step-3/notes.txt", atomically: true, encoding: .utf8)
            let lines = Mutex<[String]>([])
            try train(configuration(run), ranks: 1) { _ in nil } report: { line in lines.withLock { $0.append(line) } }
            #expect(try CheckpointStore(directory: run).steps() == [3, 9, 12])
            let said = lines.withLock { $0 }
            #expect(said.count { $0.contains("notes.txt is none of its files") } == 1)
        }
    }

    @Test("parity changes no bit of a run; a shard that is lost comes back, and the run goes on from it", arguments: [[], ["checkpoint.perNode=true"]])
    func parity(settings: [String]) throws {
        try withScratchDirectory { scratch in
            let whole = "\(scratch)/whole"
            try train(configuration(whole), ranks: 1)
            let digest = try CheckpointReader(directory: "\(whole)/step-12").verify()
            for ranks in 1...4 {
                let run = "\(scratch)/on\(ranks)"
                func configured(_ steps: Int) throws -> RunConfiguration {
                    try configuration(run, "checkpoint.parity=true", "steps=\(steps)", settings.first ?? "log.every=1")
                }
                try train(configured(9), ranks: ranks)
                let shards = settings.isEmpty ? ranks : 1
                let shard = "\(run)/step-9/shard-\(shards - 1)-of-\(shards).h5"
                try FileManager.default.removeItem(atPath: shard)
                // A resume leaves the checkpoint alone, and says what can be done.
                let lines = Mutex<[String]>([])
                try train(configured(6), ranks: 1) { _ in nil } report: { line in lines.withLock { $0.append(line) } }
                let said = lines.withLock { $0 }
                #expect(said.contains { $0.hasPrefix("passing over \(run)/step-9: ") && $0.hasSuffix("mneme checkpoint repair \(run)/step-9 may restore it") })
                try CheckpointRepair(examining: "\(run)/step-9").restore()
                try train(configured(12), ranks: ranks)
                #expect(try CheckpointReader(directory: "\(run)/step-12").verify() == digest)
                #expect(try metrics(run).suffix(3) == metrics(whole).suffix(3))
            }
        }
    }

    @Test("a resume on another number of ranks says what goes where; on the same number it says nothing")
    func plan() throws {
        try withScratchDirectory { scratch in
            let run = "\(scratch)/run"
            func said(steps: Int, ranks: Int) throws -> [String] {
                let lines = Mutex<[String]>([])
                try train(configuration(run, "steps=\(steps)"), ranks: ranks) { _ in nil } report: { line in lines.withLock { $0.append(line) } }
                return lines.withLock { $0 }
            }
            #expect(try !said(steps: 3, ranks: 2).contains { $0.contains("-> rank") })
            #expect(try !said(steps: 4, ranks: 2).contains { $0.contains("-> rank") })
            let lines = try said(steps: 6, ranks: 4)
            let first = try #require(lines.firstIndex { $0.hasPrefix("resuming on 4 ranks from 2 shards: lanes ") })
            let lanes = lines[first].matches(of: /([0-9, -]+) -> rank ([0-9])/)
            #expect(lanes.map { String($0.2) } == ["0", "1", "2", "3"])
            #expect(Set(lanes.map { String($0.1) }.map { $0.replacing(" ", with: "") }) == ["0-1", "2-3", "4-5", "6-7"], "\(lines[first])")
            #expect(lines[first + 1].hasPrefix("each rank reads at most "))
            let resumed = try #require(lines.firstIndex { $0.hasPrefix("resuming at step 4") })
            #expect(first < resumed)
            let three = try #require(try said(steps: 7, ranks: 3).first { $0.hasPrefix("resuming on 3 ranks from 4 shards: lanes ") })
            let ranges = three.matches(of: /([0-9])-([0-9])(?=[^>]*-> rank [0-2])/)
            #expect(ranges.flatMap { Int($0.1)!...Int($0.2)! }.sorted() == Array(0..<8) && three.contains("-> rank 2"), "\(three)")
            #expect(try said(steps: 8, ranks: 1).contains { $0.hasPrefix("resuming on 1 rank from 3 shards: lanes 0-7 -> rank 0") })
        }
    }

    @Test("the mean of checkpoints is a run that can be loaded, begun from, and has no other model's parameters in it")
    func average() throws {
        try withScratchDirectory { scratch in
            let run = "\(scratch)/run"
            try train(configuration(run, "checkpoint.keep=4"), ranks: 2)
            let checkpoints = [12, 6, 9].map { "\(run)/step-\($0)" }
            let average = "\(scratch)/average"
            let result = try AveragedRun.write(checkpoints, to: average)
            #expect(result.step == 12 && result.items > 0)
            let loaded = try LoadedRun(directory: average)
            #expect(loaded.step == 12 && loaded.configuration.task.modelKind == "erase-add")
            let scores = try #require(try loaded.task.evaluate(.validation, SingleProcess()))
            #expect(try scores.loss != LoadedRun(directory: run).task.evaluate(.validation, SingleProcess())?.loss)
            let tuned = "\(scratch)/tuned"
            try train(
                configuration(tuned, "optimizer.learningRate=1e-30", "optimizer.weightDecay=0", "steps=1"), ranks: 1,
                from: StartingPoint(path: average, onlyParameters: true))
            #expect(try !differences(tuned, average, step: 1, 12).contains { $0.hasPrefix("parameters/") })

            func message(_ checkpoints: [String], _ output: String) -> String {
                let error = #expect(throws: UserError.self) { try AveragedRun.write(checkpoints, to: output) }
                return error?.description.replacing(scratch, with: "") ?? ""
            }
            #expect(message(checkpoints, average) == "/average: is there already; name a directory that does not exist")
            #expect(message([checkpoints[0], checkpoints[0]], "\(scratch)/twice") == "/run/step-12: it is named twice; name each checkpoint once")
            let other = "\(scratch)/other"
            try train(configuration(other, "model.width=16", "steps=3"), ranks: 1)
            #expect(message([checkpoints[0], "\(other)/step-3"], "\(scratch)/mixed").hasPrefix("/other/step-3: its model.width is 16, and 12 in /run/step-12"))
            #expect(!FileManager.default.fileExists(atPath: "\(scratch)/mixed"))
        }
    }

    @Test("two sessions at once: the second is refused, in one process too")
    func oneOwner() throws {
        try withScratchDirectory { scratch in
            let run = "\(scratch)/run"
            let holder = try RunDirectory(claiming: run, ranks: 1, environment: ["SLURM_JOB_ID": "4711"]) { _ in }
            let error = #expect(throws: UserError.self) { try train(configuration(run), ranks: 2) }
            #expect(error?.exitCode == .unavailable && error?.description.contains("(Slurm 4711)") == true, "\(String(describing: error))")
            withExtendedLifetime(holder) {}
        }
    }
}

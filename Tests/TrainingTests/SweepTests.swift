// The grid of a sweep, and what its directory tells: without a run of it.

import Collectives
import Diagnostics
import Foundation
import TestSupport
import Testing
import Training

@Suite struct SweepTests {
    private static let yaml = """
        run: NAME
        steps: 12
        task: {kind: overwrite, keys: 5, values: 7, length: 20, examples: 64}
        model: {kind: erase-add, rows: 20, width: 12, controller: {width: 24}}
        batch: {lanes: 8}
        optimizer: {kind: adamw, learningRate: 1e-3}

        """

    private func grid(_ scratch: String, _ vary: String..., set: [String] = [], output: String? = nil) throws -> SweepGrid {
        let file = "\(scratch)/run.yaml"
        try Self.yaml.replacing("NAME", with: "\(scratch)/run").write(toFile: file, atomically: true, encoding: .utf8)
        return try SweepGrid(file: file, overrides: set, axes: vary.map(SweepAxis.init(argument:)), directory: output)
    }

    @Test(
        "values, ranges, and commas that part nothing",
        arguments: [
            ("seed=1..5", ["1", "2", "3", "4", "5"]), ("seed=-1..1,7", ["-1", "0", "1", "7"]), ("a.b=1e-3, 3e-4", ["1e-3", "3e-4"]),
            ("betas=[0.9, 0.99],[0.8, 0.9]", ["[0.9, 0.99]", "[0.8, 0.9]"]), ("model={kind: lstm, width: 3}", ["{kind: lstm, width: 3}"]),
            ("name='a,b',\"c,d\"", ["'a,b'", "\"c,d\""]), ("file=a=b", ["a=b"]), ("seed=3..3", ["3"]),
        ])
    func axes(argument: String, values: [String]) throws {
        #expect(try SweepAxis(argument: argument).values == values)
    }

    @Test(
        "what is no axis says so in one line",
        arguments: [
            ("seed", "is written key=value,value"), ("=1", "is written key=value,value"), ("seed=", "has an empty value"), ("seed=1,,2", "has an empty value"),
            ("seed=5..1", "5..1 is an empty range"), ("seed=1..99999999999999999999", "is an empty range"), ("seed=1..10001", "more than 10000 points"),
            ("seed=-9223372036854775808..9223372036854775807", "more than 10000 points"), ("seed=7,1..10000", "more than 10000 points"),
        ])
    func wrongAxes(argument: String, message: String) throws {
        let error = #expect(throws: UserError.self) { try SweepAxis(argument: argument) }
        #expect(error?.exitCode == .usage && error?.description.contains(message) == true, "\(String(describing: error))")
    }

    @Test("the last key varies fastest; a point's name is the same however its values are written")
    func points() throws {
        try withScratchDirectory { scratch in
            let grid = try grid(scratch, "seed=1..2", "optimizer.learningRate=1e-3,3e-4", "optimizer.betas=[0.9, 0.99]", set: ["steps=6"])
            #expect(grid.directory == "\(scratch)/run-sweep")
            #expect(
                grid.points.map(\.name) == [
                    "seed=1,learningRate=0.001,betas=%5B0.9%2C%200.99%5D", "seed=1,learningRate=0.0003,betas=%5B0.9%2C%200.99%5D",
                    "seed=2,learningRate=0.001,betas=%5B0.9%2C%200.99%5D", "seed=2,learningRate=0.0003,betas=%5B0.9%2C%200.99%5D",
                ])
            #expect(grid.points.map(\.number) == [1, 2, 3, 4])
            #expect(grid.points.allSatisfy { $0.configuration.directory == $0.directory && $0.configuration.steps == 6 })
            #expect(grid.points.map(\.configuration.seed) == [1, 1, 2, 2])
            #expect(try self.grid(scratch, "optimizer.learningRate=0.0010").points[0].name == "learningRate=0.001")
            let places = try self.grid(scratch, "model.width=12,14", "model.controller.width=24", output: "\(scratch)/else: where")
            #expect(places.points.map(\.name) == ["model.width=12,model.controller.width=24", "model.width=14,model.controller.width=24"])
            #expect(places.points[1].configuration.directory == "\(scratch)/else: where/model.width=14,model.controller.width=24")
            let long = try self.grid(scratch, "task.examples=64", "seed=" + String(repeating: "0", count: 300) + "1")
            #expect(long.points[0].name == "examples=64,seed=1")
        }
    }

    @Test("a grid that cannot be trained is refused before anything is made, with what was given")
    func wrongGrids() throws {
        try withScratchDirectory { scratch in
            func message(_ vary: String..., set: [String] = []) -> String {
                let error = #expect(throws: UserError.self) {
                    try SweepGrid(file: "\(scratch)/run.yaml", overrides: set, axes: vary.map(SweepAxis.init(argument:)), directory: nil)
                }
                return error?.description ?? ""
            }
            _ = try grid(scratch, "seed=1")
            #expect(message("optimizer.learnigRate=1,2").hasPrefix("--vary optimizer.learnigRate: unknown key 'optimizer.learnigRate'; did you mean"))
            #expect(message("batch.lanes=8,many").hasPrefix("--vary batch.lanes: 'batch.lanes' must be an integer"))
            #expect(message("seed=1..2", "seed=3").hasPrefix("--vary seed: is given twice"))
            #expect(message("seed=1..2", set: ["seed=3"]).hasPrefix("--vary seed: is given with --set too"))
            #expect(message("run=a,b").hasPrefix("--vary run: names the run directories"))
            #expect(message("optimizer.learningRate=1e-3,0.001").contains("points 1 and 2 are the same: learningRate=0.001"))
            #expect(message("seed=1..101", "steps=1..100").hasPrefix("--vary steps: makes a sweep of more than 10000 points"))
            let many = (1...30).map { "a\($0)=1..9999" }
            let error = #expect(throws: UserError.self) {
                try SweepGrid(file: "\(scratch)/run.yaml", overrides: [], axes: many.map(SweepAxis.init(argument:)), directory: nil)
            }
            #expect(error?.description.contains("more than 10000 points") == true)
            #expect(throws: UserError.self) { try SweepGrid(file: "-", overrides: [], axes: [SweepAxis(argument: "seed=1")], directory: nil) }
            #expect(!FileManager.default.fileExists(atPath: "\(scratch)/run-sweep"))
        }
    }

    /// Leaves what a session leaves: its record, and lines of metrics.jsonl.
    private func train(_ point: SweepPoint, steps: Int = 12, losses: [Double], accuracies: [Double] = [], failing code: ExitCode? = nil) throws {
        let directory = try RunDirectory(claiming: point.directory, ranks: 1, environment: [:]) { _ in }
        let accuracy = accuracies.last.map { ",\"validation_accuracy\":\($0)" } ?? ""
        let lines = losses.enumerated().map { "{\"step\":\($0 + 1),\"loss\":\($1)\($0 == losses.count - 1 ? accuracy : "")}\n" }.joined()
        try lines.write(toFile: "\(point.directory)/metrics.jsonl", atomically: true, encoding: .utf8)
        if let code { try directory.end(.failed, step: 3, exitCode: code, message: "no") } else { try directory.end(.finished, step: steps, exitCode: .finished) }
    }

    private func loss() throws -> Metric { try #require(Metric.named("training_loss")) }

    @Test("results, medians over the seeds, and the best; what failed or has not come to its last step does not count")
    func report() throws {
        try withScratchDirectory { scratch in
            let grid = try grid(scratch, "optimizer.learningRate=0.1,0.2", "seed=1..4")
            // The mean of the last tenth: one of 10 lines, two of 11.
            try train(grid.points[0], losses: [9, 9, 9, 9, 9, 9, 9, 9, 9, 4])
            try train(grid.points[1], losses: [9, 9, 9, 9, 9, 9, 9, 9, 9, 3, 1], accuracies: [0.5])
            try train(grid.points[2], losses: [1], failing: .badData)
            try train(grid.points[3], steps: 11, losses: [1])
            try train(grid.points[4], losses: [5])
            try train(grid.points[5], losses: [7])
            try train(grid.points[6], losses: [6])
            let directory = try SweepDirectory(grid, file: "run.yaml", metric: loss(), environment: [:])
            directory.note(SweepFailure(code: 66, message: "no corpus"), of: grid.points[7])
            let report = try directory.save()
            #expect(report.points.map(\.value) == [4, 2, nil, nil, 5, 7, 6, nil])
            #expect(report.points.map(\.state) == [.finished, .finished, .failed, .unfinished, .finished, .finished, .finished, .failed])
            #expect(report.points.map(\.code) == [nil, nil, 65, nil, nil, nil, nil, 66])
            #expect(report.groups.map(\.median) == [3, 6])
            #expect(report.groups.map(\.smallest) == [2, 5] && report.groups.map(\.largest) == [4, 7])
            #expect(report.groups.map(\.finished) == [2, 3] && report.groups.map(\.points) == [4, 4])
            #expect(report.best == grid.points[1].name)
            let link = "\(grid.directory)/best"
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == grid.points[1].name)

            // A better one takes the link; a second start knows what the first one noted.
            try train(grid.points[3], losses: [1])
            let second = try SweepDirectory(grid, file: "run.yaml", metric: loss(), environment: [:])
            #expect(try second.save().points[7].message == "no corpus")
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == grid.points[3].name)

            // More is better for some figures, and not every run has every figure.
            let accuracy = try #require(Metric.named("validation_accuracy"))
            #expect(accuracy.better == .larger && Metric.named("accuracy")?.name == "validation_accuracy" && Metric.named("nonsense") == nil)
            let third = try SweepDirectory(grid, file: "run.yaml", metric: accuracy, environment: [:])
            let error = #expect(throws: UserError.self) { try third.report() }
            #expect(error?.description.contains("the run has no validation_accuracy; choose among training_loss") == true)
            for (index, point) in grid.points.enumerated() { try train(point, losses: [1], accuracies: [index == 5 ? 0.9 : 0.1]) }
            // Read anew, since other sessions have finished the runs.
            #expect(try third.report().best == grid.points[5].name)
        }
    }

    @Test("a sweep may grow; another grid and runs that learn something else are refused; two sweeps at once are too")
    func sameSweep() throws {
        try withScratchDirectory { scratch in
            func open(_ grid: SweepGrid) throws -> SweepDirectory { try SweepDirectory(grid, file: "run.yaml", metric: loss(), environment: [:]) }
            func message(_ grid: SweepGrid) -> String {
                let error = #expect(throws: UserError.self) { try open(grid) }
                #expect(error?.exitCode == .configuration)
                return error?.description ?? ""
            }
            try open(grid(scratch, "seed=7,8", set: ["batch.lanes=4"])).save()
            // No run has begun: nothing keeps anybody from other values.
            let first = try grid(scratch, "seed=2,4")
            try train(first.points[1], losses: [1])
            try open(first).save()
            let grown = try open(grid(scratch, "seed=1..4"))
            try grown.save()
            #expect(message(try grid(scratch, "seed=1..3")).contains("is of another grid: it has the point seed=4"))
            #expect(message(try grid(scratch, "seed=1..4", "batch.lanes=4")).contains("is of another grid"))
            #expect(message(try grid(scratch, "seed=1..4", set: ["batch.lanes=4"])).contains("its runs have batch.lanes 8, and now it is 4"))
            // Keys that change nothing that is learned may change, and so may the number of steps.
            _ = try open(grid(scratch, "seed=1..4", set: ["steps=100", "log.every=1"]))

            try grown.hold()
            let other = try open(grid(scratch, "seed=1..4"))
            let error = #expect(throws: UserError.self) { try other.hold() }
            #expect(error?.exitCode == .unavailable && error?.description.contains("another sweep has this directory: process") == true)
            withExtendedLifetime(grown) {}
        }
    }

    @Test("runs that are side by side have processors of their own, and all of them")
    func shares() throws {
        let all = try #require(processorShares(1)?.first)
        #expect(Set(all).count == all.count && !all.isEmpty)
        for count in 2...max(2, all.count) {
            guard let shares = processorShares(count) else { continue }
            #expect(shares.count == count && shares.allSatisfy { !$0.isEmpty })
            #expect(shares.flatMap(\.self).sorted() == all.sorted())
        }
        #expect(processorShares(all.count + 1) == nil)
    }
}

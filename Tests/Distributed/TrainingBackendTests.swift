// What multiplies matrices belongs to the machine: measured once, kept in a cache, and followed by every run, rank and session.

import Foundation
import TestSupport
import Testing

@Suite(.serialized)
struct TrainingBackendTests {
    /// A model large enough for its products to be measured, with a cache that is empty at first.
    private func run(_ name: String, in scratch: String, cache: String? = nil) throws -> TrainingRun {
        var run = try TrainingRun(.windows, name, in: scratch, "steps=6", "model.width=256", "model.layers=1", "evaluation.every=3")
        run.environment["XDG_CACHE_HOME"] = cache ?? "\(scratch)/cache"
        return run
    }

    private func record(_ run: TrainingRun) throws -> [String: Any] {
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(run.directory)/matrix-products.json"))
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    private func choices(_ run: TrainingRun) throws -> [String: String] { try #require(try record(run)["choices"] as? [String: String]) }

    /// The files of a cache.
    private func files(_ scratch: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(scratch)/cache/mneme").filter { $0.hasSuffix(".json") }
    }

    @Test("fresh runs are equal bit for bit, the first, which measures, included", arguments: MPIRun.launcher == nil ? [nil] : [nil, 2])
    func equal(ranks: Int?) throws {
        try withScratchDirectory { scratch in
            let runs = try ["first", "second", "third"].map { try run($0, in: scratch) }
            for run in runs { try run.train(ranks: ranks) }
            for run in runs.dropFirst() { try run.expectSame(as: runs[0], step: 6) }
            let made = try record(runs[0])
            #expect((made["libraries"] as? String)?.hasPrefix("OpenBLAS ") == true && (made["processor"] as? String)?.isEmpty == false)
            if (made["libraries"] as? String)?.contains("oneDNN") == true {
                let choices = try choices(runs[0])
                #expect(choices.keys.contains { $0.hasPrefix("float32 nt 1024x") || $0.hasPrefix("float32 nt 512x") }, "\(choices)")
                #expect(try runs.allSatisfy { try self.choices($0) == choices } && files(scratch).count == 1)
            }
            // Two sessions are one: the second follows the record, whatever the cache has become.
            try FileManager.default.removeItem(atPath: "\(scratch)/cache")
            let parts = try run("parts", in: scratch)
            try FileManager.default.createDirectory(atPath: parts.directory, withIntermediateDirectories: true)
            try FileManager.default.copyItem(atPath: "\(runs[0].directory)/matrix-products.json", toPath: "\(parts.directory)/matrix-products.json")
            try parts.with("steps=3").train(ranks: ranks)
            try parts.train(ranks: ranks)
            try parts.expectSame(as: runs[0], step: 6)
        }
    }

    @Test("a run follows what the cache says, whatever it says", arguments: ["openBLAS", "oneDNN"])
    func followed(backend: String) throws {
        try withScratchDirectory { scratch in
            try run("measured", in: scratch).with("steps=1").train()
            guard let file = try? files(scratch).first else { return }
            let path = "\(scratch)/cache/mneme/\(file)"
            let text = try String(contentsOfFile: path, encoding: .utf8)
            try text.replacing(/: "(openBLAS|oneDNN)"/, with: ": \"\(backend)\"").write(toFile: path, atomically: true, encoding: .utf8)
            let run = try run("run", in: scratch)
            try run.with("steps=1").train()
            let choices = try choices(run)
            #expect(!choices.isEmpty && choices.values.allSatisfy { $0 == backend }, "\(choices)")
        }
    }

    @Test("two sessions that find an empty cache at the same time end with equal bits")
    func together() throws {
        try withScratchDirectory { scratch in
            let runs = try ["one", "other"].map { try run($0, in: scratch) }
            for session in try runs.map({ try $0.start() }) {
                let end = try session.finish()
                try #require(end.status == 0, "\(end.standardError)")
            }
            try runs[1].expectSame(as: runs[0], step: 6)
            #expect(try choices(runs[1]) == choices(runs[0]))
        }
    }

    @Test("a cache that cannot be kept or read is no reason to fail")
    func noCache() throws {
        try withScratchDirectory { scratch in
            let runs = try ["one", "other"].map { try run($0, in: scratch, cache: "/dev/null") }
            for run in runs {
                let session = try run.train()
                guard (try record(run)["libraries"] as? String)?.contains("oneDNN") == true else { return }
                let lines = session.standardError.split(separator: "\n").filter { $0.contains("a fixed rule chooses") }
                #expect(lines.count == 1 && lines[0].hasPrefix("/dev/null/mneme cannot be written ("), "\(session.standardError)")
                #expect(try choices(run).isEmpty)
            }
            try runs[1].expectSame(as: runs[0], step: 6)

            let first = try run("first", in: scratch).with("steps=1")
            try first.train()
            let file = "\(scratch)/cache/mneme/\(try #require(files(scratch).first))"
            try "{\"machine\"".write(toFile: file, atomically: true, encoding: .utf8)
            let again = try run("again", in: scratch).with("steps=1").train()
            #expect(again.standardError.contains("is damaged: what multiplies matrices is measured again"), "\(again.standardError)")
            #expect(try String(contentsOfFile: file, encoding: .utf8).contains("float32 nt"))
        }
    }

    @Test("a session on another machine says what differs, and a damaged record is made again")
    func otherMachine() throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch)
            try run.with("steps=3").train()
            let path = "\(run.directory)/matrix-products.json"
            let text = try String(contentsOfFile: path, encoding: .utf8)
            try text.replacing("\"OpenBLAS ", with: "\"OpenBLAS Other ").replacing(/"processor" : "[^"]*"/, with: "\"processor\" : \"Abacus\"")
                .write(toFile: path, atomically: true, encoding: .utf8)
            let before = try choices(run)
            let resumed = try run.with("steps=4").train()
            let line = resumed.standardError.split(separator: "\n").first { $0.contains("this is not the machine that the run began on") }
            #expect(line?.contains("the processor was Abacus and is ") == true, "\(resumed.standardError)")
            #expect(line?.contains("matrices were multiplied with OpenBLAS Other ") == true && line?.contains("a rank had") == false)
            #expect(try choices(run) == before)

            try "{}".write(toFile: path, atomically: true, encoding: .utf8)
            let damaged = try run.with("steps=5").train()
            #expect(
                damaged.standardError.contains("matrix-products.json: is no record of matrix backends: the choices are made again"),
                "\(damaged.standardError)")
            // A fresh run makes its own.
            try run.train(flags: "--fresh")
            #expect(try record(run)["processor"] as? String != "Abacus")
        }
    }

    @Test("a reproducible run measures nothing")
    func reproducible() throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch).with("parallel.reproducible=true", "batch.groups=2", "steps=2")
            try run.train()
            #expect(try choices(run).isEmpty && !FileManager.default.fileExists(atPath: "\(scratch)/cache"))
        }
    }

    @Test("a rank without memory ends all ranks, and says what to do", .enabled(if: MPIRun.launcher != nil, "there is no mpirun"))
    func memoryOfOneRank() throws {
        try withScratchDirectory { scratch in
            // Rank 1 may have 2 GB of addresses: enough to start, not for the tensors of such a step.
            let run = try TrainingRun(.generated, "run", in: scratch, "steps=50", "model.width=512", "batch.lanes=2048", "evaluation.every=never")
            let mneme = MPIRun.productsFolder.appendingPathComponent("mneme").path
            let script = "[ \"${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-$PMIX_RANK}}\" = 1 ] && ulimit -v 2000000; exec \"$0\" \"$@\""
            let end = try MPIRun.run(
                ranks: 2, executable: "/bin/sh", arguments: ["-c", script, mneme] + run.arguments, extraEnvironment: ["MNEME_MATRIX_BACKEND": "openblas"])
            #expect(!end.isTimedOut && end.status == 78, "\(end.status) \(end.standardError)")
            #expect(
                end.standardError.contains(/mneme: error: rank 1: no memory for a tensor of \d+ bytes; in training use a smaller batch.lanes/), "\(end.standardError)")
            #expect(run.metrics.isEmpty)
        }
    }
}

// The choice of matrix backends belongs to a run: it is measured once, kept, and followed by every rank and every session.

import Foundation
import TestSupport
import Testing

@Suite(.serialized)
struct TrainingBackendTests {
    /// A model large enough for its products to be measured.
    private func run(_ name: String, in scratch: String) throws -> TrainingRun {
        try TrainingRun(.windows, name, in: scratch, "steps=6", "model.width=256", "model.layers=1", "evaluation.every=never")
    }

    private func record(_ run: TrainingRun) throws -> [String: Any] {
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(run.directory)/matrix-products.json"))
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    @Test("measured choices are kept, and sessions that follow them give the same bits", arguments: MPIRun.launcher == nil ? [nil] : [nil, 2])
    func kept(ranks: Int?) throws {
        try withScratchDirectory { scratch in
            let whole = try run("whole", in: scratch)
            try whole.train(ranks: ranks)
            let made = try record(whole)
            #expect(made["firstStep"] as? Int == 2 && (made["libraries"] as? String)?.hasPrefix("OpenBLAS ") == true)
            if (made["libraries"] as? String)?.contains("oneDNN") == true {
                #expect(
                    (made["choices"] as? [String: String])?.keys.contains { $0.hasPrefix("float32 nt 1024x") || $0.hasPrefix("float32 nt 512x") }
                        == true)
            }
            // Another run that starts with the same record: two sessions of it are one of the first.
            let parts = try run("parts", in: scratch)
            try FileManager.default.createDirectory(atPath: parts.directory, withIntermediateDirectories: true)
            try FileManager.default.copyItem(atPath: "\(whole.directory)/matrix-products.json", toPath: "\(parts.directory)/matrix-products.json")
            try parts.with("steps=3").train(ranks: ranks)
            try parts.train(ranks: ranks)
            try parts.expectSame(as: whole, step: 6)
        }
    }

    @Test("a session that cannot follow the choices says so, and a damaged record is an error")
    func notFollowed() throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch)
            try run.with("steps=3").train()
            let path = "\(run.directory)/matrix-products.json"
            let text = try String(contentsOfFile: path, encoding: .utf8)
            try text.replacingOccurrences(of: "OpenBLAS ", with: "OpenBLAS Other").write(toFile: path, atomically: true, encoding: .utf8)
            let resumed = try run.with("steps=4").train()
            #expect(resumed.standardError.contains("the run multiplied matrices with OpenBLAS Other"), "\(resumed.standardError)")

            try "{}".write(toFile: path, atomically: true, encoding: .utf8)
            let damaged = try run.start().finish()
            #expect(
                damaged.status == 65 && damaged.standardError.contains("matrix-products.json: is no record of matrix backends"),
                "\(damaged.standardError)")
            // A fresh run makes its own.
            try run.train(flags: "--fresh")
            #expect(try record(run)["firstStep"] as? Int == 2)
        }
    }

    @Test("a reproducible run measures nothing")
    func reproducible() throws {
        try withScratchDirectory { scratch in
            let run = try run("run", in: scratch).with("parallel.reproducible=true", "batch.groups=2", "steps=2")
            try run.train()
            #expect(!FileManager.default.fileExists(atPath: "\(run.directory)/matrix-products.json"))
        }
    }
}

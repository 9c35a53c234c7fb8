// Parity: any one file of a checkpoint that is lost or damaged comes back to the bit, and what cannot come back is refused.

import Checkpoints
import Diagnostics
import Foundation
import HDF5
import TestSupport
import Testing

@Suite struct ParityTests {
    private static let stripe = 1 << 20

    /// A checkpoint of step 20 whose shards have several stripes each, and one of step 10 without parity.
    private func withCheckpoint(ranks: Int, _ body: (_ directory: String) throws -> Void) throws {
        try withScratchDirectory { directory in
            try Sample(seed: 3).save(to: directory, step: 10, worldSize: 1)
            try Self.saveLarge(to: directory, step: 20, ranks: ranks, megabytes: 2 * ranks + 1)
            try body(directory + "/step-20")
        }
    }

    /// Random bytes, cut among ranks, and rows of unequal number, so that shards differ in length.
    private static func saveLarge(to directory: String, step: Int, ranks: Int, megabytes: Int) throws {
        var generator = SplitMix(state: UInt64(step))
        let words = (0..<megabytes << 17).map { _ in generator.next() }
        let writers = (0..<ranks).map { CheckpointWriter(directory: directory, rank: $0, worldSize: ranks, keep: 3, hasParity: true) }
        for writer in writers {
            let rows = writer.rank == ranks - 1 ? [writer.rank..<ranks + 60] : [writer.rank..<writer.rank + 1]
            writer.begin(
                step: step, attributes: ["configuration": .string("run: large\n")],
                items: [
                    CheckpointItem("parameters/large", .uint64, shape: [words.count / 64, 64], elements: words),
                    CheckpointItem(
                        "memory/m", .uint64, shape: [ranks + 60, 256], placement: .rows(rows),
                        elements: rows.flatMap { words[$0.lowerBound * 256..<$0.upperBound * 256] }),
                ])
        }
        for writer in writers { try writer.waitForShard() }
        for writer in writers { writer.startParity() }
        for writer in writers { try writer.waitForShard() }
        try writers[0].publish()
    }

    private func contents(_ directory: String) throws -> [String: Data] {
        let names = try FileManager.default.contentsOfDirectory(atPath: directory)
        return Dictionary(uniqueKeysWithValues: try names.map { ($0, try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\($0)"))) })
    }

    /// Changes a bit of a file.
    private func flip(_ path: String, at offset: Int) throws {
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        try file.seek(toOffset: UInt64(offset))
        let byte = try #require(try file.read(upToCount: 1)?.first)
        try file.seek(toOffset: UInt64(offset))
        try file.write(contentsOf: Data([byte ^ 0x40]))
        try file.close()
    }

    private func size(_ path: String) throws -> Int { try Data(contentsOf: URL(fileURLWithPath: path)).count }

    @Test("the parity is the XOR of the shards, divided among the ranks", arguments: [1, 2, 3, 5])
    func sum(ranks: Int) throws {
        try withCheckpoint(ranks: ranks) { directory in
            let files = try contents(directory)
            let shards = (0..<ranks).map { files["shard-\($0)-of-\(ranks).h5"]! }
            let longest = shards.map(\.count).max()!
            let parts = min(ranks, (longest + Self.stripe - 1) / Self.stripe)
            #expect(files.count == ranks + parts + 2 && files["parity-checkpoint.h5"] == files["checkpoint.h5"])
            var expected = [UInt8](repeating: 0, count: longest)
            for shard in shards { for (index, byte) in shard.enumerated() { expected[index] ^= byte } }
            var found = Data()
            for index in 0..<parts {
                let file = files["parity-\(index)-of-\(parts)"]!
                #expect(file.prefix(8) == Data("MNEMEPAR".utf8))
                let stripes = file.withUnsafeBytes { Int($0.load(fromByteOffset: 56, as: UInt64.self)) }
                found += file.suffix(min(stripes * Self.stripe, longest - found.count))
            }
            #expect(found == Data(expected))
            try CheckpointReader(directory: directory).verify()
            #expect(try CheckpointRepair(examining: directory).damage.isEmpty)
        }
    }

    /// Damages one file in a way, and expects to have it back.
    private func expectRestored(_ directory: String, _ name: String, _ way: String, _ whole: [String: Data], _ damage: (String) throws -> Void) throws {
        try damage("\(directory)/\(name)")
        let repair = try CheckpointRepair(examining: directory)
        #expect(repair.damage.map(\.file) == [name], "\(name) \(way)")
        try repair.restore()
        let restored = try contents(directory)
        #expect(restored.keys.sorted() == whole.keys.sorted(), "\(name) \(way)")
        for (file, data) in whole { #expect(restored[file] == data, "\(name) \(way): \(file)") }
    }

    @Test("any one file that is deleted, cut off, overwritten, lengthened, or has wrong bytes comes back to the bit", arguments: [1, 2, 3])
    func anyFile(ranks: Int) throws {
        try withCheckpoint(ranks: ranks) { directory in
            let whole = try contents(directory)
            var generator = SplitMix(state: 5)
            for name in whole.keys.sorted() {
                let count = whole[name]!.count
                func restored(_ way: String, _ damage: (String) throws -> Void) throws { try expectRestored(directory, name, way, whole, damage) }
                try restored("deleted") { try FileManager.default.removeItem(atPath: $0) }
                try restored("emptied") { #expect(truncate($0, 0) == 0) }
                try restored("cut off") { #expect(truncate($0, off_t(Int.random(in: 1..<count, using: &generator))) == 0) }
                try restored("lengthened") { #expect(truncate($0, off_t(count + 4096)) == 0) }
                try restored("overwritten") { try Data(repeating: 7, count: count).write(to: URL(fileURLWithPath: $0)) }
                for offset in [0, count - 1] + (0..<4).map({ _ in Int.random(in: 0..<count, using: &generator) }) {
                    try restored("bit of byte \(offset)") { try flip($0, at: offset) }
                }
            }
            #expect(try CheckpointReader(directory: directory).elements("parameters/large", as: UInt64.self).count == (2 * ranks + 1) << 17)
        }
    }

    /// What a repair of a damaged checkpoint says that refuses it. Nothing may have changed.
    private func refusal(_ directory: String, _ damage: () throws -> Void) throws -> String {
        try damage()
        let before = try contents(directory)
        let error = try #require(throws: UserError.self) { try CheckpointRepair(examining: directory).restore() }
        #expect(error.exitCode == .badData)
        #expect(try contents(directory) == before)
        return error.description.replacing(directory, with: "")
    }

    @Test("two files that are gone in the same place are refused, and nothing is changed")
    func two() throws {
        try withCheckpoint(ranks: 3) { directory in
            let whole = try contents(directory)
            func remove(_ names: String...) throws { for name in names { try FileManager.default.removeItem(atPath: "\(directory)/\(name)") } }
            func bring() throws { for (name, data) in whole { try data.write(to: URL(fileURLWithPath: "\(directory)/\(name)")) } }
            #expect(
                try refusal(directory) { try remove("shard-0-of-3.h5", "shard-2-of-3.h5") }
                    == ": it cannot be repaired: shard-0-of-3.h5 and shard-2-of-3.h5 are damaged in the same place, and parity restores one file there; use another checkpoint")
            try bring()
            #expect(
                try refusal(directory) { try remove("shard-0-of-3.h5", "parity-1-of-3") }
                    .hasPrefix(": it cannot be repaired: shard-0-of-3.h5 and parity-1-of-3 are damaged in the same place"))
            try bring()
            #expect(
                try refusal(directory) {
                    try remove("shard-0-of-3.h5")
                    try flip("\(directory)/parity-1-of-3", at: size("\(directory)/parity-1-of-3") - 1)
                }.hasPrefix(": it cannot be repaired: shard-0-of-3.h5 and parity-1-of-3 are damaged in the same place"))
            try bring()
            #expect(
                try refusal(directory) {
                    for shard in [0, 1] { try flip("\(directory)/shard-\(shard)-of-3.h5", at: Self.stripe + 5000 * (shard + 1)) }
                }.hasPrefix(": it cannot be repaired: shard-0-of-3.h5 and shard-1-of-3.h5 are damaged in the same place"))
            try bring()
            #expect(
                try refusal(directory) { try remove("checkpoint.h5", "parity-checkpoint.h5") }
                    == ": it cannot be repaired: neither checkpoint.h5 nor its copy is whole; use another checkpoint")
            try bring()
            #expect(
                try refusal(directory) { try remove("shard-1-of-3.h5", "parity-0-of-3", "parity-1-of-3", "parity-2-of-3") }
                    == ": it cannot be repaired: shard-1-of-3.h5 missing, and all parity is damaged; use another checkpoint")
            try bring()
            #expect(try CheckpointRepair(examining: directory).damage.isEmpty)
        }
    }

    @Test("several files that are damaged in different places all come back, and so does all of the redundancy")
    func several() throws {
        try withCheckpoint(ranks: 3) { directory in
            let whole = try contents(directory)
            try flip("\(directory)/shard-0-of-3.h5", at: 100)
            try flip("\(directory)/shard-1-of-3.h5", at: Self.stripe + 100)
            try flip("\(directory)/shard-2-of-3.h5", at: 2 * Self.stripe + 100)
            try FileManager.default.removeItem(atPath: "\(directory)/checkpoint.h5")
            let repair = try CheckpointRepair(examining: directory)
            #expect(repair.damage.map(\.file) == ["checkpoint.h5", "shard-0-of-3.h5", "shard-1-of-3.h5", "shard-2-of-3.h5"])
            #expect(repair.damage[1].what.hasPrefix("damaged within 1048576 of its "))
            try repair.restore()
            #expect(try contents(directory) == whole)

            for index in 0..<3 { try FileManager.default.removeItem(atPath: "\(directory)/parity-\(index)-of-3") }
            let error = try #require(throws: UserError.self) { try CheckpointReader(directory: directory).verify() }
            #expect(error.description.contains("the parity is damaged or missing; the data are whole; mneme checkpoint repair makes it anew"))
            try CheckpointRepair(examining: directory).restore()
            #expect(try contents(directory) == whole)

            // What a repair that was killed has left is in nobody's way.
            try Data("half".utf8).write(to: URL(fileURLWithPath: "\(directory)/.restoring-shard-1-of-3.h5"))
            try FileManager.default.removeItem(atPath: "\(directory)/shard-1-of-3.h5")
            try CheckpointRepair(examining: directory).restore()
            #expect(try contents(directory) == whole)
        }
    }

    @Test("without parity damage is found and refused; a resume names the repair where there is parity, and does none")
    func withoutParity() throws {
        try withCheckpoint(ranks: 2) { directory in
            let run = directory.replacing("/step-20", with: "")
            let shard = "\(directory)/shard-0-of-2.h5"
            try FileManager.default.removeItem(atPath: shard)
            let found = try #require(try newest(in: run))
            #expect(found.step == 10 && found.passedOver.count == 1)
            #expect(found.passedOver[0].hasSuffix("; it has parity: mneme checkpoint repair \(directory) may restore it"))
            #expect(!FileManager.default.fileExists(atPath: shard))
            try CheckpointRepair(examining: directory).restore()
            #expect(try newest(in: run)?.step == 20)

            let bare = "\(run)/step-10"
            #expect(try CheckpointRepair(examining: bare).damage.isEmpty)
            try FileManager.default.removeItem(atPath: "\(bare)/shard-0-of-1.h5")
            #expect(
                try refusal(bare) {}.hasPrefix(
                    ": it cannot be repaired, since it was written without parity: /shard-0-of-1.h5: cannot be opened: No such file or directory"))
        }
    }

    @Test("checkpoints with parity go when they are too many, and with what a killed repair left in them")
    func retention() throws {
        try withScratchDirectory { directory in
            for step in 1...3 {
                try Sample(seed: 1).save(to: directory, step: step, worldSize: 2, keep: 2, hasParity: true)
                try Data().write(to: URL(fileURLWithPath: "\(directory)/step-\(step)/.restoring-shard-0-of-2.h5"))
            }
            #expect(try CheckpointStore(directory: directory).steps() == [2, 3])
            // Small shards: one stripe, and one file of parity.
            #expect(
                try FileManager.default.contentsOfDirectory(atPath: directory + "/step-3").sorted() == [
                    ".restoring-shard-0-of-2.h5", "checkpoint.h5", "parity-0-of-1", "parity-checkpoint.h5", "shard-0-of-2.h5", "shard-1-of-2.h5",
                ])
        }
    }

    @Test("parity that cannot be written costs the checkpoint, and the next one succeeds")
    func failure() throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 1)
            let writers = (0..<2).map { CheckpointWriter(directory: directory, rank: $0, worldSize: 2, keep: 3, hasParity: true) }
            for writer in writers { writer.begin(step: 2, attributes: [:], items: sample.items(rank: writer.rank, worldSize: 2)) }
            for writer in writers { try writer.waitForShard() }
            // A directory stands where the parity should go.
            try FileManager.default.createDirectory(atPath: directory + "/.partial-step-2/parity-0-of-1/x", withIntermediateDirectories: true)
            for writer in writers { writer.startParity() }
            let error = try #require(throws: UserError.self) { try writers[0].waitForShard() }
            #expect(error.description.hasPrefix("\(directory)/.partial-step-2/parity-0-of-1: cannot create the file: Is a directory"))
            try writers[1].waitForShard()
            for writer in writers { writer.abandon() }
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
            try sample.save(to: directory, step: 3, worldSize: 2, hasParity: true)
            #expect(try newest(in: directory)?.step == 3)
        }
    }
}

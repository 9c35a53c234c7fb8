// Damage and full disks: each has its message and exit code, and earlier checkpoints stay.

import Checkpoints
import Diagnostics
import Foundation
import HDF5
import TestSupport
import Testing

@Suite struct FaultTests {
    /// Two checkpoints, of which `damage` spoils the newer; then what the search says about it.
    private func reasonAfter(_ damage: (String) throws -> Void) throws -> (reason: String, error: UserError?) {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 1)
            try sample.save(to: directory, step: 10, worldSize: 2)
            try sample.save(to: directory, step: 20, worldSize: 2)
            try damage(directory + "/step-20")
            let found = try #require(try newest(in: directory))
            #expect(found.step == 10)
            #expect(found.damaged == [20])
            let error = #expect(throws: UserError.self) { try CheckpointReader(directory: directory + "/step-20").verify() }
            return ((found.passedOver.first ?? "").replacingOccurrences(of: directory + "/", with: "").replacingOccurrences(of: "passing over step-20: ", with: ""), error)
        }
    }

    /// Changes one bit of a file.
    private func flip(_ path: String, at offset: Int) throws {
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        try file.seek(toOffset: UInt64(offset))
        let byte = try #require(try file.read(upToCount: 1)?.first)
        try file.seek(toOffset: UInt64(offset))
        try file.write(contentsOf: Data([byte ^ 0x10]))
        try file.close()
    }

    @Test("a missing shard")
    func missingShard() throws {
        let (reason, error) = try reasonAfter { try FileManager.default.removeItem(atPath: $0 + "/shard-1-of-2.h5") }
        #expect(reason.hasPrefix("step-20/shard-1-of-2.h5: cannot be opened: No such file or directory"))
        #expect(error?.exitCode == .missingInput)
    }

    @Test("a missing checkpoint.h5")
    func missingJoin() throws {
        let (reason, error) = try reasonAfter { try FileManager.default.removeItem(atPath: $0 + "/checkpoint.h5") }
        #expect(reason.hasPrefix("step-20/checkpoint.h5: cannot be opened: No such file or directory"))
        #expect(error?.exitCode == .missingInput)
    }

    @Test("a truncated shard")
    func truncatedShard() throws {
        let (reason, error) = try reasonAfter { #expect(truncate($0 + "/shard-0-of-2.h5", 50_000) == 0) }
        #expect(reason.hasPrefix("step-20/shard-0-of-2.h5: cannot open the file"))
        #expect(reason.contains("truncated file"))
        #expect(error?.exitCode == .badData)
    }

    @Test("a flipped bit in the data names the item and the shard")
    func flippedDataBit() throws {
        let (reason, error) = try reasonAfter { directory in
            let path = directory + "/shard-1-of-2.h5"
            let file = try HDF5File.openReadOnly(path)
            let offset = try #require(try file.dataset("parameters/head.weight").fileOffset)
            try file.close()
            try flip(path, at: offset + 1234)
        }
        #expect(reason == "step-20/shard-1-of-2.h5: checksum mismatch in 'parameters/head.weight' [300, 96]; use another checkpoint")
        #expect(error?.exitCode == .badData)
    }

    @Test("a shard of another checkpoint, itself whole")
    func foreignShard() throws {
        let (reason, error) = try reasonAfter { directory in
            let other = directory + "-other"
            try Sample(seed: 9).save(to: other, step: 20, worldSize: 2)
            try FileManager.default.removeItem(atPath: directory + "/shard-0-of-2.h5")
            try FileManager.default.moveItem(atPath: other + "/step-20/shard-0-of-2.h5", toPath: directory + "/shard-0-of-2.h5")
        }
        #expect(reason.hasPrefix("step-20/checkpoint.h5: checksum mismatch in '"))
        #expect(error?.exitCode == .badData)
    }

    @Test("a bit flipped anywhere in checkpoint.h5 or a shard's metadata is noticed, or does not change what is read")
    func flippedBitsEverywhere() throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 1)
            try sample.save(to: directory, step: 1, worldSize: 2)
            let whole = try CheckpointReader(directory: directory + "/step-1")
            let (items, attributes) = (whole.items, whole.attributes)
            try whole.close()
            var generator = SplitMix(state: 11)
            for name in ["checkpoint.h5", "shard-0-of-2.h5"] {
                let path = "\(directory)/step-1/\(name)"
                let size = try #require(try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int)
                for _ in 0..<150 {
                    let offset = Int.random(in: 0..<size, using: &generator)
                    try flip(path, at: offset)
                    do {
                        let reader = try CheckpointReader(directory: directory + "/step-1")
                        try reader.verify()
                        #expect(reader.items == items && reader.attributes == attributes)
                        #expect(try sample.difference(from: reader) == nil, "byte \(offset) of \(name)")
                    } catch let error as UserError {
                        #expect([.badData, .missingInput, .inputOutput].contains(error.exitCode), "byte \(offset) of \(name): \(error)")
                    }
                    try flip(path, at: offset)
                }
            }
        }
    }

    @Test("a wrong byte anywhere in a small shard is noticed, or does not change what is read")
    func wrongBytesInMetadata() throws {
        try withScratchDirectory { directory in
            let writer = CheckpointWriter(directory: directory, rank: 0, worldSize: 1, keep: 1)
            let values: [Float] = [1, 2, 3]
            writer.begin(
                step: 1, attributes: [:],
                items: [CheckpointItem("a/x", .float32, elements: values), CheckpointItem("a/y", .float32, shape: [], elements: [Float(7)])])
            try writer.waitForShard()
            try writer.publish()
            let path = directory + "/step-1/shard-0-of-1.h5"
            let size = try #require(try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int)
            for offset in 0..<size {
                try flip(path, at: offset)
                do {
                    let reader = try CheckpointReader(directory: directory + "/step-1")
                    try reader.verify()
                    let read = try reader.elements("a/x", as: Float.self) + reader.elements("a/y", as: Float.self)
                    #expect(read == values + [7], "byte \(offset)")
                } catch let error as UserError {
                    #expect([.badData, .missingInput, .inputOutput].contains(error.exitCode), "byte \(offset): \(error)")
                }
                try flip(path, at: offset)
            }
        }
    }

    @Test("a file that is no checkpoint, and one of a newer format")
    func foreignFormats() throws {
        try withScratchDirectory { directory in
            let path = directory + "/checkpoint.h5"
            try HDF5File.create(path, userBlock: JoinedFile.userBlockByteCount).close()
            let foreign = try #require(throws: UserError.self) { _ = try CheckpointReader(directory: directory) }
            #expect(foreign.exitCode == .badData)
            #expect(foreign.description == "\(path): it is not a Mneme checkpoint")
            let file = try HDF5File.openReadWrite(path)
            try file.setAttribute("format", .string("mneme-checkpoint"))
            try file.setAttribute("format_version", .integer(99))
            try file.close()
            try JoinedFile.seal(path)
            let newer = try #require(throws: UserError.self) { _ = try CheckpointReader(directory: directory) }
            #expect(newer.description.contains("its format version 99 is newer than 1"))
            #expect(newer.exitCode == .configuration)
        }
    }

    @Test("what a crash left is ignored, and cleared away at the next start")
    func crashLeftovers() throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 1)
            try sample.save(to: directory, step: 1, worldSize: 1)
            // Killed while writing step 2.
            try FileManager.default.createDirectory(atPath: directory + "/.partial-step-2", withIntermediateDirectories: false)
            try Data("half".utf8).write(to: URL(fileURLWithPath: directory + "/.partial-step-2/shard-0-of-1.h5"))
            // Killed between the two renames of a replacement of step 1.
            try FileManager.default.moveItem(atPath: directory + "/step-1", toPath: directory + "/.replaced-step-1")
            // Killed while removing step 0.
            try FileManager.default.createDirectory(atPath: directory + "/.removing-step-0", withIntermediateDirectories: false)
            #expect(try newest(in: directory) == nil)
            #expect(try CheckpointWriter.sweep(directory).isEmpty)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["step-1"])
            #expect(try newest(in: directory)?.step == 1)
        }
    }

    @Test("a rank whose shard fails: the others abandon theirs, and the next checkpoint succeeds")
    func oneRankFails() throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 1)
            try sample.save(to: directory, step: 1, worldSize: 2)
            let writers = (0..<2).map { CheckpointWriter(directory: directory, rank: $0, worldSize: 2, keep: 3) }
            // A directory stands where rank 1's shard should go.
            try FileManager.default.createDirectory(atPath: directory + "/.partial-step-2/shard-1-of-2.h5/x", withIntermediateDirectories: true)
            for writer in writers { writer.begin(step: 2, attributes: [:], items: sample.items(rank: writer.rank, worldSize: 2)) }
            try writers[0].waitForShard()
            let error = try #require(throws: UserError.self) { try writers[1].waitForShard() }
            #expect(error.exitCode == .inputOutput)
            #expect(error.description.hasPrefix("\(directory)/.partial-step-2/shard-1-of-2.h5: cannot create the file: Is a directory"))
            for writer in writers { writer.abandon() }
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["step-1"])

            for writer in writers { writer.begin(step: 3, attributes: [:], items: sample.items(rank: writer.rank, worldSize: 2)) }
            for writer in writers { try writer.waitForShard() }
            try writers[0].publish()
            #expect(try newest(in: directory)?.step == 3)
        }
    }

    @Test("shards that do not make a whole are not published")
    func incompleteRows() throws {
        try withScratchDirectory { directory in
            let writer = CheckpointWriter(directory: directory, rank: 0, worldSize: 1, keep: 1)
            let item = CheckpointItem("memory/m", .int32, shape: [4], placement: .rows([0..<1, 2..<4]), elements: [Int32](0..<3))
            writer.begin(step: 1, attributes: [:], items: [item])
            try writer.waitForShard()
            let error = try #require(throws: UserError.self) { try writer.publish() }
            #expect(error.description.contains("the ranks together do not hold every row of 'memory/m' [4] once"))
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
        }
    }

    @Test("a full disk: one line, the earlier checkpoint stays, the partial one goes", .enabled(if: TinyDisk.isPermitted))
    func fullDisk() throws {
        try withTinyDisk(kilobytes: 1024) { directory in
            let run = directory + "/run"
            let sample = Sample(seed: 1)
            try sample.save(to: run, step: 1, worldSize: 1)
            let writer = CheckpointWriter(directory: run, rank: 0, worldSize: 1, keep: 3)
            for step in [2, 3] {
                let large = [Float](repeating: 1, count: 300_000)
                writer.begin(step: step, attributes: [:], items: [CheckpointItem("x", .float32, elements: large)])
                let error = try #require(throws: UserError.self) { try writer.waitForShard() }
                #expect(error.exitCode == .inputOutput)
                #expect(error.description.hasPrefix("\(run)/.partial-step-\(step)/shard-0-of-1.h5: cannot "))
                #expect(error.description.contains("No space left on device"))
                writer.abandon()
                #expect(try FileManager.default.contentsOfDirectory(atPath: run) == ["step-1"])
            }
            let reader = try CheckpointReader(directory: try #require(try newest(in: run)).directory)
            #expect(try sample.difference(from: reader) == nil)
        }
    }

    @Test("a disk that fills up at the joining", .enabled(if: TinyDisk.isPermitted))
    func fullDiskAtPublication() throws {
        try withTinyDisk(kilobytes: 1024) { directory in
            let run = directory + "/run"
            try Sample(seed: 1).save(to: run, step: 1, worldSize: 1)
            let writer = CheckpointWriter(directory: run, rank: 0, worldSize: 1, keep: 3)
            let long = String(repeating: "x", count: 100_000)
            writer.begin(step: 2, attributes: ["configuration": .string(long)], items: [CheckpointItem("x", .float32, elements: [Float(1)])])
            try writer.waitForShard()
            // Somebody else takes the rest of the disk.
            _ = FileManager.default.createFile(atPath: directory + "/filler", contents: nil)
            let filler = try #require(FileHandle(forWritingAtPath: directory + "/filler"))
            while (try? filler.write(contentsOf: Data(count: 4096))) != nil {}
            let error = try #require(throws: UserError.self) { try writer.publish() }
            #expect(error.exitCode == .inputOutput)
            #expect(error.description.contains("No space left on device"))
            #expect(try FileManager.default.contentsOfDirectory(atPath: run) == ["step-1"])
        }
    }

    @Test("a directory that cannot be made")
    func unwritable() throws {
        try withScratchDirectory { directory in
            let file = directory + "/file"
            try Data().write(to: URL(fileURLWithPath: file))
            let writer = CheckpointWriter(directory: file + "/run", rank: 0, worldSize: 1, keep: 1)
            writer.begin(step: 1, attributes: [:], items: [])
            let error = try #require(throws: UserError.self) { try writer.waitForShard() }
            #expect(error.exitCode == .inputOutput)
            #expect(error.description.hasPrefix("\(file)/run/.partial-step-1: cannot make the directory: "))
            writer.abandon()
        }
    }
}

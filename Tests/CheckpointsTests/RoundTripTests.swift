// What is saved is what is read, at any number of ranks, and checkpoints come and go whole.

import Checkpoints
import Diagnostics
import Foundation
import HDF5
import Storage
import TestSupport
import Testing

@Suite struct RoundTripTests {
    @Test("what any number of ranks wrote reads back bit for bit", arguments: [1, 2, 3, 4])
    func anyWorldSize(_ worldSize: Int) throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 1)
            try sample.save(to: directory, step: 7, worldSize: worldSize)
            let found = try #require(try newest(in: directory))
            #expect(found.passedOver.isEmpty)
            let reader = try CheckpointReader(directory: found.directory)
            #expect(reader.step == 7 && reader.worldSize == worldSize)
            #expect(try sample.difference(from: reader) == nil)
            #expect(reader.attributes["configuration"] == .string("run: sample\n"))
            #expect(reader.attributes["tokens"] == .integer(1 << 40))
            #expect(reader.attributes["loss"] == .real(2.5))
            #expect(reader.attributes["format"] == .string("mneme-checkpoint"))

            // Rows as another world size would ask for them.
            var rows = [Float](repeating: 0, count: 3 * 48)
            try rows.withUnsafeMutableBytes { try reader.read("memory/segment", .float32, shape: [8, 3, 16], rows: 3..<6, into: $0) }
            #expect(rows == Array(sample.memory[3 * 48..<6 * 48]))
            try reader.close()
            #expect(HDF5Library.openObjectCount(under: directory) == 0)
        }
    }

    @Test("checksums of items do not depend on the number of ranks")
    func checksumsAcrossWorldSizes() throws {
        try withScratchDirectory { directory in
            let items = try [1, 2, 4].map { worldSize in
                try Sample(seed: 5).save(to: directory, step: worldSize, worldSize: worldSize)
                return try CheckpointReader(directory: "\(directory)/step-\(worldSize)").items
            }
            #expect(items[0] == items[1] && items[0] == items[2])
            #expect(items[0].count == 9)
        }
    }

    @Test("the digest does not depend on the number of ranks, but on every item; it is computed as the format says")
    func digest() throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 5)
            let digests = try [1, 2, 3, 4].map { worldSize in
                try sample.save(to: directory, step: worldSize, worldSize: worldSize, keep: 9)
                return try CheckpointReader(directory: "\(directory)/step-\(worldSize)").verify()
            }
            #expect(Set(digests.map(\.description)).count == 1)
            var bytes: [UInt8] = []
            for item in try CheckpointReader(directory: "\(directory)/step-1").items {
                bytes += Array("\(item.name)\0\(item.elementType.rawValue)\0".utf8)
                for number in [item.shape.count] + item.shape { withUnsafeBytes(of: UInt64(number).littleEndian) { bytes += $0 } }
                switch item.name {
                case "memory/segment": sample.memory.withUnsafeBytes { bytes += $0 }
                case "loader/position": sample.positions.withUnsafeBytes { bytes += $0 }
                case "random/state": [UInt64.max, 1].withUnsafeBytes { bytes += $0 }
                default: sample.values[item.name]!.withUnsafeBytes { bytes += $0 }
                }
            }
            var hash = XXHash64()
            bytes.withUnsafeBytes { hash.update($0) }
            #expect(UInt64(digests[0].description, radix: 16) == hash.finalized() && digests[0].description.count == 16)

            var other = sample
            other.positions[7] ^= 1
            try other.save(to: directory, step: 5, worldSize: 2, keep: 9)
            #expect(try CheckpointReader(directory: "\(directory)/step-5").verify() != digests[0])
        }
    }

    @Test("a virtual dataset shows whole tensors to any HDF5 program")
    func virtualWholes() throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 2)
            try sample.save(to: directory, step: 1, worldSize: 3)
            let file = try HDF5File.openReadOnly(directory + "/step-1/checkpoint.h5")
            #expect(try file.dataset("parameters/embedding.weight").read(as: Float.self) == sample.values["parameters/embedding.weight"])
            #expect(try file.dataset("memory/segment").read(as: Float.self) == sample.memory)
            #expect(try file.dataset("parameters/scale").read(as: Float.self) == sample.values["parameters/scale"])
            try file.close()
        }
    }

    @Test("the share of each rank is balanced, and together the shares are the whole")
    func sharing() throws {
        try withScratchDirectory { directory in
            let worldSize = 4
            try Sample(seed: 3).save(to: directory, step: 1, worldSize: worldSize)
            var sizes: [Int] = []
            for rank in 0..<worldSize {
                let file = try HDF5File.openReadOnly("\(directory)/step-1/shard-\(rank)-of-\(worldSize).h5")
                sizes.append(try file.datasetPaths(under: "parameters").reduce(0) { try $0 + file.dataset($1).byteCount })
                try file.close()
            }
            let total = Sample.shapes.reduce(0) { $0 + $1.shape.reduce(4, *) }
            #expect(sizes.reduce(0, +) == total)
            // An item of less than 64 KiB is not cut.
            for size in sizes { #expect(abs(size - total / worldSize) <= 64 * 1024) }
        }
    }

    @Test("a writer reuses its memory, and what changes after the beginning is not saved")
    func snapshots() throws {
        try withScratchDirectory { directory in
            let writer = CheckpointWriter(directory: directory, rank: 0, worldSize: 1, keep: 2)
            var values = [Float](repeating: 0, count: 100_000)
            for step in 1...4 {
                for index in values.indices { values[index] = Float(step) }
                values.withUnsafeBytes { bytes in
                    writer.begin(step: step, attributes: [:], items: [CheckpointItem("x", .float32, shape: [100_000], bytes: bytes)])
                }
                for index in values.indices { values[index] = -1 }
                try writer.waitForShard()
                #expect(writer.isShardWritten)
                #expect(writer.shardStatistics.byteCount == 400_000)
                writer.startPublishing()
                try writer.waitForPublication()
                #expect(writer.isPublished)
                let reader = try CheckpointReader(directory: "\(directory)/step-\(step)")
                #expect(try reader.elements("x", as: Float.self).allSatisfy { $0 == Float(step) })
            }
            #expect(try CheckpointStore(directory: directory).steps() == [3, 4])
        }
    }

    @Test("the newest are kept, and the one just published always")
    func retention() throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 4)
            for step in [10, 20, 30, 40] { try sample.save(to: directory, step: step, worldSize: 2, keep: 2) }
            #expect(try CheckpointStore(directory: directory).steps() == [30, 40])
            // The run resumed from an earlier step than the newest directory.
            try sample.save(to: directory, step: 25, worldSize: 1, keep: 1)
            #expect(try CheckpointStore(directory: directory).steps() == [25])
        }
    }

    @Test("a checkpoint of the same step is replaced, whatever the number of ranks")
    func replacement() throws {
        try withScratchDirectory { directory in
            try Sample(seed: 1).save(to: directory, step: 5, worldSize: 3)
            let second = Sample(seed: 2)
            try second.save(to: directory, step: 5, worldSize: 2)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["step-5"])
            let files = try FileManager.default.contentsOfDirectory(atPath: directory + "/step-5").sorted()
            #expect(files == ["checkpoint.h5", "shard-0-of-2.h5", "shard-1-of-2.h5"])
            let reader = try CheckpointReader(directory: directory + "/step-5")
            try reader.verify()
            #expect(try second.difference(from: reader) == nil)
        }
    }

    @Test("a checkpoint of another model is refused by name and shapes")
    func anotherModel() throws {
        try withScratchDirectory { directory in
            try Sample(seed: 1).save(to: directory, step: 1, worldSize: 1)
            let reader = try CheckpointReader(directory: directory + "/step-1")
            #expect(SampleState(Sample.shapes).registry.mismatches(with: reader).isEmpty)
            try SampleState(Sample.shapes).registry.requireFit(reader)

            var shapes = Sample.shapes
            shapes[1].shape = [48, 192]
            shapes.removeLast()
            shapes.append(("parameters/blocks.1.norm", [48]))
            let registry = SampleState(shapes).registry
            #expect(registry.mismatches(with: reader).map(\.kind) == [.reshaped, .missing, .unexpected])
            #expect(
                registry.mismatches(with: reader).map(\.text) == [
                    "'parameters/blocks.0.attention.qkv.weight' is float32 [48, 144] in the checkpoint, and float32 [48, 192] here",
                    "'parameters/blocks.1.norm' [48] is not in the checkpoint",
                    "the checkpoint has 'parameters/empty' [0, 4], which nothing here takes",
                ])
            let error = try #require(throws: UserError.self) { try registry.requireFit(reader) }
            #expect(error.exitCode == .configuration)
            #expect(error.description.hasPrefix("\(directory)/step-1: 'parameters/blocks.0.attention.qkv.weight' is"))
            #expect(error.description.contains("(2 more items do not fit)"))
            try registry.requireFit(reader) { _ in true }

            let read = try #require(throws: UserError.self) {
                try withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { try reader.read("parameters/scale", .float32, shape: [4], into: $0) }
            }
            #expect(read.exitCode == .configuration)
            #expect(read.description.contains("'parameters/scale' is float32 [] in the checkpoint, and float32 [4] here"))
        }
    }

    @Test("differences between checkpoints are found and measured")
    func differences() throws {
        try withScratchDirectory { directory in
            var sample = Sample(seed: 1)
            try sample.save(to: directory, step: 1, worldSize: 1)
            sample.values["parameters/head.weight"]![7] += 0.5
            sample.values["parameters/head.weight"]![9] -= 0.25
            let moved = sample.values["parameters/head.weight"]![7] - Sample(seed: 1).values["parameters/head.weight"]![7]
            sample.memory[3] = .nan
            sample.positions[2] += 1
            try sample.save(to: directory, step: 2, worldSize: 2)
            let (first, second) = (try CheckpointReader(directory: directory + "/step-1"), try CheckpointReader(directory: directory + "/step-2"))
            #expect(try first.differences(from: first).isEmpty)
            let found = try first.differences(from: second)
            #expect(found.map(\.name) == ["loader/position", "memory/segment", "parameters/head.weight"])
            if case .values(let count, _) = found[0].difference { #expect(count == 1) } else { Issue.record("\(found[0])") }
            if case .values(1, let largest) = found[1].difference { #expect(largest.isNaN) } else { Issue.record("\(found[1])") }
            #expect(found[2].difference == .values(count: 2, largest: Double(moved)))
        }
    }
}

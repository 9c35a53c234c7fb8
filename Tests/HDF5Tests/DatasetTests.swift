// Datasets, groups and attributes: what is written is what is read.

import Diagnostics
import Foundation
import HDF5
import TestSupport
import Testing

@Suite(.serialized) struct DatasetTests {
    @Test("contiguous datasets of every element type read back, whole and by rows", arguments: HDF5ElementType.allCases)
    func contiguousRoundTrip(_ elementType: HDF5ElementType) throws {
        try withScratchDirectory { directory in
            let path = directory + "/a.h5"
            let shape = [5, 3, 2]
            var generator = SplitMix(state: 7)
            let bytes = (0..<30 * elementType.byteCount).map { _ in UInt8.random(in: 0...120, using: &generator) }

            let file = try HDF5File.create(path)
            let dataset = try file.createDataset("group/inner/values", elementType, shape: shape)
            try bytes.withUnsafeBytes { try dataset.write($0) }
            let offset = try #require(dataset.fileOffset)
            #expect(offset % 64 == 0)
            try file.close(synchronizing: true)

            #expect(Array(try Data(contentsOf: URL(fileURLWithPath: path))[offset..<offset + bytes.count]) == bytes)

            let reopened = try HDF5File.openReadOnly(path)
            let again = try reopened.dataset("group/inner/values")
            #expect(again.shape == shape)
            #expect(again.elementType == elementType)
            #expect(again.layout == .contiguous)
            #expect(again.fileOffset == offset)
            var whole = [UInt8](repeating: 0, count: bytes.count)
            try whole.withUnsafeMutableBytes { try again.read(into: $0) }
            #expect(whole == bytes)
            var part = [UInt8](repeating: 0, count: 2 * again.rowByteCount)
            try part.withUnsafeMutableBytes { try again.read(into: $0, rows: 2..<4) }
            #expect(part == Array(bytes[2 * again.rowByteCount..<4 * again.rowByteCount]))
            try reopened.close()
        }
    }

    @Test("rows written one by one equal the whole")
    func rowWrites() throws {
        try withScratchDirectory { directory in
            let file = try HDF5File.create(directory + "/a.h5")
            let dataset = try file.createDataset("x", .int32, shape: [4, 2])
            for row in [3, 0, 2, 1] {
                try [Int32(row), Int32(row * 10)].withUnsafeBytes { try dataset.write($0, rows: row..<row + 1) }
            }
            #expect(try dataset.read(as: Int32.self) == [0, 0, 1, 10, 2, 20, 3, 30])
            try file.close()
        }
    }

    @Test("chunked datasets grow by appending, also after they were opened again")
    func appending() throws {
        try withScratchDirectory { directory in
            let path = directory + "/a.h5"
            let file = try HDF5File.create(path)
            let dataset = try file.createDataset("tokens", .uint16, shape: [0], layout: .chunked(rows: 7))
            for start in stride(from: 0, to: 20, by: 5) {
                try (start..<start + 5).map { UInt16($0) }.withUnsafeBytes { try dataset.append($0) }
            }
            try dataset.close()
            try file.close()

            let second = try HDF5File.openReadWrite(path)
            let again = try second.dataset("tokens")
            #expect(again.layout == .chunked(rows: 7))
            #expect(again.fileOffset == nil)
            try [UInt16(20), 21].withUnsafeBytes { try again.append($0) }
            #expect(again.shape == [22])
            #expect(try again.read(as: UInt16.self) == (0..<22).map { UInt16($0) })
            try again.resize(rows: 3)
            #expect(try again.read(as: UInt16.self) == [0, 1, 2])
            try second.close()
        }
    }

    @Test("single elements and empty datasets")
    func degenerateShapes() throws {
        try withScratchDirectory { directory in
            let path = directory + "/a.h5"
            let file = try HDF5File.create(path)
            try file.createDataset("one", .float64, shape: []).write([2.5])
            try file.createDataset("none", .float32, shape: [0, 4]).write([Float]())
            try file.close()
            let again = try HDF5File.openReadOnly(path)
            #expect(try again.dataset("one").read(as: Double.self) == [2.5])
            #expect(try again.dataset("none").read(as: Float.self).isEmpty)
            #expect(try again.dataset("none").fileOffset == nil)
            try again.close()
        }
    }

    @Test("a virtual dataset joins rows of other files, in any order")
    func virtualDatasets() throws {
        try withScratchDirectory { directory in
            for (index, rows) in [[0, 1], [2, 3, 4]].enumerated() {
                let part = try HDF5File.create("\(directory)/part-\(index).h5")
                try part.createDataset("x/rows", .int64, shape: [rows.count, 2]).write(rows.flatMap { [Int64($0), Int64(-$0)] })
                try part.createDataset("one", .float32, shape: []).write([Float(index)])
                try part.close()
            }
            let path = directory + "/whole.h5"
            let whole = try HDF5File.create(path)
            let sources = [
                HDF5VirtualSource(file: "part-1.h5", dataset: "x/rows", shape: [3, 2], sourceRows: 0..<1, rows: 0..<1),
                HDF5VirtualSource(file: "part-0.h5", dataset: "x/rows", shape: [2, 2], sourceRows: 0..<2, rows: 1..<3),
                HDF5VirtualSource(file: "part-1.h5", dataset: "x/rows", shape: [3, 2], sourceRows: 1..<3, rows: 3..<5),
            ]
            let created = try whole.createVirtualDataset("x/rows", .int64, shape: [5, 2], sources: sources)
            try created.close()
            _ = try whole.createVirtualDataset(
                "one", .float32, shape: [],
                sources: [HDF5VirtualSource(file: "part-1.h5", dataset: "one", shape: [], sourceRows: 0..<1, rows: 0..<1)])
            _ = try whole.createVirtualDataset("empty", .float32, shape: [0, 3], sources: [])
            try whole.close()

            // The relative names must hold from anywhere, so the directory moves.
            let moved = directory + "-moved"
            try FileManager.default.moveItem(atPath: directory, toPath: moved)
            defer { try? FileManager.default.removeItem(atPath: moved) }
            let again = try HDF5File.openReadOnly(moved + "/whole.h5")
            let dataset = try again.dataset("x/rows")
            #expect(dataset.layout == .virtual)
            #expect(try dataset.read(as: Int64.self) == [2, -2, 0, 0, 1, -1, 3, -3, 4, -4])
            let found = try again.virtualSources(of: dataset)
            #expect(found.map(\.file) == sources.map(\.file))
            #expect(found.map(\.dataset) == sources.map(\.dataset))
            #expect(found.map(\.sourceRows) == sources.map(\.sourceRows))
            #expect(found.map(\.rows) == sources.map(\.rows))
            #expect(found.map(\.shape) == sources.map { [$0.sourceRows.upperBound, 2] })
            #expect(try again.dataset("one").read(as: Float.self) == [1])
            #expect(try again.dataset("empty").shape == [0, 3])
            try again.close()

            // What is not there does not look like values.
            try FileManager.default.removeItem(atPath: moved + "/part-1.h5")
            let torn = try HDF5File.openReadOnly(moved + "/whole.h5")
            #expect(try torn.dataset("x/rows").read(as: Int64.self) == [-1, -1, 0, 0, 1, -1, -1, -1, -1, -1])
            #expect(try torn.dataset("one").read(as: Float.self)[0].isNaN)
            try torn.close()
        }
    }

    @Test("attributes of every kind read back, and replace each other")
    func attributes() throws {
        try withScratchDirectory { directory in
            let path = directory + "/a.h5"
            let values: [String: HDF5AttributeValue] = [
                "text": .string("Μνήμη, 記憶\nline two"), "empty": .string(""), "long": .string(String(repeating: "yaml: 1\n", count: 20_000)),
                "integer": .integer(-5), "real": .real(0.1), "integers": .integers([1, 2, .max]), "reals": .reals([1.5, -.infinity]),
                "no integers": .integers([]),
            ]
            let file = try HDF5File.create(path)
            let dataset = try file.createDataset("group/x", .uint8, shape: [1])
            try dataset.write([UInt8(1)])
            for (name, value) in values {
                try file.setAttribute(name, .integer(0))
                try file.setAttribute(name, value)
                try dataset.setAttribute(name, value)
                try file.setAttribute(name, value, on: "group")
            }
            try file.close()
            let again = try HDF5File.openReadOnly(path)
            for object in ["/", "group", "group/x"] { #expect(try again.attributes(on: object) == values) }
            #expect(try again.hasAttribute("text"))
            #expect(try !again.hasAttribute("absent"))
            try again.close()
        }
    }

    @Test("groups are made once, and listed with what they hold")
    func groups() throws {
        try withScratchDirectory { directory in
            let file = try HDF5File.create(directory + "/a.h5")
            try file.createGroup("b/c/d")
            try file.createGroup("/b/c")
            for name in ["b/y", "b/c/x.0.weight", "a"] { try file.createDataset(name, .uint8, shape: [0]).close() }
            #expect(try file.links() == ["a", "b"])
            #expect(try file.links(in: "b/c") == ["d", "x.0.weight"])
            #expect(try file.datasetPaths() == ["a", "b/c/x.0.weight", "b/y"])
            #expect(try file.datasetPaths(under: "b/c") == ["b/c/x.0.weight"])
            #expect(try file.kind(of: "b") == .group)
            #expect(try file.kind(of: "b/y") == .dataset)
            #expect(try file.exists("b/c/d"))
            #expect(try !file.exists("b/q/d"))
            #expect(try !file.exists("a/below-a-dataset"))
            try file.remove("b/c")
            #expect(try file.datasetPaths() == ["a", "b/y"])
            try file.close()
        }
    }

    @Test("equal contents give equal bytes")
    func reproducibleBytes() throws {
        try withScratchDirectory { directory in
            func make(_ path: String) throws -> Data {
                let file = try HDF5File.create(path)
                try file.createDataset("g/x", .float32, shape: [100]).write([Float](repeating: 1, count: 100))
                let chunked = try file.createDataset("g/y", .int32, shape: [0], layout: .chunked(rows: 16))
                try [Int32](0..<50).withUnsafeBytes { try chunked.append($0) }
                try file.setAttribute("name", .string("value"))
                try file.close()
                return try Data(contentsOf: URL(fileURLWithPath: path))
            }
            let first = try make(directory + "/a.h5")
            Thread.sleep(forTimeInterval: 1.1)
            #expect(try make(directory + "/b.h5") == first)
        }
    }
}

/// A seeded generator (SplitMix64).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

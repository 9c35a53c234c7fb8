// Rows in blocks and shards: increments replayed in order, and everything that is no increment of its base refused.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import TestSupport
import Testing

@Suite struct RowTableTests {
    static let layout = RowLayout(
        columns: [
            RowColumn("weight", .float32, width: 8), RowColumn("count", .int64, width: 1), RowColumn("half", .bfloat16, width: 2),
            RowColumn("text", .uint8, width: nil),
            RowColumn("tokens", .int32, width: nil)
        ], blockRows: 8, shards: 4)

    static func image(_ seed: Int) -> RowImage {
        var random = Randomness(state: UInt64(seed))
        func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) } }
        return RowImage(fixed: bytes(8 * 4 + 8 + 4), variable: [bytes(seed % 23), bytes(seed % 5 * 4)])
    }

    /// Random changes.
    static func change(_ table: RowTable, _ seed: Int, changes: Int = 40, rows: Int = 400) {
        var random = Randomness(state: UInt64(seed) &* 7919)
        for index in 0..<changes {
            let row = Int.random(in: 0..<rows, using: &random)
            guard table.owns(shard: layout.shard(of: row)) else { continue }
            if index % 4 == 3 { table.remove(row) } else { table.set(row, image(seed * 1000 + row)) }
        }
    }

    static func rows(_ table: RowTable) -> [Int: RowImage] { Dictionary(uniqueKeysWithValues: table.rows.map { ($0, table.image($0)!) }) }

    @Test("what was committed is read again, after every commit, as increments and bases")
    func replay() throws {
        try withScratchDirectory { directory in
            let store = SegmentStore(run: directory)
            let table = RowTable(Self.layout)
            Self.change(table, 0, changes: 900)
            _ = try table.commit(1, keepingUndo: false, to: store, SingleProcess())
            var longest = 0
            for commit in 2...40 {
                Self.change(table, commit, changes: 6)
                _ = try table.commit(commit, keepingUndo: true, to: store, SingleProcess())
                let read = try RowTable(Self.layout, table.chains, in: store)
                #expect(Self.rows(read) == Self.rows(table) && read.digest == table.digest && !table.hasChanges)
                longest = max(longest, table.chains.map(\.links.count).max() ?? 0)
                for chain in table.chains {
                    #expect(chain.links.dropFirst().count <= 16)
                    #expect(chain.links.dropFirst().reduce(0) { $0 + $1.bytes } * 2 <= chain.links[0].bytes)
                }
            }
            #expect(longest > 4, "increments were written")
            let before = Self.rows(table)
            _ = try table.commit(41, keepingUndo: false, rebasing: true, to: store, SingleProcess())
            #expect(table.chains.allSatisfy { $0.links.count == 1 })
            #expect(try Self.rows(RowTable(Self.layout, table.chains, in: store)) == before)
        }
    }

    @Test("an increment holds the rows that changed and no others, and unchanged shards write nothing")
    func increments() throws {
        try withScratchDirectory { directory in
            let store = SegmentStore(run: directory)
            let table = RowTable(Self.layout)
            for row in 0..<400 { table.set(row, Self.image(row)) }
            _ = try table.commit(1, keepingUndo: false, to: store, SingleProcess())
            let bases = table.chains
            table.set(17, Self.image(9999))
            table.remove(18)
            let undo = try table.commit(2, keepingUndo: true, to: store, SingleProcess())
            #expect(table.chains.indices.filter { table.chains[$0] != bases[$0] } == [2], "rows 17 and 18 are of block 2")
            #expect(table.chains[2].links.map(\.rows) == [96, 2] && undo.count == 1)
            // A row that was set to what it was is no reason for a commit of others.
            _ = try table.commit(3, keepingUndo: true, to: store, SingleProcess())
            #expect(table.chains[2].links.count == 2)
        }
    }

    @Test("1, 2 and 4 ranks write the same files, and any number reads them")
    func ranks() throws {
        try withScratchDirectory { directory in
            func commits(_ size: Int) throws -> ([ShardChain], [String]) {
                let results = try LoopbackCommunicator.run(size: size) { communicator in
                    let store = SegmentStore(run: "\(directory)/\(size)")
                    let table = RowTable(Self.layout, rank: communicator.rank, worldSize: communicator.size)
                    var undo: [String] = []
                    for commit in 1...12 {
                        Self.change(table, commit, changes: commit == 1 ? 600 : 8)
                        undo += try table.commit(commit, keepingUndo: true, to: store, communicator)
                    }
                    return (table.chains, undo)
                }
                #expect(results.allSatisfy { $0.0 == results[0].0 && $0.1 == results[0].1 })
                return results[0]
            }
            let one = try commits(1)
            for size in [2, 4] {
                let several = try commits(size)
                #expect(several.0 == one.0 && several.1 == one.1, "\(size) ranks")
                #expect(try files("\(directory)/\(size)") == files("\(directory)/1"))
            }
            let whole = Self.rows(try RowTable(Self.layout, one.0, in: SegmentStore(run: "\(directory)/1")))
            for size in [2, 3, 4] {
                // Another rank's shards are not even looked at: theirs are gone.
                for rank in 0..<size {
                    let part = "\(directory)/part\(size)-\(rank)"
                    let (from, to) = (SegmentStore(run: "\(directory)/1"), SegmentStore(run: part))
                    for (shard, chain) in one.0.enumerated() where shard % size == rank {
                        for link in chain.links { try from.share(SegmentReference(name: link.segment)!, with: to) }
                    }
                    let table = try RowTable(Self.layout, one.0, in: to, rank: rank, worldSize: size)
                    #expect(Self.rows(table) == whole.filter { Self.layout.shard(of: $0.key) % size == rank })
                    #expect(try table.digest == RowTable(Self.layout, one.0, in: from).digest)
                }
            }
            #expect(
                try #require(throws: UserError.self) {
                    _ = try RowTable(Self.layout, one.0, in: SegmentStore(run: "\(directory)/1"), rank: 0, worldSize: Self.layout.shards + 1)
                }.exitCode == .configuration)
            #expect(
                try #require(throws: UserError.self) {
                    _ = try RowTable(Self.layout, one.0, in: SegmentStore(run: "\(directory)/1"), rank: 0, worldSize: 8)
                }.exitCode == .configuration)
        }
    }

    @Test("a lost, doubled, foreign or swapped increment, a short file, a flipped bit and another layout are named and refused")
    func refusals() throws {
        try withScratchDirectory { directory in
            let store = SegmentStore(run: directory)
            func committed(_ seed: Int) throws -> [ShardChain] {
                let table = RowTable(Self.layout)
                for row in 0..<400 { table.set(row, Self.image(seed + row)) }
                _ = try table.commit(1, keepingUndo: false, to: store, SingleProcess())
                for commit in 2...5 {
                    for row in [commit, commit + 8] { table.set(row, Self.image(seed + commit * 500 + row)) }
                    _ = try table.commit(commit, keepingUndo: false, to: store, SingleProcess())
                }
                return table.chains
            }
            let (chains, other) = (try committed(1), try committed(100_000))
            func expectRefusal(
                _ text: String, _ code: ExitCode = .badData, layout: RowLayout = Self.layout, _ change: (inout [ShardChain]) throws -> Void
            ) throws {
                var changed = chains
                try change(&changed)
                let error = try #require(throws: UserError.self, "\(text)") { _ = try RowTable(layout, changed, in: store) }
                #expect(error.exitCode == code && error.description.contains(text) && error.description.contains(directory), "\(error)")
            }
            #expect(chains[0].links.count == 5)
            try expectRefusal("a delta before it is missing") { $0[0].links.remove(at: 2) }
            try expectRefusal("the delta is repeated") { $0[0].links.insert($0[0].links[2], at: 3) }
            try expectRefusal("it is a delta of something else") { $0[0].links[2] = other[0].links[2] }
            try expectRefusal("it is a delta of something else") { $0[0].links[0] = other[0].links[0] }
            try expectRefusal("a chain begins with a base") { $0[0].links.remove(at: 0) }
            try expectRefusal("does not hold what was committed") { $0[0].links.removeLast() }
            try expectRefusal("is of virtual shard") { $0.swapAt(0, 1) }
            try expectRefusal("names no segment") {
                $0[1].links[0] = try JSONDecoder().decode(
                    ChainLink.self, from: Data(#"{"segment":"../x","commit":1,"rows":1,"bytes":1}"#.utf8))
            }
            try expectRefusal("of another layout", layout: RowLayout(columns: Self.layout.columns, blockRows: 16, shards: 4)) { _ in }
            try expectRefusal("2 chains for 4 virtual shards") { $0.removeLast(2) }
            let path = "\(store.directory)/\(chains[0].links[3].segment)"
            let whole = try Data(contentsOf: URL(fileURLWithPath: path))
            for damaged in [
                Data(whole.dropLast()), whole + Data([0]), Data(),
                Data(whole.enumerated().map { $0.offset == whole.count / 2 ? $0.element ^ 16 : $0.element })
            ] {
                try damaged.write(to: URL(fileURLWithPath: path))
                try expectRefusal("checksum mismatch") { _ in }
            }
            try FileManager.default.removeItem(atPath: path)
            try expectRefusal("the segment is gone", .missingInput) { _ in }
            try whole.write(to: URL(fileURLWithPath: path))
            _ = try RowTable(Self.layout, chains, in: store)
        }
    }

    /// Rows that follow from their number.
    private struct Numbers: RowGenerator {
        func image(of row: Int, _ layout: RowLayout) -> RowImage { RowTableTests.image(row + 5_000_000) }
    }

    @Test("rows that were never written come from the generator and are in no file")
    func generated() throws {
        try withScratchDirectory { directory in
            let store = SegmentStore(run: directory)
            let table = RowTable(Self.layout, generator: Numbers())
            for row in stride(from: 0, to: 100_000, by: 1000) {
                #expect(table.image(row) == Self.image(row + 5_000_000))
                table.set(row, Self.image(row))
            }
            _ = try table.commit(1, keepingUndo: false, to: store, SingleProcess())
            let read = try RowTable(Self.layout, table.chains, in: store, generator: Numbers())
            #expect(read.count == 100 && read.image(5000) == Self.image(5000) && read.image(5001) == Self.image(5_005_001))
            #expect(try files(directory).reduce(0) { $0 + $1.value.count } < 60_000)
        }
    }

    @Test("h5py reads a base and an increment", .enabled(if: Python.withH5py != nil, "no python3 with h5py; MNEME_PYTHON may name one"))
    func h5py() throws {
        try withScratchDirectory { directory in
            let store = SegmentStore(run: directory)
            let table = RowTable(Self.layout)
            for row in 0..<64 { table.set(row, Self.image(row)) }
            _ = try table.commit(1, keepingUndo: false, to: store, SingleProcess())
            table.set(3, Self.image(77))
            table.remove(5)
            _ = try table.commit(2, keepingUndo: false, to: store, SingleProcess())
            let segments = table.chains[0].links.map { "\(store.directory)/\($0.segment)" }
            let expected = Self.image(77)
            let run = try Python.run(
                """
                import h5py, sys
                base, delta = (h5py.File(path) for path in sys.argv[1:3])
                assert base.attrs["kind"] == "base" and delta.attrs["kind"] == "delta" and delta.attrs["link"] == 1
                assert delta.attrs["parent"] == sys.argv[1].split("/")[-1]
                rows = list(base["rows"][...])
                assert rows == list(range(0, 8)) + list(range(32, 40)) and list(delta["rows"]) == [3] and list(delta["removed"]) == [5]
                columns = delta["columns"]
                assert columns["weight"].shape == (1, 8) and columns["count"].shape == (1,) and columns["half"].attrs["element"] == "bfloat16"
                offsets = columns["text/offsets"][...]
                fixed = columns["weight"][0].tobytes() + columns["count"][0].tobytes() + columns["half"][0].tobytes()
                print(fixed.hex(), columns["text/values"][offsets[0]:offsets[1]].tobytes().hex(), columns["tokens/values"][...].tobytes().hex())
                """, segments)
            func hex(_ bytes: [UInt8]) -> String { bytes.map { String(format: "%02x", $0) }.joined() }
            #expect(run.status == 0, "\(run.standardError)")
            #expect(run.standardOutput == "\(hex(expected.fixed)) \(hex(expected.variable[0])) \(hex(expected.variable[1]))\n")
        }
    }
}

// The index of a bank: it finds what exact search finds, follows edits, outlives sessions, and keeps nothing that was deleted.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import Tensors
import TestSupport
import Testing
import VectorSearch

@Suite struct BankIndexTests {
    private static let width = 12
    private static let generation = BankGeneration(model: "m", width: width)

    private static func rules(_ metric: Similarity = .euclidean, admission: Int = 1) -> BankConfiguration {
        BankConfiguration(keyWidth: width, value: .tokens, admission: admission, metric: metric, blockRows: 32, shards: 4)
    }

    /// Records around a few centres, in two namespaces.
    private static func records(_ range: Range<Int>, seed: UInt64 = 1, spread: Float = 0.3) -> [BankRecord] {
        range.map { index in
            var random = Randomness(state: seed &* 1_000_003 &+ UInt64(index))
            var record = BankRecord(id: "r\(index)", namespace: "n\(index % 3 == 0 ? 1 : 0)", value: .tokens([Int32(index)]))
            var centre = Randomness(state: UInt64(index % 17))
            record.key = (0..<width).map { _ in
                Float.random(in: -1...1, using: &centre) + spread * Float.random(in: -1...1, using: &random)
            }
            return record
        }
    }

    private static func queries(_ count: Int, seed: UInt64) -> Tensor {
        let records = records(100_000..<(100_000 + count), seed: seed)
        return Tensor(records.flatMap(\.key), [count, width])
    }

    @Test("all lists give what exact search gives through every edit, in the session, a reader and the next session; few lists find most")
    func edits() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            var bank = try makeBank(path, Self.rules(admission: 2), generation: Self.generation)
            _ = try bank.put(Self.records(0..<600), edit())
            try bank.makeIndex(lists: 24)
            let reader = try MemoryBank(path)
            let queries = Self.queries(30, seed: 2)
            for round in 0..<15 {
                switch round % 5 {
                case 0: _ = try bank.put(Self.records((40 * round)..<(40 * round + 90), seed: UInt64(round)), resurrecting: true, edit(step: round))
                case 1: _ = try bank.delete(BankFilter(.all, ids: (0..<40).map { "r\(9 * $0 + round)" }), edit(step: round))
                case 2: _ = try bank.revert(bank.receipts.last { $0.action == .delete }?.commit ?? 0, edit(step: round))
                case 3: _ = try bank.append(Self.records((2000 + 5 * round)..<(2030 + 5 * round)), edit(step: round))
                default: if round == 9 { _ = try bank.compact(edit(step: round)) } else { _ = try bank.append(Self.records(2010..<2020), edit(step: round)) }
                }
                _ = try reader.refresh()
                for filter in [BankFilter(.all), BankFilter(.one("n1")), BankFilter(.one("n0"), ids: (0..<300).map { "r\($0)" })] {
                    let exact = try bank.nearest(queries, count: 8, in: filter)
                    #expect(try bank.nearest(queries, count: 8, in: filter, visiting: 24) == exact, "round \(round)")
                    #expect(try reader.nearest(queries, count: 8, in: filter, visiting: 1000) == exact, "a reader, round \(round)")
                }
                let few = try bank.nearest(queries, count: 8, in: BankFilter(.all), visiting: 6)
                #expect(few.recall(against: try bank.nearest(queries, count: 8, in: BankFilter(.all))) > 0.8)
                #expect(try reader.nearest(queries, count: 8, in: BankFilter(.all), visiting: 6) == few, "a reader visits the same lists")
                bank.close()
                bank = try openBank(path)
                #expect(try bank.nearest(queries, count: 8, in: BankFilter(.all), visiting: 6) == few, "the next session visits the same lists")
            }
        }
    }

    @Test("1, 2 and 4 ranks: the same files and the same answers with a few lists")
    func ranks() throws {
        try withScratchDirectory { directory in
            var all: [(files: [String: [UInt8]], rows: [[Neighbor]])] = []
            for size in [1, 2, 4] {
                let path = "\(directory)/bank-\(size)"
                let rows = try LoopbackCommunicator.run(size: size) { communicator in
                    let bank = try makeBank(path, Self.rules(.cosine), generation: Self.generation, communicator: communicator)
                    _ = try bank.put(Self.records(0..<700), edit())
                    try bank.makeIndex()
                    _ = try bank.put(Self.records(650..<800, seed: 5), edit())
                    _ = try bank.delete(BankFilter(.all, ids: (0..<90).map { "r\($0)" }), edit())
                    let found = try bank.nearest(Self.queries(20, seed: 3), count: 5, in: BankFilter(.all), visiting: 3)
                    _ = try bank.compact(edit())
                    try communicator.barrier()
                    bank.close()
                    return found.rows
                }
                #expect(rows.allSatisfy { $0 == rows[0] })
                all.append((try files(path), rows[0]))
            }
            for other in all.dropFirst() {
                #expect(other.rows == all[0].rows)
                #expect(other.files == all[0].files)
            }
            // Another number of ranks reads what one has made.
            let one = try MemoryBank("\(directory)/bank-4").nearest(Self.queries(20, seed: 4), count: 5, in: BankFilter(.one("n0")), visiting: 2)
            let found = try LoopbackCommunicator.run(size: 2) { communicator in
                try MemoryBank("\(directory)/bank-1", communicator: communicator).nearest(
                    Self.queries(20, seed: 4), count: 5, in: BankFilter(.one("n0")), visiting: 2)
            }
            #expect(found.allSatisfy { $0 == one })
        }
    }

    /// The files of a bank that hold a key.
    private static func filesHolding(_ key: [Float], in directory: String) throws -> [String] {
        let wanted = key.withUnsafeBytes { Data($0) }
        return try files(directory).filter { Data($0.value).range(of: wanted) != nil }.map(\.key).sorted()
    }

    @Test("a deleted record is not found, and after compaction its key is in no file, though a centroid was that key")
    func deletion() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            let bank = try makeBank(path, Self.rules(), generation: Self.generation)
            let records = Self.records(0..<40, spread: 1)
            _ = try bank.put(records, edit())
            // As many lists as records: every centroid is a key.
            try bank.makeIndex(lists: 40)
            #expect(try Self.filesHolding(records[7].key, in: path).count == 2, "the rows and the index hold it")
            let query = Tensor(records[7].key, [1, Self.width])
            #expect(try bank.records(ofRows: bank.nearest(query, count: 1, in: BankFilter(.all), visiting: 2)[0].map(\.id))[0]?.id == "r7")
            _ = try bank.delete(BankFilter(.all, ids: ["r7"]), edit())
            for lists in [1, 2, 40] {
                let found = try bank.nearest(query, count: 50, in: BankFilter(.all), visiting: lists)[0]
                #expect(try bank.records(ofRows: found.map(\.id)).allSatisfy { $0 != nil && $0?.id != "r7" })
            }
            _ = try bank.compact(edit())
            #expect(try Self.filesHolding(records[7].key, in: path) == [])
            #expect(try Self.filesHolding(records[8].key, in: path).count == 2)
            #expect(try bank.nearest(query, count: 50, in: BankFilter(.all), visiting: 40)[0].count == 39)
            // With nothing left there is nothing to index.
            _ = try bank.delete(BankFilter(.all), confirming: try bank.deletion(of: BankFilter(.all)).digest, edit())
            _ = try bank.compact(edit())
            #expect(bank.indexLink == nil)
        }
    }

    /// Writes a bank's manifest anew with some text in place of another, as nobody should.
    private static func rewrite(_ bank: String, _ text: String, _ other: String) throws {
        let path = "\(bank)/bank.json"
        let whole = String(decoding: try DurableFile.read(path), as: UTF8.self).replacing(text, with: other)
        let object = Array(whole.utf8)[..<(whole.utf8.count - ",\"manifest_digest\":\"".utf8.count - 16 - 3)]
        var hash = XXHash64()
        object.withUnsafeBytes { hash.update($0) }
        let digits = String(hash.finalized(), radix: 16)
        let zeros = String(repeating: "0", count: 16 - digits.count)
        try DurableFile.replace(path, by: Array(object) + Array(",\"manifest_digest\":\"\(zeros)\(digits)\"}\n".utf8))
    }

    /// The member `index` of a bank's manifest, as it is written there.
    private static func indexText(_ bank: String) throws -> String {
        let text = String(decoding: try DurableFile.read("\(bank)/bank.json"), as: UTF8.self)
        let start = try #require(text.range(of: "\"index\":{"))
        let end = try #require(text[start.upperBound...].firstIndex(of: "}"))
        return String(text[start.lowerBound...end])
    }

    @Test("an index that is damaged, gone, of another bank or of another generation is named; exact search and edits go on, and it can be made again")
    func refusals() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            func make(_ name: String, _ configuration: BankConfiguration) throws -> String {
                let bank = try makeBank("\(directory)/\(name)", configuration, generation: Self.generation)
                _ = try bank.put(Self.records(0..<200), edit())
                try bank.makeIndex(lists: 8)
                bank.close()
                return "\(directory)/\(name)"
            }
            _ = try make("bank", Self.rules())
            let queries = Self.queries(3, seed: 1)
            func refusal(_ what: String, _ code: ExitCode) throws {
                let bank = try openBank(path)
                let error = try #require(throws: UserError.self) { _ = try bank.nearest(queries, count: 3, in: BankFilter(.all), visiting: 2) }
                #expect(error.exitCode == code && error.description.contains(what), "\(error)")
                #expect(error.description.contains("mneme memory index"))
                #expect(try bank.nearest(queries, count: 3, in: BankFilter(.all)).count == 3)
                _ = try bank.put(Self.records(300..<301), edit())
                try bank.makeIndex(lists: 8)
                #expect(try bank.nearest(queries, count: 3, in: BankFilter(.all), visiting: 8) == bank.nearest(queries, count: 3, in: BankFilter(.all)))
                bank.close()
            }
            func centroids(_ bank: String) throws -> String {
                let text = try Self.indexText(bank)
                return try String(#require(text.firstMatch(of: /"centroids":"([^"]+)"/)).1)
            }
            // A flipped bit, in the centroids and in the members.
            for pattern in [/"centroids":"([^"]+)"/, /"members":\["([^"]+)"/] {
                let file = try "\(path)/segments/\(#require(Self.indexText(path).firstMatch(of: pattern)).1)"
                var bytes = try DurableFile.read(file)
                bytes[bytes.count / 2] ^= 4
                try DurableFile.replace(file, by: bytes)
                try refusal("the bank's index cannot be used: checksum mismatch", .badData)
            }
            try Directory.remove("\(path)/segments/\(try centroids(path))")
            try refusal("the segment is gone", .missingInput)
            // Another bank's index, of other blocks.
            var other = Self.rules()
            other.blockRows = 16
            let foreign = try make("foreign", other)
            let mine = try centroids(path)
            try FileManager.default.copyItem(
                atPath: "\(foreign)/segments/\(try centroids(foreign))", toPath: "\(path)/segments/\(try centroids(foreign))")
            try Self.rewrite(path, mine, try centroids(foreign))
            try refusal("is of another bank's index", .badData)
            // The index of the keys before they were made by another encoder.
            let before = try Self.indexText(path)
            let saved = try files("\(path)/segments")
            let bank = try openBank(path)
            _ = try bank.rekey(BankGeneration(model: "m2", width: Self.width), edit()) { $0.map { $0.key.map { -$0 } } }
            #expect(bank.indexLink != nil, "the new keys have an index too")
            #expect(try bank.nearest(queries, count: 3, in: BankFilter(.all), visiting: 8) == bank.nearest(queries, count: 3, in: BankFilter(.all)))
            bank.close()
            for (name, bytes) in saved { try DurableFile.replace("\(path)/segments/\(name)", by: bytes) }
            try Self.rewrite(path, try Self.indexText(path), before)
            try refusal("is an index of keys of another generation: m, normalization none, width 12, not m2", .badData)
            // None at all.
            let last = try openBank(path)
            try last.dropIndex()
            #expect(try #require(throws: UserError.self) { try last.dropIndex() }.what == "has no index to be dropped")
            last.close()
            try refusal("has no index whose lists could be visited", .configuration)
            let empty = try makeBank("\(directory)/empty", Self.rules(), generation: Self.generation)
            #expect(try #require(throws: UserError.self) { try empty.makeIndex() }.what == "has no records to make an index of")
        }
    }

    @Test("an index is committed with a run's checkpoint, and comes back with it")
    func checkpoints() throws {
        try withScratchDirectory { run in
            let path = "\(run)/banks/states"
            let bank = try makeBank(path, Self.rules(), generation: Self.generation)
            _ = try bank.put(Self.records(0..<200), edit(step: 1))
            try bank.makeIndex(lists: 8)
            let queries = Self.queries(6, seed: 1)
            let found = try bank.nearest(queries, count: 4, in: BankFilter(.all), visiting: 2)
            let writer = CheckpointWriter(directory: run, rank: 0, worldSize: 1, keep: 2)
            let registry = RunStateRegistry([BankState("states", bank, run: run)])
            writer.begin(step: 1, attributes: registry.attributes, items: try registry.items.map { try $0.checkpointItem() })
            try writer.waitForShard()
            try writer.publish()
            // The run goes on and is lost.
            _ = try bank.put(Self.records(0..<150, seed: 9), edit(step: 2))
            try bank.makeIndex(lists: 4)
            bank.close()
            let back = try openBank(path)
            _ = try RunStateRegistry([BankState("states", back, run: run)]).restoreNewest(
                from: CheckpointStore(directory: run), communicator: SingleProcess()
            ) { _ in }
            #expect(back.indexLink?.lists == 8)
            #expect(try back.nearest(queries, count: 4, in: BankFilter(.all), visiting: 2) == found)
        }
    }
}

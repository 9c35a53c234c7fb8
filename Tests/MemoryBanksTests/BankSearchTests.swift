// Searches in banks: what they find, and that it is the same however the records came to lie where they are.

import Collectives
import Diagnostics
import MemoryBanks
import Tensors
import TestSupport
import Testing
import VectorSearch

@Suite struct BankSearchTests {
    private static let width = 6

    /// Whole numbers, so that scores are exact and many of them are equal.
    private static func vector(_ random: inout Randomness) -> [Float] { (0..<width).map { _ in Float(Int.random(in: -2...2, using: &random)) } }

    private static func rules(_ metric: Similarity, value: BankConfiguration.ValueKind = .tokens, admission: Int = 1) -> BankConfiguration {
        BankConfiguration(keyWidth: width, value: value, admission: admission, metric: metric, blockRows: 8, shards: 4)
    }

    private static func records(_ count: Int, seed: UInt64) -> [BankRecord] {
        var random = Randomness(state: seed)
        return (0..<count).map { index in
            var record = BankRecord(
                id: "r\(index)", namespace: "n\(index % 2)", value: .tokens((0..<Int32(index % 3)).map { $0 + Int32(index) }))
            record.key = vector(&random)
            record.source = "s\(index % 5)"
            (record.validFrom, record.validTo) = (index % 4 == 0 ? 100 : nil, index % 7 == 0 ? 200 : nil)
            return record
        }
    }

    private static func queries(_ count: Int, seed: UInt64) -> Tensor {
        var random = Randomness(state: seed)
        return Tensor((0..<count).flatMap { _ in vector(&random) }, [count, width])
    }

    private static func score(_ query: [Float], _ key: [Float], _ metric: Similarity) -> Float {
        let dot = zip(query, key).reduce(0) { $0 + $1.0 * $1.1 }
        switch metric {
        case .dot: return dot
        case .cosine:
            let lengths = query.reduce(0) { $0 + $1 * $1 } * key.reduce(0) { $0 + $1 * $1 }
            return lengths == 0 ? 0 : Float(Double(dot) / Double(lengths).squareRoot())
        case .euclidean: return 0 - zip(query, key).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
    }

    /// What a plain loop over all rows finds: by score, then by row.
    private static func expected(
        _ bank: MemoryBank, _ queries: Tensor, _ count: Int, _ metric: Similarity, where admits: (BankRecord) -> Bool
    ) throws -> [[Neighbor]] {
        let all = try bank.records(ofRows: Array(0..<2000)).enumerated().compactMap { row, record in
            record.flatMap { admits($0) ? (row: row, key: $0.key) : nil }
        }
        return (0..<queries.shape[0]).map { query in
            let query = Array(queries.array[(query * width)..<((query + 1) * width)])
            let scored = all.map { Neighbor(id: $0.row, score: score(query, $0.key, metric)) }
            return Array(scored.sorted { $0.score == $1.score ? $0.id < $1.id : $0.score > $1.score }.prefix(count))
        }
    }

    @Test("many queries at once: the best by score, then by row, under every filter, as a plain loop finds them", arguments: Similarity.allCases)
    func nearest(_ metric: Similarity) throws {
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank", Self.rules(metric), generation: BankGeneration(model: "m", width: Self.width))
            _ = try bank.put(Self.records(300, seed: 5), edit(step: 3))
            let queries = Self.queries(40, seed: 6)
            func check(_ filter: BankFilter, _ what: String, _ admits: (BankRecord) -> Bool) throws {
                let found = try bank.nearest(queries, count: 7, in: filter)
                #expect(found.rows == (try Self.expected(bank, queries, 7, metric, where: admits)), "\(what)")
            }
            try check(BankFilter(.all), "all") { _ in true }
            try check(BankFilter(.one("n1")), "one namespace") { $0.namespace == "n1" }
            var filter = BankFilter(.one("n0"))
            filter.source = "s3"
            try check(filter, "a source") { $0.namespace == "n0" && $0.source == "s3" }
            filter = BankFilter(.all)
            filter.validAt = 150
            try check(filter, "true at 150") { _ in true }
            filter.validAt = 250
            try check(filter, "true at 250") { $0.validTo == nil }
            filter.validAt = 50
            try check(filter, "true at 50") { $0.validFrom == nil }
            let ids = (0..<300).filter { $0 % 9 == 0 }.map { "r\($0)" }
            try check(BankFilter(.all, ids: ids), "ids") { ids.contains($0.id) }
            try check(BankFilter(.one("n0"), ids: ids), "ids in a namespace") { ids.contains($0.id) && $0.namespace == "n0" }
            #expect(try bank.nearest(queries, count: 0, in: BankFilter(.all)).rows == [[Neighbor]](repeating: [], count: 40))
            #expect(try bank.nearest(Self.queries(1, seed: 7), count: 1000, in: BankFilter(.one("n1")))[0].count == 150)
            // One query is the same thing.
            let hits = try bank.search(Array(queries.array[0..<Self.width]), count: 7, in: BankFilter(.one("n1")))
            let same = try bank.nearest(queries, count: 7, in: BankFilter(.one("n1")))[0]
            #expect(hits.map(\.score) == same.map(\.score))
            #expect(hits.map(\.record) == (try bank.records(ofRows: same.map(\.id)).compactMap { $0 }))
            for (row, tokens) in zip(same, try bank.tokens(ofRows: same.map(\.id))) {
                #expect(try bank.records(ofRows: [row.id])[0]?.value == .tokens(Array(tokens)))
            }
            #expect(try bank.records(ofRows: [5_000, -1]) == [nil, nil] && bank.tokens(ofRows: [-1, 5_000]).map(\.count) == [0, 0])
        }
    }

    @Test("searches follow puts, updates, deletions, reverts and admissions at once; a reader those of another")
    func edits() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            let bank = try makeBank(path, Self.rules(.euclidean, admission: 2), generation: BankGeneration(model: "m", width: Self.width))
            let reader = try MemoryBank(path)
            let queries = Self.queries(25, seed: 8)
            var random = Randomness(state: 9)
            var waiting = Self.records(40, seed: 12)
            for index in waiting.indices { waiting[index].id = "w\(index)" }
            for round in 0..<24 {
                switch round % 6 {
                case 0: _ = try bank.put(Self.records(90 + round, seed: UInt64(round)), resurrecting: true, edit(step: round))
                case 1:
                    _ = try bank.delete(
                        BankFilter(.one("n1"), ids: (0..<12).map { "r\(2 * $0 + 1)" }), edit(step: round))
                case 2:
                    var patch = BankPatch()
                    patch.key = Self.vector(&random)
                    _ = try bank.update(BankFilter(.one("n0"), ids: ["r0", "r4", "r6"]), patch, edit(step: round))
                case 3: _ = try bank.append(Array(waiting[(round / 6 * 5)..<(round / 6 * 5 + 10)]), edit(step: round))
                case 4:
                    _ = try bank.revert(bank.receipts.last { $0.action == .update }?.commit ?? 0, edit(step: round))
                default: _ = round % 12 == 5 ? try bank.compact(edit(step: round)) : try bank.append(Array(waiting[0..<20]), edit(step: round))
                }
                try bank.recordUse(BankFilter(.all, ids: ["r2"]), step: round)
                try bank.commitUses()
                for filter in [BankFilter(.all), BankFilter(.one("n1"))] {
                    let found = try bank.nearest(queries, count: 9, in: filter)
                    let wanted = try Self.expected(bank, queries, 9, .euclidean) { filter.scope == .all || $0.namespace == "n1" }
                    #expect(found.rows == wanted, "round \(round)")
                    _ = try reader.refresh()
                    #expect(try reader.nearest(queries, count: 9, in: filter) == found, "a reader, round \(round)")
                }
            }
        }
    }

    @Test("1, 2 and 4 ranks, each with its own queries: the rows, scores, records and tokens of one rank")
    func ranks() throws {
        try withScratchDirectory { directory in
            let generation = BankGeneration(model: "m", width: Self.width)
            let path = "\(directory)/bank"
            let bank = try makeBank(path, Self.rules(.dot), generation: generation)
            _ = try bank.put(Self.records(500, seed: 15), edit())
            _ = try bank.delete(BankFilter(.all, ids: (100..<160).map { "r\($0)" }), edit())
            let filters = [BankFilter(.all), BankFilter(.one("n0"))]
            // Ranks ask for different numbers of queries, the first one for none.
            @Sendable func own(_ rank: Int) -> Tensor { Self.queries(7 * rank, seed: UInt64(rank)) }
            for size in [1, 2, 4] {
                let answers = try LoopbackCommunicator.run(size: size) { communicator in
                    let bank = try MemoryBank(path, communicator: communicator)
                    return try filters.map { filter in
                        let found = try bank.nearest(own(communicator.rank), count: 11, in: filter)
                        let rows = found.rows.flatMap { $0.map(\.id) } + [-5, 90_000]
                        return (found: found, tokens: try bank.tokens(ofRows: rows).map(Array.init), records: try bank.records(ofRows: rows))
                    }
                }
                for (rank, answer) in answers.enumerated() {
                    for (filter, (found, tokens, records)) in zip(filters, answer) {
                        let alone = try bank.nearest(own(rank), count: 11, in: filter)
                        let rows = alone.rows.flatMap { $0.map(\.id) } + [-5, 90_000]
                        #expect(found == alone, "rank \(rank) of \(size)")
                        #expect(tokens == (try bank.tokens(ofRows: rows).map(Array.init)))
                        #expect(records == (try bank.records(ofRows: rows)))
                    }
                }
            }
            for error in try LoopbackCommunicator.run(size: 2, { communicator in
                let bank = try MemoryBank(path, communicator: communicator)
                let queries = Tensor([Float](repeating: communicator.rank == 1 ? .nan : 0, count: Self.width), [1, Self.width])
                return try #require(throws: UserError.self) { _ = try bank.nearest(queries, count: 3, in: BankFilter(.all)) }
            }) { #expect(error.exitCode == .badData && error.what.contains("not finite"), "\(error)") }
        }
    }

    @Test("bad questions are named: width, generation, namespace, a bank without keys or tokens, a key too long")
    func refusals() throws {
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank", Self.rules(.dot, value: .text), generation: BankGeneration(model: "m", width: Self.width))
            var one = record("a", "text")
            one.key = [Float](repeating: 1, count: Self.width)
            _ = try bank.put([one], edit())
            func refusal(_ body: () throws -> Void) throws -> String {
                let error = try #require(throws: UserError.self) { try body() }
                return "\(error.exitCode.rawValue) \(error.what)"
            }
            let query = Self.queries(1, seed: 1)
            #expect(try refusal { _ = try bank.nearest(Tensor(zeros: [1, 5]), count: 1, in: BankFilter(.all)) } == "78 the query has 5 elements, and the bank's keys 6")
            #expect(try refusal { _ = try bank.nearest(query, count: 1, in: BankFilter(.one("other"))) } == "66 has no namespace 'other'")
            let other = BankGeneration(model: "n", width: Self.width)
            #expect(try refusal { _ = try bank.nearest(query, count: 1, in: BankFilter(.all), generation: other) }.hasPrefix("78 its keys are of another generation"))
            #expect(try refusal { _ = try bank.tokens(ofRows: [0]) } == "78 its values are text, not tokens")
            one.key[0] = 0x1p61
            #expect(try refusal { _ = try bank.put([one], edit()) } == "65 the record 'a' has a key longer than 2^60: its products may not be finite")
            let keyless = try makeBank("\(directory)/keyless", BankConfiguration())
            #expect(try refusal { _ = try keyless.nearest(query, count: 1, in: BankFilter(.all)) } == "78 the bank has no keys to search by")
        }
    }
}

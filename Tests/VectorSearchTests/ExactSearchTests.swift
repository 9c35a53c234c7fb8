// Exact search against a plain double loop, and the same answer whatever it is computed with.

import Diagnostics
import Foundation
import Kernels
import Tensors
import TestSupport
import Testing
import VectorSearch

@Suite struct ExactSearchTests {
    @Test("against a double loop in float64: odd sizes, all similarities", arguments: Similarity.allCases)
    func reference(similarity: Similarity) throws {
        for (count, dimension, queries, limit) in [
            (1, 1, 1, 1), (3, 2, 5, 2), (63, 7, 17, 10), (64, 16, 16, 64), (65, 33, 3, 70), (1023, 31, 9, 5), (1025, 64, 33, 1), (2600, 20, 300, 7),
            (700, 129, 2, 100),
        ] {
            let rows = Rows.clustered(count, dimension, seed: UInt64(count * 131 + dimension))
            let asked = normals(queries * dimension, seed: UInt64(dimension))
            let found = try ExactSearch.nearest(
                Tensor(asked, [queries, dimension]), among: rows.blocks(of: 700, similarity), limit: limit)
            #expect(found.count == queries && found.limit == limit)
            for query in 0..<queries {
                let expected = rows.nearest(Array(asked[query * dimension..<(query + 1) * dimension]), limit, similarity)
                if let problem = difference(found[query], expected) { Issue.record("\(count) x \(dimension), query \(query): \(problem)") }
            }
        }
    }

    /// Whole numbers: scores are exact in any order of sums, and many of them are equal.
    @Test("equal scores stand by identifier", arguments: Similarity.allCases)
    func ties(similarity: Similarity) throws {
        var random = RandomStream(key: 5)
        let dimension = 6
        var rows = Rows(dimension: dimension)
        for index in 0..<3000 {
            rows.ids.append(90_000 - 7 * index)
            rows.namespaces.append(0)
            rows.values += (0..<dimension).map { _ in Float(Int(random.next() % 3) - 1) }
        }
        let asked = (0..<40 * dimension).map { _ in Float(Int(random.next() % 3) - 1) }
        for limit in [1, 10, 333] {
            let found = try ExactSearch.nearest(Tensor(asked, [40, dimension]), among: rows.blocks(of: 1100, similarity), limit: limit)
            for query in 0..<40 {
                #expect(found[query] == rows.nearest(Array(asked[query * dimension..<(query + 1) * dimension]), limit, similarity))
            }
        }
    }

    @Test("rows that are all the same are found by identifier, from any order", arguments: Similarity.allCases)
    func identical(similarity: Similarity) throws {
        let row = normals(24, seed: 8)
        var rows = Rows(dimension: 24)
        for index in 0..<2500 {
            rows.ids.append(index)
            rows.namespaces.append(0)
            rows.values += row
        }
        let found = try ExactSearch.nearest(
            Tensor(normals(3 * 24, seed: 9), [3, 24]), among: rows.shuffled(seed: 1).blocks(of: 1000, similarity), limit: 20)
        for query in 0..<3 {
            #expect(found[query].map(\.id) == Array(0..<20) && Set(found[query].map(\.score)).count == 1)
        }
    }

    @Test("the same bits for every order of rows, cut into blocks, precision of products, backend and number of threads", arguments: Similarity.allCases)
    func independence(similarity: Similarity) throws {
        let dimension = 40
        let rows = Rows.clustered(5000, dimension, seed: 12, spread: 0.01)
        let asked = Tensor(Array(rows.values[..<(50 * dimension)]), [50, dimension])
        let expected = try ExactSearch.nearest(asked, among: rows.blocks(of: 100_000, similarity), limit: 25)
        for (seed, size, threads) in [(1, 1024, 1), (2, 333, 2), (3, 4096, 3), (4, 5, 2)] as [(UInt64, Int, Int)] {
            for precision in ProductPrecision.allCases {
                let blocks = try rows.shuffled(seed: seed).blocks(of: size, similarity, precision)
                let found = try withThreads(threads) { try ExactSearch.nearest(asked, among: blocks, limit: 25) }
                #expect(found == expected, "blocks of \(size), \(threads) threads, \(precision)")
            }
        }
        for backend in MatrixBackend.allCases where backend.isAvailable {
            try withThreads(1) {
                MatrixProducts.force(backend)
                defer { MatrixProducts.force(nil) }
                let found = try ExactSearch.nearest(asked, among: rows.blocks(of: 999, similarity), limit: 25)
                #expect(found == expected, "\(backend)")
            }
        }
    }

    /// The nearness of one row does not depend on the instruction set (KernelsTests); what chooses rows does not lose one on any.
    @Test("lengths of very different size, zeros and the smallest numbers", arguments: Similarity.allCases)
    func extremes(similarity: Similarity) throws {
        let dimension = 12
        var rows = Rows.clustered(1500, dimension, seed: 3)
        for index in 0..<rows.count {
            let factor: Float = [1, 1e-3, 1e3, 0, 1e-18, 1e15, 1e-30, 1][index % 8]
            for column in 0..<dimension { rows.values[index * dimension + column] *= factor }
        }
        var asked = normals(6 * dimension, seed: 4)
        for column in 0..<dimension {
            asked[dimension + column] *= 1e-20
            asked[2 * dimension + column] = 0
            asked[3 * dimension + column] *= 1e16
        }
        for precision in ProductPrecision.allCases {
            let found = try ExactSearch.nearest(Tensor(asked, [6, dimension]), among: rows.blocks(of: 640, similarity, precision), limit: 30)
            for query in 0..<6 {
                let expected = rows.nearest(Array(asked[query * dimension..<(query + 1) * dimension]), 30, similarity)
                let isClose = { (score: Float, expected: Float) -> Bool in abs(score - expected) <= 1e-6 * abs(expected) + 2e-38 }
                #expect(found[query].map(\.score).elementsEqual(expected.map(\.score), by: isClose), "query \(query)")
            }
        }
    }

    @Test("namespaces, a filter, and rows that are hidden")
    func filters() throws {
        let dimension = 16
        let rows = Rows.clustered(3000, dimension, seed: 6)
        let asked = normals(5 * dimension, seed: 7)
        for similarity in Similarity.allCases {
            let blocks = try rows.blocks(of: 1300, similarity)
            let filter = RowFilter(namespaces: [1, 3], admits: { $0 % 5 != 0 })
            let found = try ExactSearch.nearest(Tensor(asked, [5, dimension]), among: blocks, limit: 12, filter: filter)
            let none = try ExactSearch.nearest(Tensor(asked, [5, dimension]), among: blocks, limit: 12, filter: RowFilter(namespaces: [77]))
            for query in 0..<5 {
                let vector = Array(asked[query * dimension..<(query + 1) * dimension])
                let expected = rows.nearest(vector, 12, similarity) { ($1 == 1 || $1 == 3) && $0 % 5 != 0 }
                #expect(difference(found[query], expected) == nil)
                #expect(none[query].isEmpty)
            }
            // Rows that lie elsewhere, float32 and bfloat16, with bits of those that live.
            let tensor = rows.tensor
            var live = [UInt64](repeating: .max, count: (rows.count + 63) / 64)
            for row in stride(from: 0, to: rows.count, by: 3) { live[row / 64] &= ~(1 << UInt64(row % 64)) }
            let borrowed = try KeyBlock(
                borrowing: tensor.elements, dimension: dimension, similarity: similarity, ids: rows.ids, live: live, owner: tensor.storage)
            borrowed.hide(1)
            borrowed.hide(1)
            #expect(borrowed.hiddenCount == 1001)
            let half = tensor.converted(to: .bfloat16)
            let rough = try KeyBlock(borrowing: half.elements, dimension: dimension, similarity: similarity, ids: rows.ids, owner: half.storage)
            let seen = try ExactSearch.nearest(Tensor(asked, [5, dimension]), among: [borrowed], limit: 12)
            let coarse = try ExactSearch.nearest(Tensor(asked, [5, dimension]), among: [rough], limit: 12)
            var rounded = rows
            rounded.values = half.converted(to: .float32).array
            for query in 0..<5 {
                let vector = Array(asked[query * dimension..<(query + 1) * dimension])
                #expect(difference(seen[query], rows.nearest(vector, 12, similarity) { id, _ in (id - 1) / 3 % 3 != 0 && id != 4 }) == nil)
                #expect(difference(coarse[query], rounded.nearest(vector, 12, similarity)) == nil)
            }
        }
    }

    @Test("fewer rows than asked for, no rows, no neighbours, no queries")
    func small() throws {
        let rows = Rows.clustered(4, 3, seed: 1)
        let asked = Tensor(normals(6, seed: 2), [2, 3])
        let blocks = try rows.blocks(of: 10, .cosine)
        let all = try ExactSearch.nearest(asked, among: blocks, limit: 50)
        #expect(all.limit == 50 && all.rows.allSatisfy { Set($0.map(\.id)) == [1, 4, 7, 10] })
        #expect(try ExactSearch.nearest(asked, among: [], limit: 5).rows == [[], []])
        #expect(try ExactSearch.nearest(asked, among: [KeyBlock(dimension: 3, similarity: .cosine)], limit: 5).rows == [[], []])
        #expect(try ExactSearch.nearest(asked, among: blocks, limit: 0).rows == [[], []])
        #expect(try ExactSearch.nearest(Tensor(uninitialized: [0, 3]), among: blocks, limit: 5).rows.isEmpty)
        #expect(all.recall(against: all) == 1 && Neighbors(limit: 5, rows: [[], []]).recall(against: all) == 0)
    }

    @Test("what is not finite, too long or of another dimension is an error that names it, and nothing is added", arguments: [Float.nan, .infinity, -.infinity, 3e38])
    func wrongNumbers(value: Float) throws {
        let store = VectorRows(dimension: 4, similarity: .dot, blockRows: 100)
        try store.append(Tensor(normals(8, seed: 1), [2, 4]), ids: [5, 6])
        var wrong = normals(12, seed: 2)
        wrong[6] = value
        func error(_ body: () throws -> Void) -> UserError? {
            do {
                try body()
                return nil
            } catch { return error as? UserError }
        }
        let ofKey = error { try store.append(Tensor(wrong, [3, 4]), ids: [7, 8, 9]) }
        #expect(ofKey?.exitCode == .badData && ofKey?.description.contains("key of row 8") == true)
        #expect(store.count == 2 && store.blocks.reduce(0) { $0 + $1.count } == 2)
        let ofQuery = error { _ = try ExactSearch.nearest(Tensor(wrong, [3, 4]), among: store.blocks, limit: 1) }
        #expect(ofQuery?.exitCode == .badData && ofQuery?.description.contains("query 1") == true)
        let ofBlock = error {
            let tensor = Tensor(wrong, [3, 4])
            _ = try KeyBlock(borrowing: tensor.elements, dimension: 4, similarity: .cosine, ids: [1, 2, 3], owner: tensor.storage)
        }
        #expect(ofBlock?.description.contains("key of row 2") == true)
        let otherDimension = error { _ = try ExactSearch.nearest(Tensor(zeros: [1, 5]), among: store.blocks, limit: 1) }
        #expect(otherDimension?.exitCode == .badData && otherDimension?.description.contains("5 numbers") == true)
        #expect(error { try store.append(Tensor(zeros: [1, 3]), ids: [1]) }?.exitCode == .badData)
        #expect(error { try store.append(Tensor(zeros: [1, 4]), ids: [5]) }?.description.contains("5") == true)
        #expect(error { try store.append(Tensor(zeros: [2, 4]), ids: [10, 10]) }?.exitCode == .badData)
        #expect(store.count == 2)
    }

    @Test("rows that come, go and change at random: as if built anew", arguments: Similarity.allCases)
    func changes(similarity: Similarity) throws {
        let dimension = 9
        var random = RandomStream(key: 77)
        let store = VectorRows(dimension: dimension, similarity: similarity, precision: .bfloat16, blockRows: 64)
        var rows: [Int: (namespace: UInt32, values: [Float])] = [:]
        var next = 0
        for round in 0..<12 {
            let added = Int(random.next() % 90)
            let ids = (0..<added).map { next + $0 }
            next += added
            let values = ids.map { _ in (0..<dimension).map { _ in random.nextNormal() } }
            let namespaces = ids.map { _ in UInt32(random.next() % 3) }
            try store.append(Tensor(values.flatMap { $0 }, [added, dimension]), ids: ids, namespaces: namespaces)
            for (place, id) in ids.enumerated() { rows[id] = (namespaces[place], values[place]) }
            let gone = rows.keys.sorted().filter { _ in random.next() % 5 == 0 }
            #expect(store.remove(gone + [1_000_000]) == gone.count)
            for id in gone { rows[id] = nil }
            for id in rows.keys.sorted() where random.next() % 6 == 0 {
                let values = (0..<dimension).map { _ in random.nextNormal() }
                try store.update(id, to: Tensor(values, [1, dimension]), namespace: 2)
                rows[id] = (2, values)
            }
            var expected = Rows(dimension: dimension)
            for id in rows.keys.sorted() {
                expected.ids.append(id)
                expected.namespaces.append(rows[id]?.namespace ?? 0)
                expected.values += rows[id]?.values ?? []
            }
            #expect(store.count == expected.count && Set(store.blocks.flatMap(\.ids)) == Set(expected.ids))
            let asked = Tensor(normals(7 * dimension, seed: UInt64(round)), [7, dimension])
            let filter = RowFilter(namespaces: [0, 2])
            #expect(
                try ExactSearch.nearest(asked, among: store.blocks, limit: 9, filter: filter)
                    == ExactSearch.nearest(asked, among: expected.blocks(of: 1000, similarity), limit: 9, filter: filter))
        }
    }
}

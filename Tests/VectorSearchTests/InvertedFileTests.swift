// The inverted file: all lists are exact search, recall with few, changes at random, training that repeats, and what is saved.

import Collectives
import Diagnostics
import Kernels
import Tensors
import TestSupport
import Testing
import VectorSearch

@Suite struct InvertedFileTests {
    private func index(_ rows: Rows, _ similarity: Similarity, _ precision: ProductPrecision = .float32, lists: Int? = nil) throws -> InvertedFile {
        let index = InvertedFile(dimension: rows.dimension, similarity: similarity, precision: precision)
        try index.append(rows.tensor, ids: rows.ids, namespaces: rows.namespaces)
        try index.train(lists: lists)
        return index
    }

    @Test("all lists together give what exact search gives, with few lists enough is found", arguments: Similarity.allCases)
    func recall(similarity: Similarity) throws {
        let dimension = 24
        let rows = Rows.clustered(6000, dimension, seed: 21, centres: 40, spread: 0.4)
        let asked = Rows.clustered(300, dimension, seed: 21, centres: 40, spread: 0.4).tensor
        let filter = RowFilter(namespaces: [0, 1, 2])
        let exact = try ExactSearch.nearest(asked, among: rows.blocks(of: 2000, similarity), limit: 10, filter: filter)
        for precision in ProductPrecision.allCases {
            let index = try index(rows, similarity, precision, lists: 64)
            #expect(index.listCount == 64 && index.listSizes.reduce(0, +) == 6000 && InvertedFile.imbalance(index.listSizes) < 3)
            #expect(try index.nearest(asked, limit: 10, probes: 64, filter: filter) == exact)
            let recalls = try [1, 4, 16].map { try index.nearest(asked, limit: 10, probes: $0, filter: filter).recall(against: exact) }
            // What these rows gave when the bound was written was more for all similarities; inner products are not what lists are made by.
            #expect(recalls == recalls.sorted() && recalls[1] > (similarity == .dot ? 0.5 : 0.9) && recalls[2] > 0.85, "\(recalls)")
        }
    }

    @Test("the same answer, centroids and lists for every order of rows and number of threads", arguments: Similarity.allCases)
    func independence(similarity: Similarity) throws {
        let dimension = 20
        let rows = Rows.clustered(9000, dimension, seed: 5, centres: 30)
        let asked = Rows.clustered(200, dimension, seed: 6, centres: 30).tensor
        let first = try withThreads(1) { try index(rows, similarity) }
        let expected = try withThreads(1) { try first.nearest(asked, limit: 7, probes: 5) }
        for (seed, threads) in [(1, 2), (2, 3)] as [(UInt64, Int)] {
            try withThreads(threads) {
                let other = InvertedFile(dimension: dimension, similarity: similarity, precision: .bfloat16)
                let shuffled = rows.shuffled(seed: seed)
                for part in 0..<3 {
                    let some = shuffled.picked(Array(part * 3000..<(part + 1) * 3000))
                    try other.append(some.tensor, ids: some.ids, namespaces: some.namespaces)
                }
                try other.train()
                let found = try other.nearest(asked, limit: 7, probes: 5)
                #expect(found == expected)
                #expect(other.centroids.array == first.centroids.array && rows.ids.allSatisfy { other.list(of: $0) == first.list(of: $0) })
            }
        }
    }

    @Test("rows that come, go and change at random, with training in between: as if built anew", arguments: Similarity.allCases)
    func changes(similarity: Similarity) throws {
        let dimension = 11
        var random = RandomStream(key: 99)
        let index = InvertedFile(dimension: dimension, similarity: similarity)
        var rows: [Int: (namespace: UInt32, values: [Float])] = [:]
        var next = 0
        for round in 0..<10 {
            let ids = (0..<Int(random.next() % 400)).map { next + $0 }
            next += ids.count
            let values = ids.map { _ in (0..<dimension).map { _ in random.nextNormal() } }
            try index.append(Tensor(values.flatMap { $0 }, [ids.count, dimension]), ids: ids)
            for (id, values) in zip(ids, values) { rows[id] = (0, values) }
            let gone = rows.keys.sorted().filter { _ in random.next() % 4 == 0 }
            #expect(index.remove(gone + [-5]) == gone.count)
            for id in gone { rows[id] = nil }
            let changed = rows.keys.sorted().filter { _ in random.next() % 5 == 0 }
            let others = changed.map { _ in (0..<dimension).map { _ in random.nextNormal() } }
            try index.update(changed, to: Tensor(others.flatMap { $0 }, [changed.count, dimension]), namespaces: changed.map { _ in 3 })
            for (id, values) in zip(changed, others) { rows[id] = (3, values) }
            if round % 3 == 2 { try index.train(lists: 13, seed: UInt64(round)) }
            var expected = Rows(dimension: dimension)
            for id in rows.keys.sorted() {
                expected.ids.append(id)
                expected.namespaces.append(rows[id]?.namespace ?? 0)
                expected.values += rows[id]?.values ?? []
            }
            #expect(index.count == expected.count && index.listSizes.reduce(0, +) == expected.count)
            let asked = Tensor(normals(9 * dimension, seed: UInt64(round)), [9, dimension])
            for filter in [RowFilter.everything, RowFilter(namespaces: [3])] {
                #expect(
                    try index.nearest(asked, limit: 8, probes: 100, filter: filter)
                        == ExactSearch.nearest(asked, among: expected.blocks(of: 500, similarity), limit: 8, filter: filter))
            }
        }
    }

    @Test("when training is due: many rows without any, a third changed, uneven lists")
    func due() throws {
        #expect(InvertedFile.suitableLists(rows: 1) == 1 && InvertedFile.suitableLists(rows: 1_000_000) == 1024)
        #expect(InvertedFile.imbalance([5, 5, 5]) == 1 && InvertedFile.imbalance([15, 0, 0]) == 3 && InvertedFile.imbalance([]) == 1)
        let dimension = 8
        let rows = Rows.clustered(2000, dimension, seed: 2, centres: 20)
        let index = InvertedFile(dimension: dimension, similarity: .euclidean)
        try index.append(rows.picked(Array(0..<100)).tensor, ids: Array(rows.ids[..<100]))
        #expect(try !index.needsTraining())
        let rest = rows.picked(Array(100..<2000))
        try index.append(rest.tensor, ids: rest.ids)
        #expect(try index.needsTraining())
        try index.train(lists: 16)
        #expect(try !index.needsTraining())
        index.remove(Array(rows.ids[..<590]))
        #expect(try !index.needsTraining())
        index.remove(Array(rows.ids[590..<620]))
        #expect(try index.needsTraining())
        try index.train(lists: 16)
        // Rows of one place, too few to be a third of all.
        let same = Tensor((0..<400).flatMap { _ in Array(rows.row(1999)) }, [400, dimension])
        try index.append(same, ids: Array(1_000_000..<1_000_400))
        #expect(InvertedFile.imbalance(index.listSizes) < 3)
        #expect(try !index.needsTraining())
        let few = Rows.clustered(1000, dimension, seed: 3, centres: 100, spread: 1)
        let other = try self.index(few, .euclidean, lists: 64)
        try other.append(Tensor((0..<299).flatMap { _ in Array(few.row(0)) }, [299, dimension]), ids: Array(1_000_000..<1_000_299))
        #expect(InvertedFile.imbalance(other.listSizes) > 3)
        #expect(try other.needsTraining())
    }

    @Test("more lists than different rows, and rows that are all the same")
    func degenerate() throws {
        let same = Tensor((0..<200).flatMap { _ in [Float](arrayLiteral: 1, 2, 3) }, [200, 3])
        for similarity in Similarity.allCases {
            let index = InvertedFile(dimension: 3, similarity: similarity)
            try index.append(same, ids: Array(0..<200))
            try index.train(lists: 1000)
            #expect(index.listCount == 200 && index.count == 200)
            #expect(try index.nearest(same.rows([0]), limit: 5, probes: 1000)[0].map(\.id) == [0, 1, 2, 3, 4])
        }
        // A list whose rows are all gone is visited in vain.
        let apart = InvertedFile(dimension: 3, similarity: .euclidean)
        try apart.append(Tensor([0, 0, 0, 9, 9, 9] as [Float], [2, 3]), ids: [1, 2])
        try apart.train(lists: 2)
        apart.remove([2])
        let asked = Tensor([9, 9, 9, 0, 0, 0, 8, 8, 8] as [Float], [3, 3])
        #expect(try apart.nearest(asked, limit: 2, probes: 1).rows.map { $0.map(\.id) } == [[], [1], []])
        #expect(try apart.nearest(asked.rows([0]), limit: 2, probes: 1).rows == [[]])
        let empty = InvertedFile(dimension: 3, similarity: .cosine)
        try empty.train(lists: 10)
        #expect(empty.listCount == 1 && empty.ids.isEmpty)
        #expect(try empty.nearest(same.rows([0]), limit: 5, probes: 2).rows == [[]])
    }

    @Test("an index comes back from its centroids, with rows whose lists are known and with others")
    func saving() throws {
        let dimension = 10
        let rows = Rows.clustered(3000, dimension, seed: 4, centres: 25)
        let index = try index(rows, .cosine, lists: 32)
        let asked = Tensor(normals(20 * dimension, seed: 1), [20, dimension])
        let back = try InvertedFile(centroids: index.centroids, similarity: .cosine, precision: .bfloat16, trainedRows: 3000)
        let known = rows.picked(Array(0..<2500))
        try back.append(known.tensor, ids: known.ids, namespaces: known.namespaces, lists: known.ids.map { index.list(of: $0) ?? -1 })
        #expect(try !back.needsTraining(), "what was there is no change")
        let rest = rows.picked(Array(2500..<3000))
        try back.append(rest.tensor, ids: rest.ids, namespaces: rest.namespaces)
        #expect(rows.ids.allSatisfy { back.list(of: $0) == index.list(of: $0) } && back.listSizes == index.listSizes)
        #expect(try back.nearest(asked, limit: 6, probes: 3) == index.nearest(asked, limit: 6, probes: 3))
        back.remove(Array(rows.ids[..<401]))
        #expect(try back.needsTraining(), "three tenths have come or gone")
        let broken = Tensor([Float](repeating: .nan, count: 8), [2, 4])
        let error = try #require(throws: UserError.self) { _ = try InvertedFile(centroids: broken, similarity: .dot, trainedRows: 2) }
        #expect(error.exitCode == .badData && error.what.contains("centroid 0 holds a number that is not finite"))
    }

    @Test("misuse leaves the index as it was")
    func misuse() throws {
        let rows = Rows.clustered(500, 6, seed: 1)
        let index = try index(rows, .dot, lists: 8)
        let before = try (index.listSizes, index.nearest(rows.tensor, limit: 3, probes: 2))
        func error(_ body: () throws -> Void) -> UserError? {
            do {
                try body()
                return nil
            } catch { return error as? UserError }
        }
        var wrong = normals(12, seed: 1)
        wrong[8] = .nan
        #expect(error { try index.append(Tensor(wrong, [2, 6]), ids: [8000, 8001]) }?.description.contains("key of row 8001") == true)
        #expect(error { try index.append(Tensor(zeros: [1, 6]), ids: [rows.ids[3]]) }?.description.contains("is there already") == true)
        #expect(error { try index.append(Tensor(zeros: [1, 5]), ids: [9000]) }?.description.contains("5 numbers") == true)
        #expect(error { try index.update([rows.ids[0], 9000], to: Tensor(zeros: [2, 6])) }?.description.contains("no row 9000") == true)
        #expect(error { try index.update([rows.ids[0], rows.ids[1]], to: Tensor(wrong, [2, 6])) }?.description.contains("not finite") == true)
        #expect(error { try index.update([rows.ids[0], rows.ids[0]], to: Tensor(zeros: [2, 6])) }?.description.contains("twice") == true)
        #expect(error { _ = try index.nearest(Tensor(wrong, [2, 6]), limit: 1, probes: 1) }?.description.contains("query 1") == true)
        #expect(error { _ = try index.nearest(Tensor(zeros: [1, 7]), limit: 1, probes: 1) }?.description.contains("7 numbers") == true)
        #expect(index.listSizes == before.0)
        #expect(try index.nearest(rows.tensor, limit: 3, probes: 2) == before.1)
    }
}

// An inverted file: rows in lists by their nearest centroid, of which a search visits a few.
//
// Legend: C centroids and lists, N rows of D numbers, p lists that a query visits.

import Collectives
import Diagnostics
import Kernels
import Tensors

/// Rows in lists by their nearest centroid (Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", 2011, section IV, with rows as
/// they are). Rows come, go and change at any time; a search visits the lists of the p centroids that are nearest to a query, and finds exactly the
/// nearest rows of those.
///
/// The answer depends on the centroids and on the rows alone: not on the order in which they came, nor on threads. Where each of several ranks has some
/// of the rows and all have the same centroids, the merged answer is the one that a single rank would give (``RankSearch``).
/// A change and a search may not run at the same time.
public final class InvertedFile {
    /// D.
    public let dimension: Int
    public let similarity: Similarity
    public let precision: ProductPrecision
    /// [C, D]; without training one centroid, so that a search visits all rows.
    public private(set) var centroids: Tensor
    /// The centroids as a query looks for them.
    private var centroidBlock: KeyBlock
    /// The rows of each centroid.
    private var lists: [KeyBlock]
    private var places = RowPlaces()
    /// Rows of all ranks when the centroids were found, and rows of this rank that came or went since.
    package private(set) var trainedRows = 0
    package private(set) var changedRows = 0

    /// An index of no rows.
    ///
    /// - Parameters:
    ///   - dimension: D, at least 1.
    ///   - precision: what products read.
    public init(dimension: Int, similarity: Similarity, precision: ProductPrecision = .float32) {
        KeyBlock.check(dimension)
        (self.dimension, self.similarity, self.precision) = (dimension, similarity, precision.inUse)
        centroids = Tensor(zeros: [1, dimension])
        centroidBlock = Self.block(centroids, similarity)
        lists = [KeyBlock(dimension: dimension, similarity: similarity, precision: precision)]
    }

    /// An index of no rows with centroids that were found before, such as ``train(lists:seed:communicator:)`` has found.
    ///
    /// - Parameters:
    ///   - centroids: [C, D], float32, at least one.
    ///   - trainedRows: the rows of all ranks that they were found among.
    ///   - changedRows: of those the rows of this rank that are not there any more.
    /// - Throws: `UserError` (bad data) for centroids that are not finite.
    public convenience init(
        centroids: Tensor, similarity: Similarity, precision: ProductPrecision = .float32, trainedRows: Int, changedRows: Int = 0
    ) throws {
        require(centroids.shape.rank == 2 && centroids.dataType == .float32 && centroids.shape[0] > 0, "centroids of shape \(centroids.shape)")
        _ = try VectorRules.squaredLengths(
            centroids.elements, count: centroids.shape[0], dimension: centroids.shape[1], what: "centroid", name: { "\($0)" })
        self.init(dimension: centroids.shape[1], similarity: similarity, precision: precision)
        self.centroids = centroids
        centroidBlock = Self.block(centroids, similarity)
        lists = (0..<centroids.shape[0]).map { _ in KeyBlock(dimension: dimension, similarity: similarity, precision: precision) }
        (self.trainedRows, self.changedRows) = (trainedRows, changedRows)
    }

    private static func block(_ centroids: Tensor, _ similarity: Similarity) -> KeyBlock {
        do {
            return try KeyBlock(
                borrowing: centroids.elements, dimension: centroids.shape[1], similarity: similarity, ids: Array(0..<centroids.shape[0]),
                owner: centroids.storage)
        } catch { failRequirement("centroids of finite rows: \(error)", file: #fileID, line: #line) }
    }

    /// N, the rows of this rank.
    public var count: Int { places.count }
    /// C.
    public var listCount: Int { lists.count }
    /// The rows in each list.
    public var listSizes: [Int] { lists.map(\.count) }
    /// Whether there is a row of this identifier.
    public func contains(_ id: Int) -> Bool { places[id] != nil }
    /// The list that holds the row of an identifier, 0 ..< C; `nil` where there is no such row.
    public func list(of id: Int) -> Int? { places[id]?.block }
    /// The identifiers of all rows, in no order.
    public var ids: some Collection<Int> { places.ids }

    // MARK: rows that come and go

    /// The list that each row belongs to.
    private func list(of rows: Tensor) -> [Int] {
        if lists.count == 1 { return [Int](repeating: 0, count: rows.shape[0]) }
        // By distance also where queries ask for products: lists are to be of neighbours.
        return Clustering.nearest(rows, centroids, by: similarity == .cosine ? .cosine : .euclidean)
    }

    /// Adds rows.
    ///
    /// - Parameters:
    ///   - rows: [n, D], float32.
    ///   - ids: of each row; none is there yet.
    ///   - namespaces: of each row; none is 0 for all.
    ///   - known: the list of each row, 0 ..< C, where it was found before: such rows do not count as changed.
    /// - Throws: `UserError` (bad data) for rows of another dimension, numbers that are not finite, and an identifier that is there; nothing is added then.
    /// - Complexity: 2 n C D operations in matrix products where lists are not known.
    public func append(_ rows: Tensor, ids: [Int], namespaces: [UInt32]? = nil, lists known: [Int]? = nil) throws {
        try RowPlaces.check(rows, ids, namespaces, dimension)
        try places.requireAbsent(ids)
        if ids.isEmpty { return }
        let squares = try VectorRules.squaredLengths(
            rows.elements, count: ids.count, dimension: dimension, what: "key", name: { "of row \(ids[$0])" })
        require(known?.count ?? ids.count == ids.count, "\(ids.count) rows, the lists of \(known?.count ?? 0)")
        add(rows, known ?? list(of: rows), ids, namespaces ?? [UInt32](repeating: 0, count: ids.count), squares)
        if known == nil { changedRows += ids.count }
    }

    /// Brings checked rows into their lists.
    private func add(_ rows: Tensor, _ targets: [Int], _ ids: [Int], _ namespaces: [UInt32], _ squares: [Double]) {
        // Rows of one list together.
        var starts = [Int](repeating: 0, count: lists.count + 1)
        for list in targets { starts[list + 1] += 1 }
        for list in 0..<lists.count { starts[list + 1] += starts[list] }
        var (next, order) = (starts, [Int](repeating: 0, count: ids.count))
        for (row, list) in targets.enumerated() {
            order[next[list]] = row
            next[list] += 1
        }
        for list in 0..<lists.count where starts[list] < starts[list + 1] {
            let range = starts[list]..<starts[list + 1]
            for (row, place) in zip(lists[list].count..., order[range]) { places[ids[place]] = RowPlace(block: list, row: row) }
            lists[list].append(rows.floats, order[range], ids: ids, namespaces: namespaces, squares: squares)
        }
    }

    /// Removes the rows of these identifiers; those that are not there are passed over. Their numbers do not stay in memory.
    ///
    /// - Returns: how many there were.
    @discardableResult
    public func remove(_ ids: [Int]) -> Int {
        var removed = 0
        for id in ids {
            guard let place = places[id] else { continue }
            let list = lists[place.block]
            places[id] = nil
            if let moved = list.remove(place.row) { places[moved] = place }
            removed += 1
        }
        changedRows += removed
        return removed
    }

    /// Gives rows, which are there, other keys.
    ///
    /// - Parameters:
    ///   - rows: [n, D], float32.
    ///   - ids: of each row, each once.
    ///   - namespaces: the new ones; `nil` leaves them.
    /// - Throws: `UserError` (bad data) where there is no such row, or for a key that does not fit; nothing is changed then.
    public func update(_ ids: [Int], to rows: Tensor, namespaces: [UInt32]? = nil) throws {
        try RowPlaces.check(rows, ids, namespaces, dimension)
        if let absent = ids.first(where: { places[$0] == nil }) {
            throw UserError(.badData, "there is no row \(absent) to be changed", advice: "append it")
        }
        try RowPlaces().requireAbsent(ids)
        _ = try VectorRules.squaredLengths(rows.elements, count: ids.count, dimension: dimension, what: "key", name: { "of row \(ids[$0])" })
        let kept = namespaces ?? ids.map { id in places[id].map { lists[$0.block].namespaces[$0.row] } ?? 0 }
        let before = changedRows
        remove(ids)
        try append(rows, ids: ids, namespaces: kept)
        changedRows = before + ids.count
    }

    // MARK: centroids

    /// How uneven the lists of some sizes are: C times the sum of their squares by the square of their sum; 1 where all are equal, and as many times
    /// more rows are visited as when they were.
    public static func imbalance(_ sizes: [Int]) -> Double {
        let rows = Double(sizes.reduce(0, +))
        return rows == 0 ? 1 : Double(sizes.count) * sizes.reduce(0) { $0 + Double($1) * Double($1) } / (rows * rows)
    }

    /// How many lists so many rows are worth: a power of two near the root of their number.
    public static func suitableLists(rows: Int) -> Int {
        var lists = 1
        while 2 * lists * lists < rows { lists *= 2 }
        return lists
    }

    /// Whether the centroids should be found anew: lists have become so uneven that more than three times as many rows are visited as need be, three
    /// tenths of the rows have come or gone since, or there are none yet for rows that are worth some. Collective.
    public func needsTraining(_ communicator: any Communicator = SingleProcess()) throws -> Bool {
        let sums = try communicator.allReduced(listSizes.map(Int64.init) + [Int64(changedRows)], .sum).map { Int($0) }
        let (sizes, changed) = (Array(sums.dropLast()), sums[sums.count - 1])
        let rows = sizes.reduce(0, +)
        if trainedRows == 0 { return Self.suitableLists(rows: rows) >= 16 }
        return Self.imbalance(sizes) > 3 || 10 * changed > 3 * trainedRows
    }

    /// Finds centroids anew and brings all rows into their lists. Collective: ranks learn from the rows of all, and end with the same centroids, whose bits
    /// do not depend on how many ranks and threads there are nor on the order of rows.
    ///
    /// - Parameters:
    ///   - lists: C; as many as suit the rows where it is not said, and never more than rows.
    ///   - seed: what is drawn depends on it.
    /// - Complexity: ten passes over 128 C rows, and one over all, of 2 C D operations a row in matrix products. Rows are in memory once, beside those of
    ///   one list.
    public func train(lists wanted: Int? = nil, seed: UInt64 = 1, communicator: any Communicator = SingleProcess()) throws {
        require(wanted ?? 1 > 0, "\(wanted ?? 0) lists")
        let total = try communicator.allReduced(count, .sum)
        if total == 0 { return }
        var starts = [0]
        for list in lists { starts.append(starts[starts.count - 1] + list.count) }
        let found = try Clustering.centroids(
            ids: lists.flatMap(\.ids), rows: { self.gather($0, starts) }, dimension: dimension, count: wanted ?? Self.suitableLists(rows: total),
            similarity: similarity, seed: seed, communicator: communicator)
        var old = lists
        centroids = found
        centroidBlock = Self.block(found, similarity)
        lists = (0..<found.shape[0]).map { _ in KeyBlock(dimension: dimension, similarity: similarity, precision: precision) }
        for index in old.indices {
            let list = old[index]
            if list.count > 0 {
                let rows = Tensor(borrowing: list.keys.floats, [list.count, dimension], owner: list)
                add(rows, self.list(of: rows), list.ids, list.namespaces, list.squares)
            }
            old[index] = KeyBlock(dimension: dimension, similarity: similarity)
        }
        (trainedRows, changedRows) = (total, 0)
    }

    /// Rows by their places in all lists one after another; places rise.
    private func gather(_ chosen: [Int], _ starts: [Int]) -> Tensor {
        let rows = Tensor(uninitialized: [chosen.count, dimension])
        var list = 0
        for (place, row) in chosen.enumerated() {
            while starts[list + 1] <= row { list += 1 }
            (rows.floats + place * dimension).update(from: lists[list].keys.floats + (row - starts[list]) * dimension, count: dimension)
        }
        return rows
    }

    // MARK: search

    /// Queries are looked for so many at a time.
    private static let batchSize = 1 << 13

    /// The nearest rows of each query among those of the p lists whose centroids are nearest to it.
    ///
    /// - Parameters:
    ///   - queries: [Q, D], float32. Many at a time are faster: those that visit one list share a matrix product.
    ///   - limit: k.
    ///   - probes: p; C or more visits all lists, and the answer is that of ``ExactSearch``.
    ///   - filter: which rows may be found.
    /// - Throws: `UserError` (bad data) for queries that are not finite, or of another dimension than the keys.
    /// - Complexity: 2 Q D (C + p N / C) operations in matrix products, on all threads.
    public func nearest(_ queries: Tensor, limit: Int, probes: Int, filter: RowFilter = .everything) throws -> Neighbors {
        require(limit >= 0 && probes > 0, "\(limit) neighbours in \(probes) lists")
        require(queries.shape.rank == 2, "queries are a matrix, not \(queries.shape)")
        let whole = try QueryBatch(queries, among: [centroidBlock])
        guard count > 0, limit > 0 else { return Neighbors(limit: limit, rows: [[Neighbor]](repeating: [], count: whole.count)) }
        var found: [[Neighbor]] = []
        found.reserveCapacity(whole.count)
        for first in stride(from: 0, to: whole.count, by: Self.batchSize) {
            let count = min(Self.batchSize, whole.count - first)
            let part = Tensor(borrowing: queries.floats + first * dimension, [count, dimension], owner: queries.storage)
            found += try nearest(part, limit, probes, filter)
        }
        return Neighbors(limit: limit, rows: found)
    }

    private func nearest(_ queries: Tensor, _ limit: Int, _ probes: Int, _ filter: RowFilter) throws -> [[Neighbor]] {
        let batch = try QueryBatch(queries, dimension: dimension, precision: precision)
        let visits = try Visits(QuerySearch.nearest(queries, in: centroidBlock, limit: min(probes, lists.count)), lists: lists)
        let searches = Searches(batch, limit: min(limit, count), filter)
        let parts = Workers.parts(visits.lists.count, minimum: 1)
        Workers.parallel(parts, minimum: 1) { range in
            let scan = searches.scan()
            for part in range {
                for visit in visits.part(part, of: parts) { scan.scan(lists[visits.lists[visit]], queries: visits.queries(visit)) }
            }
        }
        return searches.neighbors(limit: limit).rows
    }
}

/// Which queries visit which lists.
private struct Visits: @unchecked Sendable {
    /// The lists that are visited.
    private(set) var lists: [Int] = []
    /// Where the queries of each begin.
    private var starts: [Int] = [0]
    private let visitors: UnsafeMutableBufferPointer<Int32>
    private let memory: Tensor
    /// The work up to each list.
    private var costs: [Int] = [0]

    /// - Parameter probes: the lists of each query.
    init(_ probes: [[Int]], lists all: [KeyBlock]) {
        var counts = [Int](repeating: 0, count: all.count)
        for query in probes { for list in query { counts[list] += 1 } }
        var next = [Int](repeating: 0, count: all.count)
        for list in all.indices where counts[list] > 0 && all[list].count > 0 {
            next[list] = starts[starts.count - 1]
            lists.append(list)
            starts.append(next[list] + counts[list])
            costs.append(costs[costs.count - 1] + (counts[list] + 16) * (all[list].count + 64))
        }
        memory = Tensor(uninitialized: [max(1, starts[starts.count - 1])], .int32)
        visitors = UnsafeMutableBufferPointer(start: memory.integers, count: starts[starts.count - 1])
        for (query, visited) in probes.enumerated() {
            for list in visited where all[list].count > 0 {
                visitors[next[list]] = Int32(query)
                next[list] += 1
            }
        }
    }

    /// The queries of a visited list, by its place among those.
    func queries(_ visit: Int) -> UnsafeBufferPointer<Int32> { UnsafeBufferPointer(rebasing: visitors[starts[visit]..<starts[visit + 1]]) }

    /// Consecutive visited lists of about equal work.
    func part(_ part: Int, of parts: Int) -> Range<Int> {
        func first(_ part: Int) -> Int {
            let target = costs[costs.count - 1] * part / parts
            return part == parts ? lists.count : costs.firstIndex { $0 >= target }.map { min($0, lists.count) } ?? lists.count
        }
        return first(part)..<max(first(part), first(part + 1))
    }
}

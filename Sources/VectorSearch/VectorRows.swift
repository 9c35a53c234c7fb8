// Rows that come and go, in blocks, found by their identifiers.
//
// Legend: n rows of D numbers.

import Diagnostics
import Kernels
import Tensors

/// Rows of keys by identifier, for exact search: append, remove, update.
///
/// The place of a row in memory is nobody's business: a row that is removed is overwritten by another one at once. A change and a search may not run at
/// the same time.
public final class VectorRows {
    /// D.
    public let dimension: Int
    public let similarity: Similarity
    /// The rows, as ``ExactSearch`` takes them.
    public private(set) var blocks: [KeyBlock] = []
    private let precision: ProductPrecision
    private let blockRows: Int
    private var places = RowPlaces()

    /// - Parameters:
    ///   - dimension: D, at least 1.
    ///   - precision: what products read.
    ///   - blockRows: rows of a block, at least 1.
    public init(dimension: Int, similarity: Similarity, precision: ProductPrecision = .float32, blockRows: Int = 8192) {
        KeyBlock.check(dimension)
        require(blockRows > 0, "blocks of \(blockRows) keys")
        (self.dimension, self.similarity, self.precision, self.blockRows) = (dimension, similarity, precision, blockRows)
    }

    /// The number of rows.
    public var count: Int { places.count }

    /// Whether there is a row of this identifier.
    public func contains(_ id: Int) -> Bool { places[id] != nil }

    /// Adds rows.
    ///
    /// - Parameters:
    ///   - rows: [n, D], float32.
    ///   - ids: of each row; none is there yet.
    ///   - namespaces: of each row; none is 0 for all.
    /// - Throws: `UserError` (bad data) for rows of another dimension, numbers that are not finite, and an identifier that is there; nothing is added then.
    public func append(_ rows: Tensor, ids: [Int], namespaces: [UInt32]? = nil) throws {
        try RowPlaces.check(rows, ids, namespaces, dimension)
        try places.requireAbsent(ids)
        let squares = try VectorRules.squaredLengths(
            rows.elements, count: ids.count, dimension: dimension, what: "key", name: { "of row \(ids[$0])" })
        let namespaces = namespaces ?? [UInt32](repeating: 0, count: ids.count)
        var first = 0
        while first < ids.count {
            if blocks.last.map({ $0.count >= blockRows }) ?? true {
                blocks.append(KeyBlock(dimension: dimension, similarity: similarity, precision: precision))
            }
            let block = blocks[blocks.count - 1]
            let end = min(ids.count, first + blockRows - block.count)
            for place in first..<end { places[ids[place]] = RowPlace(block: blocks.count - 1, row: block.count + place - first) }
            block.append(rows.floats, first..<end, ids: ids, namespaces: namespaces, squares: squares)
            first = end
        }
    }

    /// Removes the rows of these identifiers; those that are not there are passed over.
    ///
    /// - Returns: how many there were.
    @discardableResult
    public func remove(_ ids: [Int]) -> Int {
        var removed = 0
        for id in ids {
            guard let place = places[id] else { continue }
            places[id] = nil
            if let moved = blocks[place.block].remove(place.row) { places[moved] = place }
            removed += 1
            // The last block is the one that is filled; one before it gets the last block's last row.
            fill(place.block)
        }
        return removed
    }

    /// Keeps all blocks but the last one full.
    private func fill(_ block: Int) {
        while let last = blocks.last, last.count == 0 { blocks.removeLast() }
        guard block < blocks.count - 1 else { return }
        let (from, to) = (blocks[blocks.count - 1], blocks[block])
        places[from.ids[from.count - 1]] = RowPlace(block: block, row: to.count)
        to.appendLastRow(of: from)
        if from.count == 0 { blocks.removeLast() }
    }

    /// Gives the row of an identifier, which is there, another key.
    ///
    /// - Parameters:
    ///   - row: [1, D], float32.
    ///   - namespace: the new one; `nil` leaves it.
    /// - Throws: `UserError` (bad data) where there is no such row, or for a key that does not fit; the row stays as it was then.
    public func update(_ id: Int, to row: Tensor, namespace: UInt32? = nil) throws {
        try RowPlaces.check(row, [id], nil, dimension)
        guard let place = places[id] else {
            throw UserError(.badData, "there is no row \(id) to be changed", advice: "append it")
        }
        _ = try VectorRules.squaredLengths(row.elements, count: 1, dimension: dimension, what: "key", name: { _ in "of row \(id)" })
        let kept = namespace ?? blocks[place.block].namespaces[place.row]
        remove([id])
        try append(row, ids: [id], namespaces: [kept])
    }
}

/// Where a row lies.
struct RowPlace: Equatable, Sendable {
    private let packed: UInt64

    init(block: Int, row: Int) { packed = UInt64(block) << 40 | UInt64(row) }

    var block: Int { Int(packed >> 40) }
    var row: Int { Int(packed & (1 << 40 - 1)) }
}

/// Where the row of each identifier lies.
struct RowPlaces: Sendable {
    private var places: [Int: RowPlace] = [:]

    var count: Int { places.count }
    var ids: some Collection<Int> { places.keys }

    subscript(id: Int) -> RowPlace? {
        get { places[id] }
        set { places[id] = newValue }
    }

    /// Whether rows can be what identifiers and namespaces say they are.
    ///
    /// - Throws: `UserError` (bad data) for rows of another dimension.
    static func check(_ rows: Tensor, _ ids: [Int], _ namespaces: [UInt32]?, _ dimension: Int) throws {
        require(rows.shape.rank == 2 && rows.dataType == .float32, "rows are a float32 matrix, not \(rows.dataType) \(rows.shape)")
        require(
            rows.shape[0] == ids.count && namespaces?.count ?? ids.count == ids.count,
            "\(rows.shape[0]) rows, \(ids.count) identifiers, \(namespaces?.count ?? ids.count) namespaces")
        guard ids.isEmpty || rows.shape[1] == dimension else {
            throw UserError(
                .badData, "keys have \(rows.shape[1]) numbers, and those that are there have \(dimension)", at: "row \(ids[0])",
                advice: "make keys by the model that has made the others")
        }
    }

    /// - Throws: `UserError` (bad data) for an identifier that is there, or that occurs twice.
    func requireAbsent(_ ids: [Int]) throws {
        var seen = Set<Int>(minimumCapacity: ids.count)
        for id in ids {
            if places[id] != nil { throw UserError(.badData, "row \(id) is there already", advice: "update it") }
            guard seen.insert(id).inserted else { throw UserError(.badData, "row \(id) occurs twice among the rows to be added", advice: "add it once") }
        }
    }
}

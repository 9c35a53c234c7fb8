// Rows of keys with their identifiers, and what a search needs to know of each.
//
// Legend: n rows of D numbers; k a key.

import Diagnostics
import Kernels
import Tensors

/// Rows of keys that a search goes through: rows of its own, which come and go, or rows that lie elsewhere.
///
/// A change and a search may not run at the same time.
public final class KeyBlock: @unchecked Sendable {
    /// D.
    public let dimension: Int
    public let similarity: Similarity
    /// What products read.
    public let precision: ProductPrecision
    /// n.
    public private(set) var count = 0
    /// The identifier and the namespace of each row.
    public private(set) var ids: [Int] = []
    public private(set) var namespaces: [UInt32] = []

    /// The rows that scores are made from: [n, D], float32 or bfloat16.
    private(set) var keys: Elements
    /// Whether rows lie in memory of this block, which can grow.
    let isOwned: Bool
    private var memory: Tensor?
    private let owner: AnyObject?
    /// Rows that there is memory for.
    private var capacity = 0
    /// The keys in bfloat16, where products read those and the keys are something else.
    private var rough: Tensor?
    /// The keys in 8 bits, where products read those; `memory` of someone else.
    private(set) var bytes: UnsafePointer<Int8>?

    /// Row by row what a product is multiplied by, and what is added to it, to be compared: [capacity] each.
    private var scales = Tensor(uninitialized: [0])
    private var offsets = Tensor(uninitialized: [0])
    /// |k|^2 of each row.
    private(set) var squares: [Double] = []
    /// No row is longer than this.
    private(set) var longest: Float = 0
    /// Of no row rounding takes away more, by its length; nor in relation to the row's length, where the row takes part in products at all.
    private(set) var roughestError: Float = 0
    private(set) var roughestRatio: Float = 0
    /// The largest scale: what underflow of a product can grow to.
    private(set) var largestScale: Float = 1

    /// Rows of a matrix product's operand are made up to a multiple of this many.
    private static let rowStep = 64

    /// The most numbers of a key: the margin of a product with more would be no margin.
    static let largestDimension = 1 << 17

    static func check(_ dimension: Int) {
        require(dimension > 0 && dimension <= largestDimension, "keys of \(dimension) numbers, of at least 1 and at most \(largestDimension)")
    }

    /// No rows yet.
    ///
    /// - Parameters:
    ///   - dimension: D, at least 1.
    ///   - precision: what products read; ``ProductPrecision/bfloat16`` keeps the keys in both forms.
    public init(dimension: Int, similarity: Similarity, precision: ProductPrecision = .float32) {
        KeyBlock.check(dimension)
        (self.dimension, self.similarity, self.precision) = (dimension, similarity, precision.inUse)
        let empty = Tensor(uninitialized: [0, dimension])
        (memory, keys) = (empty, empty.elements)
        (isOwned, owner) = (true, nil)
    }

    /// Rows that lie elsewhere and stay as they are: nothing is copied but their lengths.
    ///
    /// - Parameters:
    ///   - keys: [n, D], float32 or bfloat16; exact scores are made from them.
    ///   - ids: of each row.
    ///   - namespaces: of each row; none is 0 for all.
    ///   - live: bit i mod 64 of word i / 64 is set where row i may be found; none is all of them.
    ///   - owner: keeps the memory.
    /// - Throws: `UserError` (bad data) for a key that is not finite.
    /// - Complexity: reads all keys once.
    public init(
        borrowing keys: Elements, dimension: Int, similarity: Similarity, ids: [Int], namespaces: [UInt32]? = nil,
        live: [UInt64]? = nil, owner: AnyObject
    ) throws {
        KeyBlock.check(dimension)
        require(live == nil || (live?.count ?? 0) * 64 >= ids.count, "\(live?.count ?? 0) words of bits for \(ids.count) rows")
        require(namespaces == nil || namespaces?.count == ids.count, "\(ids.count) identifiers, \(namespaces?.count ?? 0) namespaces")
        (self.dimension, self.similarity, self.owner, isOwned) = (dimension, similarity, owner, false)
        precision = keys.type == .bfloat16 ? ProductPrecision.bfloat16.inUse : .float32
        self.keys = keys
        (self.ids, self.namespaces) = (ids, namespaces ?? [UInt32](repeating: 0, count: ids.count))
        count = ids.count
        capacity = count
        squares = try Self.squares(keys, ids, dimension)
        (scales, offsets) = (Tensor(uninitialized: [capacity]), Tensor(uninitialized: [capacity]))
        for row in 0..<count {
            note(row, error: 0)
            if let live, live[row / 64] >> UInt64(row % 64) & 1 == 0 { hide(row) }
        }
    }

    /// Rows in 8 bits, of which products read those and scores the rows themselves; see ``ByteKeys``.
    init(_ byteKeys: ByteKeys, similarity: Similarity, namespaces: [UInt32]?) {
        (dimension, self.similarity, owner, isOwned) = (byteKeys.dimension, similarity, byteKeys, false)
        precision = ProductPrecision.bfloat16.inUse
        (keys, bytes) = (byteKeys.keys, byteKeys.bytes)
        (ids, self.namespaces) = (byteKeys.ids, namespaces ?? [UInt32](repeating: 0, count: byteKeys.ids.count))
        count = byteKeys.ids.count
        capacity = count
        squares = byteKeys.squares
        (scales, offsets) = (Tensor(uninitialized: [capacity]), Tensor(uninitialized: [capacity]))
        for row in 0..<count { note(row, error: byteKeys.errors[row], scale: byteKeys.scales[row]) }
    }

    private static func squares(_ keys: Elements, _ ids: [Int], _ dimension: Int) throws -> [Double] {
        try VectorRules.squaredLengths(keys, count: ids.count, dimension: dimension, what: "key", name: { "of row \(ids[$0])" })
    }

    /// Where the product of a row is so small that it says nothing, the row is scored exactly each time.
    private static let smallestLength = 0x1p-40

    /// Sets what a product with row `row` is adjusted by.
    private func note(_ row: Int, error: Float, scale: Float = 1) {
        let length = squares[row].squareRoot()
        longest = max(longest, Float(length).nextUp)
        roughestError = max(roughestError, error)
        var (factor, offset) = (scale, Float(0))
        switch similarity {
        case .dot: break
        case .euclidean: offset = Float(-0.5 * squares[row])
        case .cosine:
            if length < Self.smallestLength {
                (factor, offset) = (0, .infinity)
            } else {
                factor = Float(Double(scale) / length)
                roughestRatio = max(roughestRatio, Float(Double(error) / length).nextUp)
                largestScale = max(largestScale, Float(1 / length))
            }
        }
        scales.floats[row] = factor
        offsets.floats[row] = offset
    }

    // MARK: rows that lie elsewhere and do not count any more

    /// Rows that no search finds.
    public private(set) var hiddenCount = 0

    /// Lets no search find a row any more: one that was deleted where it lies.
    public func hide(_ row: Int) {
        require(row >= 0 && row < count, "row \(row) of \(count)")
        if offsets.floats[row] == -.infinity { return }
        offsets.floats[row] = -.infinity
        hiddenCount += 1
    }

    // MARK: rows that come and go

    /// Adds rows that are known to be finite.
    ///
    /// - Parameters:
    ///   - rows: float32, D numbers each.
    ///   - places: which of them.
    ///   - ids: and the other two: of all of them, by their places.
    func append(
        _ rows: UnsafePointer<Float>, _ places: some Collection<Int>, ids newIDs: [Int], namespaces newNamespaces: [UInt32], squares newSquares: [Double]
    ) {
        require(isOwned, "rows that lie elsewhere do not change")
        reserve(count + places.count)
        guard let memory else { return }
        for place in places {
            (memory.floats + count * dimension).update(from: rows + place * dimension, count: dimension)
            ids.append(newIDs[place])
            namespaces.append(newNamespaces[place])
            squares.append(newSquares[place])
            note(count, error: roughen(count))
            count += 1
        }
    }

    /// Writes a row's bfloat16 form, where there is one; what it loses, as a length.
    private func roughen(_ row: Int) -> Float {
        guard let rough, let memory else { return 0 }
        let place = row * dimension
        let kernels = Kernels.active
        kernels.convert(rough.elements + place, memory.elements + place, dimension)
        return Float(kernels.exactSquaredDistance(memory.floats + place, rough.elements + place, dimension).squareRoot()).nextUp
    }

    /// Takes a row away: the last row takes its place, and nothing of it stays in memory.
    ///
    /// - Returns: the identifier of the row that is now at this place; `nil` when it was the last one.
    func remove(_ row: Int) -> Int? {
        require(isOwned && row >= 0 && row < count, "row \(row) of \(count)")
        guard let memory else { return nil }
        let last = count - 1
        if offsets.floats[row] == -.infinity { hiddenCount -= 1 }
        if row != last {
            (memory.floats + row * dimension).update(from: memory.floats + last * dimension, count: dimension)
            if let rough { (rough.bfloats + row * dimension).update(from: rough.bfloats + last * dimension, count: dimension) }
            (ids[row], namespaces[row], squares[row]) = (ids[last], namespaces[last], squares[last])
            (scales.floats[row], offsets.floats[row]) = (scales.floats[last], offsets.floats[last])
        }
        (memory.floats + last * dimension).update(repeating: 0, count: dimension)
        if let rough { (rough.bfloats + last * dimension).update(repeating: 0, count: dimension) }
        ids.removeLast()
        namespaces.removeLast()
        squares.removeLast()
        count = last
        if capacity > 4 * Self.rowStep, count < capacity / 4 { resize(to: count + count / 2) }
        return row == last ? nil : ids[row]
    }

    /// Moves the last row of another block to the end of this one.
    func appendLastRow(of other: KeyBlock) {
        guard let source = other.memory, other.count > 0 else { return }
        let row = other.count - 1
        reserve(count + 1)
        guard let memory else { return }
        (memory.floats + count * dimension).update(from: source.floats + row * dimension, count: dimension)
        ids.append(other.ids[row])
        namespaces.append(other.namespaces[row])
        squares.append(other.squares[row])
        note(count, error: roughen(count))
        count += 1
        _ = other.remove(row)
    }

    /// Makes room for so many rows: half as much again as there was, at least.
    private func reserve(_ rows: Int) {
        if rows > capacity { resize(to: max(rows, capacity + capacity / 2)) }
    }

    /// Moves the rows to memory for so many.
    private func resize(to wanted: Int) {
        let larger = (wanted + Self.rowStep - 1) / Self.rowStep * Self.rowStep
        func grown(_ old: Tensor?, _ type: DataType, _ columns: Int) -> Tensor {
            let new = Tensor(uninitialized: [larger, columns], type)
            let kept = count * columns * type.byteCount
            // Products go over whole steps of rows, but nobody looks at what they make of rows that are not there.
            if let old, kept > 0 { new.bytes.copyMemory(from: old.bytes, byteCount: kept) }
            return new
        }
        let newMemory = grown(memory, .float32, dimension)
        (memory, keys) = (newMemory, newMemory.elements)
        if precision == .bfloat16 { rough = grown(rough, .bfloat16, dimension) }
        (scales, offsets) = (grown(scales, .float32, 1), grown(offsets, .float32, 1))
        capacity = larger
    }

    // MARK: for a search

    /// What a product reads of the rows from `first` on, and how many rows there are memory for.
    @inline(__always)
    func operand(from first: Int) -> (elements: Elements, rows: Int) {
        ((rough?.elements ?? keys) + first * dimension, capacity - first)
    }

    /// Whether nothing is added to products.
    var isPlain: Bool { similarity == .dot && hiddenCount == 0 }
    /// Whether products are multiplied by something.
    var hasScale: Bool { similarity == .cosine || bytes != nil }

    @inline(__always)
    var scale: UnsafePointer<Float> { UnsafePointer(scales.floats) }
    @inline(__always)
    var offset: UnsafePointer<Float> { UnsafePointer(offsets.floats) }

    /// The offsets of those of some rows that a filter lets through, minus infinity for the others.
    func filterOffsets(_ filter: RowFilter, _ rows: Range<Int>, into offsets: UnsafeMutablePointer<Float>) {
        for (place, row) in rows.enumerated() { offsets[place] = filter.admits(ids[row], namespaces[row]) ? offset[row] : -.infinity }
    }

    /// The score of a row for a query, from the numbers themselves.
    @inline(__always)
    func score(_ kernels: any KernelSet, _ row: Int, to query: UnsafePointer<Float>, square: Double) -> Float {
        let key = keys + row &* dimension
        switch similarity {
        case .dot: return Float(kernels.exactDot(query, key, dimension)) + 0
        case .euclidean: return 0 - Float(kernels.exactSquaredDistance(query, key, dimension))
        case .cosine:
            let lengths = (square * squares[row]).squareRoot()
            return lengths == 0 ? 0 : Float(kernels.exactDot(query, key, dimension) / lengths) + 0
        }
    }
}

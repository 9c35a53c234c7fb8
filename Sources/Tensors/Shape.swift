// The extents of a tensor.

import Diagnostics

/// Up to six extents below 2^31, held inline so that making a shape never allocates.
public struct Shape: Hashable, Sendable, ExpressibleByArrayLiteral, CustomStringConvertible {
    /// The most axes a tensor may have.
    public static let maximumRank = 6

    // Two extents of 31 bits in each word, 1 beyond the rank; the rank is in the spare bits of the first three extents. A tensor then has so
    // few members that the compiler keeps them in registers.
    private var first: UInt64
    private var second: UInt64
    private var third: UInt64

    /// The number of axes.
    @inline(__always)
    public var rank: Int { Int(truncatingIfNeeded: first >> 31 & 1 | (first >> 63) << 1 | (second >> 31 & 1) << 2) }

    /// - Parameter extents: at most six extents, none negative.
    public init(_ extents: some Collection<Int>) {
        require(extents.count <= Shape.maximumRank, "a tensor has at most \(Shape.maximumRank) axes, not \(extents.count)")
        self.init(rank: extents.count)
        for (axis, extent) in extents.enumerated() { store(extent, axis) }
    }

    public init(arrayLiteral elements: Int...) {
        self.init(elements)
    }

    /// A shape of extents of 1.
    @inline(__always)
    private init(rank: Int) {
        let (one, rank) = (UInt64(1) << 32 | 1, UInt64(truncatingIfNeeded: rank))
        first = one | (rank & 1) << 31 | (rank >> 1 & 1) << 63
        second = one | (rank >> 2) << 31
        third = one
    }

    /// The extent of an axis 0 ..< 6.
    @inline(__always)
    private func extent(_ axis: Int) -> Int {
        let word = axis < 2 ? first : axis < 4 ? second : third
        return Int(truncatingIfNeeded: (word >> UInt64(truncatingIfNeeded: (axis & 1) << 5)) & 0x7fff_ffff)
    }

    @inline(__always)
    private mutating func store(_ extent: Int, _ axis: Int) {
        require(extent >= 0 && extent <= 0x7fff_ffff, "an extent is negative or above 2147483647: \(extent)")
        let shift = UInt64(truncatingIfNeeded: (axis & 1) << 5)
        let (mask, bits) = (~(UInt64(0x7fff_ffff) << shift), UInt64(truncatingIfNeeded: extent) << shift)
        switch axis >> 1 {
        case 0: first = first & mask | bits
        case 1: second = second & mask | bits
        default: third = third & mask | bits
        }
    }

    /// The number of elements.
    @inline(__always)
    public var count: Int { extent(0) * extent(1) * extent(2) * extent(3) * extent(4) * extent(5) }

    /// The extent of `axis`; a negative axis counts from the end.
    public subscript(axis: Int) -> Int {
        get { extent(normalized(axis)) }
        set { store(newValue, normalized(axis)) }
    }

    /// The product of all extents but the last: the number of rows of the tensor seen as a matrix.
    public var rows: Int { rank == 0 ? 1 : count(from: 0, to: rank - 1) }
    /// The last extent; 1 for a scalar.
    public var columns: Int { rank == 0 ? 1 : extent(rank - 1) }

    /// The product of the extents of axes `from ..< to`.
    public func count(from: Int, to: Int) -> Int {
        var product = 1
        for axis in from..<to { product *= extent(axis) }
        return product
    }

    /// The axis as a number 0 ..< rank.
    public func normalized(_ axis: Int) -> Int {
        let result = axis < 0 ? axis + rank : axis
        require(result >= 0 && result < rank, "axis \(axis) of a tensor of shape \(self)")
        return result
    }

    /// The extents as an array.
    public var array: [Int] { (0..<rank).map { extent($0) } }

    /// The shape without `axis`.
    public func removing(_ axis: Int) -> Shape {
        let axis = normalized(axis)
        var result = Shape(rank: rank - 1)
        for i in 0..<result.rank { result.store(self.extent(i < axis ? i : i + 1), i) }
        return result
    }

    /// The shape with one more axis of `extent` before `axis` (which may be `rank`).
    public func inserting(_ extent: Int, at axis: Int) -> Shape {
        require(rank < Shape.maximumRank && axis >= 0 && axis <= rank, "an axis before axis \(axis) of a tensor of shape \(self)")
        var result = Shape(rank: rank + 1)
        for i in 0..<result.rank { result.store(i < axis ? self.extent(i) : i == axis ? extent : self.extent(i - 1), i) }
        return result
    }

    /// The same shape with another last extent.
    public func replacingColumns(_ columns: Int) -> Shape {
        var copy = self
        copy[-1] = columns
        return copy
    }

    /// Elements between neighbours along each axis, row-major.
    public var strides: [Int] {
        var result = [Int](repeating: 1, count: rank)
        for axis in stride(from: rank - 2, through: 0, by: -1) { result[axis] = result[axis + 1] * extent(axis + 1) }
        return result
    }

    @inline(__always)
    public static func == (a: Shape, b: Shape) -> Bool {
        (a.first ^ b.first) | (a.second ^ b.second) | (a.third ^ b.third) == 0
    }

    public func hash(into hasher: inout Hasher) {
        for axis in 0..<rank { hasher.combine(extent(axis)) }
    }

    public var description: String { "[" + array.map(String.init).joined(separator: ", ") + "]" }

    /// The shape that `a` and `b` broadcast to by NumPy's rule: axes are matched from the last one, an extent of 1 stretches.
    public static func broadcast(_ a: Shape, _ b: Shape) -> Shape {
        var result = Shape(rank: max(a.rank, b.rank))
        for back in stride(from: 1, through: result.rank, by: 1) {
            let x = back <= a.rank ? a[-back] : 1
            let y = back <= b.rank ? b[-back] : 1
            require(x == y || x == 1 || y == 1, "shapes \(a) and \(b) do not broadcast")
            result[-back] = x == 1 ? y : x
        }
        return result
    }
}

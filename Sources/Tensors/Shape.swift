// The extents of a tensor.

/// Up to six extents, held inline so that making a shape never allocates.
public struct Shape: Hashable, Sendable, ExpressibleByArrayLiteral, CustomStringConvertible {
    /// The most axes a tensor may have.
    public static let maximumRank = 6

    /// Lanes 0 ..< 6: the extents, 1 beyond the rank; lane 7: the rank. Four bytes each, so that a tensor fits in a cache line.
    private var lanes: SIMD8<UInt32>

    /// The number of axes.
    @inline(__always)
    public var rank: Int { Int(lanes[7]) }

    /// - Parameter extents: at most six extents, none negative.
    public init(_ extents: some Collection<Int>) {
        precondition(extents.count <= Shape.maximumRank, "a tensor has at most \(Shape.maximumRank) axes, not \(extents.count)")
        self.init(rank: extents.count)
        for (axis, extent) in extents.enumerated() { lanes[axis] = Shape.stored(extent) }
    }

    public init(arrayLiteral elements: Int...) {
        self.init(elements)
    }

    /// A shape of extents of 1.
    @inline(__always)
    private init(rank: Int) {
        lanes = SIMD8(repeating: 1)
        lanes[7] = UInt32(truncatingIfNeeded: rank)
    }

    @inline(__always)
    private static func stored(_ extent: Int) -> UInt32 {
        precondition(extent >= 0 && extent <= Int(UInt32.max), "an extent is negative or above \(UInt32.max): \(extent)")
        return UInt32(truncatingIfNeeded: extent)
    }

    /// The number of elements.
    @inline(__always)
    public var count: Int {
        Int(lanes[0]) * Int(lanes[1]) * Int(lanes[2]) * Int(lanes[3]) * Int(lanes[4]) * Int(lanes[5])
    }

    /// The extent of `axis`; a negative axis counts from the end.
    public subscript(axis: Int) -> Int {
        get { Int(lanes[normalized(axis)]) }
        set { lanes[normalized(axis)] = Shape.stored(newValue) }
    }

    /// The product of all extents but the last: the number of rows of the tensor seen as a matrix.
    public var rows: Int { rank == 0 ? 1 : count(from: 0, to: rank - 1) }
    /// The last extent; 1 for a scalar.
    public var columns: Int { rank == 0 ? 1 : Int(lanes[rank - 1]) }

    /// The product of the extents of axes `from ..< to`.
    public func count(from: Int, to: Int) -> Int {
        var product = 1
        for axis in from..<to { product *= Int(lanes[axis]) }
        return product
    }

    /// The axis as a number 0 ..< rank.
    public func normalized(_ axis: Int) -> Int {
        let result = axis < 0 ? axis + rank : axis
        precondition(result >= 0 && result < rank, "axis \(axis) of a tensor of shape \(self)")
        return result
    }

    /// The extents as an array.
    public var array: [Int] { (0..<rank).map { Int(lanes[$0]) } }

    /// The shape without `axis`.
    public func removing(_ axis: Int) -> Shape {
        let axis = normalized(axis)
        var result = Shape(rank: rank - 1)
        for i in 0..<result.rank { result.lanes[i] = lanes[i < axis ? i : i + 1] }
        return result
    }

    /// The shape with one more axis of `extent` before `axis` (which may be `rank`).
    public func inserting(_ extent: Int, at axis: Int) -> Shape {
        precondition(rank < Shape.maximumRank && axis >= 0 && axis <= rank, "an axis before axis \(axis) of a tensor of shape \(self)")
        var result = Shape(rank: rank + 1)
        for i in 0..<result.rank { result.lanes[i] = i < axis ? lanes[i] : i == axis ? Shape.stored(extent) : lanes[i - 1] }
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
        for axis in stride(from: rank - 2, through: 0, by: -1) { result[axis] = result[axis + 1] * Int(lanes[axis + 1]) }
        return result
    }

    @inline(__always)
    public static func == (a: Shape, b: Shape) -> Bool {
        let difference = unsafeBitCast(a.lanes ^ b.lanes, to: SIMD4<UInt64>.self)
        return difference[0] | difference[1] | difference[2] | difference[3] == 0
    }

    public func hash(into hasher: inout Hasher) {
        for axis in 0..<rank { hasher.combine(Int(lanes[axis])) }
    }

    public var description: String { "[" + array.map(String.init).joined(separator: ", ") + "]" }

    /// The shape that `a` and `b` broadcast to by NumPy's rule: axes are matched from the last one, an extent of 1 stretches.
    public static func broadcast(_ a: Shape, _ b: Shape) -> Shape {
        var result = Shape(rank: max(a.rank, b.rank))
        for back in stride(from: 1, through: result.rank, by: 1) {
            let x = back <= a.rank ? a[-back] : 1
            let y = back <= b.rank ? b[-back] : 1
            precondition(x == y || x == 1 || y == 1, "shapes \(a) and \(b) do not broadcast")
            result[-back] = x == 1 ? y : x
        }
        return result
    }
}

// The extents of a tensor.

/// Up to six extents, held inline so that making a shape never allocates.
public struct Shape: Hashable, Sendable, ExpressibleByArrayLiteral, CustomStringConvertible {
    /// The most axes a tensor may have.
    public static let maximumRank = 6

    private var extents: InlineArray<6, Int>
    /// The number of axes.
    public private(set) var rank: Int

    /// - Parameter extents: at most six extents, none negative.
    public init(_ extents: some Collection<Int>) {
        precondition(extents.count <= Shape.maximumRank, "a tensor has at most \(Shape.maximumRank) axes, not \(extents.count)")
        self.extents = InlineArray(repeating: 1)
        rank = 0
        for extent in extents {
            precondition(extent >= 0, "an extent is negative: \(extent)")
            self.extents[rank] = extent
            rank += 1
        }
    }

    public init(arrayLiteral elements: Int...) {
        self.init(elements)
    }

    /// A shape of extents of 1.
    private init(rank: Int) {
        extents = InlineArray(repeating: 1)
        self.rank = rank
    }

    /// The number of elements.
    public var count: Int {
        var product = 1
        for axis in 0..<rank { product *= extents[axis] }
        return product
    }

    /// The extent of `axis`; a negative axis counts from the end.
    public subscript(axis: Int) -> Int {
        get { extents[normalized(axis)] }
        set { extents[normalized(axis)] = newValue }
    }

    /// The product of all extents but the last: the number of rows of the tensor seen as a matrix.
    public var rows: Int { rank == 0 ? 1 : count(from: 0, to: rank - 1) }
    /// The last extent; 1 for a scalar.
    public var columns: Int { rank == 0 ? 1 : extents[rank - 1] }

    /// The product of the extents of axes `from ..< to`.
    public func count(from: Int, to: Int) -> Int {
        var product = 1
        for axis in from..<to { product *= extents[axis] }
        return product
    }

    /// The axis as a number 0 ..< rank.
    public func normalized(_ axis: Int) -> Int {
        let result = axis < 0 ? axis + rank : axis
        precondition(result >= 0 && result < rank, "axis \(axis) of a tensor of shape \(self)")
        return result
    }

    /// The extents as an array.
    public var array: [Int] { (0..<rank).map { extents[$0] } }

    /// The shape without `axis`.
    public func removing(_ axis: Int) -> Shape {
        let axis = normalized(axis)
        var result = Shape(rank: rank - 1)
        for i in 0..<result.rank { result.extents[i] = extents[i < axis ? i : i + 1] }
        return result
    }

    /// The shape with one more axis of `extent` before `axis` (which may be `rank`).
    public func inserting(_ extent: Int, at axis: Int) -> Shape {
        precondition(rank < Shape.maximumRank && axis >= 0 && axis <= rank, "an axis before axis \(axis) of a tensor of shape \(self)")
        var result = Shape(rank: rank + 1)
        for i in 0..<result.rank { result.extents[i] = i < axis ? extents[i] : i == axis ? extent : extents[i - 1] }
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
        for axis in stride(from: rank - 2, through: 0, by: -1) { result[axis] = result[axis + 1] * extents[axis + 1] }
        return result
    }

    public static func == (a: Shape, b: Shape) -> Bool {
        guard a.rank == b.rank else { return false }
        for axis in 0..<a.rank where a.extents[axis] != b.extents[axis] { return false }
        return true
    }

    public func hash(into hasher: inout Hasher) {
        for axis in 0..<rank { hasher.combine(extents[axis]) }
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

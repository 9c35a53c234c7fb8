// What goes into a matrix product, and what comes out.

import Kernels

/// Whether a matrix operand is used as stored or transposed.
public enum Transposition: Sendable {
    case none, transposed
}

/// A matrix in memory, as a product reads or writes it.
public struct MatrixOperand {
    /// The first element.
    public var pointer: UnsafeMutableRawPointer
    /// float32 or bfloat16.
    public var dataType: DataType
    /// Elements between rows as stored.
    public var leading: Int
    /// Whether the product takes the transpose of what is stored.
    public var transposition: Transposition

    /// A float32 matrix.
    @inline(__always)
    public init(_ pointer: UnsafePointer<Float>, leading: Int, _ transposition: Transposition = .none) {
        self.pointer = UnsafeMutableRawPointer(mutating: pointer)
        dataType = .float32
        self.leading = leading
        self.transposition = transposition
    }

    /// A bfloat16 matrix, as bit patterns.
    @inline(__always)
    public init(_ pointer: UnsafePointer<UInt16>, leading: Int, _ transposition: Transposition = .none) {
        self.pointer = UnsafeMutableRawPointer(mutating: pointer)
        dataType = .bfloat16
        self.leading = leading
        self.transposition = transposition
    }

    /// A tensor as rows of its last extent, from element `first` on.
    @inline(__always)
    public init(_ tensor: Tensor, first: Int = 0, leading: Int? = nil, _ transposition: Transposition = .none) {
        pointer = tensor.bytes + first * tensor.dataType.byteCount
        dataType = tensor.dataType
        self.leading = leading ?? tensor.shape.columns
        self.transposition = transposition
    }

    /// The extents as stored, from those of the product.
    func stored(_ rows: Int, _ columns: Int) -> (rows: Int, columns: Int) {
        transposition == .none ? (rows, columns) : (columns, rows)
    }

    /// The same matrix from a row and a column of the product on.
    @inline(__always)
    func from(row: Int, column: Int) -> MatrixOperand {
        var result = self
        result.pointer += (transposition == .none ? row * leading + column : column * leading + row) * dataType.byteCount
        return result
    }

    @inline(__always)
    var isTransposed: Bool { transposition == .transposed }

    @inline(__always)
    var floats: UnsafeMutablePointer<Float> { pointer.assumingMemoryBound(to: Float.self) }

    @inline(__always)
    var elements: Elements { Elements(pointer, dataType) }
}

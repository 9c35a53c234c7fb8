// What goes into a matrix product, and what comes out.

import Kernels

/// Whether a matrix operand is used as stored or transposed.
public enum Transposition: Sendable {
    case none, transposed
}

/// A matrix in memory that a product reads.
public struct MatrixOperand {
    /// The first element.
    public var pointer: UnsafeRawPointer
    /// float32 or bfloat16.
    public var dataType: DataType
    /// Elements between rows as stored.
    public var leading: Int
    /// Whether the product takes the transpose of what is stored.
    public var transposition: Transposition

    @inline(__always)
    fileprivate init(_ pointer: UnsafeRawPointer, _ dataType: DataType, _ leading: Int, _ transposition: Transposition) {
        (self.pointer, self.dataType, self.leading, self.transposition) = (pointer, dataType, leading, transposition)
    }

    /// A float32 matrix.
    @inline(__always)
    public init(_ pointer: UnsafePointer<Float>, leading: Int, _ transposition: Transposition = .none) {
        self.init(UnsafeRawPointer(pointer), .float32, leading, transposition)
    }

    /// A bfloat16 matrix, as bit patterns.
    @inline(__always)
    public init(_ pointer: UnsafePointer<UInt16>, leading: Int, _ transposition: Transposition = .none) {
        self.init(UnsafeRawPointer(pointer), .bfloat16, leading, transposition)
    }

    /// A tensor as rows of its last extent, from element `first` on.
    @inline(__always)
    public init(_ tensor: Tensor, first: Int = 0, leading: Int? = nil, _ transposition: Transposition = .none) {
        self.init(
            UnsafeRawPointer(tensor.bytes + first * tensor.dataType.byteCount), tensor.dataType, leading ?? tensor.shape.columns, transposition)
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
    var floats: UnsafePointer<Float> { pointer.assumingMemoryBound(to: Float.self) }

    /// What kernels read it by; their arguments are one type for what is read and written.
    @inline(__always)
    var elements: Elements { Elements(UnsafeMutableRawPointer(mutating: pointer), dataType) }
}

/// A matrix in memory that a product writes, or adds to.
public struct MatrixResult {
    /// The first element.
    public var pointer: UnsafeMutableRawPointer
    /// float32 or bfloat16.
    public var dataType: DataType
    /// Elements between rows.
    public var leading: Int

    @inline(__always)
    fileprivate init(_ pointer: UnsafeMutableRawPointer, _ dataType: DataType, _ leading: Int) {
        (self.pointer, self.dataType, self.leading) = (pointer, dataType, leading)
    }

    /// A float32 matrix.
    @inline(__always)
    public init(_ pointer: UnsafeMutablePointer<Float>, leading: Int) { self.init(UnsafeMutableRawPointer(pointer), .float32, leading) }

    /// A bfloat16 matrix, as bit patterns.
    @inline(__always)
    public init(_ pointer: UnsafeMutablePointer<UInt16>, leading: Int) { self.init(UnsafeMutableRawPointer(pointer), .bfloat16, leading) }

    /// A tensor as rows of its last extent, from element `first` on.
    @inline(__always)
    public init(_ tensor: Tensor, first: Int = 0, leading: Int? = nil) {
        self.init(tensor.bytes + first * tensor.dataType.byteCount, tensor.dataType, leading ?? tensor.shape.columns)
    }

    /// The same matrix from a row and a column on.
    @inline(__always)
    func from(row: Int, column: Int) -> MatrixResult {
        var result = self
        result.pointer += (row * leading + column) * dataType.byteCount
        return result
    }

    @inline(__always)
    var floats: UnsafeMutablePointer<Float> { pointer.assumingMemoryBound(to: Float.self) }

    @inline(__always)
    var elements: Elements { Elements(pointer, dataType) }
}

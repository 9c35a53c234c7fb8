// The one entry point to BLAS.

import COpenBLAS

/// Whether a matrix operand is used as stored or transposed.
public enum Transposition: Sendable {
    case none, transposed

    @inline(__always)
    var blas: CBLAS_TRANSPOSE { self == .none ? CblasNoTrans : CblasTrans }
}

/// C = alpha * op(A) op(B) + beta * C, row-major, float32. M rows of C, N columns of C, K the summed extent.
///
/// - Parameters:
///   - leadingA: elements between rows of A as stored (M x K, or K x M when transposed); likewise B and C.
///   - beta: 0 means C is not read.
/// - Complexity: 2 M N K flops.
@inline(__always)
public func multiplyMatrices(
    _ c: UnsafeMutablePointer<Float>, leadingC: Int, _ a: UnsafePointer<Float>, _ transposeA: Transposition = .none, leadingA: Int,
    _ b: UnsafePointer<Float>, _ transposeB: Transposition = .none, leadingB: Int, m: Int, n: Int, k: Int, alpha: Float = 1, beta: Float = 0
) {
    if m == 0 || n == 0 { return }
    cblas_sgemm(
        CblasRowMajor, transposeA.blas, transposeB.blas, blasint(m), blasint(n), blasint(k), alpha, a, blasint(max(leadingA, 1)), b,
        blasint(max(leadingB, 1)), beta, c, blasint(max(leadingC, 1)))
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
    fileprivate func stored(_ rows: Int, _ columns: Int) -> (rows: Int, columns: Int) {
        transposition == .none ? (rows, columns) : (columns, rows)
    }
}

/// C = alpha * op(A) op(B) + beta * C + bias, row-major. M rows of C, N columns of C, K the summed extent. Sums are float32 whatever the operands are.
///
/// - Parameters:
///   - c: written; not transposed; float32 or bfloat16.
///   - a, b: of one data type.
///   - beta: 0 means C is not read.
///   - bias: [N], added to every row of C; `nil` is none.
/// - Complexity: 2 M N K flops.
public func multiplyMatrices(
    into c: MatrixOperand, _ a: MatrixOperand, _ b: MatrixOperand, m: Int, n: Int, k: Int, alpha: Float = 1, beta: Float = 0, bias: UnsafePointer<Float>? = nil
) {
    if m == 0 || n == 0 { return }
    precondition(a.dataType == b.dataType && c.transposition == .none, "a product of \(a.dataType) and \(b.dataType)")
    let (a32, b32) = (a.asFloat32(rows: m, columns: k), b.asFloat32(rows: k, columns: n))
    let needsOwnResult = c.dataType != .float32
    let result = needsOwnResult ? Tensor(uninitialized: [m, n]) : nil
    let target = result?.floats ?? c.pointer.assumingMemoryBound(to: Float.self)
    let leading = needsOwnResult ? n : c.leading
    if needsOwnResult, beta != 0 {
        for row in 0..<m { kernels.fromBFloat16(target + row * n, c.pointer.assumingMemoryBound(to: UInt16.self) + row * c.leading, n) }
    }
    multiplyMatrices(
        target, leadingC: leading, a32.pointer.assumingMemoryBound(to: Float.self), a.transposition, leadingA: a32.leading,
        b32.pointer.assumingMemoryBound(to: Float.self), b.transposition, leadingB: b32.leading, m: m, n: n, k: k, alpha: alpha, beta: beta)
    if let bias { for row in 0..<m { kernels.add(target + row * leading, target + row * leading, bias, n) } }
    if needsOwnResult {
        for row in 0..<m { kernels.toBFloat16(c.pointer.assumingMemoryBound(to: UInt16.self) + row * c.leading, target + row * n, n) }
    }
    withExtendedLifetime((a32, b32, result)) {}
}

extension MatrixOperand {
    /// The same matrix in float32, and what keeps its memory alive.
    fileprivate func asFloat32(rows: Int, columns: Int) -> (pointer: UnsafeMutableRawPointer, leading: Int, owner: Tensor?) {
        guard dataType == .bfloat16 else { return (pointer, leading, nil) }
        let (rows, columns) = stored(rows, columns)
        let copy = Tensor(uninitialized: [rows, columns])
        for row in 0..<rows { kernels.fromBFloat16(copy.floats + row * columns, pointer.assumingMemoryBound(to: UInt16.self) + row * leading, columns) }
        return (copy.bytes, columns, copy)
    }
}

/// What the BLAS library is and how it runs.
public enum BLAS {
    /// The kernel set that OpenBLAS chose for this CPU, such as `SkylakeX`.
    public static var coreName: String { String(cString: openblas_get_corename()) }
    /// The library's version and build options.
    public static var configuration: String { String(cString: openblas_get_config()) }
    /// The number of threads that a call may use.
    public static var threads: Int {
        get { Int(openblas_get_num_threads()) }
        set { openblas_set_num_threads(Int32(newValue)) }
    }
}

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

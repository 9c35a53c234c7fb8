// OpenBLAS: float32 products on the calling thread, and what the library says of itself.

import COpenBLAS
import Diagnostics
import Kernels

/// What the BLAS library is.
public enum BLAS {
    /// The environment variable by which OpenBLAS is asked for the kernels of a processor.
    public static let coreTypeVariable = "OPENBLAS_CORETYPE"

    /// The kernel set that OpenBLAS uses, such as `SkylakeX`.
    public static var coreName: String { String(cString: openblas_get_corename()) }
    /// Whether its kernels are such that the bits of a product do not depend on where it is cut.
    static let isSteady = ["skylakex", "cooperlake", "sapphirerapids"].contains(coreName.lowercased())
    /// The library's version and build options.
    public static var configuration: String { String(cString: openblas_get_config()) }

    /// The library's version, such as `0.3.21`; "of an unknown version" where it does not tell.
    public static var version: String {
        let words = configuration.split(separator: " ")
        return words.count > 1 && words[0] == "OpenBLAS" ? String(words[1]) : "of an unknown version"
    }

    /// Checks a value of OPENBLAS_CORETYPE, which OpenBLAS itself passes over in silence when it does not know the name; the empty one asks for nothing.
    ///
    /// - Parameters:
    ///   - coreType: the value.
    ///   - current: the kernels that OpenBLAS uses.
    /// - Throws: `UserError` (configuration).
    public static func validate(coreType: String, current: String = coreName) throws {
        let wanted = coreType.lowercased()
        if wanted.isEmpty || wanted == current.lowercased() || knownCoreTypes.contains(where: { $0.lowercased() == wanted }) { return }
        throw UserError(
            .configuration, "OpenBLAS knows no core type '\(coreType)' and would use its \(current) kernels", at: coreTypeVariable,
            advice: "unset it, and Mneme chooses, or use a name such as Haswell, Zen or SkylakeX")
    }

    /// The names that OpenBLAS has had for core types, on x86-64 and on arm64.
    private static let knownCoreTypes = [
        "Katmai", "Coppermine", "Northwood", "Prescott", "Banias", "Atom", "Core2", "Penryn", "Dunnington", "Nehalem", "Sandybridge", "Haswell",
        "SkylakeX", "Cooperlake", "SapphireRapids", "Athlon", "Opteron", "Opteron_SSE3", "Barcelona", "Bobcat", "Bulldozer", "Piledriver",
        "Steamroller", "Excavator", "Zen", "Nano", "ARMV8", "ARMV8SVE", "ARMV9SME", "CortexA53", "CortexA55", "CortexA57", "CortexA72", "CortexA73", "CortexA76", "CortexA510",
        "CortexA710", "CortexX1", "CortexX2", "Falkor", "ThunderX", "ThunderX2T99", "ThunderX3T110", "TSV110", "EMAG8180", "NeoverseN1", "NeoverseN2",
        "NeoverseV1", "FT2000", "A64FX", "VortexM4",
    ]

    /// OpenBLAS computes on the calling thread alone: `Workers` divides products.
    private static let isHeldToOneThread: Bool = {
        openblas_set_num_threads(1)
        return true
    }()

    /// C = alpha * op(A) op(B) + beta * C in float32, on the calling thread.
    @inline(__always)
    static func multiply(_ c: MatrixResult, _ a: MatrixOperand, _ b: MatrixOperand, m: Int, n: Int, k: Int, alpha: Float, beta: Float) {
        _ = isHeldToOneThread
        _ = ProductCount.counted(m, n, k) {
            cblas_sgemm(
                CblasRowMajor, a.isTransposed ? CblasTrans : CblasNoTrans, b.isTransposed ? CblasTrans : CblasNoTrans, blasint(m), blasint(n), blasint(k),
                alpha, a.floats, blasint(max(a.leading, 1)), b.floats, blasint(max(b.leading, 1)), beta, c.floats, blasint(max(c.leading, 1)))
            return true
        }
    }

    /// The same with a row added to every row of C; `nil` is none.
    static func multiply(
        _ c: MatrixResult, _ a: MatrixOperand, _ b: MatrixOperand, m: Int, n: Int, k: Int, alpha: Float, beta: Float, bias: UnsafePointer<Float>?
    ) {
        guard let bias else { return multiply(c, a, b, m: m, n: n, k: k, alpha: alpha, beta: beta) }
        if beta == 0 {
            // SGEMM would write zeros first: the bias takes their place.
            for row in 0..<m { (c.floats + row * c.leading).update(from: bias, count: n) }
            return multiply(c, a, b, m: m, n: n, k: k, alpha: alpha, beta: 1)
        }
        multiply(c, a, b, m: m, n: n, k: k, alpha: alpha, beta: beta)
        for row in 0..<m { kernels.add(c.floats + row * c.leading, c.floats + row * c.leading, bias, n) }
    }
}

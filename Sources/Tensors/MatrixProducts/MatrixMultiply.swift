// The entry points to matrix products: which backend computes, and how the work is divided between threads.
//
// Legend: C = op(A) op(B), M rows of C, N columns of C, K the summed extent. All matrices are row-major.

import Diagnostics
import Kernels

/// C = alpha * op(A) op(B) + beta * C, float32.
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
    multiplyMatrices(
        into: MatrixResult(c, leading: leadingC), MatrixOperand(a, leading: leadingA, transposeA), MatrixOperand(b, leading: leadingB, transposeB),
        m: m, n: n, k: k, alpha: alpha, beta: beta)
}

/// C = alpha * op(A) op(B) + beta * C + bias. Sums are float32 whatever the operands are.
///
/// Products of enough work are divided between the threads of `Workers`; within a part of a divided call they run on the calling thread. The bits of C
/// do not depend on the number of threads: a backend that adds in another order at the edges of a matrix is given tiles that the extents alone decide.
///
/// - Parameters:
///   - c: float32 or bfloat16.
///   - a: of the data type of `b`.
///   - b: of the data type of `a`.
///   - beta: 0 means C is not read.
///   - bias: [N], added to every row of C; `nil` is none.
/// - Complexity: 2 M N K flops.
public func multiplyMatrices(
    into c: MatrixResult, _ a: MatrixOperand, _ b: MatrixOperand, m: Int, n: Int, k: Int, alpha: Float = 1, beta: Float = 0,
    bias: UnsafePointer<Float>? = nil
) {
    if m == 0 || n == 0 { return }
    require(a.dataType == b.dataType, "a product of \(a.dataType) and \(b.dataType)")
    let call = ProductCall(c: c, a: a, b: b, m: m, n: n, k: k, alpha: alpha, beta: beta, bias: bias)
    call.run(MatrixProducts.backend(for: call))
    if Failpoint.product.isHit { call.flipBit() }
}

/// The same by a given backend, for measurements and tests.
package func multiplyMatrices(
    using backend: MatrixBackend, into c: MatrixResult, _ a: MatrixOperand, _ b: MatrixOperand, m: Int, n: Int, k: Int, alpha: Float = 1,
    beta: Float = 0, bias: UnsafePointer<Float>? = nil
) {
    ProductCall(c: c, a: a, b: b, m: m, n: n, k: k, alpha: alpha, beta: beta, bias: bias).run(backend)
}

/// One product.
struct ProductCall {
    var c: MatrixResult
    var a: MatrixOperand
    var b: MatrixOperand
    var m: Int
    var n: Int
    var k: Int
    var alpha: Float
    var beta: Float
    var bias: UnsafePointer<Float>?

    /// Multiplications of a part below which dividing further costs more than it brings. Above the size up to which OpenBLAS takes other kernels for
    /// small products, so that a divided product has the bits of a whole one.
    private static let smallestPart = 1 << 21
    /// Parts start at multiples of this many rows or columns, so that no kernel works on a cut block.
    private static let block = 64

    /// True when all three matrices are float32.
    @inline(__always)
    var isFloat32: Bool { a.dataType == .float32 && c.dataType == .float32 }

    /// Computes by a backend, on as many threads as the product is worth.
    @inline(__always)
    func run(_ backend: MatrixBackend) {
        if backend == .openBLAS, !isFloat32 { return runConverted() }
        if m * n * k < 2 * Self.smallestPart { return runOnThisThread(backend) }
        if !backend.isSteady { return runInTiles(backend) }
        let blocks = (max(m, n) + Self.block - 1) / Self.block
        let perBlock = min(m, n) * k * Self.block
        let parts = Workers.parts(blocks, minimum: (Self.smallestPart + perBlock - 1) / max(perBlock, 1))
        if parts <= 1 { return runOnThisThread(backend) }
        runDivided(backend, blocks: blocks, parts: parts)
    }

    private struct Division {
        var call: ProductCall
        var backend: MatrixBackend
        var blocks: Int
        var parts: Int
    }

    @inline(never)
    private func runDivided(_ backend: MatrixBackend, blocks: Int, parts: Int) {
        var division = Division(call: self, backend: backend, blocks: blocks, parts: parts)
        withUnsafeMutablePointer(to: &division) { pointer in
            Workers.run(parts: parts, context: pointer, runProductPart)
        }
    }

    /// Runs one part of a divided product.
    fileprivate static func runPart(_ context: UnsafeMutableRawPointer, _ part: Int) {
        let division = context.assumingMemoryBound(to: Division.self)
        let blocks = Workers.range(part, of: division.pointee.parts, count: division.pointee.blocks)
        var call = division.pointee.call
        if call.m >= call.n {
            call = call.rows(blocks.lowerBound * block..<min(blocks.upperBound * block, call.m))
        } else {
            call = call.columns(blocks.lowerBound * block..<min(blocks.upperBound * block, call.n))
        }
        call.runOnThisThread(division.pointee.backend)
    }

    /// Computes tiles that are the same on any number of threads, and within a part of a divided call.
    @inline(never)
    private func runInTiles(_ backend: MatrixBackend) {
        let tiles = ProductTiles(m: m, n: n, k: k, smallest: Self.smallestPart)
        Workers.parallel(tiles.count, minimum: 1) { range in
            for tile in range { rows(tiles.rows(of: tile)).columns(tiles.columns(of: tile)).runOnThisThread(backend) }
        }
    }

    /// Damages the result as a faulty processor might: one bit of one element, both picked by the bits of the first.
    fileprivate func flipBit() {
        func damage<Bits: FixedWidthInteger>(_ elements: UnsafeMutablePointer<Bits>) {
            let draw = (UInt64(truncatingIfNeeded: elements[0]) &+ 0x9e37_79b9) &* 0x9e37_79b9_7f4a_7c15
            let place = Int(draw >> 33) % (m * n)
            elements[place / n * c.leading + place % n] ^= 1 << Bits(truncatingIfNeeded: Int(draw >> 20) % Bits.bitWidth)
        }
        switch c.dataType {
        case .bfloat16: damage(c.pointer.assumingMemoryBound(to: UInt16.self))
        default: damage(c.pointer.assumingMemoryBound(to: UInt32.self))
        }
    }

    private func rows(_ range: Range<Int>) -> ProductCall {
        var call = self
        call.m = range.count
        call.a = a.from(row: range.lowerBound, column: 0)
        call.c = c.from(row: range.lowerBound, column: 0)
        return call
    }

    private func columns(_ range: Range<Int>) -> ProductCall {
        var call = self
        call.n = range.count
        call.b = b.from(row: 0, column: range.lowerBound)
        call.c = c.from(row: 0, column: range.lowerBound)
        call.bias = bias.map { $0 + range.lowerBound }
        return call
    }

    /// Computes on the calling thread.
    @inline(__always)
    func runOnThisThread(_ backend: MatrixBackend) {
        if backend == .oneDNN, isFloat32 || a.dataType == .bfloat16, k > 0, alpha == 1 || bias == nil,
            OneDNNProducts.current.multiply(c, a, b, m: m, n: n, k: k, alpha: alpha, beta: beta, bias: bias)
        {
            return
        }
        if isFloat32 {
            BLAS.multiply(c, a, b, m: m, n: n, k: k, alpha: alpha, beta: beta, bias: bias)
        } else {
            runConverted()
        }
    }

    /// Computes in float32 what no backend computes in bfloat16: slower, but the same sums.
    @inline(never)
    private func runConverted() {
        var call = self
        let (copyOfA, copyOfB) = (call.a.convertToFloat32(rows: m, columns: k), call.b.convertToFloat32(rows: k, columns: n))
        let result = c.dataType == .float32 ? nil : Tensor(uninitialized: [m, n])
        let minimum = max(1, (1 << 15) / n)
        if let result {
            call.c = MatrixResult(result)
            if beta != 0 {
                Workers.parallel(m, minimum: minimum) { rows in
                    for row in rows { kernels.convert(result.elements + row * n, c.elements + row * c.leading, n) }
                }
            }
        }
        call.run(.openBLAS)
        if let result {
            Workers.parallel(m, minimum: minimum) { rows in
                for row in rows { kernels.convert(c.elements + row * c.leading, result.elements + row * n, n) }
            }
        }
        withExtendedLifetime((copyOfA, copyOfB, result)) {}
    }
}

private func runProductPart(_ context: UnsafeMutableRawPointer, _ part: Int) { ProductCall.runPart(context, part) }

extension MatrixOperand {
    /// Makes this a float32 copy where it is bfloat16; returns what keeps the copy alive.
    fileprivate mutating func convertToFloat32(rows: Int, columns: Int) -> Tensor? {
        guard dataType == .bfloat16 else { return nil }
        let (rows, columns) = stored(rows, columns)
        let copy = Tensor(uninitialized: [rows, columns])
        let original = self
        Workers.parallel(rows, minimum: max(1, (1 << 15) / max(columns, 1))) { range in
            for row in range { kernels.convert(copy.elements + row * columns, original.elements + row * original.leading, columns) }
        }
        self = MatrixOperand(copy, leading: columns, original.transposition)
        return copy
    }
}

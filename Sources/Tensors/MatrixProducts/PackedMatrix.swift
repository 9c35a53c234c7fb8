// The right operand of many products with few rows, brought once into the order that the backend reads.
//
// Legend: C = A op(B) (+ C), M rows of C, N columns of C, K the summed extent.

import COneDNN
import Diagnostics
import Kernels

/// op(B) for repeated products with M rows each. Without oneDNN it is B itself.
///
/// A product of 20 rows spends a third of its time on bringing B into order; in a recurrent network, and in decoding, it is the same B at every step.
/// Threads share a product by columns, the same ones at every call. As with other products, the bits do not depend on the number of threads.
package final class PackedMatrix {
    private let b: MatrixOperand
    private let m: Int
    private let n: Int
    private let k: Int
    private let resultType: DataType
    private let isAdding: Bool
    private let parts: Int
    /// The packed columns of each part, one part after another; `nil` for B itself.
    private var packed: Tensor?
    private var partBytes = 0
    /// Other numbers of rows that were tried: whether products with them read the same order.
    private var fits: [Int: Bool] = [:]

    /// Parts start at multiples of this many columns.
    private static let block = 64
    /// Parts of a large product on any number of threads, where the bits depend on where it is cut.
    private static let fixedParts = 8

    /// - Parameters:
    ///   - b: K x N; must stay as it is while this is in use.
    ///   - rows: M.
    ///   - isAdding: products are added to C instead of replacing it.
    ///   - uses: how many products are to come; below four, packing does not pay.
    ///   - others: of the same B for other numbers of rows: their order serves where it is the same.
    package init(
        _ b: MatrixOperand, rows m: Int, k: Int, n: Int, resultType: DataType = .float32, isAdding: Bool, uses: Int, sharing others: [PackedMatrix] = []
    ) {
        (self.b, self.m, self.n, self.k, self.resultType, self.isAdding) = (b, m, n, k, resultType, isAdding)
        let blocks = (n + Self.block - 1) / Self.block
        let blocksOfPart = max(1, (1 << 22) / max(1, m * k * Self.block))
        parts = max(1, OneDNN.isSteady ? Workers.parts(blocks, minimum: blocksOfPart) : min(Self.fixedParts, blocks / blocksOfPart))
        guard uses >= 4, m * n * k >= 1 << 16, MatrixProducts.forced != .openBLAS,
            b.dataType == .float32 ? OneDNN.isAvailable : OneDNN.hasNativeBFloat16
        else { return }
        if let twin = others.first(where: { $0.packed != nil && $0.parts == parts && $0.fits(rows: m) }) {
            (packed, partBytes) = (twin.packed, twin.partBytes)
            return
        }
        var sizes: [Int] = []
        for part in 0..<parts {
            guard let bytes = OneDNNProducts.current.packedBytes(product(columns(part).count)) else { return }
            sizes.append(bytes)
        }
        partBytes = ((sizes.max() ?? 0) + 63) & ~63
        let memory = Tensor(uninitialized: [parts, (partBytes + 3) / 4])
        for part in 0..<parts {
            let range = columns(part)
            let first = b.from(row: 0, column: range.lowerBound)
            guard OneDNNProducts.current.pack(product(range.count), first.pointer, into: memory.bytes + part * partBytes) else { return }
        }
        packed = memory
    }

    private func columns(_ part: Int) -> Range<Int> {
        let blocks = Workers.range(part, of: parts, count: (n + Self.block - 1) / Self.block)
        return blocks.lowerBound * Self.block..<min(blocks.upperBound * Self.block, n)
    }

    @inline(__always)
    private func product(_ columns: Int, rows: Int? = nil, resultType: DataType? = nil, hasBias: Bool = false) -> MnemeOneDNNProduct {
        MnemeOneDNNProduct(
            m: Int64(rows ?? m), n: Int64(columns), k: Int64(k), leadingA: Int64(k), leadingB: Int64(max(1, b.leading)), leadingC: Int64(n), alpha: 1,
            beta: isAdding ? 1 : 0, isATransposed: false, isBTransposed: b.isTransposed, operandsAreBFloat16: b.dataType == .bfloat16,
            resultIsBFloat16: (resultType ?? self.resultType) == .bfloat16, hasBias: hasBias, isBPacked: true)
    }

    private struct Call {
        unowned(unsafe) var matrix: PackedMatrix
        var c: MatrixResult
        var a: UnsafeRawPointer
        var rows: Int
        var bias: UnsafePointer<Float>?

        var threads: Int

        /// Runs the parts of one thread.
        func run(_ thread: Int) {
            for part in Workers.range(thread, of: threads, count: matrix.parts) { matrix.runPart(self, part) }
        }
    }

    /// C = A op(B), or C += A op(B).
    ///
    /// - Parameters:
    ///   - c: M x N, rows close together, of the result's type.
    ///   - a: M x K, rows close together, of B's type.
    package func multiply(into c: UnsafeMutableRawPointer, _ a: UnsafeRawPointer) {
        let c = resultType == .float32
            ? MatrixResult(c.assumingMemoryBound(to: Float.self), leading: n) : MatrixResult(c.assumingMemoryBound(to: UInt16.self), leading: n)
        let a = b.dataType == .float32
            ? MatrixOperand(a.assumingMemoryBound(to: Float.self), leading: k) : MatrixOperand(a.assumingMemoryBound(to: UInt16.self), leading: k)
        if packed == nil { multiplyMatrices(into: c, a, b, m: m, n: n, k: k, beta: isAdding ? 1 : 0) } else { run(c, a.pointer, rows: m, bias: nil) }
    }

    /// C = A op(B) + bias for any number of rows.
    ///
    /// - Parameters:
    ///   - c: rows x N, rows close together, float32 or bfloat16.
    ///   - a: rows x K, rows close together, of B's type.
    ///   - bias: [N]; `nil` is none.
    package func multiply(into c: MatrixResult, _ a: MatrixOperand, rows: Int, bias: UnsafePointer<Float>?) {
        if packed == nil || isAdding || c.leading != n || a.leading != k || !fits(rows: rows) {
            return multiplyMatrices(into: c, a, b, m: rows, n: n, k: k, bias: bias)
        }
        run(c, a.pointer, rows: rows, bias: bias)
    }

    /// Whether products with so many rows read the order that B was brought into.
    private func fits(rows: Int) -> Bool {
        if rows == m { return true }
        if let known = fits[rows] { return known }
        let fit = (0..<parts).allSatisfy { OneDNNProducts.current.packAlike(product(columns($0).count), product(columns($0).count, rows: rows)) }
        fits[rows] = fit
        return fit
    }

    private func run(_ c: MatrixResult, _ a: UnsafeRawPointer, rows: Int, bias: UnsafePointer<Float>?) {
        let threads = min(parts, Workers.count)
        var call = Call(matrix: self, c: c, a: a, rows: rows, bias: bias, threads: threads)
        if threads == 1 { return call.run(0) }
        withUnsafeMutablePointer(to: &call) { pointer in
            Workers.run(parts: threads, context: pointer) { context, thread in context.assumingMemoryBound(to: Call.self).pointee.run(thread) }
        }
    }

    private func runPart(_ call: Call, _ part: Int) {
        guard let packed else { failRequirement("the matrix is not packed", file: #fileID, line: #line) }
        let range = columns(part)
        let product = product(range.count, rows: call.rows, resultType: call.c.dataType, hasBias: call.bias != nil)
        let isDone = OneDNNProducts.current.multiply(
            product, call.c.pointer + range.lowerBound * call.c.dataType.byteCount, call.a, packed: packed.bytes + part * partBytes,
            bias: call.bias.map { $0 + range.lowerBound })
        require(isDone, "oneDNN refused a product that it has prepared")
    }
}

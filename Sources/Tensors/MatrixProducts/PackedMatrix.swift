// The right operand of many products with few rows, brought once into the order that the backend reads.
//
// Legend: C = A op(B) (+ C), M rows of C, N columns of C, K the summed extent.

import COneDNN
import Kernels

/// op(B) for repeated products with M rows each. Without oneDNN it is B itself.
///
/// A product of 20 rows spends a third of its time on bringing B into order; in a recurrent network it is the same B at every step.
/// Threads share a product by columns, the same ones at every call.
struct PackedMatrix {
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

    /// Parts start at multiples of this many columns.
    private static let block = 64

    /// - Parameters:
    ///   - b: K x N; must stay as it is while this is in use.
    ///   - rows: M.
    ///   - isAdding: products are added to C instead of replacing it.
    ///   - uses: how many products are to come; below four, packing does not pay.
    init(_ b: MatrixOperand, rows m: Int, k: Int, n: Int, resultType: DataType = .float32, isAdding: Bool, uses: Int) {
        (self.b, self.m, self.n, self.k, self.resultType, self.isAdding) = (b, m, n, k, resultType, isAdding)
        let blocks = (n + Self.block - 1) / Self.block
        parts = Workers.parts(blocks, minimum: max(1, (1 << 22) / max(1, m * k * Self.block)))
        guard uses >= 4, m * n * k >= 1 << 16, MatrixProducts.forced != .openBLAS, b.dataType == .float32 ? OneDNN.isAvailable : OneDNN.hasNativeBFloat16
        else { return }
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
    private func product(_ columns: Int) -> MnemeOneDNNProduct {
        MnemeOneDNNProduct(
            m: Int64(m), n: Int64(columns), k: Int64(k), leadingA: Int64(k), leadingB: Int64(max(1, b.leading)), leadingC: Int64(n), alpha: 1,
            beta: isAdding ? 1 : 0, isATransposed: false, isBTransposed: b.isTransposed, operandsAreBFloat16: b.dataType == .bfloat16,
            resultIsBFloat16: resultType == .bfloat16, hasBias: false, isBPacked: true)
    }

    private struct Call {
        var matrix: PackedMatrix
        var c: UnsafeMutableRawPointer
        var a: UnsafeRawPointer
    }

    /// C = A op(B), or C += A op(B).
    ///
    /// - Parameters:
    ///   - c: M x N, rows close together, of the result's type.
    ///   - a: M x K, rows close together, of B's type.
    func multiply(into c: UnsafeMutableRawPointer, _ a: UnsafeMutableRawPointer) {
        guard packed != nil else {
            let (cOperand, aOperand) = (operand(c, resultType, leading: n), operand(a, b.dataType, leading: k))
            return multiplyMatrices(into: cOperand, aOperand, b, m: m, n: n, k: k, beta: isAdding ? 1 : 0)
        }
        if parts == 1 { return runPart(0, c, a) }
        var call = Call(matrix: self, c: c, a: a)
        withUnsafeMutablePointer(to: &call) { pointer in
            Workers.run(parts: parts, context: pointer) { context, part in
                let call = context.assumingMemoryBound(to: Call.self)
                call.pointee.matrix.runPart(part, call.pointee.c, call.pointee.a)
            }
        }
    }

    private func runPart(_ part: Int, _ c: UnsafeMutableRawPointer, _ a: UnsafeRawPointer) {
        guard let packed else { preconditionFailure("the matrix is not packed") }
        let range = columns(part)
        let isDone = OneDNNProducts.current.multiply(
            product(range.count), c + range.lowerBound * resultType.byteCount, a, packed: packed.bytes + part * partBytes)
        precondition(isDone, "oneDNN refused a product that it has prepared")
    }

    private func operand(_ pointer: UnsafeMutableRawPointer, _ type: DataType, leading: Int) -> MatrixOperand {
        type == .float32
            ? MatrixOperand(UnsafePointer(pointer.assumingMemoryBound(to: Float.self)), leading: leading)
            : MatrixOperand(UnsafePointer(pointer.assumingMemoryBound(to: UInt16.self)), leading: leading)
    }
}

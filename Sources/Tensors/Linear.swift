// Matrix products on the tape.
//
// Legend: R rows (all leading axes together), I input width, O output width, M N K the extents of a matrix product.

import Kernels

/// y = x W^T + b, the layer of a fully connected network.
///
/// - Parameters:
///   - x: [..., I], float32.
///   - weight: [O, I], as PyTorch lays it out.
///   - bias: [O].
/// - Returns: [..., O].
/// - Complexity: 2 R I O flops forward, 4 R I O backward.
public func linear(_ x: Tensor, weight: Tensor, bias: Tensor? = nil) -> Tensor {
    precondition(weight.shape.rank == 2 && x.shape.columns == weight.shape[1], "linear: input \(x.shape) does not fit weight \(weight.shape)")
    let rows = x.shape.rows
    let (outputs, inputs) = (weight.shape[0], weight.shape[1])
    let y = Tensor(uninitialized: x.shape.replacingColumns(outputs))
    multiplyMatrices(y.floats, leadingC: outputs, x.floats, leadingA: inputs, weight.floats, .transposed, leadingB: inputs, m: rows, n: outputs, k: inputs)
    if let bias {
        precondition(bias.count == outputs, "linear: bias \(bias.shape) does not fit weight \(weight.shape)")
        kernels.addRow(y.floats, y.floats, row: bias.floats, rows: rows, columns: outputs)
    }
    return Tape.record(y, from: bias.map { [x, weight, $0] } ?? [x, weight]) { gradient in
        linearGradient(gradient, x: x, weight: weight)
        bias?.node?.withZeroedGradient { kernels.accumulateColumnSums($0, gradient.floats, rows: rows, columns: outputs) }
    }
}

/// Adds the gradients of x W^T to the nodes of x and W.
private func linearGradient(_ gradient: Tensor, x: Tensor, weight: Tensor) {
    let rows = x.shape.rows
    let (outputs, inputs) = (weight.shape[0], weight.shape[1])
    x.node?.withGradient { target, accumulate in
        multiplyMatrices(
            target, leadingC: inputs, gradient.floats, leadingA: outputs, weight.floats, leadingB: inputs, m: rows, n: inputs, k: outputs,
            beta: accumulate ? 1 : 0)
    }
    weight.node?.withGradient { target, accumulate in
        multiplyMatrices(
            target, leadingC: inputs, gradient.floats, .transposed, leadingA: outputs, x.floats, leadingB: inputs, m: outputs, n: inputs, k: rows,
            beta: accumulate ? 1 : 0)
    }
}

/// geluTanh(x W^T + b) in one operation: the first half of a feed-forward block of GPT-2.
///
/// - Parameters: as `linear`.
/// - Returns: [..., O]. Keeps the product before the bias for the gradient.
public func linearGELU(_ x: Tensor, weight: Tensor, bias: Tensor) -> Tensor {
    precondition(weight.shape.rank == 2 && x.shape.columns == weight.shape[1], "linearGELU: input \(x.shape) does not fit weight \(weight.shape)")
    precondition(bias.count == weight.shape[0], "linearGELU: bias \(bias.shape) does not fit weight \(weight.shape)")
    let rows = x.shape.rows
    let (outputs, inputs) = (weight.shape[0], weight.shape[1])
    let product = Tensor(uninitialized: x.shape.replacingColumns(outputs))
    multiplyMatrices(product.floats, leadingC: outputs, x.floats, leadingA: inputs, weight.floats, .transposed, leadingB: inputs, m: rows, n: outputs, k: inputs)
    let y = Tensor(uninitialized: product.shape)
    kernels.addRowGELU(y.floats, product.floats, row: bias.floats, rows: rows, columns: outputs)
    return Tape.record(y, from: x, weight, bias) { gradient in
        let inner = Tensor(uninitialized: product.shape)
        kernels.addRowGELUGradient(inner.floats, outputGradient: gradient.floats, product.floats, row: bias.floats, rows: rows, columns: outputs)
        linearGradient(inner, x: x, weight: weight)
        bias.node?.withZeroedGradient { kernels.accumulateColumnSums($0, inner.floats, rows: rows, columns: outputs) }
    }
}

/// The product of two matrices, or of two equally long stacks of matrices.
///
/// - Parameters:
///   - a: [M, K] or [..., M, K]; [.., K, M] when `transposeA`.
///   - b: [K, N] or [..., K, N]; [.., N, K] when `transposeB`. A single matrix serves every matrix of a stack `a`.
/// - Returns: [..., M, N].
/// - Complexity: 2 M N K flops a matrix forward, twice that backward.
public func matmul(_ a: Tensor, _ b: Tensor, transposeA: Bool = false, transposeB: Bool = false) -> Tensor {
    precondition(a.shape.rank >= 2 && b.shape.rank >= 2, "matmul: \(a.shape) and \(b.shape) are not both matrices")
    let (m, k) = transposeA ? (a.shape[-1], a.shape[-2]) : (a.shape[-2], a.shape[-1])
    let (k2, n) = transposeB ? (b.shape[-1], b.shape[-2]) : (b.shape[-2], b.shape[-1])
    let batches = a.shape.count(from: 0, to: a.shape.rank - 2)
    let batchesB = b.shape.count(from: 0, to: b.shape.rank - 2)
    precondition(k == k2 && (batchesB == batches || batchesB == 1), "matmul: \(a.shape) and \(b.shape) do not fit")
    var shape = a.shape
    shape[-2] = m
    shape[-1] = n
    let (stepA, stepB, stepC) = (m * k, batchesB == 1 ? 0 : k * n, m * n)
    let (leadingA, leadingB) = (a.shape[-1], b.shape[-1])
    let (opA, opB): (Transposition, Transposition) = (transposeA ? .transposed : .none, transposeB ? .transposed : .none)
    let c = Tensor(uninitialized: shape)
    for i in 0..<batches {
        multiplyMatrices(
            c.floats + i * stepC, leadingC: n, a.floats + i * stepA, opA, leadingA: leadingA, b.floats + i * stepB, opB, leadingB: leadingB, m: m, n: n, k: k)
    }
    return Tape.record(c, from: a, b) { gradient in
        a.node?.withGradient { target, accumulate in
            let beta: Float = accumulate ? 1 : 0
            for i in 0..<batches {
                let (g, bi) = (gradient.floats + i * stepC, b.floats + i * stepB)
                if transposeA {  // dA^T = B G^T
                    multiplyMatrices(
                        target + i * stepA, leadingC: leadingA, bi, transposeB ? .transposed : .none, leadingA: leadingB, g, .transposed, leadingB: n, m: k,
                        n: m, k: n, beta: beta)
                } else {
                    multiplyMatrices(
                        target + i * stepA, leadingC: leadingA, g, leadingA: n, bi, transposeB ? .none : .transposed, leadingB: leadingB, m: m, n: k, k: n,
                        beta: beta)
                }
            }
        }
        b.node?.withGradient { target, accumulate in
            for i in 0..<batches {
                let beta: Float = accumulate || (batchesB == 1 && i > 0) ? 1 : 0
                let (g, ai) = (gradient.floats + i * stepC, a.floats + i * stepA)
                if transposeB {  // dB^T = G^T A
                    multiplyMatrices(
                        target + i * stepB, leadingC: leadingB, g, .transposed, leadingA: n, ai, opA, leadingB: leadingA, m: n, n: k, k: m, beta: beta)
                } else {
                    multiplyMatrices(
                        target + i * stepB, leadingC: leadingB, ai, transposeA ? .none : .transposed, leadingA: leadingA, g, leadingB: n, m: k, n: n, k: m,
                        beta: beta)
                }
            }
        }
    }
}

// Rows of sequences and steps in another order.
//
// Legend: B sequences, T steps.

import Kernels
import Tensors

/// The kernels of this machine's instruction set.
let kernels: any KernelSet = Kernels.active

/// Rows (i, j) of `outer` x `inner` to rows (j, i): [B, T, ...] to [T, B, ...] and back. Shares storage where both are the same order.
func reordered(_ x: Tensor, _ shape: Shape, from outer: Int, _ inner: Int) -> Tensor {
    if outer == 1 || inner == 1 { return x.viewed(as: shape) }
    let result = Tensor(uninitialized: shape)
    let columns = x.shape[-1]
    let (source, target) = (x.floats, result.floats)
    Workers.parallel(inner, minimum: max(1, (1 << 15) / max(1, outer * columns))) { range in
        for j in range {
            for i in 0..<outer { (target + (j * outer + i) * columns).update(from: source + (i * inner + j) * columns, count: columns) }
        }
    }
    return result
}

/// Copies rows that lie close together to rows `stride` apart; `nil` is zeros.
func copyRows(_ source: Tensor?, to target: UnsafeMutablePointer<Float>, stride: Int, rows: Int, _ width: Int) {
    for row in 0..<rows {
        if let source {
            (target + row * stride).update(from: source.floats + row * width, count: width)
        } else {
            (target + row * stride).update(repeating: 0, count: width)
        }
    }
}

/// The same values for each of B sequences: [...] to [B, ...], on the tape.
func repeated(_ x: Tensor, _ batch: Int) -> Tensor {
    let result = Tensor(uninitialized: Shape([batch] + (0..<x.shape.rank).map { x.shape[$0] }))
    for b in 0..<batch { (result.floats + b * x.count).update(from: x.floats, count: x.count) }
    return Operation("repeat").record(result, from: x) { [node = x.node, count = x.count] gradient in
        node?.withZeroedGradient { kernels.accumulateColumnSums($0, gradient.elements, rows: batch, columns: count) }
    }
}

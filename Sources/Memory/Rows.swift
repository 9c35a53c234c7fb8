// What memories share: the kernels, and values that all sequences begin with.
//
// Legend: B sequences.

import Kernels
import Tensors

/// The kernels of this machine's instruction set.
let kernels: any KernelSet = Kernels.active

/// The same values for each of B sequences: [...] to [B, ...], on the tape.
func repeated(_ x: Tensor, _ batch: Int) -> Tensor {
    let result = Tensor(uninitialized: Shape([batch] + (0..<x.shape.rank).map { x.shape[$0] }))
    for b in 0..<batch { (result.floats + b * x.count).update(from: x.floats, count: x.count) }
    return Operation("repeat").record(result, from: x) { [node = x.node, count = x.count] gradient in
        node?.withZeroedGradient { kernels.accumulateColumnSums($0, gradient.elements, rows: batch, columns: count) }
    }
}

// Memories between the form that people see and the one that kernels want, and pictures of weights over time.
//
// Legend: B sequences, N rows, W their width, S their stride (N rounded up to 16), A heads, T steps.

import Kernels
import NeuralNetworks
import Tensors

/// [B, N, W] to [B, W, S], with zeros behind the rows.
func storeByColumns(_ memories: Tensor, into target: UnsafeMutablePointer<Float>, _ shape: AddressedMemoryShape) {
    for b in 0..<memories.shape[0] {
        let (source, memory) = (memories.floats + b * shape.rows * shape.width, target + b * shape.count)
        for w in 0..<shape.width {
            let column = memory + w * shape.stride
            for i in 0..<shape.rows { column[i] = source[i * shape.width + w] }
            for i in shape.rows..<shape.stride { column[i] = 0 }
        }
    }
}

/// [B, W, S] to [B, N, W].
func memoriesByRows(_ source: UnsafePointer<Float>, batch: Int, _ shape: AddressedMemoryShape) -> Tensor {
    let memories = Tensor(uninitialized: [batch, shape.rows, shape.width])
    for b in 0..<batch {
        let (memory, target) = (source + b * shape.count, memories.floats + b * shape.rows * shape.width)
        for i in 0..<shape.rows {
            for w in 0..<shape.width { target[i * shape.width + w] = memory[w * shape.stride + i] }
        }
    }
    return memories
}

/// The weights of the first sequence over time, for a trace.
final class WeightPicture {
    private let heads: Int
    private let rows: Int
    private let steps: Int
    /// [A, N, T].
    private var values: [Float]

    init(heads: Int, rows: Int, steps: Int) {
        (self.heads, self.rows, self.steps) = (heads, rows, steps)
        values = [Float](repeating: 0, count: heads * rows * steps)
    }

    /// Takes the weights of step t, rows of N that lie `stride` apart.
    func record(_ t: Int, _ weights: UnsafePointer<Float>, stride: Int) {
        for head in 0..<heads {
            for i in 0..<rows { values[(head * rows + i) * steps + t] = weights[head * stride + i] }
        }
    }

    /// Adds a picture for each head.
    func show(_ trace: MemoryTrace, names: [String]) {
        for (head, name) in names.enumerated() {
            trace.record(
                name, rowAxis: "row", columnAxis: "step", rows: rows, columns: steps,
                values: Array(values[head * rows * steps..<(head + 1) * rows * steps]))
        }
    }
}

// Pictures of a memory's weights over time.
//
// Legend: N rows, A heads, T steps.

import NeuralNetworks

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

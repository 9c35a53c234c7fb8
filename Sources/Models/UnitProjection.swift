// Vectors of length 1 from hidden states: queries, and keys of the same kind.
//
// Legend: n positions, D width, W width of keys.

import NeuralNetworks
import Tensors

/// A linear map of hidden states to vectors of length 1.
struct UnitProjection {
    private let map: Linear
    /// What brings vectors whose mean square is 1 to length 1, [W].
    private let gain: Tensor

    /// Declares `path.weight`, uniform within 1 / sqrt(D).
    init(_ store: ParameterStore, _ path: String, inputs: Int, outputs: Int) {
        let uniform = Initializer.uniform(bound: 1 / Float(inputs).squareRoot())
        map = Linear(store, path, inputs: inputs, outputs: outputs, initializer: uniform, hasBias: false)
        gain = Tensor([Float](repeating: 1 / Float(outputs).squareRoot(), count: outputs), [outputs])
    }

    /// Hidden states [.., D] at n positions of all to vectors: float32 [n, W], of length 1.
    func callAsFunction(_ hidden: Tensor, at positions: [Int], _ pass: ForwardPass) -> Tensor { unit(map(hidden.gatheredRows(positions), pass)) }

    /// Vectors [n, W] brought to length 1, float32.
    func unit(_ vectors: Tensor) -> Tensor { rmsNorm(vectors, gain: gain, epsilon: 1e-12, outputType: .float32) }
}

extension Tensor {
    /// Rows [.., D] by their numbers, on the tape, in the type that they have: [n, D].
    func gatheredRows(_ indices: [Int]) -> Tensor {
        let width = shape.columns
        let table = convert(self, to: .float32).reshaped(to: [count / width, width])
        return convert(embedding(table, Tensor(indices.map { Int32($0) }, [indices.count])), to: dataType)
    }

    /// The last position of each of n texts of U tokens, int32 [n, U], among all.
    var lastPositions: [Int] { (0..<shape[0]).map { ($0 + 1) * shape[1] - 1 } }
}

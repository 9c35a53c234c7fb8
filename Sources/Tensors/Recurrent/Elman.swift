// The simple recurrent network over a whole sequence as one operation (Elman 1990).
//
// Legend: B sequences, T steps, I input width, H width.

import Kernels

/// All steps of an Elman layer: h[t] = tanh(W x[t] + U h[t-1] + b).
///
/// - Parameters:
///   - x: [B, T, I], float32 or bfloat16.
///   - hidden: h[-1], [B, H]; `nil` is zeros.
///   - inputWeight: W, [H, I], of x's type.
///   - hiddenWeight: U, [H, H], of x's type.
///   - bias: b, [H], float32.
///   - stateMask: [B, H], float32: U reads h[t-1] times it; `nil` is ones. No gradient.
/// - Returns: the outputs in x's type. Sums and their tanh are float32 for both types.
/// - Complexity: 2 T B H (I + H) flops forward, twice that backward; keeps T B H float32 values, and the inputs and outputs once more.
public func elman(
    _ x: Tensor, hidden: Tensor? = nil, inputWeight: Tensor, hiddenWeight: Tensor, bias: Tensor, stateMask: Tensor? = nil
) -> RecurrentOutput {
    let layer = SingleBiasLayer(
        "elman", gatesPerUnit: 1, x: x, hidden: hidden, inputWeight: inputWeight, hiddenWeight: hiddenWeight, bias: bias, stateMask: stateMask)
    let sequence = ElmanSequence(layer)
    return layer.recorded(sequence.run()) { sequence.accumulateGradients($0) }
}

/// What the two passes of an Elman layer share.
private final class ElmanSequence {
    private let layer: SingleBiasLayer
    private var shape: RecurrentShape { layer.shape }

    /// [T B, I].
    private let timeMajorX: Tensor
    /// [T B, H]: h of every step, float32.
    private let values: Tensor
    /// [(T + 1) B, H], from h[-1] on, of x's type, times the mask.
    private let states: Tensor

    init(_ layer: SingleBiasLayer) {
        self.layer = layer
        let shape = layer.shape
        timeMajorX = shape.timeMajor(layer.x)
        values = shape.inputProducts(timeMajorX, layer.inputWeight, bias: layer.bias)
        states = shape.states(startingWith: layer.hidden, shape.type)
        layer.mask?.apply(to: states.bytes)
    }

    /// The outputs, [B, T, H].
    func run() -> Tensor {
        let (batch, width, type) = (shape.batch, shape.width, shape.type)
        let weight = PackedMatrix(MatrixOperand(layer.hiddenWeight, .transposed), rows: batch, k: width, n: width, isAdding: true, uses: shape.steps)
        let outputs = Tensor(uninitialized: [batch, shape.steps, width], type)
        let (v, h) = (values.floats, states.bytes)
        let stateBytes = width * type.byteCount
        for step in 0..<shape.steps {
            let first = step * batch
            if step > 0 || layer.hidden != nil { weight.multiply(into: v + first * width, h + first * stateBytes) }
            shape.forRows { rows in
                for b in rows {
                    let row = v + (first + b) * width
                    let state = h + (first + batch + b) * stateBytes
                    kernels.unary(.hyperbolicTangent, row, row, width)
                    kernels.convert(Elements(state, type), Elements(row), width)
                    (outputs.bytes + (b * shape.steps + step) * stateBytes).copyMemory(from: state, byteCount: stateBytes)
                }
            }
            layer.mask?.apply(to: h + (first + batch) * stateBytes)
        }
        return outputs
    }

    /// Backpropagation through time, from the gradient of the outputs.
    func accumulateGradients(_ outputGradient: Tensor) {
        let (batch, width, type) = (shape.batch, shape.width, shape.type)
        let weight = PackedMatrix(MatrixOperand(layer.hiddenWeight), rows: batch, k: width, n: width, isAdding: false, uses: shape.steps)
        let sumGradient = Tensor(zeros: [shape.rows, width])
        let operand = type == .float32 ? sumGradient : Tensor(uninitialized: [shape.rows, width], type)
        let hiddenGradient = Tensor(zeros: [batch, width])
        let (v, dh, sums) = (values.floats, hiddenGradient.floats, sumGradient.floats)
        for step in (0..<shape.steps).reversed() {
            let first = step * batch
            shape.forRows { rows in
                for b in rows {
                    let (row, outputRow) = ((first + b) * width, (b * shape.steps + step) * width)
                    let total = dh + b * width
                    kernels.add(Elements(total), Elements(total), outputGradient.elements + outputRow, width)
                    kernels.unaryGradient(.hyperbolicTangent, sums + row, outputGradient: total, input: v + row, output: v + row, width)
                    kernels.convert(operand.elements + row, Elements(sums + row), width)
                }
            }
            if step > 0 || layer.hidden?.node != nil {
                weight.multiply(into: dh, operand.bytes + first * width * type.byteCount)
                if let mask = layer.mask { kernels.multiply(dh, dh, mask.values.floats, batch * width) }
            }
        }
        shape.accumulateInputGradients(operand, x: layer.x, timeMajorX: timeMajorX, weight: layer.inputWeight)
        shape.accumulateHiddenGradient(operand, states: states, startsAtZero: layer.hidden == nil, weight: layer.hiddenWeight)
        if let node = layer.bias.node { accumulateColumnSums(operand, into: node) }
        layer.hidden?.node?.accumulate(hiddenGradient)
    }
}

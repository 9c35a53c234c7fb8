// Long short-term memory over a whole sequence as one operation (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).
//
// Legend: B sequences, T steps, I input width, H width.

import Kernels

/// All steps of an LSTM layer: with (i, f, g, o) = W x[t] + U h[t-1] + b,
/// c[t] = sigmoid(f) c[t-1] + sigmoid(i) tanh(g) and h[t] = sigmoid(o) tanh(c[t]).
///
/// The products of the input are one product over all steps; a step is one product of B rows and one pass over its gates. Backwards a step is one
/// pass and one product, and the gradients of the weights are one product each over all steps. No step allocates memory.
///
/// - Parameters:
///   - x: [B, T, I], float32 or bfloat16.
///   - hidden: h[-1], [B, H]; `nil` is zeros.
///   - cell: c[-1], [B, H], float32; `nil` is zeros.
///   - inputWeight: W, [4 H, I], of x's type; gates in the order i, f, g, o, as PyTorch has them.
///   - hiddenWeight: U, [4 H, H], of x's type.
///   - bias: b, [4 H], float32.
///   - stateMask: [B, H], float32: U reads h[t-1] times it; `nil` is ones. No gradient.
/// - Returns: the outputs in x's type, and the last cell. Gates and cells are float32 for both types.
/// - Complexity: 8 T B H (I + H) flops forward, twice that backward; keeps 5 T B H float32 values, and the inputs and outputs once more.
public func lstm(
    _ x: Tensor, hidden: Tensor? = nil, cell: Tensor? = nil, inputWeight: Tensor, hiddenWeight: Tensor, bias: Tensor, stateMask: Tensor? = nil
) -> RecurrentOutput {
    let shape = RecurrentShape(
        "lstm", gatesPerUnit: 4, x: x, hidden: hidden, cell: cell, inputWeight: inputWeight, hiddenWeight: hiddenWeight, biases: [bias],
        stateMask: stateMask)
    let sequence = LSTMSequence(
        shape, x: x, hidden: hidden, cell: cell, inputWeight: inputWeight, hiddenWeight: hiddenWeight, bias: bias, stateMask: stateMask)
    let outputs = sequence.run()
    let result = Operation("LSTM").record(outputs, from: [x, inputWeight, hiddenWeight, bias] + [hidden, cell].compactMap { $0 }) {
        sequence.accumulateGradients($0)
    }
    let lastCell = sequence.cells.viewed(as: [shape.batch, shape.width], offset: shape.rows * shape.width)
    // The last cell's gradient waits until the sequence runs backwards, which it does when its outputs have a gradient.
    return RecurrentOutput(
        outputs: result,
        cell: Operation("LSTM state").record(lastCell, from: result) { gradient in
            sequence.lastCellGradient = gradient
            result.node?.withZeroedGradient { _ in }
        })
}

/// What the two passes of an LSTM layer share.
private final class LSTMSequence {
    private let shape: RecurrentShape
    private let x: Tensor
    private let hidden: Tensor?
    private let cell: Tensor?
    private let inputWeight: Tensor
    private let hiddenWeight: Tensor
    private let bias: Tensor
    private let mask: StateMask?

    /// [T B, I].
    private let timeMajorX: Tensor
    /// [T B, 4 H]: i, f, g, o after their functions.
    private let gates: Tensor
    /// [(T + 1) B, H], from h[-1] on, of x's type, times the mask.
    private let states: Tensor
    /// [(T + 1) B, H], from c[-1] on.
    let cells: Tensor
    /// [B, H]: of c[T - 1].
    var lastCellGradient: Tensor?

    init(
        _ shape: RecurrentShape, x: Tensor, hidden: Tensor?, cell: Tensor?, inputWeight: Tensor, hiddenWeight: Tensor, bias: Tensor,
        stateMask: Tensor?
    ) {
        (self.shape, self.x, self.hidden, self.cell) = (shape, x, hidden, cell)
        (self.inputWeight, self.hiddenWeight, self.bias) = (inputWeight, hiddenWeight, bias)
        timeMajorX = shape.timeMajor(x)
        gates = shape.inputProducts(timeMajorX, inputWeight, bias: bias)
        mask = StateMask(stateMask, shape.type)
        states = shape.states(startingWith: hidden, shape.type)
        mask?.apply(to: states.bytes)
        cells = shape.states(startingWith: cell, .float32)
    }

    /// The outputs, [B, T, H].
    func run() -> Tensor {
        let (batch, width, type) = (shape.batch, shape.width, shape.type)
        let weight = PackedMatrix(
            MatrixOperand(hiddenWeight, .transposed), rows: batch, k: width, n: shape.gates, isAdding: true, uses: shape.steps)
        let outputs = Tensor(uninitialized: [batch, shape.steps, width], type)
        let (g, h, c) = (gates.floats, states.bytes, cells.floats)
        let stateBytes = width * type.byteCount
        for step in 0..<shape.steps {
            let first = step * batch
            if step > 0 || hidden != nil { weight.multiply(into: g + first * shape.gates, h + first * stateBytes) }
            shape.forRows { rows in
                for b in rows {
                    let (row, next) = (first + b, first + batch + b)
                    let target = h + next * stateBytes
                    kernels.lstmCell(
                        Elements(target, type), cell: c + next * width, gates: g + row * shape.gates, previousCell: c + row * width, width)
                    (outputs.bytes + (b * shape.steps + step) * stateBytes).copyMemory(from: target, byteCount: stateBytes)
                }
            }
            mask?.apply(to: h + (first + batch) * stateBytes)
        }
        return outputs
    }

    /// Backpropagation through time, from the gradient of the outputs.
    func accumulateGradients(_ outputGradient: Tensor) {
        let (batch, width, type) = (shape.batch, shape.width, shape.type)
        let weight = PackedMatrix(MatrixOperand(hiddenWeight), rows: batch, k: shape.gates, n: width, isAdding: false, uses: shape.steps)
        // In float32 the gradients of the gates take the place of the gates.
        let gateGradient = type == .float32 ? gates : Tensor(uninitialized: [shape.rows, shape.gates], type)
        let hiddenGradient = Tensor(zeros: [batch, width])
        let cellGradient = lastCellGradient?.copied() ?? Tensor(zeros: [batch, width])
        let (g, c, dh, dc) = (gates.floats, cells.floats, hiddenGradient.floats, cellGradient.floats)
        for step in (0..<shape.steps).reversed() {
            let first = step * batch
            shape.forRows { rows in
                for b in rows {
                    let (row, next) = (first + b, first + batch + b)
                    let (gateRow, outputRow) = (row * shape.gates, (b * shape.steps + step) * width)
                    kernels.lstmCellGradient(
                        gateGradient.elements + gateRow, cellGradient: dc + b * width, gates: g + gateRow, cell: c + next * width,
                        previousCell: c + row * width, outputGradient: outputGradient.elements + outputRow, hiddenGradient: dh + b * width, width)
                }
            }
            if step > 0 || hidden?.node != nil {
                weight.multiply(into: dh, gateGradient.bytes + first * shape.gates * type.byteCount)
                if let mask { kernels.multiply(dh, dh, mask.values.floats, batch * width) }
            }
        }
        shape.accumulateInputGradients(gateGradient, x: x, timeMajorX: timeMajorX, weight: inputWeight)
        shape.accumulateHiddenGradient(gateGradient, states: states, startsAtZero: hidden == nil, weight: hiddenWeight)
        if let node = bias.node { accumulateColumnSums(gateGradient, into: node) }
        hidden?.node?.accumulate(hiddenGradient)
        cell?.node?.accumulate(cellGradient)
    }
}

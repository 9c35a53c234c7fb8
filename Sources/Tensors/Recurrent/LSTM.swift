// Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).
//
// Legend: B sequences, T steps, I input width, H width, D what else a step reads.

import Kernels

/// All steps of an LSTM layer: with (i, f, g, o) = W x[t] + U h[t-1] + b,
/// c[t] = sigmoid(f) c[t-1] + sigmoid(i) tanh(g) and h[t] = sigmoid(o) tanh(c[t]).
///
/// The products of the input are one product over all steps; a step is one product of B rows and one pass over its gates. Backwards a step is one
/// pass and one product, and the gradients of the weights are one product each over all steps. No step allocates memory.
///
/// - Parameters:
///   - x: [B, T, I], float32 or bfloat16.
///   - state: `hidden` and `cell`, [B, H] each; a missing one is zeros.
///   - inputWeight: W, [4 H, I], of x's type; gates in the order i, f, g, o, as PyTorch has them.
///   - hiddenWeight: U, [4 H, H], of x's type.
///   - bias: b, [4 H], float32.
///   - stateMask: [B, H], float32: U reads h[t-1] times it; `nil` is ones. No gradient.
/// - Returns: h of every step, [B, T, H], in x's type, and `hidden` and `cell` after the last one, float32. Gates and cells are float32 for both types.
/// - Complexity: 8 T B H (I + H) flops forward, twice that backward; keeps 5 T B H float32 values, and the inputs and outputs once more.
public func lstm(
    _ x: Tensor, from state: CellState = [:], inputWeight: Tensor, hiddenWeight: Tensor, bias: Tensor, stateMask: Tensor? = nil
) -> (outputs: Tensor, state: CellState) {
    scan(
        LSTMLayer(
            RecurrentInputs(x: x, inputWeight: inputWeight, recurrentWeight: hiddenWeight, bias: bias, state: state, stateMask: stateMask),
            batch: x.shape[0], steps: x.shape[1]))
}

/// An LSTM layer at work. Values of a step: i, f, g, o after their functions.
package final class LSTMLayer: RecurrentLayer {
    /// [(T + 1) B, H], from c[-1] on.
    private let cells: Tensor
    private let packed: PackedMatrix
    private var packedGradient: PackedMatrix?
    /// [T B, 4 H], of x's type: of the sums. In float32 it takes the place of the values.
    private var gateGradient: Tensor?
    /// [B, H].
    private var cellGradient: Tensor?

    package init(_ given: RecurrentInputs, batch: Int, steps: Int) {
        cells = Tensor(uninitialized: [(steps + 1) * batch, given.recurrentWeight.shape[0] / 4])
        packed = PackedMatrix(
            MatrixOperand(given.recurrentWeight, .transposed), rows: batch, k: given.recurrentWeight.shape[1], n: given.recurrentWeight.shape[0],
            isAdding: true, uses: steps)
        super.init("LSTM", gatesPerUnit: 4, given, batch: batch, steps: steps)
        placeInitial(given.state["cell"], in: cells)
    }

    package override var state: [StatePart] { super.state + [StatePart("cell", [width])] }

    @inline(__always)
    private func cell(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { cells.floats + (t * batch + b) * width }

    package override func step(_ t: Int, into outputs: StepRows) {
        if readsOperands(t) { packed.multiply(into: values(t, 0), operand(t, 0).address) }
        forRows { rows in
            for b in rows {
                kernels.lstmCell(outputs[b], cell: cell(t + 1, b), gates: values(t, b), previousCell: cell(t, b), width)
                kernels.convert(nextHidden(t, b), outputs[b], width)
            }
        }
        mask?.apply(to: nextHidden(t, 0).address)
    }

    override func lastState(hidden: Tensor) -> CellState {
        ["hidden": hidden, "cell": cells.viewed(as: [batch, width], offset: steps * batch * width).copied()]
    }

    package override func startBackward(_ lastState: CellState) {
        super.startBackward(lastState)
        packedGradient = packedBackward(isAdding: false)
        gateGradient = type == .float32 ? values : Tensor(uninitialized: [steps * batch, gates], type)
        cellGradient = lastState["cell"]?.copied() ?? Tensor(zeros: [batch, width])
    }

    package override func stepBackward(_ t: Int, from outputs: StepRows) {
        guard let packedGradient, let gateGradient, let cellGradient else { preconditionFailure("the backward pass has not started") }
        forRows { rows in
            for b in rows {
                kernels.lstmCellGradient(
                    gateGradient.elements + (t * batch + b) * gates, cellGradient: cellGradient.floats + b * width, gates: values(t, b),
                    cell: cell(t + 1, b), previousCell: cell(t, b), outputGradient: outputs[b], hiddenGradient: hiddenGradient(b), width)
            }
        }
        guard wantsOperandGradient(t) else { return }
        packedGradient.multiply(into: operandGradient(0), gateGradient.bytes + t * batch * gates * type.byteCount)
        if let mask { kernels.multiply(operandGradient(0), operandGradient(0), mask.values.floats, batch * width) }
    }

    override func finishWeights() {
        guard let gateGradient else { return }
        accumulateInput(gateGradient)
        accumulateRecurrent(gateGradient)
        accumulateBias(gateGradient, given.bias)
        if let cellGradient { given.state["cell"]?.node?.accumulate(cellGradient) }
    }
}

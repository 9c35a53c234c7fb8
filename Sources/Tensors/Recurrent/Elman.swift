// The simple recurrent network (Elman 1990).
//
// Legend: B sequences, T steps, I input width, H width, D what else a step reads.

import Kernels

/// All steps of an Elman layer: h[t] = tanh(W x[t] + U h[t-1] + b).
///
/// - Parameters:
///   - x: [B, T, I], float32 or bfloat16.
///   - state: `hidden`, [B, H]; missing, it is zeros.
///   - inputWeight: W, [H, I], of x's type.
///   - hiddenWeight: U, [H, H], of x's type.
///   - bias: b, [H], float32.
///   - stateMask: [B, H], float32: U reads h[t-1] times it; `nil` is ones. No gradient.
/// - Returns: h of every step, [B, T, H], in x's type, and `hidden` after the last one, float32. Sums and their tanh are float32 for both types.
/// - Complexity: 2 T B H (I + H) flops forward, twice that backward; keeps T B H float32 values, and the inputs and outputs once more.
public func elman(
    _ x: Tensor, from state: CellState = [:], inputWeight: Tensor, hiddenWeight: Tensor, bias: Tensor, stateMask: Tensor? = nil
) -> (outputs: Tensor, state: CellState) {
    scan(
        ElmanLayer(
            RecurrentInputs(x: x, inputWeight: inputWeight, recurrentWeight: hiddenWeight, bias: bias, state: state, stateMask: stateMask),
            batch: x.shape[0], steps: x.shape[1]))
}

/// A layer of one function of a sum at work, with a hidden state or without. Values of a step: f of the sums.
package final class ElmanLayer: RecurrentLayer {
    private let function: UnaryFunction
    private let packed: PackedMatrix
    private var packedGradient: PackedMatrix?
    /// [T B, H], of x's type: of the sums. In float32 it takes the place of the values.
    private var sumGradient: Tensor?
    /// [B, 2 H].
    private let scratch: Tensor

    /// - Parameter function: f, tanh or the rectifier.
    package init(_ given: RecurrentInputs, function: UnaryFunction = .hyperbolicTangent, batch: Int, steps: Int) {
        self.function = function
        packed = PackedMatrix(
            MatrixOperand(given.recurrentWeight, .transposed), rows: batch, k: given.recurrentWeight.shape[1], n: given.recurrentWeight.shape[0],
            isAdding: true, uses: steps)
        scratch = Tensor(uninitialized: [batch, 2 * given.recurrentWeight.shape[0]])
        super.init("Elman", gatesPerUnit: 1, given, batch: batch, steps: steps)
    }

    package override func step(_ t: Int, into outputs: StepRows) {
        if readsOperands(t) { packed.multiply(into: values(t, 0), operand(t, 0).address) }
        forRows { rows in
            for b in rows {
                let (value, output) = (values(t, b), outputs[b])
                kernels.unary(function, value, value, width)
                kernels.convert(output, Elements(value), width)
                if given.hasHiddenState { kernels.convert(nextHidden(t, b), output, width) }
            }
        }
        if given.hasHiddenState { mask?.apply(to: nextHidden(t, 0).address) }
    }

    override func lastState(hidden: Tensor) -> CellState { given.hasHiddenState ? super.lastState(hidden: hidden) : [:] }

    package override func startBackward(_ lastState: CellState) {
        super.startBackward(lastState)
        packedGradient = packedBackward(isAdding: false)
        sumGradient = type == .float32 ? values : Tensor(uninitialized: [steps * batch, width], type)
    }

    package override func stepBackward(_ t: Int, from outputs: StepRows) {
        guard let packedGradient, let sumGradient else { preconditionFailure("the backward pass has not started") }
        forRows { rows in
            for b in rows {
                let (value, total) = (values(t, b), scratch.floats + b * 2 * width)
                kernels.convert(Elements(total), outputs[b], width)
                if given.hasHiddenState { kernels.add(Elements(total), Elements(total), Elements(hiddenGradient(b)), width) }
                let result = total + width
                if function == .rectifier {
                    kernels.rectifierGradient(Elements(result), outputGradient: Elements(total), output: Elements(value), width)
                } else {
                    kernels.fill(result, 0, width)
                    kernels.unaryGradient(function, result, outputGradient: total, input: value, output: value, width)
                }
                kernels.convert(sumGradient.elements + (t * batch + b) * width, Elements(result), width)
            }
        }
        guard wantsOperandGradient(t) else { return }
        packedGradient.multiply(into: operandGradient(0), sumGradient.bytes + t * batch * width * type.byteCount)
        if let mask { kernels.multiply(operandGradient(0), operandGradient(0), mask.values.floats, batch * width) }
    }

    override func finishWeights() {
        guard let sumGradient else { return }
        accumulateInput(sumGradient)
        accumulateRecurrent(sumGradient)
        accumulateBias(sumGradient, given.bias)
    }
}

// The gated recurrent unit (Cho et al. 2014), with the reset gate behind the product as in cuDNN and PyTorch.
//
// Legend: B sequences, T steps, I input width, H width.

import Kernels

/// All steps of a GRU layer: with (r, z, n) = W x[t] + b and (r', z', n') = U h[t-1] + d,
/// h[t] = (1 - u) tanh(n + sigmoid(r + r') n') + u h[t-1], u = sigmoid(z + z').
///
/// - Parameters:
///   - x: [B, T, I], float32 or bfloat16.
///   - state: `hidden`, [B, H]; missing, it is zeros.
///   - inputWeight: W, [3 H, I], of x's type; gates in the order r, z, n, as PyTorch has them.
///   - hiddenWeight: U, [3 H, H], of x's type.
///   - inputBias: b, [3 H], float32.
///   - hiddenBias: d, [3 H], float32.
///   - stateMask: [B, H], float32: U reads h[t-1] times it; `nil` is ones. No gradient.
/// - Returns: h of every step, [B, T, H], in x's type, and `hidden` after the last one, float32. Gates and states are float32 for both types.
/// - Complexity: 6 T B H (I + H) flops forward, twice that backward; keeps 5 T B H float32 values, and the inputs and outputs once more.
public func gru(
    _ x: Tensor, from state: CellState = [:], inputWeight: Tensor, hiddenWeight: Tensor, inputBias: Tensor, hiddenBias: Tensor,
    stateMask: Tensor? = nil
) -> (outputs: Tensor, state: CellState) {
    scan(
        GRULayer(
            RecurrentInputs(x: x, inputWeight: inputWeight, recurrentWeight: hiddenWeight, bias: inputBias, state: state, stateMask: stateMask),
            hiddenBias: hiddenBias, batch: x.shape[0], steps: x.shape[1]))
}

/// A GRU layer at work. Values of a step: r, z, n after their functions.
final class GRULayer: RecurrentLayer {
    private let hiddenBias: Tensor
    /// [T B, H]: n' of every step.
    private let candidateProducts: Tensor
    /// [(T + 1) B, H], float32, from h[-1] on. The operands are these in x's type, times the mask.
    private let states: Tensor
    /// [B, 3 H].
    private let products: Tensor
    private let packed: PackedMatrix
    private var packedGradient: PackedMatrix?
    /// [T B, 3 H], of x's type: of the input's sums, which in float32 takes the place of the values, and of the state's.
    private var inputGradient: Tensor?
    private var productGradient: Tensor?
    /// [B, H].
    private let masked: Tensor?

    init(_ given: RecurrentInputs, hiddenBias: Tensor, batch: Int, steps: Int) {
        let (gates, columns) = (given.recurrentWeight.shape[0], given.recurrentWeight.shape[1])
        self.hiddenBias = hiddenBias
        candidateProducts = Tensor(uninitialized: [steps * batch, gates / 3])
        states = Tensor(uninitialized: [(steps + 1) * batch, gates / 3])
        products = Tensor(uninitialized: [batch, gates])
        packed = PackedMatrix(
            MatrixOperand(given.recurrentWeight, .transposed), rows: batch, k: columns, n: gates, isAdding: true, uses: steps)
        masked = given.stateMask.map { Tensor(uninitialized: $0.shape) }
        super.init("GRU", gatesPerUnit: 3, given, batch: batch, steps: steps)
        operation.require(hiddenBias.count == gates, "bias \(hiddenBias.shape) does not fit weight \(given.recurrentWeight.shape)")
        placeInitial(given.state["hidden"], in: states)
    }

    override var otherInputs: [Tensor] { [hiddenBias] }

    @inline(__always)
    private func state(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { states.floats + (t * batch + b) * width }

    override func step(_ t: Int, into outputs: StepRows) {
        for b in 0..<batch { (products.floats + b * gates).update(from: hiddenBias.floats, count: gates) }
        if readsOperands(t) { packed.multiply(into: products.floats, operand(t, 0).address) }
        forRows { rows in
            for b in rows {
                let (product, next, output) = (products.floats + b * gates, state(t + 1, b), outputs[b])
                kernels.gruCell(next, gates: values(t, b), products: product, previous: state(t, b), width)
                (candidateProducts.floats + (t * batch + b) * width).update(from: product + 2 * width, count: width)
                kernels.convert(output, Elements(next), width)
                kernels.convert(nextHidden(t, b), output, width)
            }
        }
        mask?.store(state(t + 1, 0), to: nextHidden(t, 0).address)
    }

    override func startBackward(_ lastState: CellState) {
        super.startBackward(lastState)
        packedGradient = packedBackward(isAdding: mask == nil)
        inputGradient = type == .float32 ? values : Tensor(uninitialized: [steps * batch, gates], type)
        productGradient = Tensor(uninitialized: [steps * batch, gates], type)
    }

    override func stepBackward(_ t: Int, from outputs: StepRows) {
        guard let packedGradient, let inputGradient, let productGradient else { preconditionFailure("the backward pass has not started") }
        let first = t * batch
        forRows { rows in
            for b in rows {
                let (gateRow, candidateProduct) = ((first + b) * gates, candidateProducts.floats + (first + b) * width)
                kernels.gruCellGradient(
                    inputGradient.elements + gateRow, productGradient: productGradient.elements + gateRow, stateGradient: hiddenGradient(b),
                    gates: values(t, b), candidateProduct: candidateProduct, previous: state(t, b), outputGradient: outputs[b], width)
            }
        }
        guard wantsOperandGradient(t) else { return }
        let dh = operandGradient(0)
        packedGradient.multiply(into: masked?.floats ?? dh, productGradient.bytes + first * gates * type.byteCount)
        if let mask, let masked { kernels.addProduct(dh, masked.floats, mask.values.floats, batch * width) }
    }

    override func finishWeights() {
        guard let inputGradient, let productGradient else { return }
        accumulateInput(inputGradient)
        accumulateRecurrent(productGradient)
        accumulateBias(inputGradient, given.bias)
        accumulateBias(productGradient, hiddenBias)
    }
}

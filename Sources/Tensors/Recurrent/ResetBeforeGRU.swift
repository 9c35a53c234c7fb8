// The gated recurrent unit in its first form, the reset gate before the product (Cho et al. 2014, equations 5 to 8). Its weights mean something else
// than those of `gru`, where the reset gate stands behind the product.
//
// Legend: B sequences, T steps, I input width, H width.

import Kernels

/// All steps of a GRU layer: with (r, z) = sigmoid of the first two thirds of W x[t] + U h[t-1] + b, and n = tanh of the last third of
/// W x[t] + U (r h[t-1]) + b, h[t] = (1 - z) n + z h[t-1].
///
/// - Parameters:
///   - x: [B, T, I], float32 or bfloat16.
///   - state: `hidden`, [B, H]; missing, it is zeros.
///   - inputWeight: W, [3 H, I], of x's type; gates in the order r, z, n.
///   - hiddenWeight: U, [3 H, H], of x's type.
///   - bias: b, [3 H], float32.
///   - stateMask: [B, H], float32: U reads h[t-1] times it, before and behind the reset gate; `nil` is ones. No gradient.
/// - Returns: h of every step, [B, T, H], in x's type, and `hidden` after the last one, float32. Gates and states are float32 for both types.
/// - Complexity: 6 T B H (I + H) flops forward, twice that backward, in two products a step; keeps 5 T B H float32 values, and the inputs and outputs
///   once more.
public func gruResetBefore(
    _ x: Tensor, from state: CellState = [:], inputWeight: Tensor, hiddenWeight: Tensor, bias: Tensor, stateMask: Tensor? = nil
) -> (outputs: Tensor, state: CellState) {
    scan(
        ResetBeforeLayer(
            RecurrentInputs(x: x, inputWeight: inputWeight, recurrentWeight: hiddenWeight, bias: bias, state: state, stateMask: stateMask),
            batch: x.shape[0], steps: x.shape[1]))
}

/// The layer at work. Values of a step: r, z, n after their functions.
final class ResetBeforeLayer: RecurrentLayer {
    /// [(T + 1) B, H], float32, from h[-1] on. The operands are these in x's type, times the mask.
    private let states: Tensor
    /// [T B, H], of x's type: r times the operand of every step.
    private let resetOperands: Tensor
    /// [B, 2 H]: the gates' products, then the candidate's.
    private let products: Tensor
    /// [B, 3 H].
    private let scratch: Tensor
    private let packedGates: PackedMatrix
    private let packedCandidate: PackedMatrix
    private var backward: Backward?

    /// What the way back needs. The gradients of the sums: gates and candidate apart for the products of a step, together for those of all steps.
    private struct Backward {
        let packedGates: PackedMatrix
        let packedCandidate: PackedMatrix
        /// [T B, 2 H], [T B, H], [T B, 3 H], of x's type.
        let gates: Tensor
        let candidate: Tensor
        let sums: Tensor
        /// [B, H].
        let product: Tensor
    }

    init(_ given: RecurrentInputs, batch: Int, steps: Int) {
        let weight = given.recurrentWeight
        let (width, type) = (weight.shape[1], given.x?.dataType ?? .float32)
        states = Tensor(uninitialized: [(steps + 1) * batch, width])
        resetOperands = Tensor(uninitialized: [steps * batch, width], type)
        products = Tensor(zeros: [batch, 2 * width])
        scratch = Tensor(uninitialized: [batch, 3 * width])
        packedGates = PackedMatrix(MatrixOperand(weight, .transposed), rows: batch, k: width, n: 2 * width, isAdding: false, uses: steps)
        packedCandidate = PackedMatrix(
            MatrixOperand(weight, first: 2 * width * width, .transposed), rows: batch, k: width, n: width, isAdding: false, uses: steps)
        super.init("GRU (reset before)", gatesPerUnit: 3, given, batch: batch, steps: steps)
        placeInitial(given.state["hidden"], in: states)
    }

    @inline(__always)
    private func state(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { states.floats + (t * batch + b) * width }

    override func step(_ t: Int, into outputs: StepRows) {
        let (p, reset) = (products.floats, scratch.floats)
        let readsState = readsOperands(t)
        if readsState { packedGates.multiply(into: p, operand(t, 0).address) }
        forRows { rows in
            for b in rows {
                let gate = values(t, b)
                if readsState { kernels.add(Elements(gate), Elements(gate), Elements(p + b * 2 * width), 2 * width) }
                kernels.unary(.sigmoid, gate, gate, 2 * width)
                storeReset(t, b, gate, scratch: reset + b * width)
            }
        }
        if readsState { packedCandidate.multiply(into: p, resetOperands.bytes + t * batch * width * type.byteCount) }
        forRows { rows in
            for b in rows {
                let (gate, next, output) = (values(t, b), state(t + 1, b), outputs[b])
                let candidate = gate + 2 * width
                if readsState { kernels.add(Elements(candidate), Elements(candidate), Elements(p + b * width), width) }
                kernels.unary(.hyperbolicTangent, candidate, candidate, width)
                // h = n + z (h[-1] - n)
                let difference = reset + b * width
                kernels.subtract(difference, state(t, b), candidate, width)
                next.update(from: candidate, count: width)
                kernels.addProduct(next, gate + width, difference, width)
                kernels.convert(output, Elements(next), width)
                kernels.convert(nextHidden(t, b), output, width)
            }
        }
        mask?.store(state(t + 1, 0), to: nextHidden(t, 0).address)
    }

    /// Stores r times the operand of a row, rounded once.
    @inline(__always)
    private func storeReset(_ t: Int, _ b: Int, _ reset: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>) {
        let (row, operand) = ((t * batch + b) * width, operand(t, b))
        kernels.convert(Elements(scratch), operand, width)
        kernels.multiply(scratch, scratch, reset, width)
        kernels.convert(resetOperands.elements + row, Elements(scratch), width)
    }

    override func startBackward(_ lastState: CellState) {
        super.startBackward(lastState)
        let (rows, weight) = (steps * batch, given.recurrentWeight)
        backward = Backward(
            packedGates: PackedMatrix(MatrixOperand(weight), rows: batch, k: 2 * width, n: width, isAdding: false, uses: steps),
            packedCandidate: PackedMatrix(
                MatrixOperand(weight, first: 2 * width * width), rows: batch, k: width, n: width, isAdding: false, uses: steps),
            gates: Tensor(uninitialized: [rows, 2 * width], type), candidate: Tensor(uninitialized: [rows, width], type),
            sums: Tensor(uninitialized: [rows, gates], type), product: Tensor(zeros: [batch, width]))
    }

    override func stepBackward(_ t: Int, from outputs: StepRows) {
        guard let backward else { preconditionFailure("the backward pass has not started") }
        let (first, dp) = (t * batch, backward.product.floats)
        let stateBytes = width * type.byteCount
        let readsState = readsOperands(t)
        forRows { rows in
            for b in rows {
                let row = first + b
                let (update, candidate) = (values(t, b) + width, values(t, b) + 2 * width)
                let total = hiddenGradient(b)
                // [update's gradient | candidate's | work]
                let part = scratch.floats + b * 3 * width
                kernels.add(Elements(total), Elements(total), outputs[b], width)
                let work = part + 2 * width
                kernels.subtract(work, state(t, b), candidate, width)
                kernels.multiply(work, work, total, width)
                kernels.fill(part, 0, 2 * width)
                kernels.unaryGradient(.sigmoid, part, outputGradient: work, input: update, output: update, width)
                // total (1 - z) = total - total z; the second part is what goes on to h[t-1].
                kernels.multiply(work, total, update, width)
                kernels.subtract(total, total, work, width)
                kernels.unaryGradient(.hyperbolicTangent, part + width, outputGradient: total, input: candidate, output: candidate, width)
                total.update(from: work, count: width)
                store(part, to: backward.gates, row * 2 * width + width, width)
                store(part + width, to: backward.candidate, row * width, width)
                store(part, to: backward.sums, row * gates + width, 2 * width)
            }
        }
        if readsState { backward.packedCandidate.multiply(into: dp, backward.candidate.bytes + first * stateBytes) }
        forRows { rows in
            for b in rows {
                let (row, reset) = (first + b, values(t, b))
                let part = scratch.floats + b * 3 * width
                let (work, read) = (part + width, part + 2 * width)
                kernels.fill(part, 0, width)
                if readsState {
                    kernels.convert(Elements(read), operand(t, b), width)
                    kernels.multiply(work, read, dp + b * width, width)
                    kernels.unaryGradient(.sigmoid, part, outputGradient: work, input: reset, output: reset, width)
                    kernels.multiply(work, dp + b * width, reset, width)
                    addMasked(work, to: hiddenGradient(b), sequence: b)
                }
                store(part, to: backward.gates, row * 2 * width, width)
                store(part, to: backward.sums, row * gates, width)
            }
        }
        guard wantsOperandGradient(t) else { return }
        backward.packedGates.multiply(into: dp, backward.gates.bytes + first * 2 * stateBytes)
        for b in 0..<batch { addMasked(dp + b * width, to: hiddenGradient(b), sequence: b) }
    }

    /// Adds what comes back through the recurrent weight to the gradient of h[t-1], times the mask.
    @inline(__always)
    private func addMasked(_ part: UnsafePointer<Float>, to gradient: UnsafeMutablePointer<Float>, sequence: Int) {
        if let mask {
            kernels.addProduct(gradient, part, mask.values.floats + sequence * width, width)
        } else {
            kernels.add(Elements(gradient), Elements(gradient), Elements(part), width)
        }
    }

    @inline(__always)
    private func store(_ values: UnsafePointer<Float>, to target: Tensor, _ place: Int, _ count: Int) {
        kernels.convert(target.elements + place, Elements(values), count)
    }

    override func finishWeights() {
        guard let backward else { return }
        accumulateInput(backward.sums)
        // Two thirds of the recurrent weight's gradient come from the states, one from the states behind the reset gate.
        given.recurrentWeight.node?.withGradientTensor { target, accumulate in
            let beta: Float = accumulate ? 1 : 0
            multiplyMatrices(
                into: MatrixOperand(target, leading: width), MatrixOperand(backward.gates, .transposed), MatrixOperand(operands), m: 2 * width,
                n: width, k: steps * batch, beta: beta)
            multiplyMatrices(
                into: MatrixOperand(target, first: 2 * width * width, leading: width), MatrixOperand(backward.candidate, .transposed),
                MatrixOperand(resetOperands), m: width, n: width, k: steps * batch, beta: beta)
        }
        accumulateBias(backward.sums, given.bias)
    }
}

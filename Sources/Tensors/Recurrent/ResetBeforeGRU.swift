// The gated recurrent unit in its first form, the reset gate before the product (Cho et al. 2014, equations 5 to 8), over a whole sequence as one
// operation. Its weights mean something else than those of `gru`, where the reset gate stands behind the product.
//
// Legend: B sequences, T steps, I input width, H width.

import Kernels

/// All steps of a GRU layer: with (r, z) = sigmoid of the first two thirds of W x[t] + U h[t-1] + b, and n = tanh of the last third of
/// W x[t] + U (r h[t-1]) + b, h[t] = (1 - z) n + z h[t-1].
///
/// - Parameters:
///   - x: [B, T, I], float32 or bfloat16.
///   - hidden: h[-1], [B, H]; `nil` is zeros.
///   - inputWeight: W, [3 H, I], of x's type; gates in the order r, z, n.
///   - hiddenWeight: U, [3 H, H], of x's type.
///   - bias: b, [3 H], float32.
///   - stateMask: [B, H], float32: U reads h[t-1] times it, before and behind the reset gate; `nil` is ones. No gradient.
/// - Returns: the outputs in x's type. Gates and states are float32 for both types.
/// - Complexity: 6 T B H (I + H) flops forward, twice that backward, in two products a step; keeps 5 T B H float32 values, and the inputs and outputs
///   once more.
public func gruResetBefore(
    _ x: Tensor, hidden: Tensor? = nil, inputWeight: Tensor, hiddenWeight: Tensor, bias: Tensor, stateMask: Tensor? = nil
) -> RecurrentOutput {
    let layer = SingleBiasLayer(
        "gruResetBefore", gatesPerUnit: 3, x: x, hidden: hidden, inputWeight: inputWeight, hiddenWeight: hiddenWeight, bias: bias,
        stateMask: stateMask)
    let sequence = ResetBeforeSequence(layer)
    return layer.recorded(sequence.run()) { sequence.accumulateGradients($0) }
}

/// What the two passes of the layer share.
private final class ResetBeforeSequence {
    private let layer: SingleBiasLayer
    private var shape: RecurrentShape { layer.shape }

    /// [T B, I].
    private let timeMajorX: Tensor
    /// [T B, 3 H]: r, z, n after their functions.
    private let gates: Tensor
    /// [(T + 1) B, H], from h[-1] on.
    private let states: Tensor
    /// The same in x's type, times the mask.
    private let operands: Tensor
    /// [T B, H]: r times the operand of every step, of x's type.
    private let resetOperands: Tensor

    init(_ layer: SingleBiasLayer) {
        self.layer = layer
        let shape = layer.shape
        timeMajorX = shape.timeMajor(layer.x)
        gates = shape.inputProducts(timeMajorX, layer.inputWeight, bias: layer.bias)
        states = shape.states(startingWith: layer.hidden, .float32)
        operands = shape.type == .float32 && layer.mask == nil ? states : shape.states(startingWith: layer.hidden, shape.type)
        layer.mask?.apply(to: operands.bytes)
        resetOperands = Tensor(uninitialized: [shape.rows, shape.width], shape.type)
    }

    /// The outputs, [B, T, H].
    func run() -> Tensor {
        let (batch, width, type) = (shape.batch, shape.width, shape.type)
        let gateWeight = PackedMatrix(
            MatrixOperand(layer.hiddenWeight, .transposed), rows: batch, k: width, n: 2 * width, isAdding: false, uses: shape.steps)
        let candidateWeight = PackedMatrix(
            MatrixOperand(layer.hiddenWeight, first: 2 * width * width, .transposed), rows: batch, k: width, n: width, isAdding: false,
            uses: shape.steps)
        let outputs = Tensor(uninitialized: [batch, shape.steps, width], type)
        // The gates' products, then the candidate's.
        let products = Tensor(zeros: [batch, 2 * width])
        let reset = Tensor(uninitialized: [batch, width])
        let (g, h, p, rh) = (gates.floats, states.floats, products.floats, reset.floats)
        let stateBytes = width * type.byteCount
        for step in 0..<shape.steps {
            let first = step * batch
            let readsState = step > 0 || layer.hidden != nil
            if readsState { gateWeight.multiply(into: p, operands.bytes + first * stateBytes) }
            shape.forRows { rows in
                for b in rows {
                    let (row, gate) = (first + b, g + (first + b) * shape.gates)
                    if readsState { kernels.add(gate, gate, p + b * 2 * width, 2 * width) }
                    kernels.unary(.sigmoid, gate, gate, 2 * width)
                    storeReset(row, gate, scratch: rh + b * width)
                }
            }
            if readsState { candidateWeight.multiply(into: p, resetOperands.bytes + first * stateBytes) }
            shape.forRows { rows in
                for b in rows {
                    let (row, next) = (first + b, first + batch + b)
                    let gate = g + row * shape.gates
                    let candidate = gate + 2 * width
                    if readsState { kernels.add(candidate, candidate, p + b * width, width) }
                    kernels.unary(.hyperbolicTangent, candidate, candidate, width)
                    // h = n + z (h[-1] - n)
                    let difference = rh + b * width
                    kernels.subtract(difference, h + row * width, candidate, width)
                    (h + next * width).update(from: candidate, count: width)
                    kernels.addProduct(h + next * width, gate + width, difference, width)
                    let target = outputs.bytes + (b * shape.steps + step) * stateBytes
                    kernels.convert(operands.elements + next * width, Elements(h + next * width), width)
                    target.copyMemory(from: operands.bytes + next * stateBytes, byteCount: stateBytes)
                }
            }
            layer.mask?.store(h + (first + batch) * width, to: operands.bytes + (first + batch) * stateBytes)
        }
        return outputs
    }

    /// Stores r times the operand of a row, rounded once.
    @inline(__always)
    private func storeReset(_ row: Int, _ reset: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>) {
        let width = shape.width
        kernels.convert(Elements(scratch), operands.elements + row * width, width)
        kernels.multiply(scratch, scratch, reset, width)
        kernels.convert(resetOperands.elements + row * width, Elements(scratch), width)
    }

    /// Backpropagation through time, from the gradient of the outputs.
    func accumulateGradients(_ outputGradient: Tensor) {
        let (batch, width, type) = (shape.batch, shape.width, shape.type)
        let gateWeight = PackedMatrix(MatrixOperand(layer.hiddenWeight), rows: batch, k: 2 * width, n: width, isAdding: false, uses: shape.steps)
        let candidateWeight = PackedMatrix(
            MatrixOperand(layer.hiddenWeight, first: 2 * width * width), rows: batch, k: width, n: width, isAdding: false, uses: shape.steps)
        // The gradients of the sums: gates and candidate apart for the products of a step, together for those of all steps.
        let gateGradient = Tensor(uninitialized: [shape.rows, 2 * width], type)
        let candidateGradient = Tensor(uninitialized: [shape.rows, width], type)
        let sumGradient = Tensor(uninitialized: [shape.rows, shape.gates], type)
        let stateGradient = Tensor(zeros: [batch, width])
        let productGradient = Tensor(zeros: [batch, width])
        let scratch = Tensor(uninitialized: [batch, 3 * width])
        let (g, h, dh, dp) = (gates.floats, states.floats, stateGradient.floats, productGradient.floats)
        let stateBytes = width * type.byteCount
        for step in (0..<shape.steps).reversed() {
            let first = step * batch
            let readsState = step > 0 || layer.hidden != nil
            shape.forRows { rows in
                for b in rows {
                    let (row, outputRow) = (first + b, (b * shape.steps + step) * width)
                    let (update, candidate) = (g + row * shape.gates + width, g + row * shape.gates + 2 * width)
                    let total = dh + b * width
                    // [update's gradient | candidate's | work]
                    let part = scratch.floats + b * 3 * width
                    kernels.add(Elements(total), Elements(total), outputGradient.elements + outputRow, width)
                    let work = part + 2 * width
                    kernels.subtract(work, h + row * width, candidate, width)
                    kernels.multiply(work, work, total, width)
                    kernels.fill(part, 0, 2 * width)
                    kernels.unaryGradient(.sigmoid, part, outputGradient: work, input: update, output: update, width)
                    // total (1 - z) = total - total z; the second part is what goes on to h[t-1].
                    kernels.multiply(work, total, update, width)
                    kernels.subtract(total, total, work, width)
                    kernels.unaryGradient(.hyperbolicTangent, part + width, outputGradient: total, input: candidate, output: candidate, width)
                    total.update(from: work, count: width)
                    store(part, to: gateGradient, row * 2 * width + width, width)
                    store(part + width, to: candidateGradient, row * width, width)
                    store(part, to: sumGradient, row * shape.gates + width, 2 * width)
                }
            }
            if readsState { candidateWeight.multiply(into: dp, candidateGradient.bytes + first * stateBytes) }
            shape.forRows { rows in
                for b in rows {
                    let row = first + b
                    let reset = g + row * shape.gates
                    let part = scratch.floats + b * 3 * width
                    let (work, operand) = (part + width, part + 2 * width)
                    kernels.fill(part, 0, width)
                    if readsState {
                        kernels.convert(Elements(operand), operands.elements + row * width, width)
                        kernels.multiply(work, operand, dp + b * width, width)
                        kernels.unaryGradient(.sigmoid, part, outputGradient: work, input: reset, output: reset, width)
                        kernels.multiply(work, dp + b * width, reset, width)
                        addMasked(work, to: dh + b * width, sequence: b)
                    }
                    store(part, to: gateGradient, row * 2 * width, width)
                    store(part, to: sumGradient, row * shape.gates, width)
                }
            }
            if step > 0 || layer.hidden?.node != nil {
                gateWeight.multiply(into: dp, gateGradient.bytes + first * 2 * stateBytes)
                for b in 0..<batch { addMasked(dp + b * width, to: dh + b * width, sequence: b) }
            }
        }
        shape.accumulateInputGradients(sumGradient, x: layer.x, timeMajorX: timeMajorX, weight: layer.inputWeight)
        accumulateHiddenGradients(gateGradient, candidateGradient)
        if let node = layer.bias.node { accumulateColumnSums(sumGradient, into: node) }
        layer.hidden?.node?.accumulate(stateGradient)
    }

    /// Adds what comes back through the hidden weight to the gradient of h[t-1], times the mask.
    @inline(__always)
    private func addMasked(_ part: UnsafePointer<Float>, to gradient: UnsafeMutablePointer<Float>, sequence: Int) {
        if let mask = layer.mask {
            kernels.addProduct(gradient, part, mask.values.floats + sequence * shape.width, shape.width)
        } else {
            kernels.add(gradient, gradient, part, shape.width)
        }
    }

    @inline(__always)
    private func store(_ values: UnsafePointer<Float>, to target: Tensor, _ place: Int, _ count: Int) {
        kernels.convert(target.elements + place, Elements(values), count)
    }

    /// The hidden weight's gradient: two thirds from the states, one from the states behind the reset gate.
    private func accumulateHiddenGradients(_ gateGradient: Tensor, _ candidateGradient: Tensor) {
        let width = shape.width
        layer.hiddenWeight.node?.withGradientTensor { target, accumulate in
            let beta: Float = accumulate ? 1 : 0
            multiplyMatrices(
                into: MatrixOperand(target, leading: width), MatrixOperand(gateGradient, .transposed), MatrixOperand(operands), m: 2 * width,
                n: width, k: shape.rows, beta: beta)
            multiplyMatrices(
                into: MatrixOperand(target, first: 2 * width * width, leading: width), MatrixOperand(candidateGradient, .transposed),
                MatrixOperand(resetOperands), m: width, n: width, k: shape.rows, beta: beta)
        }
    }
}

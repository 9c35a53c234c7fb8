// The gated recurrent unit over a whole sequence as one operation (Cho et al. 2014, with the reset gate behind the product as in cuDNN and PyTorch).
//
// Legend: B sequences, T steps, I input width, H width.

import Kernels

/// All steps of a GRU layer: with (r, z, n) = W x[t] + b and (r', z', n') = U h[t-1] + d,
/// h[t] = (1 - u) tanh(n + sigmoid(r + r') n') + u h[t-1], u = sigmoid(z + z').
///
/// - Parameters:
///   - x: [B, T, I], float32 or bfloat16.
///   - hidden: h[-1], [B, H]; `nil` is zeros.
///   - inputWeight: W, [3 H, I], of x's type; gates in the order r, z, n, as PyTorch has them.
///   - hiddenWeight: U, [3 H, H], of x's type.
///   - inputBias: b, [3 H], float32.
///   - hiddenBias: d, [3 H], float32.
///   - stateMask: [B, H], float32: U reads h[t-1] times it; `nil` is ones. No gradient.
/// - Returns: the outputs in x's type. Gates and states are float32 for both types.
/// - Complexity: 6 T B H (I + H) flops forward, twice that backward; keeps 5 T B H float32 values, and the inputs and outputs once more.
public func gru(
    _ x: Tensor, hidden: Tensor? = nil, inputWeight: Tensor, hiddenWeight: Tensor, inputBias: Tensor, hiddenBias: Tensor,
    stateMask: Tensor? = nil
) -> RecurrentOutput {
    let shape = RecurrentShape(
        "gru", gatesPerUnit: 3, x: x, hidden: hidden, cell: nil, inputWeight: inputWeight, hiddenWeight: hiddenWeight,
        biases: [inputBias, hiddenBias], stateMask: stateMask)
    let sequence = GRUSequence(
        shape, x: x, hidden: hidden, inputWeight: inputWeight, hiddenWeight: hiddenWeight, inputBias: inputBias, hiddenBias: hiddenBias,
        stateMask: stateMask)
    let outputs = sequence.run()
    let result = Operation("GRU").record(outputs, from: [x, inputWeight, hiddenWeight, inputBias, hiddenBias] + (hidden.map { [$0] } ?? [])) {
        sequence.accumulateGradients($0)
    }
    return RecurrentOutput(outputs: result, cell: nil)
}

/// What the two passes of a GRU layer share.
private final class GRUSequence {
    private let shape: RecurrentShape
    private let x: Tensor
    private let hidden: Tensor?
    private let inputWeight: Tensor
    private let hiddenWeight: Tensor
    private let inputBias: Tensor
    private let hiddenBias: Tensor
    private let mask: StateMask?

    /// [T B, I].
    private let timeMajorX: Tensor
    /// [T B, 3 H]: r, z, n after their functions.
    private let gates: Tensor
    /// [T B, H]: n' of every step.
    private let candidateProducts: Tensor
    /// [(T + 1) B, H], from h[-1] on.
    private let states: Tensor
    /// The same in x's type, times the mask.
    private let operands: Tensor

    init(
        _ shape: RecurrentShape, x: Tensor, hidden: Tensor?, inputWeight: Tensor, hiddenWeight: Tensor, inputBias: Tensor, hiddenBias: Tensor,
        stateMask: Tensor?
    ) {
        (self.shape, self.x, self.hidden) = (shape, x, hidden)
        (self.inputWeight, self.hiddenWeight, self.inputBias, self.hiddenBias) = (inputWeight, hiddenWeight, inputBias, hiddenBias)
        timeMajorX = shape.timeMajor(x)
        gates = shape.inputProducts(timeMajorX, inputWeight, bias: inputBias)
        candidateProducts = Tensor(uninitialized: [shape.rows, shape.width])
        states = shape.states(startingWith: hidden, .float32)
        mask = StateMask(stateMask, shape.type)
        operands = shape.type == .float32 && mask == nil ? states : shape.states(startingWith: hidden, shape.type)
        mask?.apply(to: operands.bytes)
    }

    /// The outputs, [B, T, H].
    func run() -> Tensor {
        let (batch, width, type) = (shape.batch, shape.width, shape.type)
        let weight = PackedMatrix(
            MatrixOperand(hiddenWeight, .transposed), rows: batch, k: width, n: shape.gates, isAdding: true, uses: shape.steps)
        let outputs = Tensor(uninitialized: [batch, shape.steps, width], type)
        let products = Tensor(uninitialized: [batch, shape.gates])
        let (g, h, p) = (gates.floats, states.floats, products.floats)
        let stateBytes = width * type.byteCount
        for step in 0..<shape.steps {
            let first = step * batch
            for b in 0..<batch { (p + b * shape.gates).update(from: hiddenBias.floats, count: shape.gates) }
            if step > 0 || hidden != nil { weight.multiply(into: p, operands.bytes + first * stateBytes) }
            shape.forRows { rows in
                for b in rows {
                    let (row, next) = (first + b, first + batch + b)
                    let product = p + b * shape.gates
                    kernels.gruCell(h + next * width, gates: g + row * shape.gates, products: product, previous: h + row * width, width)
                    (candidateProducts.floats + row * width).update(from: product + 2 * width, count: width)
                    let target = outputs.bytes + (b * shape.steps + step) * stateBytes
                    kernels.convert(operands.elements + next * width, Elements(h + next * width), width)
                    target.copyMemory(from: operands.bytes + next * stateBytes, byteCount: stateBytes)
                }
            }
            mask?.store(h + (first + batch) * width, to: operands.bytes + (first + batch) * stateBytes)
        }
        return outputs
    }

    /// Backpropagation through time, from the gradient of the outputs.
    func accumulateGradients(_ outputGradient: Tensor) {
        let (batch, width, type) = (shape.batch, shape.width, shape.type)
        let weight = PackedMatrix(MatrixOperand(hiddenWeight), rows: batch, k: shape.gates, n: width, isAdding: mask == nil, uses: shape.steps)
        let masked = mask.map { _ in Tensor(uninitialized: [batch, width]) }
        let inputGradient = type == .float32 ? gates : Tensor(uninitialized: [shape.rows, shape.gates], type)
        let productGradient = Tensor(uninitialized: [shape.rows, shape.gates], type)
        let stateGradient = Tensor(zeros: [batch, width])
        let (g, h, dh) = (gates.floats, states.floats, stateGradient.floats)
        for step in (0..<shape.steps).reversed() {
            let first = step * batch
            shape.forRows { rows in
                for b in rows {
                    let row = first + b
                    let (gateRow, outputRow) = (row * shape.gates, (b * shape.steps + step) * width)
                    let candidateProduct = candidateProducts.floats + row * width
                    kernels.gruCellGradient(
                        inputGradient.elements + gateRow, productGradient: productGradient.elements + gateRow, stateGradient: dh + b * width,
                        gates: g + gateRow, candidateProduct: candidateProduct, previous: h + row * width,
                        outputGradient: outputGradient.elements + outputRow, width)
                }
            }
            if step > 0 || hidden?.node != nil {
                weight.multiply(into: masked?.floats ?? dh, productGradient.bytes + first * shape.gates * type.byteCount)
                if let mask, let masked { kernels.addProduct(dh, masked.floats, mask.values.floats, batch * width) }
            }
        }
        shape.accumulateInputGradients(inputGradient, x: x, timeMajorX: timeMajorX, weight: inputWeight)
        shape.accumulateHiddenGradient(productGradient, states: operands, startsAtZero: hidden == nil, weight: hiddenWeight)
        if let node = inputBias.node { accumulateColumnSums(inputGradient, into: node) }
        if let node = hiddenBias.node { accumulateColumnSums(productGradient, into: node) }
        hidden?.node?.accumulate(stateGradient)
    }
}

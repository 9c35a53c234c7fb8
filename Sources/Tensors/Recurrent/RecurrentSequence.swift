// What the fused recurrent layers share: the order of rows, and products over all steps at once.
//
// Legend: B sequences, T steps, I input width, H width, G rows of the weights (4 H for an LSTM, 3 H for a GRU, H for an Elman layer).
// Outside, a sequence is a row of [B, T, ...]. Inside, a step is a row of [T, B, ...]: the products of a step then read and write one piece of
// memory.

import Diagnostics
import Kernels

/// The outputs of a recurrent layer and its state after the last step.
public struct RecurrentOutput {
    /// [B, T, H]: the hidden state after every step.
    public let outputs: Tensor
    /// [B, H], float32: an LSTM's cell after the last step; `nil` for other layers.
    public let cell: Tensor?

    /// [B, H]: the hidden state after the last step.
    public var hidden: Tensor {
        let (batch, steps, width) = (outputs.shape[0], outputs.shape[1], outputs.shape[2])
        if steps == 1 { return outputs.reshaped(to: [batch, width]) }
        let last = Tensor(uninitialized: [batch, width], outputs.dataType)
        let bytes = width * outputs.dataType.byteCount
        for b in 0..<batch { (last.bytes + b * bytes).copyMemory(from: outputs.bytes + ((b + 1) * steps - 1) * bytes, byteCount: bytes) }
        return Operation("last state").record(last, from: outputs) { [node = outputs.node] gradient in
            let gradient = gradient.converted(to: .float32)
            node?.withZeroedGradient { target in
                for b in 0..<batch {
                    let row = target + ((b + 1) * steps - 1) * width
                    kernels.add(row, row, gradient.floats + b * width, width)
                }
            }
        }
    }
}

/// The extents of a recurrent layer's inputs, checked.
struct RecurrentShape {
    let batch: Int
    let steps: Int
    let inputs: Int
    let width: Int
    let gates: Int
    let type: DataType

    init(
        _ name: String, gatesPerUnit: Int, x: Tensor, hidden: Tensor?, cell: Tensor?, inputWeight: Tensor, hiddenWeight: Tensor, biases: [Tensor],
        stateMask: Tensor? = nil
    ) {
        require(x.shape.rank == 3 && x.shape[1] > 0, "\(name): input \(x.shape) is not [B, T, I] with a step")
        (batch, steps, inputs, width) = (x.shape[0], x.shape[1], x.shape[2], hiddenWeight.shape.columns)
        (gates, type) = (gatesPerUnit * width, x.dataType)
        require(inputWeight.shape == [gates, inputs], "\(name): input \(x.shape) does not fit weight \(inputWeight.shape) and width \(width)")
        require(hiddenWeight.shape == [gates, width], "\(name): hidden weight \(hiddenWeight.shape) is not [\(gatesPerUnit) H, H]")
        require(
            inputWeight.dataType == type && hiddenWeight.dataType == type, "\(name): weights are \(inputWeight.dataType), the input is \(type)")
        for bias in biases { require(bias.count == gates, "\(name): bias \(bias.shape) does not fit weight \(inputWeight.shape)") }
        for state in [hidden, cell, stateMask] {
            if let state { require(state.shape == [batch, width], "\(name): state \(state.shape) is not [\(batch), \(width)]") }
        }
    }

    /// All rows, T B.
    var rows: Int { batch * steps }

    /// True when [B, T] and [T, B] are the same order.
    private var isOneOrder: Bool { batch == 1 || steps == 1 }

    /// [B, T, columns] as [T B, columns], off the tape.
    func timeMajor(_ x: Tensor) -> Tensor { reordered(x, [rows, x.shape.columns], from: batch, steps) }

    /// [T B, columns] as [B, T, columns], off the tape.
    func batchMajor(_ x: Tensor) -> Tensor { reordered(x, [batch, steps, x.shape.columns], from: steps, batch) }

    /// Rows (i, j) of `outer` x `inner` to rows (j, i).
    private func reordered(_ x: Tensor, _ shape: Shape, from outer: Int, _ inner: Int) -> Tensor {
        if isOneOrder { return x.viewed(as: shape) }
        let result = Tensor(uninitialized: shape, x.dataType)
        let bytes = x.shape.columns * x.dataType.byteCount
        let (source, target) = (x.bytes, result.bytes)
        parallelRows(inner, columns: outer * x.shape.columns) { first, count in
            for j in first..<first + count {
                for i in 0..<outer { (target + (j * outer + i) * bytes).copyMemory(from: source + (i * inner + j) * bytes, byteCount: bytes) }
            }
        }
        return result
    }

    /// Runs `body` on ranges of the B rows of a step. A row is some thousand operations, so few rows are worth a thread.
    @inline(__always)
    func forRows(_ body: (Range<Int>) -> Void) {
        Workers.parallel(batch, minimum: max(1, (1 << 12) / max(1, width)), body)
    }

    /// [(T + 1) B, H] with `initial` ([B, H]; `nil` is zeros) in the first B rows.
    func states(startingWith initial: Tensor?, _ type: DataType) -> Tensor {
        let states = Tensor(uninitialized: [(steps + 1) * batch, width], type)
        guard let initial else {
            states.bytes.initializeMemory(as: UInt8.self, repeating: 0, count: batch * width * type.byteCount)
            return states
        }
        kernels.convert(states.elements, initial.elements, initial.count)
        return states
    }

    /// x W^T + bias over all steps: [T B, I] to [T B, G], float32.
    func inputProducts(_ x: Tensor, _ weight: Tensor, bias: Tensor) -> Tensor {
        let products = Tensor(uninitialized: [rows, gates])
        multiplyMatrices(
            into: MatrixOperand(products), MatrixOperand(x), MatrixOperand(weight, .transposed), m: rows, n: gates, k: inputs, bias: bias.floats)
        return products
    }

    /// Adds the gradients of an input weight and of the input, from those of the products of all steps, [T B, G].
    func accumulateInputGradients(_ gradient: Tensor, x: Tensor, timeMajorX: Tensor, weight: Tensor) {
        weight.node?.withGradientTensor { target, accumulate in
            multiplyMatrices(
                into: MatrixOperand(target, leading: inputs), MatrixOperand(gradient, .transposed), MatrixOperand(timeMajorX), m: gates, n: inputs,
                k: rows, beta: accumulate ? 1 : 0)
        }
        guard let node = x.node else { return }
        let part = Tensor(uninitialized: [rows, inputs], type)
        multiplyMatrices(into: MatrixOperand(part), MatrixOperand(gradient), MatrixOperand(weight), m: rows, n: inputs, k: gates)
        node.accumulate(batchMajor(part))
    }

    /// Adds the gradient of a hidden weight: one product over all steps. `states` as `states(startingWith:)` laid them out.
    func accumulateHiddenGradient(_ gradient: Tensor, states: Tensor, startsAtZero: Bool, weight: Tensor) {
        // Rows of zeros add nothing; a single step from zero still stores its zeros.
        let skipped = startsAtZero && steps > 1 ? batch : 0
        weight.node?.withGradientTensor { target, accumulate in
            multiplyMatrices(
                into: MatrixOperand(target, leading: width), MatrixOperand(gradient, first: skipped * gates, .transposed),
                MatrixOperand(states, first: skipped * width), m: gates, n: width, k: rows - skipped, beta: accumulate ? 1 : 0)
        }
    }
}

/// What a layer with one bias is given, checked.
struct SingleBiasLayer {
    let shape: RecurrentShape
    let x: Tensor
    let hidden: Tensor?
    let inputWeight: Tensor
    let hiddenWeight: Tensor
    let bias: Tensor
    let mask: StateMask?

    init(
        _ name: String, gatesPerUnit: Int, x: Tensor, hidden: Tensor?, inputWeight: Tensor, hiddenWeight: Tensor, bias: Tensor, stateMask: Tensor?
    ) {
        shape = RecurrentShape(
            name, gatesPerUnit: gatesPerUnit, x: x, hidden: hidden, cell: nil, inputWeight: inputWeight, hiddenWeight: hiddenWeight, biases: [bias],
            stateMask: stateMask)
        (self.x, self.hidden, self.inputWeight, self.hiddenWeight, self.bias) = (x, hidden, inputWeight, hiddenWeight, bias)
        mask = StateMask(stateMask, shape.type)
    }

    /// Puts the layer on the tape.
    func recorded(_ outputs: Tensor, _ accumulateGradients: @escaping (Tensor) -> Void) -> RecurrentOutput {
        let result = Operation("recurrent layer").record(
            outputs, from: [x, inputWeight, hiddenWeight, bias] + (hidden.map { [$0] } ?? []), backward: accumulateGradients)
        return RecurrentOutput(outputs: result, cell: nil)
    }
}

/// What each state is multiplied by before it enters a product with the hidden weight: the same at every step (Gal and Ghahramani 2016).
struct StateMask {
    /// [B, H], float32, off the tape.
    let values: Tensor
    private let scratch: Tensor?

    init?(_ mask: Tensor?, _ type: DataType) {
        guard let mask else { return nil }
        values = mask.stopGradient()
        scratch = type == .float32 ? nil : Tensor(uninitialized: mask.shape)
    }

    /// target = states * mask, for the B rows of a step; target is float32, or bfloat16 where the mask was made for it.
    func store(_ states: UnsafePointer<Float>, to target: UnsafeMutableRawPointer) {
        guard let scratch else { return kernels.multiply(target.assumingMemoryBound(to: Float.self), states, values.floats, values.count) }
        kernels.multiply(scratch.floats, states, values.floats, values.count)
        kernels.convert(Elements(target, .bfloat16), scratch.elements, values.count)
    }

    /// states *= mask in place, of the type that the mask was made for.
    func apply(to states: UnsafeMutableRawPointer) {
        guard let scratch else { return store(UnsafePointer(states.assumingMemoryBound(to: Float.self)), to: states) }
        kernels.convert(scratch.elements, Elements(states, .bfloat16), values.count)
        store(scratch.floats, to: states)
    }
}

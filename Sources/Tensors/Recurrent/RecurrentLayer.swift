// What the recurrent layers share: products of the input over all steps at once, a product of the state at every step, the gradients of weights.
//
// Legend: B sequences, T steps, I input width, H width, G rows of the weights (4 H for an LSTM, 3 H for a GRU, H for an Elman layer), D what else a
// step reads (nothing in a layer of its own; what was read from a memory, or the layer below, in a controller), C = D + H columns of the recurrent
// weight (D without a hidden state).
// Outside, a sequence is a row of [B, T, ...]. Inside, a step is a row of [T, B, ...]: the products of a step then read and write one piece of
// memory.

import Diagnostics
import Kernels

/// What a recurrent layer is given.
package struct RecurrentInputs {
    /// [B, T, I], float32 or bfloat16; `nil` for a layer that only reads what a step writes before it.
    package var x: Tensor?
    /// [G, I], of x's type.
    package var inputWeight: Tensor?
    /// [G, C], of x's type.
    package var recurrentWeight: Tensor
    /// [G], float32.
    package var bias: Tensor
    /// `hidden` and whatever else the layer remembers, [B, H]; a missing part is zeros.
    package var state: CellState
    /// [B, H], float32: products read h[t-1] times it; `nil` is ones. No gradient.
    package var stateMask: Tensor?
    /// D.
    package var below = 0
    /// False for a layer without a state of its own.
    package var hasHiddenState = true

    package init(x: Tensor?, inputWeight: Tensor?, recurrentWeight: Tensor, bias: Tensor, state: CellState, stateMask: Tensor? = nil) {
        (self.x, self.inputWeight, self.recurrentWeight, self.bias) = (x, inputWeight, recurrentWeight, bias)
        (self.state, self.stateMask) = (state, stateMask)
    }
}

/// A layer at work on B sequences. Subclasses are the cells: one step of B rows, and its gradient.
package class RecurrentLayer: Cell {
    package let operation: Operation
    package let batch: Int
    package let steps: Int
    /// H.
    package let width: Int
    /// G.
    let gates: Int
    /// C.
    let columns: Int
    let type: DataType
    let given: RecurrentInputs
    let mask: StateMask?
    /// [T B, I].
    private let timeMajorX: Tensor?
    /// [T B, G], float32: W x + b, then what the cell makes of it.
    let values: Tensor
    /// [(T + 1) B, C], of x's type: what the recurrent weight is multiplied with: D numbers, and h of every step from h[-1] on, times the mask.
    let operands: Tensor
    /// [B, C], float32: the gradient of a step's operands, made when the backward pass starts.
    private(set) var operandGradient: Tensor?

    /// - Parameters:
    ///   - gatesPerUnit: G / H.
    ///   - batch, steps: B and T, for a layer without x.
    init(_ name: StaticString, gatesPerUnit: Int, _ given: RecurrentInputs, batch: Int, steps: Int) {
        operation = Operation(name)
        (gates, columns) = (given.recurrentWeight.shape[0], given.recurrentWeight.shape[1])
        (width, self.batch, self.steps, self.given) = (gates / gatesPerUnit, batch, steps, given)
        let (type, width, gates) = (given.x?.dataType ?? .float32, self.width, self.gates)
        self.type = type
        operation.require(
            gates == gatesPerUnit * width && columns == given.below + (given.hasHiddenState ? width : 0),
            "recurrent weight \(given.recurrentWeight.shape) of \(width) units that read \(given.below) values")
        operation.require(given.recurrentWeight.dataType == type, "weights are \(given.recurrentWeight.dataType), the input is \(type)")
        operation.require(given.bias.count == gates, "bias \(given.bias.shape) does not fit weight \(given.recurrentWeight.shape)")
        if let mask = given.stateMask { operation.require(mask.shape == [batch, width], "state mask \(mask.shape) is not [\(batch), \(width)]") }
        mask = StateMask(given.stateMask, type)
        values = Tensor(uninitialized: [steps * batch, gates])
        if let x = given.x, let weight = given.inputWeight {
            operation.require(x.shape.rank == 3 && x.shape[1] > 0, "input \(x.shape) is not [B, T, I] with a step")
            operation.require(weight.shape == [gates, x.shape[2]], "input \(x.shape) does not fit weight \(weight.shape) and width \(width)")
            operation.require(weight.dataType == type, "weights are \(weight.dataType), the input is \(type)")
            let rows = reordered(x, [batch * steps, x.shape[2]], from: batch, steps)
            timeMajorX = rows
            multiplyMatrices(
                into: MatrixOperand(values), MatrixOperand(rows), MatrixOperand(weight, .transposed), m: steps * batch, n: gates, k: x.shape[2],
                bias: given.bias.floats)
        } else {
            timeMajorX = nil
            for row in 0..<steps * batch { (values.floats + row * gates).update(from: given.bias.floats, count: gates) }
        }
        operands = Tensor(uninitialized: [(steps + 1) * batch, columns], type)
        if given.hasHiddenState {
            placeInitial(given.state["hidden"], in: operands, first: given.below)
            mask?.apply(to: operands.bytes)
        }
    }

    // MARK: places

    /// Whether there is a state before the first step, or something else, that products must read.
    @inline(__always)
    final func readsOperands(_ t: Int) -> Bool { t > 0 || given.below > 0 || given.state["hidden"] != nil }

    /// Whether somebody wants the gradient of the operands of step t.
    @inline(__always)
    final func wantsOperandGradient(_ t: Int) -> Bool { t > 0 || given.below > 0 || given.state["hidden"]?.node != nil }

    /// The operands of sequence b at step t; the first D numbers are for others to write.
    @inline(__always)
    package final func operand(_ t: Int, _ b: Int) -> Elements { operands.elements + (t * batch + b) * columns }

    /// Where the hidden state of sequence b after step t goes for the products of the next step.
    @inline(__always)
    final func nextHidden(_ t: Int, _ b: Int) -> Elements { operand(t + 1, b) + given.below }

    /// The gradient of the operands of sequence b of the step that went backwards last.
    @inline(__always)
    package final func operandGradient(_ b: Int) -> UnsafeMutablePointer<Float> { operandGradient.unsafelyUnwrapped.floats + b * columns }

    /// The part of it that belongs to the hidden state.
    @inline(__always)
    final func hiddenGradient(_ b: Int) -> UnsafeMutablePointer<Float> { operandGradient(b) + given.below }

    @inline(__always)
    final func values(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { values.floats + (t * batch + b) * gates }

    /// Runs `body` on ranges of the B rows of a step. A row is some thousand operations, so few rows are worth a thread.
    @inline(__always)
    final func forRows(_ body: (Range<Int>) -> Void) { Workers.parallel(batch, minimum: max(1, (1 << 12) / max(1, width)), body) }

    /// Puts [B, H] (`nil` is zeros) behind the first `first` columns of the first B rows.
    final func placeInitial(_ initial: Tensor?, in target: Tensor, first: Int = 0) {
        let columns = target.shape[1]
        for b in 0..<batch {
            let row = target.elements + (b * columns + first)
            if let initial {
                kernels.convert(row, initial.elements + b * width, width)
            } else {
                row.address.initializeMemory(as: UInt8.self, repeating: 0, count: width * target.dataType.byteCount)
            }
        }
    }

    /// The rows of step t in the operands, for the layer below to write to.
    package final func operandRows(_ t: Int) -> StepRows { StepRows(operand(t, 0), stride: columns) }

    /// The rows of the gradient of the operands of the step that went backwards last.
    package final var operandGradientRows: StepRows { StepRows(Elements(operandGradient(0)), stride: columns) }

    // MARK: the cell

    package final var outputWidth: Int { width }
    package final var outputType: DataType { type }
    package final var initialState: CellState { given.state }
    package final var inputs: [Tensor] { [given.x, given.inputWeight, given.recurrentWeight, given.bias].compactMap { $0 } + otherInputs }
    var otherInputs: [Tensor] { [] }
    package var state: [StatePart] { given.hasHiddenState ? [StatePart("hidden", [width])] : [] }

    package func step(_ t: Int, into outputs: StepRows) { preconditionFailure("a cell has a step") }
    package func stepBackward(_ t: Int, from outputs: StepRows) { preconditionFailure("a cell has a gradient") }

    package final func lastState(_ outputs: Tensor) -> CellState {
        let last = Tensor(uninitialized: [batch, width])
        for b in 0..<batch { kernels.convert(last.elements + b * width, outputs.elements + ((b + 1) * steps - 1) * width, width) }
        return lastState(hidden: last)
    }

    /// The same from what the products of a next step would read: for a layer without a state mask.
    package final func lastStateOfOperands() -> CellState {
        if !given.hasHiddenState { return [:] }
        let last = Tensor(uninitialized: [batch, width])
        for b in 0..<batch { kernels.convert(last.elements + b * width, nextHidden(steps - 1, b), width) }
        return lastState(hidden: last)
    }

    /// The state after the last step, of which `hidden`, [B, H], float32, is known.
    func lastState(hidden: Tensor) -> CellState { ["hidden": hidden] }

    package func startBackward(_ lastState: CellState) {
        let gradient = Tensor(zeros: [batch, columns])
        if given.hasHiddenState, let hidden = lastState["hidden"] {
            for b in 0..<batch { (gradient.floats + b * columns + given.below).update(from: hidden.floats + b * width, count: width) }
        }
        operandGradient = gradient
    }

    package final func finishBackward() {
        finishWeights()
        guard let node = given.state["hidden"]?.node else { return }
        let hidden = Tensor(uninitialized: [batch, width])
        for b in 0..<batch { (hidden.floats + b * width).update(from: hiddenGradient(b), count: width) }
        node.accumulate(hidden)
    }

    /// Adds the gradients of the weights, of the input and of what else the cell started from.
    func finishWeights() { preconditionFailure("a cell has gradients of its weights") }

    // MARK: gradients of weights, from those of the sums of all steps

    /// Of the input weight and of the input. `gradient`: [T B, G], of x's type.
    final func accumulateInput(_ gradient: Tensor) {
        guard let x = given.x, let weight = given.inputWeight, let timeMajorX else { return }
        let (rows, inputs) = (steps * batch, x.shape[2])
        weight.node?.withGradientTensor { target, accumulate in
            multiplyMatrices(
                into: MatrixOperand(target, leading: inputs), MatrixOperand(gradient, .transposed), MatrixOperand(timeMajorX), m: gates, n: inputs,
                k: rows, beta: accumulate ? 1 : 0)
        }
        guard let node = x.node else { return }
        let part = Tensor(uninitialized: [rows, inputs], type)
        multiplyMatrices(into: MatrixOperand(part), MatrixOperand(gradient), MatrixOperand(weight), m: rows, n: inputs, k: gates)
        node.accumulate(reordered(part, [batch, steps, inputs], from: steps, batch))
    }

    /// Of the recurrent weight: one product over all steps. `gradient`: [T B, G], of x's type.
    final func accumulateRecurrent(_ gradient: Tensor) {
        // Rows of zeros add nothing; a single step from zero still stores its zeros.
        let skipped = readsOperands(0) || steps == 1 ? 0 : batch
        given.recurrentWeight.node?.withGradientTensor { target, accumulate in
            multiplyMatrices(
                into: MatrixOperand(target, leading: columns), MatrixOperand(gradient, first: skipped * gates, .transposed),
                MatrixOperand(operands, first: skipped * columns), m: gates, n: columns, k: steps * batch - skipped, beta: accumulate ? 1 : 0)
        }
    }

    /// Of a bias. In a controller the sums do not depend on the number of threads.
    final func accumulateBias(_ gradient: Tensor, _ bias: Tensor) {
        guard let node = bias.node else { return }
        if given.below == 0 { return accumulateColumnSums(gradient, into: node) }
        node.withZeroedGradient { kernels.accumulateColumnSums($0, gradient.elements, rows: steps * batch, columns: gates) }
    }

    /// The recurrent weight for the products of steps; `columns`: which of its rows.
    final func packedForward(rows range: Range<Int>? = nil, isAdding: Bool) -> PackedMatrix {
        let range = range ?? 0..<gates
        return PackedMatrix(
            MatrixOperand(given.recurrentWeight, first: range.lowerBound * columns, .transposed), rows: batch, k: columns, n: range.count,
            isAdding: isAdding, uses: steps)
    }

    /// The same for the way back.
    final func packedBackward(rows range: Range<Int>? = nil, isAdding: Bool) -> PackedMatrix {
        let range = range ?? 0..<gates
        return PackedMatrix(
            MatrixOperand(given.recurrentWeight, first: range.lowerBound * columns), rows: batch, k: range.count, n: columns, isAdding: isAdding,
            uses: steps)
    }
}

/// What each state is multiplied by before it enters a product with the recurrent weight: the same at every step (Gal and Ghahramani 2016).
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

/// Rows (i, j) of `outer` x `inner` to rows (j, i): [B, T, ...] to [T, B, ...] and back. Shares storage where both are the same order.
package func reordered(_ x: Tensor, _ shape: Shape, from outer: Int, _ inner: Int) -> Tensor {
    if outer == 1 || inner == 1 { return x.viewed(as: shape) }
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

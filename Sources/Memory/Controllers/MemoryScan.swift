// A controller and the memory that it steers, over whole sequences: the engine of the Neural Turing Machine, the Differentiable Neural Computer and
// the erase/add memory.
//
// Legend: B sequences, T steps, I input width, H controller units, P numbers that the memory is given at a step, V values that it reads,
// F = H + V output width. Rows of buffers are in the order [T, B].

import Kernels
import NeuralNetworks
import Tensors

/// The layer that gives the memory its numbers.
struct SteeringLayer {
    /// [P, H]: what is multiplied with the controller's output.
    var weight: Tensor
    /// [P].
    var bias: Tensor
    /// [P, I]: given, the memory is written and read before the controller's step, from the input and the controller's last output; what it reads, the
    /// controller reads at the same step. Otherwise the controller goes first, and reads at the next step.
    var inputWeight: Tensor?
    /// Gain and bias, [P] each, of a layer normalisation of the numbers.
    var normalization: (gain: Tensor, bias: Tensor)?
    /// The numbers are cut to plus and minus this.
    var limit: Float?
}

/// A controller with a memory at work: [B, T, I] to [B, T, F], the controller's output and then what was read.
final class MemoryScan<Memory: FrameCell>: Cell {
    private let controller: ControllerSteps
    private var work: FrameSteps<Memory>
    private let interface: SteeringLayer
    private let x: Tensor
    /// [T B, P]: the numbers before the memory's functions; on the way back their gradients.
    private let values: Tensor
    /// [T B, P] before normalisation; the same tensor as `values` where there is none.
    private let projected: Tensor
    /// [2, T B]: means and reciprocal deviations.
    private let statistics: Tensor?
    private let packed: PackedMatrix
    /// [T B, I], for an interface that reads the input.
    private let timeMajorX: Tensor?
    /// [B, H]: the controller's output before the first step, likewise.
    private let firstHidden: Tensor
    private let observe: ((_ t: Int, _ frame: UnsafeMutablePointer<Float>) -> Void)?
    private var backward: Backward?
    let initialState: CellState

    /// What the way back needs.
    private struct Backward {
        let packed: PackedMatrix
        /// [B, H]: of the controller's output.
        let hidden: Tensor
        /// [B, V]: of what was read.
        let reads: Tensor
        /// [P] each: of the normalisation.
        let gain: Tensor
        let bias: Tensor
        /// [P].
        let row: Tensor
    }

    private static var normEpsilon: Float { 1e-5 }

    /// - Parameters:
    ///   - x: [B, T, I], float32.
    ///   - state: the memory's parts, `reads` (where the controller goes first) and the controller's; what is missing has its initial value.
    ///   - policy: which frames are kept for the backward pass.
    ///   - operationsPerStep: about so many for one sequence, for the division among threads.
    ///   - observe: called after every step with the frame of the first sequence.
    init(
        _ memory: Memory, _ controller: Controller, _ interface: SteeringLayer, _ x: Tensor, from state: CellState, _ policy: FramePolicy,
        operationsPerStep: Int, _ pass: ForwardPass, observe: ((_ t: Int, _ frame: UnsafeMutablePointer<Float>) -> Void)? = nil
    ) {
        self.controller = ControllerSteps(controller, x, from: state, pass)
        (self.interface, self.x, self.observe, initialState) = (interface, x, observe, state)
        let (batch, steps, width, count) = (x.shape[0], x.shape[1], self.controller.width, memory.inputWidth)
        let rows = batch * steps
        work = FrameSteps(memory, from: state, policy, batch: batch, steps: steps, operationsPerStep: operationsPerStep)
        values = Tensor(uninitialized: [rows, count])
        projected = interface.normalization == nil ? values : Tensor(uninitialized: [rows, count])
        statistics = interface.normalization.map { _ in Tensor(uninitialized: [2, rows]) }
        packed = PackedMatrix(
            MatrixOperand(interface.weight, .transposed), rows: batch, k: width, n: count, isAdding: interface.inputWeight != nil, uses: steps)
        firstHidden = state["controller.0.hidden"]?.stopGradient() ?? Tensor(zeros: [batch, width])
        if let inputWeight = interface.inputWeight {
            let timeMajorX = reordered(x, [rows, x.shape[2]], from: batch, steps)
            self.timeMajorX = timeMajorX
            multiplyMatrices(
                into: MatrixOperand(values), MatrixOperand(timeMajorX), MatrixOperand(inputWeight, .transposed), m: rows, n: count, k: x.shape[2],
                bias: interface.bias.floats)
        } else {
            timeMajorX = nil
            let first = state["reads"]
            for b in 0..<batch {
                let row = self.controller.readRow(0, b)
                if let first { row.update(from: first.floats + b * reads, count: reads) } else { row.update(repeating: 0, count: reads) }
            }
        }
    }

    // MARK: what it is

    var operation: Operation { work.memory.operation }
    var batch: Int { controller.batch }
    var steps: Int { controller.steps }
    var outputWidth: Int { controller.width + reads }
    var outputType: DataType { .float32 }
    var inputs: [Tensor] {
        let optional = [interface.inputWeight, interface.normalization?.gain, interface.normalization?.bias]
        return controller.inputs + [interface.weight, interface.bias] + optional.compactMap { $0 }
    }

    var state: [StatePart] {
        let heads = work.memory.readHeads
        return work.memory.layout.state + (controllerGoesFirst ? [StatePart("reads", [heads, reads / heads])] : []) + controller.state
    }

    private var reads: Int { work.memory.outputWidth }
    private var controllerGoesFirst: Bool { interface.inputWeight == nil }

    @inline(__always)
    private func value(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { values.floats + (t * batch + b) * values.shape[1] }

    /// Where what is read at step t goes.
    @inline(__always)
    private func readRow(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { controller.readRow(controllerGoesFirst ? t + 1 : t, b) }

    // MARK: forwards

    func step(_ t: Int, into outputs: StepRows) {
        work.frames.begin(t)
        if controllerGoesFirst {
            controller.step(t)
            project(t)
            stepMemory(t)
        } else {
            packed.multiply(into: value(t, 0), t == 0 ? firstHidden.floats : controller.output(t - 1))
            stepMemory(t)
            controller.step(t)
        }
        let (width, output) = (controller.width, controller.output(t))
        for b in 0..<batch {
            outputs.floats(b).update(from: output + b * width, count: width)
            (outputs.floats(b) + width).update(from: readRow(t, b), count: reads)
        }
        observe?(t, work.frames.after(t, 0))
    }

    private func stepMemory(_ t: Int) {
        work.forSequences { range in for b in range { work.step(t, b, value(t, b), output: readRow(t, b)) } }
    }

    /// The numbers of step t from the controller's output.
    private func project(_ t: Int) {
        let (count, row) = (values.shape[1], t * batch)
        packed.multiply(
            into: MatrixOperand(projected.floats + row * count, leading: count), MatrixOperand(controller.output(t), leading: controller.width),
            rows: batch, bias: interface.bias.floats)
        if let (gain, bias) = interface.normalization, let statistics {
            kernels.layerNorm(
                Elements(value(t, 0)), mean: statistics.floats + row, reciprocalDeviation: statistics.floats + steps * batch + row,
                projected.floats + row * count, gain: gain.floats, bias: bias.floats, epsilon: Self.normEpsilon, rows: batch, columns: count)
        }
        if let limit = interface.limit { kernels.clamp(value(t, 0), value(t, 0), lower: -limit, upper: limit, batch * count) }
    }

    func lastState(_ outputs: Tensor) -> CellState {
        var state = controller.lastState()
        state.merge(work.frames.lastState())
        if controllerGoesFirst {
            let last = Tensor(uninitialized: [batch, work.memory.readHeads, reads / work.memory.readHeads])
            for b in 0..<batch { (last.floats + b * reads).update(from: controller.readRow(steps, b), count: reads) }
            state["reads"] = last
        }
        return state
    }

    // MARK: backwards

    func startBackward(_ lastState: CellState) {
        work.startBackward(lastState)
        controller.startBackward(lastState)
        let count = values.shape[1]
        backward = Backward(
            packed: PackedMatrix(
                MatrixOperand(interface.weight), rows: batch, k: count, n: controller.width, isAdding: controllerGoesFirst, uses: steps),
            hidden: Tensor(zeros: [batch, controller.width]), reads: lastState["reads"]?.copied() ?? Tensor(zeros: [batch, reads]),
            gain: Tensor(zeros: [count]), bias: Tensor(zeros: [count]), row: Tensor(uninitialized: [count]))
    }

    func stepBackward(_ t: Int, from outputs: StepRows) {
        guard let backward else { preconditionFailure("the backward pass has not started") }
        let (width, hidden, readGradient) = (controller.width, backward.hidden.floats, backward.reads.floats)
        work.repeatFrames(before: t, { UnsafePointer(value($0, $1)) }, output: { readRow($0, $1) })
        if !controllerGoesFirst {
            for b in 0..<batch { kernels.add(Elements(hidden + b * width), Elements(hidden + b * width), outputs[b], width) }
            controller.stepBackward(t, hidden)
        }
        // Before the last step nobody has read what it reads at the next one.
        let isRead = t < steps - 1 || !controllerGoesFirst
        work.forSequences { range in
            for b in range {
                let (output, read) = (outputs.floats(b), readGradient + b * reads)
                kernels.add(Elements(read), Elements(isRead ? controller.readGradientRow(b) : read), Elements(output + width), reads)
                work.stepGradient(t, b, value(t, b), outputGradient: read)
                if controllerGoesFirst { (hidden + b * width).update(from: output, count: width) }
            }
        }
        if interface.normalization != nil { normalizationGradient(t, backward) }
        backward.packed.multiply(into: hidden, value(t, 0))
        if controllerGoesFirst { controller.stepBackward(t, hidden) }
    }

    /// Through the normalisation of a step's B rows, in place of the gradient.
    private func normalizationGradient(_ t: Int, _ backward: Backward) {
        guard let gain = interface.normalization?.gain, let statistics else { return }
        let (count, row) = (values.shape[1], t * batch)
        for b in 0..<batch {
            // The kernel may not store what it still reads.
            kernels.layerNormGradient(
                backward.row.floats, accumulate: false, gainGradient: backward.gain.floats, biasGradient: backward.bias.floats,
                outputGradient: Elements(value(t, b)), projected.floats + (row + b) * count, gain: gain.floats, mean: statistics.floats + row + b,
                reciprocalDeviation: statistics.floats + steps * batch + row + b, rows: 1, columns: count)
            value(t, b).update(from: backward.row.floats, count: count)
        }
    }

    func finishBackward() {
        guard let backward else { return }
        let (rows, width, count) = (steps * batch, controller.width, values.shape[1])
        interface.weight.node?.withGradientTensor { target, accumulate in
            let target = MatrixOperand(target, leading: width)
            if controllerGoesFirst {
                multiplyMatrices(
                    into: target, MatrixOperand(values, .transposed), MatrixOperand(controller.outputs), m: count, n: width, k: rows,
                    beta: accumulate ? 1 : 0)
            } else {
                multiplyMatrices(
                    into: target, MatrixOperand(values, .transposed), MatrixOperand(firstHidden), m: count, n: width, k: batch,
                    beta: accumulate ? 1 : 0)
                multiplyMatrices(
                    into: target, MatrixOperand(values, first: batch * count, .transposed), MatrixOperand(controller.outputs), m: count, n: width,
                    k: rows - batch, beta: 1)
            }
        }
        interface.bias.node?.withZeroedGradient { kernels.accumulateColumnSums($0, values.elements, rows: rows, columns: count) }
        interface.normalization?.gain.node?.accumulate(backward.gain)
        interface.normalization?.bias.node?.accumulate(backward.bias)
        if let inputWeight = interface.inputWeight, let timeMajorX {
            let inputs = x.shape[2]
            inputWeight.node?.withGradientTensor { target, accumulate in
                multiplyMatrices(
                    into: MatrixOperand(target, leading: inputs), MatrixOperand(values, .transposed), MatrixOperand(timeMajorX), m: count, n: inputs,
                    k: rows, beta: accumulate ? 1 : 0)
            }
            if let node = x.node {
                let part = Tensor(uninitialized: [rows, inputs])
                multiplyMatrices(into: MatrixOperand(part), MatrixOperand(values), MatrixOperand(inputWeight), m: rows, n: inputs, k: count)
                node.accumulate(reordered(part, [batch, steps, inputs], from: steps, batch))
            }
            initialState["controller.0.hidden"]?.node?.accumulate(backward.hidden)
        }
        work.finishBackward()
        if let node = initialState["reads"]?.node {
            let part = Tensor(uninitialized: node.shape)
            for b in 0..<batch { (part.floats + b * reads).update(from: controller.readGradientRow(b), count: reads) }
            node.accumulate(part)
        }
        controller.finishBackward()
    }
}

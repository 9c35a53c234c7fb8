// A Differentiable Neural Computer over whole sequences, with its backward pass.
//
// Legend: B sequences, T steps, I input width, C controller width, R read heads, W memory width, N memory rows, E interface width, F = C + R W.

import Kernels
import NeuralNetworks
import Tensors

/// What the two passes share. Buffers are made once for all steps; no step allocates memory.
///
/// Rows of a step lie together ([T, B, ...]). A frame holds the memory of one sequence after one step. With a tape all frames are kept (or those of
/// one segment of sqrt(T) steps, and the memory at the start of each); without one, two a sequence, in turns.
final class DifferentiableNeuralComputerSequence {
    /// The parameters' values.
    struct Weights {
        /// [E, C], [E].
        let interfaceWeight: Tensor
        let interfaceBias: Tensor
        /// [E] each; `nil` where the interface is not normalised.
        let gain: Tensor?
        let normBias: Tensor?
    }

    /// How many frames are kept.
    private enum Keeping { case all, segments, none }

    private let memory: AllocatedMemory
    private let controller: ControllerSequence
    private let weights: Weights
    private let initialState: [Tensor]?
    private let batch: Int
    private let steps: Int
    private let keeping: Keeping
    /// Steps of a segment.
    private let segment: Int
    /// [slots, B, frame].
    private let frames: Tensor
    /// [segments, B, state]: the memory before each segment.
    private let checkpoints: Tensor?
    /// [T B, E]: the interface before its functions; on the way back, its gradient.
    private let values: Tensor
    /// [T B, E] before normalisation; the same tensor as `values` where there is none.
    private let projected: Tensor
    /// [T B] each.
    private let means: Tensor?
    private let deviations: Tensor?
    /// [B, scratch].
    private let scratch: Tensor
    /// Of the memory after the last step, in the order of the declarations.
    private var lastStateGradients: [Int: Tensor] = [:]

    private static let normEpsilon: Float = 1e-5
    /// Parts of the state that this file reads and writes itself; those of the controller follow.
    static let memoryParts = 7

    init(_ memory: AllocatedMemory, _ controller: ControllerSequence, _ weights: Weights, from state: [Tensor]?, keepsFrames: Bool) {
        (self.memory, self.controller, self.weights, initialState) = (memory, controller, weights, state)
        (batch, steps) = (controller.batch, controller.steps)
        keeping = !keepsFrames ? .none : memory.configuration.recompute ? .segments : .all
        segment = keeping == .segments ? max(1, Int(Double(steps).squareRoot().rounded(.up))) : steps
        let slots = keeping == .none ? 2 : segment + 1
        frames = Tensor(uninitialized: [slots, batch, memory.frame.count])
        checkpoints = keeping == .segments ? Tensor(uninitialized: [(steps + segment - 1) / segment, batch, memory.frame.stateCount]) : nil
        let count = memory.interface.count
        values = Tensor(uninitialized: [steps * batch, count])
        let isNormalized = weights.gain != nil
        projected = isNormalized ? Tensor(uninitialized: [steps * batch, count]) : values
        means = isNormalized ? Tensor(uninitialized: [steps * batch]) : nil
        deviations = isNormalized ? Tensor(uninitialized: [steps * batch]) : nil
        scratch = Tensor(zeros: [batch, memory.scratch.count])
    }

    /// The tensors that the operation depends on.
    var dependencies: [Tensor] {
        controller.dependencies + [weights.interfaceWeight, weights.interfaceBias, weights.gain, weights.normBias].compactMap { $0 }
            + (initialState ?? [])
    }

    // MARK: places

    private var readsCount: Int { memory.frame.heads * memory.frame.width }
    private var outputWidth: Int { controller.width + readsCount }

    /// The frame of sequence b before step t, which is that after step t - 1. `segmentStart`: the first step of the segment that the frames are of.
    @inline(__always)
    private func frame(_ t: Int, _ b: Int, segmentStart: Int) -> UnsafeMutablePointer<Float> {
        let slot = keeping == .none ? t & 1 : t - segmentStart
        return frames.floats + (slot * batch + b) * memory.frame.count
    }

    @inline(__always)
    private func scratch(_ b: Int) -> UnsafeMutablePointer<Float> { scratch.floats + b * memory.scratch.count }

    @inline(__always)
    private func start(of t: Int) -> Int { keeping == .segments ? t / segment * segment : 0 }

    /// Runs `body` on ranges of the B rows of a step. A sequence's step is the same work whichever thread does it.
    @inline(__always)
    private func forRows(_ body: (Range<Int>) -> Void) {
        let work = memory.frame.linkRows * memory.frame.stride + 8 * memory.frame.width * memory.frame.stride + 2048
        Workers.parallel(batch, minimum: max(1, (1 << 14) / work), body)
    }

    // MARK: forwards

    /// The outputs, [B, T, F]. `observe` is called after every step with the frame of the first sequence.
    func run(observe: ((UnsafeMutablePointer<Float>) -> Void)?) -> Tensor {
        let (f, count, width, reads) = (memory.frame, memory.interface.count, controller.width, readsCount)
        let outputs = Tensor(uninitialized: [batch, steps, outputWidth])
        let weight = PackedMatrix(
            MatrixOperand(weights.interfaceWeight, .transposed), rows: batch, k: width, n: count, isAdding: false, uses: steps)
        for b in 0..<batch { placeInitialState(b) }
        for t in 0..<steps {
            let first = start(of: t)
            if t == first, t > 0, keeping == .segments {
                for b in 0..<batch {
                    frame(t, b, segmentStart: t).update(from: frame(t, b, segmentStart: t - segment), count: f.stateCount)
                }
            }
            if t == first, let checkpoints {
                for b in 0..<batch {
                    (checkpoints.floats + (t / segment * batch + b) * f.stateCount).update(from: frame(t, b, segmentStart: t), count: f.stateCount)
                }
            }
            controller.step(t)
            let row = t * batch
            weight.multiply(
                into: MatrixOperand(projected.floats + row * count, leading: count), MatrixOperand(controller.output(t), leading: width), rows: batch,
                bias: weights.interfaceBias.floats)
            if let gain = weights.gain, let means, let deviations {
                kernels.layerNorm(
                    values.elements + row * count, mean: means.floats + row, reciprocalDeviation: deviations.floats + row,
                    projected.floats + row * count,
                    gain: gain.floats, bias: weights.normBias.map { UnsafePointer($0.floats) }, epsilon: Self.normEpsilon, rows: batch, columns: count
                )
            }
            if let clip = memory.configuration.interfaceClip {
                kernels.clamp(values.floats + row * count, values.floats + row * count, lower: -clip, upper: clip, batch * count)
            }
            forRows { rows in
                for b in rows {
                    let output = outputs.floats + (b * steps + t) * outputWidth
                    let read = controller.readRow(t + 1, b)
                    memory.step(
                        frame(t + 1, b, segmentStart: first), from: frame(t, b, segmentStart: first), values.floats + (row + b) * count, reads: read,
                        scratch: scratch(b))
                    output.update(from: controller.output(t) + b * width, count: width)
                    (output + width).update(from: read, count: reads)
                }
            }
            observe?(frame(t + 1, 0, segmentStart: first))
        }
        return outputs
    }

    /// Brings the frames of a segment back, from the memory before it.
    private func repeatSegment(_ first: Int) {
        guard let checkpoints else { return }
        let (f, count) = (memory.frame, memory.interface.count)
        forRows { rows in
            for b in rows {
                frame(first, b, segmentStart: first).update(
                    from: checkpoints.floats + (first / segment * batch + b) * f.stateCount, count: f.stateCount)
                for t in first..<min(first + segment, steps) {
                    memory.step(
                        frame(t + 1, b, segmentStart: first), from: frame(t, b, segmentStart: first), values.floats + (t * batch + b) * count,
                        reads: controller.readRow(t + 1, b), scratch: scratch(b))
                }
            }
        }
    }

    // MARK: the state before the first and after the last step

    /// Calls `body` with the place of each part of the memory in a frame, its rows and columns as declared, and the stride of its rows there. The
    /// matrix, which lies by columns, has a stride of 0.
    private func forEachPart(_ body: (_ index: Int, _ place: Int, _ rows: Int, _ columns: Int, _ stride: Int) -> Void) {
        let f = memory.frame
        body(0, f.matrix, f.rows, f.width, 0)
        body(1, f.usage, 1, f.rows, f.stride)
        body(2, f.precedence, 1, f.rows, f.stride)
        body(3, f.links, f.rows, f.rows, f.stride)
        body(4, f.readWeights, f.heads, f.rows, f.stride)
        body(5, f.writeWeights, 1, f.rows, f.stride)
    }

    /// Copies sequence b of a part of the state to its place in `target`, which holds zeros.
    private func place(_ tensor: Tensor, _ b: Int, _ target: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int) {
        let source = tensor.floats + b * rows * columns
        for row in 0..<rows {
            if stride > 0 {
                (target + row * stride).update(from: source + row * columns, count: columns)
            } else {
                for column in 0..<columns { target[column * memory.frame.stride + row] = source[row * columns + column] }
            }
        }
    }

    /// The other way, into sequence b of `tensor`.
    private func take(_ tensor: Tensor, _ b: Int, _ source: UnsafePointer<Float>, rows: Int, columns: Int, stride: Int) {
        let target = tensor.floats + b * rows * columns
        for row in 0..<rows {
            if stride > 0 {
                (target + row * columns).update(from: source + row * stride, count: columns)
            } else {
                for column in 0..<columns { target[row * columns + column] = source[column * memory.frame.stride + row] }
            }
        }
    }

    private func placeInitialState(_ b: Int) {
        let state = frame(0, b, segmentStart: 0)
        state.update(repeating: 0, count: memory.frame.stateCount)
        let read = controller.readRow(0, b)
        if let initialState {
            forEachPart { index, offset, rows, columns, stride in
                place(initialState[index], b, state + offset, rows: rows, columns: columns, stride: stride)
            }
            read.update(from: initialState[6].floats + b * readsCount, count: readsCount)
        } else {
            read.update(repeating: 0, count: readsCount)
        }
        memory.completeState(state, scratch: scratch(b))
    }

    /// The shapes of the parts of the memory, with the batch.
    private var partShapes: [Shape] {
        let f = memory.frame
        return [
            [batch, f.rows, f.width], [batch, f.rows], [batch, f.rows], [batch, f.rows, f.rows], [batch, f.heads, f.rows], [batch, f.rows],
            [batch, f.heads, f.width],
        ]
    }

    /// The state after the last step, as declared; off the tape.
    var lastState: [Tensor] {
        let parts = partShapes.map { Tensor(uninitialized: $0) }
        for b in 0..<batch {
            let state = frame(steps, b, segmentStart: start(of: steps - 1))
            forEachPart { index, offset, rows, columns, stride in take(parts[index], b, state + offset, rows: rows, columns: columns, stride: stride)
            }
            (parts[6].floats + b * readsCount).update(from: controller.readRow(steps, b), count: readsCount)
        }
        return parts + controller.lastState
    }

    /// Takes the gradient of a part of the state after the last step, before the backward pass.
    func setLastStateGradient(_ index: Int, _ gradient: Tensor) {
        if index < Self.memoryParts {
            lastStateGradients[index] = gradient
        } else {
            controller.setLastStateGradient(index - Self.memoryParts, gradient)
        }
    }

    // MARK: backwards

    /// From the gradient of the outputs, [B, T, F].
    func accumulateGradients(_ outputGradient: Tensor) {
        let (f, count, width, reads) = (memory.frame, memory.interface.count, controller.width, readsCount)
        let weight = PackedMatrix(MatrixOperand(weights.interfaceWeight), rows: batch, k: count, n: width, isAdding: true, uses: steps)
        let stateGradient = Tensor(zeros: [batch, f.stateCount])
        let readGradient = Tensor(zeros: [batch, reads])
        let hiddenGradient = Tensor(uninitialized: [batch, width])
        for b in 0..<batch {
            forEachPart { index, offset, rows, columns, stride in
                if let gradient = lastStateGradients[index] {
                    place(gradient, b, stateGradient.floats + b * f.stateCount + offset, rows: rows, columns: columns, stride: stride)
                }
            }
        }
        if let gradient = lastStateGradients[6] { kernels.add(readGradient.floats, readGradient.floats, gradient.floats, batch * reads) }
        let gainGradient = weights.gain.map { Tensor(zeros: $0.shape) }
        let normBiasGradient = weights.gain.map { Tensor(zeros: $0.shape) }
        for t in (0..<steps).reversed() {
            let (first, row) = (start(of: t), t * batch)
            if keeping == .segments, t < steps - 1, t == first + segment - 1 { repeatSegment(first) }
            forRows { rows in
                for b in rows {
                    let output = outputGradient.floats + (b * steps + t) * outputWidth
                    let read = readGradient.floats + b * reads
                    kernels.add(read, t == steps - 1 ? UnsafePointer(read) : UnsafePointer(controller.readGradientRow(b)), output + width, reads)
                    memory.stepGradient(
                        stateGradient.floats + b * f.stateCount, frame(t + 1, b, segmentStart: first), from: frame(t, b, segmentStart: first),
                        values.floats + (row + b) * count, readGradient: read, scratch: scratch(b))
                    (hiddenGradient.floats + b * width).update(from: output, count: width)
                }
            }
            if let gain = weights.gain, let means, let deviations, let gainGradient, let normBiasGradient {
                // The gradient of what was projected takes the place of that of the interface.
                let part = values.floats + row * count
                normGradient(
                    part, projected.floats + row * count, gain: gain.floats, means.floats + row, deviations.floats + row, gainGradient.floats,
                    normBiasGradient.floats)
            }
            weight.multiply(into: hiddenGradient.floats, values.floats + row * count)
            controller.stepGradient(t, hiddenGradient.floats)
        }
        accumulateWeightGradients(gain: gainGradient, normBias: normBiasGradient)
        accumulateInitialGradients(stateGradient)
        controller.accumulateGradients()
    }

    /// Through the normalisation of a step's B rows, in place of the gradient.
    private func normGradient(
        _ gradient: UnsafeMutablePointer<Float>, _ projected: UnsafeMutablePointer<Float>, gain: UnsafePointer<Float>, _ means: UnsafePointer<Float>,
        _ deviations: UnsafePointer<Float>, _ gainGradient: UnsafeMutablePointer<Float>, _ biasGradient: UnsafeMutablePointer<Float>
    ) {
        let count = memory.interface.count
        for b in 0..<batch {
            // The kernel reads the gradient to the end before it stores, row by row; a row of its own keeps that from mattering.
            let target = scratch(b) + memory.scratch.values
            kernels.layerNormGradient(
                target, accumulate: false, gainGradient: gainGradient, biasGradient: biasGradient, outputGradient: Elements(gradient + b * count),
                projected + b * count, gain: gain, mean: means + b, reciprocalDeviation: deviations + b, rows: 1, columns: count)
            (gradient + b * count).update(from: target, count: count)
        }
    }

    private func accumulateWeightGradients(gain: Tensor?, normBias: Tensor?) {
        let (rows, count, width) = (batch * steps, memory.interface.count, controller.width)
        weights.interfaceWeight.node?.withGradientTensor { target, accumulate in
            multiplyMatrices(
                into: MatrixOperand(target, leading: width), MatrixOperand(values, .transposed), MatrixOperand(controller.allOutputs), m: count,
                n: width,
                k: rows, beta: accumulate ? 1 : 0)
        }
        weights.interfaceBias.node?.withZeroedGradient { kernels.accumulateColumnSums($0, values.elements, rows: rows, columns: count) }
        if let gain { weights.gain?.node?.accumulate(gain) }
        if let normBias { weights.normBias?.node?.accumulate(normBias) }
    }

    private func accumulateInitialGradients(_ gradient: Tensor) {
        guard let initialState else { return }
        forEachPart { index, offset, rows, columns, stride in
            guard let node = initialState[index].node else { return }
            let part = Tensor(uninitialized: partShapes[index])
            for b in 0..<batch {
                take(part, b, gradient.floats + b * memory.frame.stateCount + offset, rows: rows, columns: columns, stride: stride)
            }
            node.accumulate(part)
        }
        if let node = initialState[6].node {
            let part = Tensor(uninitialized: partShapes[6])
            for b in 0..<batch { (part.floats + b * readsCount).update(from: controller.readGradientRow(b), count: readsCount) }
            node.accumulate(part)
        }
    }
}

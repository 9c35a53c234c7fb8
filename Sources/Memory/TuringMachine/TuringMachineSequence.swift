// A Neural Turing Machine over a whole sequence as one operation: the forward pass, and what it keeps.
//
// Legend: B sequences, T steps, H controller units, N memory rows, W their width, S their stride (N rounded up to 16), R read heads, K write heads,
// A = R + K, C shifts, P numbers for all heads of a step, Q = W + 3 + C of them for each head, L steps of a segment.
// Memories are stored by columns, [W, S], as the kernels want them; rows of buffers are in the order [T, B].

import Kernels
import NeuralNetworks
import Tensors

/// What the two passes share. Buffers are made once for all steps, and no step allocates memory; a step's sequences are divided between threads, and
/// each is computed in the same way whatever the number of threads.
final class TuringMachineSequence {
    let configuration: NeuralTuringMachineConfiguration
    let addressing: HeadAddressing
    let shape: AddressedMemoryShape
    let controller: ControllerSequence
    let interfaceWeight: Tensor
    let interfaceBias: Tensor
    /// Memory, read weights, write weights, reads before the first step; `nil` where they are constant.
    let initial: [Tensor?]
    /// Of `lastState`, as they come in.
    var lastStateGradients: [Int: Tensor] = [:]

    let batch: Int
    let steps: Int
    /// R, K and A.
    let reads: Int
    let writes: Int
    let heads: Int
    /// P and Q.
    let numbers: Int
    let numbersPerHead: Int
    /// True when there is a backward pass to keep things for.
    let isKept: Bool
    /// L: T, or about its root when segments are computed again; 1 when nothing is kept and every step takes the same place.
    let segment: Int

    /// [T B, P]: numbers for the heads as the interface gave them; backwards their gradients.
    let rawNumbers: Tensor
    /// [T B, P]: after their functions.
    let results: Tensor
    /// [T B, A].
    let keyNorms: Tensor
    /// [(L + 1) B, W, S]: memories from the start of a segment on.
    let memories: Tensor
    /// [(L + 1) B, A, S]: weights likewise.
    let weights: Tensor
    /// [L B, 3, A, S]: cosine, content and shifted weights.
    let addressingSteps: Tensor
    /// [L B, S].
    let norms: Tensor
    /// Memories and weights at the start of every segment, [segments B, W S + A S]; `nil` for one segment.
    let checkpoints: Tensor?
    /// [B, scratchCount].
    let scratch: Tensor
    let scratchCount: Int

    /// Elements of one sequence's memory and of its weights.
    let memoryCount: Int
    let weightCount: Int

    init(
        _ machine: NeuralTuringMachine, _ x: Tensor, from state: [Tensor?], interfaceWeight: Tensor, interfaceBias: Tensor, _ pass: ForwardPass
    ) {
        let configuration = machine.configuration
        self.configuration = configuration
        (self.interfaceWeight, self.interfaceBias) = (interfaceWeight, interfaceBias)
        addressing = HeadAddressing(
            lowestShift: configuration.shifts.lowerBound, shifts: configuration.shifts.count, epsilon: configuration.epsilon,
            limit: configuration.limit ?? .infinity, squashesKeys: configuration.squashesKeys, squashesAdditions: configuration.squashesAdditions)
        shape = AddressedMemoryShape(rows: configuration.rows, width: configuration.width)
        initial = Array(state.prefix(4))
        let controllerState = state.count > 4 ? state.dropFirst(4).compactMap { $0 } : nil
        controller = ControllerSequence(machine.controller, x, from: controllerState, pass)
        (batch, steps) = (controller.batch, controller.steps)
        (reads, writes) = (configuration.readHeads, configuration.writeHeads)
        heads = reads + writes
        (numbers, numbersPerHead) = (interfaceWeight.shape[0], addressing.numbers(width: shape.width))
        let extents: [Shape] = [
            [batch, shape.rows, shape.width], [batch, reads, shape.rows], [batch, writes, shape.rows], [batch, reads, shape.width],
        ]
        for (tensor, expected) in zip(initial, extents) {
            if let tensor { precondition(tensor.shape == expected, "Neural Turing Machine: state \(tensor.shape) is not \(expected)") }
        }
        isKept = pass.tape != nil
        let root = Int(Double(steps).squareRoot().rounded(.up))
        segment = !isKept ? 1 : configuration.recompute ? root : steps
        (memoryCount, weightCount) = (shape.count, heads * shape.stride)
        let places = isKept ? segment + 1 : 1
        rawNumbers = Tensor(uninitialized: [(isKept ? steps : 1) * batch, numbers])
        results = Tensor(uninitialized: [(isKept ? steps : 1) * batch, numbers])
        keyNorms = Tensor(uninitialized: [(isKept ? steps : 1) * batch, heads])
        memories = Tensor(uninitialized: [places * batch, memoryCount])
        weights = Tensor(uninitialized: [places * batch, weightCount])
        addressingSteps = Tensor(uninitialized: [segment * batch, 3 * weightCount])
        norms = Tensor(uninitialized: [segment * batch, shape.stride])
        let segments = (steps + segment - 1) / segment
        checkpoints = isKept && segments > 1 ? Tensor(uninitialized: [segments * batch, memoryCount + weightCount]) : nil
        scratchCount = addressing.scratchCount(shape)
        scratch = Tensor(zeros: [batch, scratchCount])
        placeInitialState()
    }

    var dependencies: [Tensor] { controller.dependencies + [interfaceWeight, interfaceBias] + initial.compactMap { $0 } }

    /// Runs `body` on ranges of the B sequences of a step.
    @inline(__always)
    func forSequences(_ body: (Range<Int>) -> Void) {
        Workers.parallel(batch, minimum: max(1, (1 << 13) / (memoryCount + weightCount)), body)
    }

    /// The row of step t and sequence 0 in buffers of all steps.
    @inline(__always)
    func row(_ t: Int) -> Int { isKept ? t * batch : 0 }

    /// The first row of a step's place in buffers of a segment: `place` is its number in the segment.
    @inline(__always)
    func placeRow(_ place: Int) -> Int { isKept ? place * batch : 0 }

    // MARK: initial state

    private func placeInitialState() {
        if let tensor = initial[0] {
            storeByColumns(tensor, into: memories.floats, shape)
        } else {
            for column in 0..<batch * shape.width {
                let target = memories.floats + column * shape.stride
                for i in 0..<shape.stride { target[i] = i < shape.rows ? configuration.initialMemory : 0 }
            }
        }
        for b in 0..<batch {
            for head in 0..<heads {
                let target = weights.floats + b * weightCount + head * shape.stride
                target.update(repeating: 0, count: shape.stride)
                let (source, index, count) = head < reads ? (initial[1], head, reads) : (initial[2], head - reads, writes)
                if let source {
                    target.update(from: source.floats + (b * count + index) * shape.rows, count: shape.rows)
                } else {
                    target[0] = 1
                }
            }
            let read = controller.readRow(0, b)
            if let tensor = initial[3] {
                read.update(from: tensor.floats + b * reads * shape.width, count: reads * shape.width)
            } else {
                read.update(repeating: 0, count: reads * shape.width)
            }
        }
    }

    // MARK: steps

    /// All steps: [B, T, H + R W].
    func run(_ trace: MemoryTrace?) -> Tensor {
        let (width, readCount) = (controller.width, reads * shape.width)
        let outputs = Tensor(uninitialized: [batch, steps, width + readCount])
        let packed = PackedMatrix(MatrixOperand(interfaceWeight, .transposed), rows: batch, k: width, n: numbers, isAdding: false, uses: steps)
        let picture = trace.map { _ in WeightPicture(heads: heads, rows: shape.rows, steps: steps) }
        let target = outputs.floats
        for t in 0..<steps {
            let place = isKept ? t % segment : 0
            if place == 0, let checkpoints { startSegment(t / segment, checkpoints) }
            controller.step(t)
            packed.multiply(
                into: MatrixOperand(rawNumbers, first: row(t) * numbers), MatrixOperand(controller.output(t), leading: width), rows: batch,
                bias: interfaceBias.floats)
            forSequences { range in
                for b in range {
                    activateNumbers(t, b)
                    address(t, b, place)
                    let read = controller.readRow(t + 1, b)
                    kernels.rowSums(
                        read, outStride: shape.width, memory: memory(place, b), weights: weights(isKept ? place + 1 : 0, b), count: reads,
                        isSquared: false, shape)
                    write(t, b, place)
                    let output = target + (b * steps + t) * (width + readCount)
                    output.update(from: controller.output(t) + b * width, count: width)
                    (output + width).update(from: read, count: readCount)
                }
            }
            if let picture { picture.record(t, weights(isKept ? place + 1 : 0, 0), stride: shape.stride) }
        }
        if let trace, let picture { picture.show(trace, names: headNames) }
        return outputs
    }

    /// Memory of sequence b before the step at `place` of the segment.
    @inline(__always)
    func memory(_ place: Int, _ b: Int) -> UnsafeMutablePointer<Float> { memories.floats + (placeRow(place) + b) * memoryCount }

    /// Weights of sequence b before the step at `place` of the segment.
    @inline(__always)
    func weights(_ place: Int, _ b: Int) -> UnsafeMutablePointer<Float> { weights.floats + (placeRow(place) + b) * weightCount }

    /// The numbers of step t after their functions.
    private func activateNumbers(_ t: Int, _ b: Int) {
        let row = row(t) + b
        let (raw, result, norm) = (rawNumbers.floats + row * numbers, results.floats + row * numbers, keyNorms.floats + row * heads)
        for head in 0..<heads {
            norm[head] = kernels.headNumbers(result + head * numbersPerHead, raw + head * numbersPerHead, addressing, width: shape.width)
        }
        let (erase, add) = (heads * numbersPerHead, heads * numbersPerHead + writes * shape.width)
        kernels.writeVectors(
            erase: result + erase, add: result + add, numbers: raw + erase, additions: raw + add, addressing, width: writes * shape.width)
    }

    /// The weights of all heads at step t, from the memory before it.
    private func address(_ t: Int, _ b: Int, _ place: Int) {
        let (row, placeRow) = (row(t) + b, placeRow(place) + b)
        let result = results.floats + row * numbers
        let norm = norms.floats + placeRow * shape.stride
        let kept = addressingSteps.floats + placeRow * 3 * weightCount
        kernels.rowProducts(
            kept, norms: norm, memory: memory(place, b), vectors: result, vectorStride: numbersPerHead, count: heads, isSquared: false,
            accumulate: false, shape)
        let (before, after) = (weights(place, b), weights(isKept ? place + 1 : 0, b))
        for head in 0..<heads {
            let first = head * shape.stride
            kernels.headWeights(
                AddressingSteps(
                    cosine: kept + first, content: kept + weightCount + first, shifted: kept + 2 * weightCount + first, weights: after + first),
                previous: before + first, norms: norm, keyNorm: keyNorms.floats[row * heads + head], numbers: result + head * numbersPerHead,
                addressing, scratch: scratch.floats + b * scratchCount, shape)
        }
    }

    /// The memory after step t.
    private func write(_ t: Int, _ b: Int, _ place: Int) {
        let result = results.floats + (row(t) + b) * numbers + heads * numbersPerHead
        let next = isKept ? place + 1 : 0
        kernels.writeRows(
            memory(next, b), inverseNorms: nil, epsilon: 0, memory: memory(place, b), weights: weights(next, b) + reads * shape.stride, erase: result,
            add: result + writes * shape.width, count: writes, retention: nil, shape)
    }

    private var headNames: [String] {
        func names(_ kind: String, _ count: Int) -> [String] { count == 1 ? [kind] : (1...count).map { "\(kind), head \($0)" } }
        return names("read weights", reads) + names("write weights", writes)
    }

    // MARK: segments

    /// Moves the end of the last segment to the start of segment `index`, and keeps it.
    private func startSegment(_ index: Int, _ checkpoints: Tensor) {
        if index > 0 {
            memories.floats.update(from: memories.floats + segment * batch * memoryCount, count: batch * memoryCount)
            weights.floats.update(from: weights.floats + segment * batch * weightCount, count: batch * weightCount)
        }
        for b in 0..<batch {
            let target = checkpoints.floats + (index * batch + b) * (memoryCount + weightCount)
            target.update(from: memory(0, b), count: memoryCount)
            (target + memoryCount).update(from: weights(0, b), count: weightCount)
        }
    }

    /// Computes the memories and weights of segment `index` again, with the same bits.
    func repeatSegment(_ index: Int) {
        guard let checkpoints else { return }
        let first = index * segment
        forSequences { range in
            for b in range {
                let source = checkpoints.floats + (index * batch + b) * (memoryCount + weightCount)
                memory(0, b).update(from: source, count: memoryCount)
                weights(0, b).update(from: source + memoryCount, count: weightCount)
                for t in first..<min(first + segment, steps) {
                    address(t, b, t - first)
                    write(t, b, t - first)
                }
            }
        }
    }

    // MARK: the state after the last step

    /// Memory, read weights, write weights, reads, the controller's states; off the tape.
    lazy var lastState: [Tensor] = {
        let place = isKept ? (steps - 1) % segment + 1 : 0
        let last = memoriesByRows(memory(place, 0), batch: batch, shape)
        let lastWeights = [Tensor(uninitialized: [batch, reads, shape.rows]), Tensor(uninitialized: [batch, writes, shape.rows])]
        let lastReads = Tensor(uninitialized: [batch, reads, shape.width])
        for b in 0..<batch {
            for head in 0..<heads {
                let (target, index, count) = head < reads ? (lastWeights[0], head, reads) : (lastWeights[1], head - reads, writes)
                (target.floats + (b * count + index) * shape.rows).update(from: weights(place, b) + head * shape.stride, count: shape.rows)
            }
            (lastReads.floats + b * reads * shape.width).update(from: controller.readRow(steps, b), count: reads * shape.width)
        }
        return [last, lastWeights[0], lastWeights[1], lastReads] + controller.lastState
    }()
}

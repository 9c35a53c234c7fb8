// The memory of a Neural Turing Machine: one step of one sequence, and its gradient (Graves, Wayne and Danihelka 2014, equations 1 to 9).
//
// Legend: N memory rows, W their width, S their stride (N rounded up to 16), R read heads, K write heads, A = R + K, C shifts, P numbers for all heads of
// a step, Q = W + 3 + C of them for each head. The memory is stored by columns, [W, S], as the kernels want it.

import Kernels
import Tensors

/// Addressing, reading and writing. The numbers of a step are, for each read and then each write head: key [W], strength, gate, shift [C], sharpness;
/// then all erase vectors [K, W] and all add vectors [K, W].
///
/// 1. Each number goes through its function (`headNumbers`, `writeVectors`).
/// 2. w = softmax of strength * cosine(key, M[n]), mixed with the last weights by the gate, shifted, sharpened (equations 5 to 9).
/// 3. What is put out is M^T w of the read heads (equation 2), then M = M * (product over write heads of 1 - w e^T) + sum of w a^T (3, 4).
struct TuringMemory: FrameCell {
    let operation = Operation("neural Turing machine")
    let layout: FrameLayout
    private let addressing: HeadAddressing
    private let shape: AddressedMemoryShape
    /// R, K and A.
    private let reads: Int
    private let writes: Int
    private var heads: Int { reads + writes }
    /// P and Q.
    let inputWidth: Int
    private let numbersPerHead: Int

    // Places in a frame.
    private let memory: Int
    /// [A, S]: of the read heads, then of the write heads.
    let weights: Int
    /// [3, A, S]: cosine, content and shifted weights.
    private let addressingSteps: Int
    /// [S]: of the memory that was addressed.
    private let norms: Int
    /// [P]: the numbers after their functions.
    private let results: Int
    /// [A].
    private let keyNorms: Int

    // Places in scratch memory.
    /// Rings of `headWeights`.
    private let ringCount: Int
    /// [A, S], [S], [P].
    private var keyFactors: Int { ringCount }
    private var decay: Int { ringCount + heads * shape.stride }
    private var slopes: Int { decay + shape.stride }

    init(_ configuration: NeuralTuringMachineConfiguration) {
        addressing = HeadAddressing(
            lowestShift: configuration.shifts.lowerBound, shifts: configuration.shifts.count, epsilon: configuration.epsilon,
            limit: configuration.limit ?? .infinity, squashesKeys: configuration.squashesKeys, squashesAdditions: configuration.squashesAdditions)
        shape = AddressedMemoryShape(rows: configuration.rows, width: configuration.width)
        (reads, writes) = (configuration.readHeads, configuration.writeHeads)
        numbersPerHead = addressing.numbers(width: shape.width)
        inputWidth = (reads + writes) * numbersPerHead + 2 * writes * shape.width
        let (heads, rows, width, stride) = (reads + writes, shape.rows, shape.width, shape.stride)
        var layout = FrameLayout()
        memory = layout.place(
            "memory", rows: rows, width, stride: stride, liesByColumns: true,
            initial: [Float](repeating: configuration.initialMemory, count: rows * width))
        func firstRow(_ heads: Int) -> [Float] { (0..<heads * rows).map { $0 % rows == 0 ? 1 : 0 } }
        weights = layout.place("readWeights", rows: reads, rows, stride: stride, initial: firstRow(reads))
        _ = layout.place("writeWeights", rows: writes, rows, stride: stride, initial: firstRow(writes))
        layout.endState()
        addressingSteps = layout.place(3 * heads * stride)
        norms = layout.place(stride)
        results = layout.place(inputWidth)
        keyNorms = layout.place(heads)
        self.layout = layout
        // Three rings with a halo on either side.
        ringCount = 3 * (stride + 2 * ((max(abs(configuration.shifts.lowerBound), abs(configuration.shifts.upperBound)) + 31) / 16 * 16))
    }

    var outputWidth: Int { reads * shape.width }
    var readHeads: Int { reads }
    var scratchCount: Int { slopes + inputWidth }

    /// Where the erase vectors stand among the numbers, and the add vectors.
    private var erase: Int { heads * numbersPerHead }
    private var add: Int { erase + writes * shape.width }

    @inline(__always)
    private func steps(_ frame: UnsafeMutablePointer<Float>, _ head: Int) -> AddressingSteps {
        let (kept, count, first) = (frame + addressingSteps, heads * shape.stride, head * shape.stride)
        return AddressingSteps(
            cosine: kept + first, content: kept + count + first, shifted: kept + 2 * count + first, weights: frame + weights + first)
    }

    func step(
        _ next: UnsafeMutablePointer<Float>, from previous: UnsafeMutablePointer<Float>, _ input: UnsafePointer<Float>,
        output: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        let (result, norm, before) = (next + results, next + norms, previous + memory)
        for head in 0..<heads {
            let first = head * numbersPerHead
            next[keyNorms + head] = kernels.headNumbers(result + first, input + first, addressing, width: shape.width)
        }
        kernels.writeVectors(
            erase: result + erase, add: result + add, numbers: input + erase, additions: input + add, addressing, width: writes * shape.width)
        kernels.memoryScores(
            next + addressingSteps, norms: norm, memory: before, keys: result, keyStride: numbersPerHead, keyCount: heads, accumulate: false, shape)
        for head in 0..<heads {
            kernels.headWeights(
                steps(next, head), previous: previous + weights + head * shape.stride, norms: norm, keyNorm: next[keyNorms + head],
                numbers: result + head * numbersPerHead, addressing, scratch: scratch, shape)
        }
        kernels.memoryReads(output, outStride: shape.width, memory: before, weights: next + weights, count: reads, shape)
        kernels.memoryWrite(
            next + memory, memory: before, weights: next + weights + reads * shape.stride, erase: result + erase, add: result + add, count: writes,
            shape)
    }

    func stepGradient(
        _ gradient: UnsafeMutablePointer<Float>, _ next: UnsafeMutablePointer<Float>, from previous: UnsafeMutablePointer<Float>,
        _ input: UnsafeMutablePointer<Float>, outputGradient: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        let (result, norm, before, afterWeights) = (next + results, next + norms, previous + memory, next + weights)
        let (memoryGradient, weightGradient) = (gradient + memory, gradient + weights)
        let (slope, keyFactors, decay) = (scratch + slopes, scratch + keyFactors, scratch + decay)
        let writeWeights = afterWeights + reads * shape.stride
        // Reads and writes.
        kernels.memoryScores(
            weightGradient, norms: nil, memory: before, keys: outputGradient, keyStride: shape.width, keyCount: reads, accumulate: true, shape)
        kernels.memoryWriteGradient(
            weightGradient: weightGradient + reads * shape.stride, eraseGradient: slope + erase, addGradient: slope + add, gradient: memoryGradient,
            memory: before, weights: writeWeights, erase: result + erase, add: result + add, count: writes, shape)
        kernels.writeVectorsGradient(
            eraseGradient: slope + erase, addGradient: slope + add, numbers: input + erase, additions: input + add, erase: result + erase,
            add: result + add, addressing, width: writes * shape.width)
        // Addressing.
        kernels.fill(decay, 0, shape.stride)
        for head in 0..<heads {
            let first = head * shape.stride
            let (headResult, headSlope) = (result + head * numbersPerHead, slope + head * numbersPerHead)
            let keyDecay = kernels.headWeightsGradient(
                weightGradient: weightGradient + first, keyFactors: keyFactors + first, decay: decay, numberGradient: headSlope, steps(next, head),
                previous: previous + weights + first, norms: norm, keyNorm: next[keyNorms + head], numbers: headResult, addressing, scratch: scratch,
                shape)
            kernels.memoryReads(headSlope, outStride: shape.width, memory: before, weights: keyFactors + first, count: 1, shape)
            kernels.addScaled(headSlope, headResult, scale: -keyDecay, shape.width)
            kernels.headNumbersGradient(
                headSlope, numbers: input + head * numbersPerHead, results: headResult, addressing, width: shape.width)
        }
        // The memory before the step.
        kernels.memoryGradient(
            memoryGradient, memory: before, weights: writeWeights, erase: result + erase, count: writes, decay: decay,
            OuterProducts(outputGradient, leftStride: shape.width, afterWeights, count: reads),
            OuterProducts(result, leftStride: numbersPerHead, keyFactors, count: heads), shape)
        input.update(from: slope, count: inputWidth)
    }
}

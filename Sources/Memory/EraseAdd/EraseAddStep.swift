// The erase/add memory: one step of one sequence, and its gradient.
//
// Legend: N memory rows, W their width, S their stride (N rounded up to 16), P = N + 2 W numbers of a step. The memory is stored by columns, [W, S], as
// the kernels want it.

import Kernels
import Tensors

/// With w = softmax(scores), M = M * (1 - w sigmoid(e)^T) + w v^T, and then M^T w is read. The numbers of a step are scores [N], erase e [W], value v
/// [W].
struct EraseAddStep: FrameCell {
    let operation = Operation("erase/add memory")
    let layout: FrameLayout
    private let shape: AddressedMemoryShape

    // Places in a frame.
    private let memory: Int
    /// [S].
    let weights: Int
    /// [W]: sigmoid(e).
    private let erase: Int

    init(rows: Int, width: Int) {
        shape = AddressedMemoryShape(rows: rows, width: width)
        var layout = FrameLayout()
        memory = layout.place("memory", rows: rows, width, stride: shape.stride, liesByColumns: true)
        layout.endState()
        weights = layout.place(shape.stride)
        erase = layout.place(width)
        self.layout = layout
    }

    var inputWidth: Int { shape.rows + 2 * shape.width }
    var outputWidth: Int { shape.width }
    var scratchCount: Int { shape.stride + inputWidth }

    func step(
        _ next: UnsafeMutablePointer<Float>, from previous: UnsafeMutablePointer<Float>, _ input: UnsafePointer<Float>,
        output: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        let (weight, erase, value) = (next + weights, next + erase, input + shape.rows + shape.width)
        kernels.softmax(weight, input, scale: 1, shape.rows)
        for i in shape.rows..<shape.stride { weight[i] = 0 }
        kernels.unary(.sigmoid, erase, input + shape.rows, shape.width)
        kernels.memoryWrite(next + memory, memory: previous + memory, weights: weight, erase: erase, add: value, count: 1, shape)
        kernels.memoryReads(output, outStride: shape.width, memory: next + memory, weights: weight, count: 1, shape)
    }

    func stepGradient(
        _ gradient: UnsafeMutablePointer<Float>, _ next: UnsafeMutablePointer<Float>, from previous: UnsafeMutablePointer<Float>,
        _ input: UnsafeMutablePointer<Float>, outputGradient: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        let (weight, erase, memoryGradient) = (next + weights, next + erase, gradient + memory)
        let (weightGradient, slope) = (scratch, scratch + shape.stride)
        let (eraseGradient, addGradient) = (slope + shape.rows, slope + shape.rows + shape.width)
        // The read after the write.
        kernels.memoryScores(
            weightGradient, norms: nil, memory: next + memory, keys: outputGradient, keyStride: shape.width, keyCount: 1, accumulate: false, shape)
        let none = OuterProducts(outputGradient, leftStride: 0, weight, count: 0)
        kernels.memoryGradient(
            memoryGradient, memory: next + memory, weights: weight, erase: erase, count: 0, decay: nil,
            OuterProducts(outputGradient, leftStride: shape.width, weight, count: 1), none, shape)
        // The write.
        kernels.memoryWriteGradient(
            weightGradient: weightGradient, eraseGradient: eraseGradient, addGradient: addGradient, gradient: memoryGradient,
            memory: previous + memory, weights: weight, erase: erase, add: input + shape.rows + shape.width, count: 1, shape)
        kernels.memoryGradient(
            memoryGradient, memory: previous + memory, weights: weight, erase: erase, count: 1, decay: nil, none, none, shape)
        for w in 0..<shape.width { eraseGradient[w] *= erase[w] * (1 - erase[w]) }
        kernels.softmaxGradient(slope, outputGradient: weightGradient, probability: weight, scale: 1, shape.rows)
        input.update(from: slope, count: inputWidth)
    }
}

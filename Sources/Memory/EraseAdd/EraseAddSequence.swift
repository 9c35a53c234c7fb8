// The erase/add memory over a whole sequence as one operation.
//
// Legend: B sequences, T steps, I input width, H units, N memory rows, W their width, S their stride (N rounded up to 16), P = N + 2 W numbers of a
// step. Memories are stored by columns, [W, S], as the kernels want them; rows of buffers are in the order [T, B].

import Kernels
import NeuralNetworks
import Tensors

/// The layer that gives a step its numbers.
struct EraseAddWeights {
    /// [P, I].
    let input: Tensor
    /// [P, H].
    let hidden: Tensor
    /// [P].
    let bias: Tensor
}

/// What the two passes share. Buffers are made once for all steps; no step allocates memory.
final class EraseAddSequence {
    private let shape: AddressedMemoryShape
    private let controller: ControllerSequence
    private let layer: EraseAddWeights
    private let x: Tensor
    private let initialMemory: Tensor?
    private let initialHidden: Tensor?
    private var lastMemoryGradient: Tensor?
    private let batch: Int
    private let steps: Int
    /// P.
    private let numbers: Int
    private let isKept: Bool
    /// [T B, I].
    private let timeMajorX: Tensor
    /// [T B, P]: products, then scores, sigmoid(erase) and value; backwards the gradients of the products.
    private let values: Tensor
    /// [T B, S].
    private let weights: Tensor
    /// [(T + 1) B, W, S]; one step's where nothing is kept.
    private let memories: Tensor
    /// [B, H]: h[-1].
    private let firstHidden: Tensor

    init(_ memory: EraseAddMemory, _ x: Tensor, from state: MemoryState?, _ layer: EraseAddWeights, _ pass: ForwardPass) {
        shape = AddressedMemoryShape(rows: memory.rows, width: memory.width)
        (self.x, self.layer, initialMemory, initialHidden) = (x, layer, state?.tensors[0], state?.tensors[1])
        controller = ControllerSequence(memory.controller, x, from: state.map { Array($0.tensors.dropFirst()) }, pass)
        (batch, steps, numbers, isKept) = (controller.batch, controller.steps, layer.bias.count, pass.tape != nil)
        if let initialMemory {
            let expected: Shape = [batch, shape.rows, shape.width]
            precondition(initialMemory.shape == expected, "erase/add memory: state \(initialMemory.shape) is not \(expected)")
        }
        let rows = steps * batch
        timeMajorX = reordered(x, [rows, x.shape[2]], from: batch, steps)
        values = Tensor(uninitialized: [rows, numbers])
        multiplyMatrices(
            into: MatrixOperand(values), MatrixOperand(timeMajorX), MatrixOperand(layer.input, .transposed), m: rows, n: numbers, k: x.shape[2],
            bias: layer.bias.floats)
        weights = Tensor(uninitialized: [isKept ? rows : batch, shape.stride])
        memories = Tensor(uninitialized: [isKept ? rows + batch : batch, shape.count])
        firstHidden = initialHidden?.stopGradient() ?? Tensor(zeros: [batch, controller.width])
        if let initialMemory {
            storeByColumns(initialMemory, into: memories.floats, shape)
        } else {
            memories.floats.update(repeating: 0, count: batch * shape.count)
        }
    }

    var dependencies: [Tensor] {
        controller.dependencies + [layer.input, layer.hidden, layer.bias] + (initialMemory.map { [$0] } ?? [])
    }

    func setLastStateGradient(_ index: Int, _ gradient: Tensor) {
        if index == 0 { lastMemoryGradient = gradient } else { controller.setLastStateGradient(index - 1, gradient) }
    }

    @inline(__always)
    private func forSequences(_ body: (Range<Int>) -> Void) {
        Workers.parallel(batch, minimum: max(1, (1 << 13) / (shape.count + shape.stride)), body)
    }

    /// The memory of sequence b before step t, and after step t - 1.
    @inline(__always)
    private func memory(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { memories.floats + ((isKept ? t * batch : 0) + b) * shape.count }

    @inline(__always)
    private func weights(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { weights.floats + ((isKept ? t * batch : 0) + b) * shape.stride }

    /// h[t-1], [B, H].
    @inline(__always)
    private func hidden(before t: Int) -> UnsafeMutablePointer<Float> { t == 0 ? firstHidden.floats : controller.output(t - 1) }

    /// All steps: [B, T, H + W].
    func run(_ trace: MemoryTrace?) -> Tensor {
        let (width, outputWidth) = (controller.width, controller.width + shape.width)
        let outputs = Tensor(uninitialized: [batch, steps, outputWidth])
        let packed = PackedMatrix(MatrixOperand(layer.hidden, .transposed), rows: batch, k: width, n: numbers, isAdding: true, uses: steps)
        let picture = trace.map { _ in WeightPicture(heads: 1, rows: shape.rows, steps: steps) }
        let target = outputs.floats
        for t in 0..<steps {
            packed.multiply(into: values.floats + t * batch * numbers, hidden(before: t))
            forSequences { range in for b in range { writeAndRead(t, b) } }
            controller.step(t)
            for b in 0..<batch {
                let output = target + (b * steps + t) * outputWidth
                output.update(from: controller.output(t) + b * width, count: width)
                (output + width).update(from: controller.readRow(t, b), count: shape.width)
            }
            if let picture { picture.record(t, weights(t, 0), stride: shape.stride) }
        }
        if let trace, let picture { picture.show(trace, names: ["weights"]) }
        return outputs
    }

    private func writeAndRead(_ t: Int, _ b: Int) {
        let value = values.floats + (t * batch + b) * numbers
        let weight = weights(t, b)
        kernels.softmax(weight, value, scale: 1, shape.rows)
        for i in shape.rows..<shape.stride { weight[i] = 0 }
        let erase = value + shape.rows
        kernels.unary(.sigmoid, erase, erase, shape.width)
        kernels.memoryWrite(memory(t + 1, b), memory: memory(t, b), weights: weight, erase: erase, add: erase + shape.width, count: 1, shape)
        kernels.memoryReads(controller.readRow(t, b), outStride: shape.width, memory: memory(t + 1, b), weights: weight, count: 1, shape)
    }

    /// Memory and hidden state after the last step; off the tape.
    lazy var lastState: [Tensor] = {
        [memoriesByRows(memory(steps, 0), batch: batch, shape)] + controller.lastState
    }()

    // MARK: backwards

    private struct Buffers {
        /// [B, W, S].
        let memory: Tensor
        /// [B, S].
        let weights: Tensor
        /// [B, W].
        let reads: Tensor
        /// [B, P].
        let numbers: Tensor
        /// [B, H].
        let hidden: Tensor
    }

    /// Backpropagation through time from the gradient of the outputs, [B, T, H + W].
    func accumulateGradients(_ outputGradient: Tensor) {
        let gradient = outputGradient.dataType == .float32 ? outputGradient : outputGradient.converted(to: .float32)
        let (width, outputWidth) = (controller.width, controller.width + shape.width)
        let buffers = Buffers(
            memory: Tensor(zeros: [batch, shape.count]), weights: Tensor(uninitialized: [batch, shape.stride]),
            reads: Tensor(uninitialized: [batch, shape.width]), numbers: Tensor(uninitialized: [batch, numbers]),
            hidden: Tensor(zeros: [batch, width]))
        if let lastMemoryGradient { storeByColumns(lastMemoryGradient, into: buffers.memory.floats, shape) }
        let packed = PackedMatrix(MatrixOperand(layer.hidden), rows: batch, k: numbers, n: width, isAdding: false, uses: steps)
        for t in (0..<steps).reversed() {
            let (source, sourceStride) = (gradient.floats + t * outputWidth, steps * outputWidth)
            for b in 0..<batch { kernels.add(buffers.hidden.floats + b * width, buffers.hidden.floats + b * width, source + b * sourceStride, width) }
            controller.stepGradient(t, buffers.hidden.floats)
            forSequences { range in
                for b in range {
                    let reading = buffers.reads.floats + b * shape.width
                    kernels.add(reading, controller.readGradientRow(b), source + b * sourceStride + width, shape.width)
                    stepGradient(t, b, buffers)
                }
            }
            packed.multiply(into: buffers.hidden.floats, values.floats + t * batch * numbers)
        }
        accumulateParameterGradients(buffers)
    }

    /// Goes back through write and read of step t for sequence b.
    private func stepGradient(_ t: Int, _ b: Int, _ buffers: Buffers) {
        let value = values.floats + (t * batch + b) * numbers
        let slope = buffers.numbers.floats + b * numbers
        let (weight, weightGradient) = (weights(t, b), buffers.weights.floats + b * shape.stride)
        let (reading, memoryGradient) = (buffers.reads.floats + b * shape.width, buffers.memory.floats + b * shape.count)
        let erase = value + shape.rows
        let (eraseGradient, addGradient) = (slope + shape.rows, slope + shape.rows + shape.width)
        // r = M[t]^T w.
        kernels.memoryScores(
            weightGradient, norms: nil, memory: memory(t + 1, b), keys: reading, keyStride: shape.width, keyCount: 1, accumulate: false, shape)
        let none = OuterProducts(reading, leftStride: 0, weight, count: 0)
        kernels.memoryGradient(
            memoryGradient, memory: memory(t + 1, b), weights: weight, erase: erase, count: 0, decay: nil,
            OuterProducts(reading, leftStride: shape.width, weight, count: 1), none, shape)
        // The write.
        kernels.memoryWriteGradient(
            weightGradient: weightGradient, eraseGradient: eraseGradient, addGradient: addGradient, gradient: memoryGradient, memory: memory(t, b),
            weights: weight, erase: erase, add: erase + shape.width, count: 1, shape)
        kernels.memoryGradient(
            memoryGradient, memory: memory(t, b), weights: weight, erase: erase, count: 1, decay: nil, none, none, shape)
        for w in 0..<shape.width { eraseGradient[w] *= erase[w] * (1 - erase[w]) }
        kernels.softmaxGradient(slope, outputGradient: weightGradient, probability: weight, scale: 1, shape.rows)
        value.update(from: slope, count: numbers)
    }

    private func accumulateParameterGradients(_ buffers: Buffers) {
        let (rows, width, inputs) = (steps * batch, controller.width, x.shape[2])
        layer.input.node?.withGradientTensor { target, accumulate in
            multiplyMatrices(
                into: MatrixOperand(target, leading: inputs), MatrixOperand(values, .transposed), MatrixOperand(timeMajorX), m: numbers, n: inputs,
                k: rows, beta: accumulate ? 1 : 0)
        }
        layer.hidden.node?.withGradientTensor { target, accumulate in
            multiplyMatrices(
                into: MatrixOperand(target, leading: width), MatrixOperand(values, .transposed), MatrixOperand(firstHidden), m: numbers, n: width,
                k: batch, beta: accumulate ? 1 : 0)
            multiplyMatrices(
                into: MatrixOperand(target, leading: width), MatrixOperand(values, first: batch * numbers, .transposed),
                MatrixOperand(controller.allOutputs), m: numbers, n: width, k: rows - batch, beta: 1)
        }
        layer.bias.node?.withZeroedGradient { kernels.accumulateColumnSums($0, values.elements, rows: rows, columns: numbers) }
        if let node = x.node {
            let part = Tensor(uninitialized: [rows, inputs])
            multiplyMatrices(into: MatrixOperand(part), MatrixOperand(values), MatrixOperand(layer.input), m: rows, n: inputs, k: numbers)
            node.accumulate(reordered(part, [batch, steps, inputs], from: steps, batch))
        }
        initialMemory?.node?.accumulate(memoriesByRows(buffers.memory.floats, batch: batch, shape))
        initialHidden?.node?.accumulate(buffers.hidden)
        controller.accumulateGradients()
    }
}

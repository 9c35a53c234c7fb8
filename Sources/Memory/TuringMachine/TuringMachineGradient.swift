// The backward pass of a Neural Turing Machine over a whole sequence.
//
// Legend: as in TuringMachineSequence.swift.

import Kernels
import NeuralNetworks
import Tensors

extension TuringMachineSequence {
    /// What the backward pass needs beside what was kept.
    private struct Buffers {
        /// [B, W, S]: of the memory after the step that comes next.
        let memory: Tensor
        /// [B, A, S]: of the weights after it.
        let weights: Tensor
        /// [B, A, S].
        let keyFactors: Tensor
        /// [B, S].
        let decay: Tensor
        /// [B, R W].
        let reads: Tensor
        /// [B, P]: of the numbers of a step, which then take the place of the numbers.
        let numbers: Tensor
        /// [B, H].
        let output: Tensor
    }

    /// Backpropagation through time from the gradient of the outputs, [B, T, H + R W].
    func accumulateGradients(_ outputGradient: Tensor) {
        let gradient = outputGradient.dataType == .float32 ? outputGradient : outputGradient.converted(to: .float32)
        let width = controller.width
        let buffers = Buffers(
            memory: Tensor(zeros: [batch, memoryCount]), weights: Tensor(zeros: [batch, weightCount]),
            keyFactors: Tensor(uninitialized: [batch, weightCount]), decay: Tensor(uninitialized: [batch, shape.stride]),
            reads: Tensor(uninitialized: [batch, reads * shape.width]), numbers: Tensor(uninitialized: [batch, numbers]),
            output: Tensor(uninitialized: [batch, width]))
        placeLastGradients(buffers)
        let packed = PackedMatrix(MatrixOperand(interfaceWeight), rows: batch, k: numbers, n: width, isAdding: true, uses: steps)
        let lastSegment = (steps - 1) / segment
        for t in (0..<steps).reversed() {
            let index = t / segment
            if index < lastSegment, t == (index + 1) * segment - 1 { repeatSegment(index) }
            let source = gradient.floats + t * (width + reads * shape.width)
            let sourceStride = steps * (width + reads * shape.width)
            forSequences { range in
                for b in range {
                    (buffers.output.floats + b * width).update(from: source + b * sourceStride, count: width)
                    let reading = buffers.reads.floats + b * reads * shape.width
                    let later = t == steps - 1 ? UnsafePointer(reading) : UnsafePointer(controller.readGradientRow(b))
                    kernels.add(reading, later, source + b * sourceStride + width, reads * shape.width)
                    stepGradient(t, b, buffers)
                }
            }
            packed.multiply(into: buffers.output.floats, rawNumbers.floats + row(t) * numbers)
            controller.stepGradient(t, buffers.output.floats)
        }
        accumulateParameterGradients(buffers)
    }

    /// Takes the gradients of the state after the last step.
    private func placeLastGradients(_ buffers: Buffers) {
        let readCount = reads * shape.width
        if let gradient = lastStateGradients[0] { storeByColumns(gradient, into: buffers.memory.floats, shape) }
        for b in 0..<batch {
            for head in 0..<heads {
                let (source, index, count) = head < reads ? (lastStateGradients[1], head, reads) : (lastStateGradients[2], head - reads, writes)
                guard let source else { continue }
                (buffers.weights.floats + b * weightCount + head * shape.stride).update(
                    from: source.floats + (b * count + index) * shape.rows, count: shape.rows)
            }
        }
        copyRows(lastStateGradients[3], to: buffers.reads.floats, stride: readCount, rows: batch, readCount)
        for (index, gradient) in lastStateGradients where index > 3 { controller.setLastStateGradient(index - 4, gradient) }
    }

    /// Goes back through step t for sequence b: from the gradients of its reads, of the memory and of the weights after it to those of the numbers,
    /// of the memory and of the weights before it.
    private func stepGradient(_ t: Int, _ b: Int, _ buffers: Buffers) {
        let place = t % segment
        let (row, placeRow) = (row(t) + b, placeRow(place) + b)
        let result = results.floats + row * numbers
        let raw = rawNumbers.floats + row * numbers
        let slope = buffers.numbers.floats + b * numbers
        let (before, beforeWeights, afterWeights) = (memory(place, b), weights(place, b), weights(place + 1, b))
        let memoryGradient = buffers.memory.floats + b * memoryCount
        let weightGradient = buffers.weights.floats + b * weightCount
        let keyFactors = buffers.keyFactors.floats + b * weightCount
        let decay = buffers.decay.floats + b * shape.stride
        let reading = buffers.reads.floats + b * reads * shape.width
        let (erase, add) = (heads * numbersPerHead, heads * numbersPerHead + writes * shape.width)
        let writeWeights = afterWeights + reads * shape.stride
        // Reads and writes.
        kernels.memoryScores(
            weightGradient, norms: nil, memory: before, keys: reading, keyStride: shape.width, keyCount: reads, accumulate: true, shape)
        kernels.memoryWriteGradient(
            weightGradient: weightGradient + reads * shape.stride, eraseGradient: slope + erase, addGradient: slope + add, gradient: memoryGradient,
            memory: before, weights: writeWeights, erase: result + erase, add: result + add, count: writes, shape)
        kernels.writeVectorsGradient(
            eraseGradient: slope + erase, addGradient: slope + add, numbers: raw + erase, additions: raw + add, erase: result + erase,
            add: result + add, addressing, width: writes * shape.width)
        // Addressing.
        let kept = addressingSteps.floats + placeRow * 3 * weightCount
        let norm = norms.floats + placeRow * shape.stride
        kernels.fill(decay, 0, shape.stride)
        for head in 0..<heads {
            let first = head * shape.stride
            let (headSlope, headResult) = (slope + head * numbersPerHead, result + head * numbersPerHead)
            let keyDecay = kernels.headWeightsGradient(
                weightGradient: weightGradient + first, keyFactors: keyFactors + first, decay: decay, numberGradient: headSlope,
                AddressingSteps(
                    cosine: kept + first, content: kept + weightCount + first, shifted: kept + 2 * weightCount + first,
                    weights: afterWeights + first),
                previous: beforeWeights + first, norms: norm, keyNorm: keyNorms.floats[row * heads + head], numbers: headResult, addressing,
                scratch: scratch.floats + b * scratchCount, shape)
            kernels.memoryReads(headSlope, outStride: shape.width, memory: before, weights: keyFactors + first, count: 1, shape)
            kernels.addScaled(headSlope, headResult, scale: -keyDecay, shape.width)
            kernels.headNumbersGradient(headSlope, numbers: raw + head * numbersPerHead, results: headResult, addressing, width: shape.width)
        }
        // The memory before the step.
        kernels.memoryGradient(
            memoryGradient, memory: before, weights: writeWeights, erase: result + erase, count: writes, decay: decay,
            OuterProducts(reading, leftStride: shape.width, afterWeights, count: reads),
            OuterProducts(result, leftStride: numbersPerHead, keyFactors, count: heads), shape)
        raw.update(from: slope, count: numbers)
    }

    /// Adds the gradients of parameters and of the initial state, after the gradient of step 0.
    private func accumulateParameterGradients(_ buffers: Buffers) {
        let (rows, width) = (steps * batch, controller.width)
        interfaceWeight.node?.withGradientTensor { target, accumulate in
            multiplyMatrices(
                into: MatrixOperand(target, leading: width), MatrixOperand(rawNumbers, .transposed), MatrixOperand(controller.allOutputs), m: numbers,
                n: width, k: rows, beta: accumulate ? 1 : 0)
        }
        interfaceBias.node?.withZeroedGradient { kernels.accumulateColumnSums($0, rawNumbers.elements, rows: rows, columns: numbers) }
        initial[0]?.node?.accumulate(memoriesByRows(buffers.memory.floats, batch: batch, shape))
        for (tensor, first, count) in [(initial[1], 0, reads), (initial[2], reads, writes)] {
            guard let node = tensor?.node else { continue }
            let gradient = Tensor(uninitialized: [batch, count, shape.rows])
            for b in 0..<batch {
                for head in 0..<count {
                    (gradient.floats + (b * count + head) * shape.rows).update(
                        from: buffers.weights.floats + b * weightCount + (first + head) * shape.stride, count: shape.rows)
                }
            }
            node.accumulate(gradient)
        }
        if let node = initial[3]?.node {
            let gradient = Tensor(uninitialized: [batch, reads, shape.width])
            for b in 0..<batch {
                (gradient.floats + b * reads * shape.width).update(from: controller.readGradientRow(b), count: reads * shape.width)
            }
            node.accumulate(gradient)
        }
        controller.accumulateGradients()
    }
}

// The backward pass of the sparse delta rule: step by step from the last, the memory being unwritten on the way.
//
// Legend: B sequences, T steps, H heads, S rows of a head, V width of a row, W rows that a step writes to, R rows that it reads.

import Kernels
import Tensors

extension SparseDeltaComputation {
    /// The gradients of the inputs, in their shapes.
    struct Gradients {
        let values: Tensor
        let strengths: Tensor
        let logDecays: Tensor
        let writes: Tensor
        let reads: Tensor
        /// [B, H S, V]; `nil` where sequences brought none.
        var state: Tensor?
        /// [H S, V], over all sequences that began in the call; `nil` where it is not wanted.
        var start: Tensor?
    }

    /// - Parameters:
    ///   - outputGradient: [B, T, H V]; `nil` is zeros.
    ///   - lastGradient: of the state after the last step, [B, H S, V]; `nil` is zeros.
    ///   - last: that state.
    ///   - trace: what `forward` kept.
    ///   - wantsStart: whether a gradient of the start is wanted.
    func backward(_ outputGradient: Tensor?, _ lastGradient: Tensor?, last: Tensor, _ trace: Trace, wantsStart: Bool) -> Gradients {
        var result = Gradients(
            values: Tensor(uninitialized: values.shape), strengths: Tensor(uninitialized: strengths.shape),
            logDecays: Tensor(uninitialized: strengths.shape), writes: Tensor(uninitialized: writeWeights.shape),
            reads: Tensor(uninitialized: readWeights.shape))
        let memories = last.copied()
        let memoryGradients = lastGradient?.copied() ?? Tensor(zeros: last.shape)
        // What flows into the start at resets, sequence by sequence; at the first step all that is left does.
        let began = wantsStart && resetCount > 0 ? Tensor(zeros: last.shape) : nil
        Workers.forEach(tasks: batch * heads) { task in
            let (b, head) = (task / heads, task % heads)
            let (memory, gradient) = (memories.floats + task * headCount, memoryGradients.floats + task * headCount)
            let scratch = Tensor(uninitialized: [2, width])
            for t in (0..<steps).reversed() {
                let place = (b * steps + t) * heads + head
                stepGradient(memory, gradient, place, outputGradient.map { $0.floats + place * width }, trace, result, scratch.floats)
                let reset = reset(b, t)
                if reset < 0 { continue }
                if let began { kernels.add(began.floats + task * headCount, began.floats + task * headCount, gradient, headCount) }
                kernels.fill(gradient, 0, headCount)
                memory.update(from: trace.left.floats + (reset * heads + head) * headCount, count: headCount)
            }
        }
        if hasState { result.state = memoryGradients }
        guard wantsStart else { return result }
        let sum = Tensor(zeros: [heads * rows, width])
        for parts in [began, hasState ? nil : memoryGradients].compactMap({ $0 }) {
            kernels.accumulateColumnSums(sum.floats, parts.elements, rows: batch, columns: sum.count)
        }
        result.start = sum
        return result
    }

    /// Goes back through a step of one head. `memory` [S, V] is that after it and becomes that before it; so does `gradient`.
    private func stepGradient(
        _ memory: UnsafeMutablePointer<Float>, _ gradient: UnsafeMutablePointer<Float>, _ place: Int, _ out: UnsafePointer<Float>?,
        _ trace: Trace, _ targets: Gradients, _ scratch: UnsafeMutablePointer<Float>
    ) {
        // o = sum over j of q[j] M[j].
        let (chosen, shares) = (readRows.integers + place * reads, readWeights.floats + place * reads)
        let shareGradients = targets.reads.floats + place * reads
        for j in 0..<reads {
            guard let out else {
                shareGradients[j] = 0
                continue
            }
            let row = Int(chosen[j]) * width
            shareGradients[j] = kernels.dot(memory + row, out, width)
            kernels.addScaled(gradient + row, out, scale: shares[j], width)
        }
        // M[i] = M[i] + k[i] u.
        let (rows, weights) = (writeRows.integers + place * writes, writeWeights.floats + place * writes)
        let weightGradients = targets.writes.floats + place * writes
        let (error, strength, decay) = (trace.errors.floats + place * width, strengths.floats[place], decays.floats[place])
        let (update, updateGradient) = (scratch, scratch + width)
        kernels.affine(update, error, scale: strength, offset: 0, width)
        kernels.fill(updateGradient, 0, width)
        for i in 0..<writes {
            let row = gradient + Int(rows[i]) * width
            weightGradients[i] = kernels.dot(row, update, width)
            kernels.addScaled(updateGradient, row, scale: weights[i], width)
        }
        // u = b (v - sum over i of k[i] M[i]), M[i] = exp(g) M[i].
        targets.strengths.floats[place] = kernels.dot(updateGradient, error, width)
        let errorGradient = targets.values.floats + place * width
        kernels.affine(errorGradient, updateGradient, scale: strength, offset: 0, width)
        var decayGradient: Float = 0
        for i in 0..<writes {
            let (before, row) = (trace.before.floats + (place * writes + i) * width, Int(rows[i]) * width)
            weightGradients[i] -= decay * kernels.dot(before, errorGradient, width)
            kernels.addScaled(gradient + row, errorGradient, scale: -weights[i], width)
            decayGradient += kernels.dot(gradient + row, before, width)
            kernels.affine(gradient + row, gradient + row, scale: decay, offset: 0, width)
            (memory + row).update(from: before, count: width)
        }
        targets.logDecays.floats[place] = decayGradient * decay
    }
}

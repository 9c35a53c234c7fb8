// The backward pass of the gated delta rule: chunk by chunk from the last, each computed again from the state at its start.
//
// Legend: B sequences, T steps, H heads, K width of a key, V width of a value, C steps of a chunk, N chunks.

import Kernels
import Tensors

extension DeltaRuleComputation {
    /// The gradients of the inputs, in their shapes.
    ///
    /// - Parameters:
    ///   - outputGradient: [B, T, H V]; `nil` is zeros.
    ///   - lastGradient: of the state after the last step, [B, H K, V]; `nil` is zeros.
    ///   - starts: what `forward` kept.
    func backward(
        _ outputGradient: Tensor?, _ lastGradient: Tensor?, starts: Tensor
    ) -> (associations: Tensor, strengths: Tensor, logDecays: Tensor, state: Tensor) {
        let targets = DeltaRuleGradients(
            associations: Tensor(uninitialized: associations.shape), strengths: Tensor(uninitialized: strengths.shape),
            logDecays: Tensor(uninitialized: logDecays.shape))
        let stateGradient = lastGradient?.copied() ?? Tensor(zeros: [batch, shape.heads * shape.keyWidth, shape.valueWidth])
        let memory = scratch(Work.count(chunk, shape) + GradientWork.count(chunk, shape))
        Workers.forEach(tasks: batch * shape.heads) { task in
            let (b, head) = (task / shape.heads, task % shape.heads)
            for number in (0..<chunks).reversed() {
                let (first, count) = (number * chunk, min(chunk, steps - number * chunk))
                let work = Work(memory.floats + Workers.index * memory.shape[1], count, shape)
                let start = starts.floats + (task * chunks + number) * matrixCount
                prepare(work, start, sequence: b, head: head, first: first, count: count)
                chunkGradient(
                    work, GradientWork(work.more, count, shape), start, stateGradient.floats + task * matrixCount, outputGradient, targets,
                    sequence: b, head: head, first: first, count: count)
            }
        }
        return (targets.associations, targets.strengths, targets.logDecays, stateGradient)
    }

    /// What the gradient of a chunk of c steps needs beside the chunk itself.
    private struct GradientWork {
        /// [c, V]: the outputs' gradient, times 1 / sqrt(K).
        let outputs: UnsafeMutablePointer<Float>
        /// [c, V] each: of the updates and of the errors.
        let updates: UnsafeMutablePointer<Float>
        let errors: UnsafeMutablePointer<Float>
        /// [2 c, V]: of what the start gave to queries and keys.
        let reads: UnsafeMutablePointer<Float>
        /// [2 c, c]: of the products.
        let products: UnsafeMutablePointer<Float>
        /// [c, c]: of the ratios, times the ratios.
        let ratios: UnsafeMutablePointer<Float>
        /// [2 c, K]: of queries and keys of length 1.
        let units: UnsafeMutablePointer<Float>
        /// [c, K] each: keys times the decay behind them, and their gradient.
        let fadedKeys: UnsafeMutablePointer<Float>
        let fadedKeyGradient: UnsafeMutablePointer<Float>
        /// [c]: of the sums of g.
        let logSums: UnsafeMutablePointer<Float>

        static func count(_ c: Int, _ shape: DeltaRuleShape) -> Int {
            5 * c * shape.valueWidth + 3 * c * c + 4 * c * shape.keyWidth + c
        }

        init(_ memory: UnsafeMutablePointer<Float>, _ c: Int, _ shape: DeltaRuleShape) {
            outputs = memory
            updates = outputs + c * shape.valueWidth
            errors = updates + c * shape.valueWidth
            reads = errors + c * shape.valueWidth
            products = reads + 2 * c * shape.valueWidth
            ratios = products + 2 * c * c
            units = ratios + c * c
            fadedKeys = units + 2 * c * shape.keyWidth
            fadedKeyGradient = fadedKeys + c * shape.keyWidth
            logSums = fadedKeyGradient + c * shape.keyWidth
        }
    }

    /// Goes back through a prepared chunk. `stateGradient` [K, V]: of the state after it, becomes that of its start.
    private func chunkGradient(
        _ work: Work, _ gradient: GradientWork, _ start: UnsafePointer<Float>, _ stateGradient: UnsafeMutablePointer<Float>,
        _ outputGradient: Tensor?, _ targets: DeltaRuleGradients, sequence: Int, head: Int, first: Int, count: Int
    ) {
        let (keyWidth, valueWidth) = (shape.keyWidth, shape.valueWidth)
        let keys = work.units + count * keyWidth
        let behind = work.ratios + (count - 1) * count
        for t in 0..<count {
            let out = gradient.outputs + t * valueWidth
            if let outputGradient {
                let place = ((sequence * steps + first + t) * shape.heads + head) * valueWidth
                kernels.affine(out, outputGradient.floats + place, scale: scale, offset: 0, valueWidth)
            } else {
                kernels.fill(out, 0, valueWidth)
            }
            kernels.affine(gradient.fadedKeys + t * keyWidth, keys + t * keyWidth, scale: behind[t], offset: 0, keyWidth)
        }

        // The updates: what read them, and the state that they were written to.
        multiplyMatrices(
            gradient.updates, leadingC: valueWidth, work.products, .transposed, leadingA: count, gradient.outputs, leadingB: valueWidth, m: count,
            n: valueWidth, k: count)
        multiplyMatrices(
            gradient.updates, leadingC: valueWidth, gradient.fadedKeys, leadingA: keyWidth, stateGradient, leadingB: valueWidth, m: count,
            n: valueWidth, k: keyWidth, beta: 1)
        multiplyMatrices(
            gradient.fadedKeyGradient, leadingC: keyWidth, work.updates, leadingA: valueWidth, stateGradient, .transposed, leadingB: valueWidth,
            m: count, n: keyWidth, k: valueWidth)
        solveTransposed(work, gradient, count)

        // The products of queries and keys with keys, through the ratios.
        multiplyMatrices(
            gradient.products, leadingC: count, gradient.outputs, leadingA: valueWidth, work.updates, .transposed, leadingB: valueWidth, m: count,
            n: count, k: valueWidth)
        kernels.multiply(gradient.ratios, gradient.products, work.products, count * count)
        kernels.multiply(gradient.products, gradient.products, work.ratios, count * count)
        let square = count * count
        if shape.erases {
            let between = gradient.products + square
            multiplyMatrices(
                between, leadingC: count, gradient.errors, leadingA: valueWidth, work.updates, .transposed, leadingB: valueWidth, m: count, n: count,
                k: valueWidth, alpha: -1)
            kernels.addProduct(gradient.ratios, between, work.products + square, square)
            kernels.multiply(between, between, work.ratios, square)
            for t in 0..<count { between[t * count + t] = 0 }
        }

        sumGradients(work, gradient, start, stateGradient, count)

        // Queries and keys: by their products, by what they read of the start, and by what was written under the keys.
        let rows = shape.erases ? 2 * count : count
        if !shape.erases { kernels.fill(gradient.units + count * keyWidth, 0, count * keyWidth) }
        multiplyMatrices(
            gradient.units, leadingC: keyWidth, gradient.products, leadingA: count, keys, leadingB: keyWidth, m: rows, n: keyWidth, k: count)
        multiplyMatrices(
            gradient.units + count * keyWidth, leadingC: keyWidth, gradient.products, .transposed, leadingA: count, work.units, leadingB: keyWidth,
            m: count, n: keyWidth, k: rows, beta: 1)
        for t in 0..<count {
            kernels.affine(
                gradient.reads + t * valueWidth, gradient.outputs + t * valueWidth, scale: work.decays[t], offset: 0, valueWidth)
            if shape.erases {
                kernels.affine(
                    gradient.reads + (count + t) * valueWidth, gradient.errors + t * valueWidth, scale: -work.decays[t], offset: 0, valueWidth)
            }
            kernels.addScaled(
                gradient.units + (count + t) * keyWidth, gradient.fadedKeyGradient + t * keyWidth, scale: behind[t], keyWidth)
        }
        multiplyMatrices(
            gradient.units, leadingC: keyWidth, gradient.reads, leadingA: valueWidth, start, .transposed, leadingB: valueWidth, m: rows, n: keyWidth,
            k: valueWidth, beta: 1)
        kernels.affine(stateGradient, stateGradient, scale: work.decays[count - 1], offset: 0, matrixCount)
        multiplyMatrices(
            stateGradient, leadingC: valueWidth, work.units, .transposed, leadingA: keyWidth, gradient.reads, leadingB: valueWidth, m: keyWidth,
            n: valueWidth, k: rows, beta: 1)
        store(work, gradient, targets, sequence: sequence, head: head, first: first, count: count)
    }

    /// From the gradient of the updates to that of the errors: an update is also what later errors lack.
    private func solveTransposed(_ work: Work, _ gradient: GradientWork, _ count: Int) {
        let valueWidth = shape.valueWidth
        func scaleError(_ t: Int) {
            kernels.affine(
                gradient.errors + t * valueWidth, gradient.updates + t * valueWidth, scale: work.strengths[t], offset: 0, valueWidth)
        }
        guard shape.erases else {
            for t in 0..<count { scaleError(t) }
            return
        }
        let between = work.products + count * count
        for block in stride(from: (count - 1) / Self.solvedRows * Self.solvedRows, through: 0, by: -Self.solvedRows) {
            let rows = min(Self.solvedRows, count - block)
            for t in (block..<block + rows).reversed() {
                scaleError(t)
                for i in block..<t {
                    kernels.addScaled(
                        gradient.updates + i * valueWidth, gradient.errors + t * valueWidth, scale: -between[t * count + i], valueWidth)
                }
            }
            if block > 0 {
                multiplyMatrices(
                    gradient.updates, leadingC: valueWidth, between + block * count, .transposed, leadingA: count,
                    gradient.errors + block * valueWidth, leadingB: valueWidth, m: block, n: valueWidth, k: rows, alpha: -1, beta: 1)
            }
        }
    }

    /// The gradient of the sums of g: through the ratios, through what the start lost until a step, and through what the chunk's end has lost.
    private func sumGradients(
        _ work: Work, _ gradient: GradientWork, _ start: UnsafePointer<Float>, _ stateGradient: UnsafePointer<Float>, _ count: Int
    ) {
        let (keyWidth, valueWidth) = (shape.keyWidth, shape.valueWidth)
        let sums = gradient.logSums
        kernels.fill(sums, 0, count)
        kernels.accumulateColumnSums(sums, Elements(gradient.ratios), rows: count, columns: count)
        var last = work.decays[count - 1] * kernels.dot(start, stateGradient, matrixCount)
        for t in 0..<count {
            var read = kernels.dot(gradient.outputs + t * valueWidth, work.reads + t * valueWidth, valueWidth)
            if shape.erases { read -= kernels.dot(gradient.errors + t * valueWidth, work.reads + (count + t) * valueWidth, valueWidth) }
            let faded = kernels.dot(gradient.fadedKeys + t * keyWidth, gradient.fadedKeyGradient + t * keyWidth, keyWidth)
            sums[t] = Float(kernels.sum(gradient.ratios + t * count, count)) - sums[t] + work.decays[t] * read - faded
            last += faded
        }
        sums[count - 1] += last
    }

    /// Writes the gradients of a chunk's inputs.
    private func store(
        _ work: Work, _ gradient: GradientWork, _ targets: DeltaRuleGradients, sequence: Int, head: Int, first: Int, count: Int
    ) {
        let (keyWidth, valueWidth) = (shape.keyWidth, shape.valueWidth)
        /// The gradient of a vector before it was brought to length 1.
        func storeVector(_ target: UnsafeMutablePointer<Float>, unit: Int) {
            let (vector, along) = (work.units + unit * keyWidth, gradient.units + unit * keyWidth)
            let inverse = work.inverseLengths[unit]
            kernels.affine(target, along, scale: inverse, offset: 0, keyWidth)
            kernels.addScaled(target, vector, scale: -inverse * kernels.dot(along, vector, keyWidth), keyWidth)
        }
        var sum: Float = 0
        for t in (0..<count).reversed() {
            let row = sequence * steps + first + t
            let step = targets.associations.floats + row * shape.associationWidth
            storeVector(step + queryPlace(head), unit: t)
            storeVector(step + keyPlace(head), unit: count + t)
            (step + valuePlace(head)).update(from: gradient.errors + t * valueWidth, count: valueWidth)
            targets.strengths.floats[row * shape.heads + head] = kernels.dot(
                gradient.updates + t * valueWidth, work.errors + t * valueWidth, valueWidth)
            sum += gradient.logSums[t]
            targets.logDecays.floats[row * shape.heads + head] = sum
        }
    }
}

/// Where the gradients of the inputs go.
private struct DeltaRuleGradients {
    let associations: Tensor
    let strengths: Tensor
    let logDecays: Tensor
}

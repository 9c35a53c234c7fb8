// The way back through one step of a memory with usage and temporal links.
//
// Legend: N memory rows, W width, R read heads, E interface width, S padded rows.

import Kernels

/// The places of a sequence's scratch memory, in elements.
struct GradientScratch {
    /// [paddedHeads, S]: of the three things that read modes weigh. Of added heads they stay zero.
    let backward: Int
    let content: Int
    let forward: Int
    /// [R + 1, S]: of the products of keys and memory rows.
    let products: Int
    /// [R + 1, S]: see `contentWeightsGradient`.
    let normScales: Int
    /// [S] each.
    let writeWeights: Int
    let allocation: Int
    let retention: Int
    let prefixes: Int
    /// [R + 1, W] each.
    let vectors: Int
    let squares: Int
    let sums: Int
    /// [E] each: of the interface after and before its functions.
    let activated: Int
    let values: Int
    let count: Int

    init(_ frame: MemoryFrame, _ interface: MemoryInterface) {
        var end = 0
        func place(_ count: Int) -> Int {
            defer { end += (count + 15) / 16 * 16 }
            return end
        }
        let (stride, heads) = (frame.stride, frame.heads + 1)
        // First, because a step uses the beginning as scratch of its own before anything else does.
        vectors = place(heads * frame.width)
        squares = place(heads * frame.width)
        sums = place(heads * frame.width)
        backward = place(frame.paddedHeads * stride)
        content = place(frame.paddedHeads * stride)
        forward = place(frame.paddedHeads * stride)
        products = place(heads * stride)
        normScales = place(heads * stride)
        writeWeights = place(stride)
        allocation = place(stride)
        retention = place(stride)
        prefixes = place(stride)
        activated = place(interface.count)
        values = place(interface.count)
        count = end
    }
}

extension AllocatedMemory {
    /// Goes back through a step.
    /// - Parameters:
    ///   - gradient: [stateCount], of the memory after the step; becomes that of the memory before it.
    ///   - next, previous: the frames after and before the step, as `step` left them.
    ///   - values: [E], the interface before its functions; becomes its gradient.
    ///   - outputGradient: [R, W], of what was read.
    ///   - scratch: [scratch.count].
    func stepGradient(
        _ gradient: UnsafeMutablePointer<Float>, _ next: UnsafeMutablePointer<Float>, from previous: UnsafeMutablePointer<Float>,
        _ values: UnsafeMutablePointer<Float>, outputGradient: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        let (f, i, kernels) = (frame, interface, kernels)
        let s = self.scratch
        let (stride, heads, width) = (f.stride, f.heads, f.width)
        let z = next + f.interface
        let dz = scratch + s.activated
        let matrixGradient = gradient + f.matrix
        let readWeightGradient = gradient + f.readWeights
        let writeWeightGradient = scratch + s.writeWeights
        let retentionGradient = scratch + s.retention

        // Reads, and what the read weights are made of.
        kernels.memoryProducts(
            readWeightGradient, vectors: outputGradient, memory: next + f.matrix, heads: heads, width: width, stride: stride, isSquared: false,
            accumulates: true)
        kernels.memoryReadWeightsGradient(
            backwardGradient: scratch + s.backward, contentGradient: scratch + s.content, forwardGradient: scratch + s.forward,
            modeGradient: dz + i.modes, weightGradient: readWeightGradient, backward: next + f.backward, content: next + f.content,
            forward: next + f.forward, modes: z + i.modes, heads: heads, stride: stride)
        kernels.fill(readWeightGradient, 0, f.paddedHeads * stride)
        contentGradient(
            next, memory: next, weights: next + f.content, cosines: next + f.cosines, weightGradient: scratch + s.content,
            matrixGradient: matrixGradient,
            first: 0, count: heads, scratch: scratch, kernels)
        kernels.fill(scratch + s.normScales, 0, stride)
        kernels.addMemoryGradient(
            matrixGradient, vectors: outputGradient, weights: next + f.readWeights, heads: heads, memory: next + f.matrix,
            scale: scratch + s.normScales,
            width: width, stride: stride)

        // Links.
        if configuration.sharpensLinks {
            for h in 0..<heads {
                dz[i.powers + h] = kernels.sharpenGradient(
                    scratch + s.forward + h * stride, next + f.rawForward + h * stride, output: next + f.forward + h * stride, power: z[i.powers + h],
                    epsilon: Self.linkEpsilon, stride: stride)
                dz[i.powers + heads + h] = kernels.sharpenGradient(
                    scratch + s.backward + h * stride, next + f.rawBackward + h * stride, output: next + f.backward + h * stride,
                    power: z[i.powers + heads + h], epsilon: Self.linkEpsilon, stride: stride)
            }
        }
        writeWeightGradient.update(from: gradient + f.writeWeights, count: stride)
        kernels.memoryPrecedenceGradient(
            gradient + f.precedence, writeWeightGradient: writeWeightGradient, previousPrecedence: previous + f.precedence,
            writeWeights: next + f.writeWeights, stride: stride)
        kernels.linkMemoryGradient(
            gradient + f.links, readWeightGradient: readWeightGradient, writeWeightGradient: writeWeightGradient,
            precedenceGradient: gradient + f.precedence,
            forwardGradient: scratch + s.forward, backwardGradient: scratch + s.backward, previous: previous + f.links,
            writeWeights: next + f.writeWeights, precedence: previous + f.precedence, readWeights: previous + f.readWeights, heads: f.paddedHeads,
            rows: f.linkRows, stride: stride)

        // The write.
        kernels.fill(retentionGradient, 0, stride)
        let wipes = configuration.erasesFreedRows
        kernels.writeMemoryGradient(
            matrixGradient, weightGradient: writeWeightGradient, eraseGradient: dz + i.erase, vectorGradient: dz + i.writeVector,
            retentionGradient: wipes ? retentionGradient : nil, previous: previous + f.matrix, weights: next + f.writeWeights, erase: z + i.erase,
            vector: z + i.writeVector, retention: wipes ? UnsafePointer(next + f.retention) : nil, width: width, stride: stride)
        let gates = kernels.memoryWriteWeightsGradient(
            allocationGradient: scratch + s.allocation, contentGradient: scratch + s.content, weightGradient: writeWeightGradient,
            allocation: next + f.allocation, content: next + f.writeContent, allocationGate: z[i.allocationGate], writeGate: z[i.writeGate],
            stride: stride)
        (dz[i.allocationGate], dz[i.writeGate]) = gates
        contentGradient(
            next, memory: previous, weights: next + f.writeContent, cosines: next + f.writeCosines, weightGradient: scratch + s.content,
            matrixGradient: matrixGradient, first: heads, count: 1, scratch: scratch, kernels)

        // Allocation and usage.
        (next + f.order).withMemoryRebound(to: Int32.self, capacity: stride) { order in
            kernels.memoryAllocationGradient(
                gradient + f.usage, allocationGradient: scratch + s.allocation, order: order, usage: next + f.usage, products: scratch + s.prefixes,
                epsilon: Self.usageEpsilon, rows: f.rows)
        }
        kernels.fill(gradient + f.writeWeights, 0, stride)
        kernels.memoryUsageGradient(
            gradient + f.usage, retentionGradient: retentionGradient,
            writeWeightGradient: configuration.stopsUsageGradient ? nil : gradient + f.writeWeights, readWeightGradient: readWeightGradient,
            freeGateGradient: dz + i.freeGates, previousUsage: previous + f.usage, writeWeights: previous + f.writeWeights,
            retention: next + f.retention,
            readWeights: previous + f.readWeights, freeGates: z + i.freeGates, heads: heads, stride: stride)
        activationGradient(values, z: z, dz: dz, scratch + s.values, kernels)
    }

    /// The gradient of content weights: of keys, masks and strengths stored, of the matrix added.
    private func contentGradient(
        _ next: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, weights: UnsafePointer<Float>, cosines: UnsafePointer<Float>,
        weightGradient: UnsafePointer<Float>, matrixGradient: UnsafeMutablePointer<Float>, first: Int, count: Int,
        scratch: UnsafeMutablePointer<Float>,
        _ kernels: any KernelSet
    ) {
        let (f, i) = (frame, interface)
        let s = self.scratch
        let (stride, width, isMasked) = (f.stride, f.width, configuration.masksKeys)
        let z = next + f.interface
        let dz = scratch + s.activated
        let (keys, keyGradient) = (z + i.readKeys + first * width, dz + i.readKeys + first * width)
        let (masked, squares, sums) = (scratch + s.vectors, scratch + s.squares, scratch + s.sums)
        let (products, normScales) = (scratch + s.products, scratch + s.normScales)
        kernels.fill(normScales, 0, isMasked ? count * stride : stride)
        if isMasked { maskedKeys(masked, squares, keys: keys, masks: z + i.readMasks + first * width, count: count * width) }
        for h in 0..<count {
            let result = kernels.contentWeightsGradient(
                products + h * stride, normScale: isMasked ? normScales + h * stride : normScales, weightGradient: weightGradient + h * stride,
                weights: weights + h * stride, cosines: cosines + h * stride,
                inverseNorms: isMasked ? next + f.maskedNorms + (first + h) * stride : memory + f.inverseNorms,
                inverseKeyNorm: (next + f.keyNorms)[first + h], strength: z[i.readStrengths + first + h], stride: stride)
            dz[i.readStrengths + first + h] = result.strength
            // Until the sums are there, the gradient of the key holds what its norm gives.
            kernels.affine(keyGradient + h * width, (isMasked ? masked : keys) + h * width, scale: result.keyScale, offset: 0, width)
            if isMasked {
                let maskGradient = dz + i.readMasks + (first + h) * width
                for w in 0..<width { maskGradient[w] = result.keyScale * keys[h * width + w] * keys[h * width + w] }
            }
        }
        kernels.memorySums(sums, weights: products, memory: memory + f.matrix, heads: count, width: width, stride: stride, isSquared: false)
        if isMasked {
            let maskGradient = dz + i.readMasks + first * width
            let masks = z + i.readMasks + first * width
            for w in 0..<count * width {
                keyGradient[w] += squares[w] * sums[w]
                maskGradient[w] += 2 * keys[w] * sums[w]
            }
            kernels.memorySums(sums, weights: normScales, memory: memory + f.matrix, heads: count, width: width, stride: stride, isSquared: true)
            for w in 0..<count * width {
                let m = Self.maskFloor + (1 - Self.maskFloor) * masks[w]
                maskGradient[w] = (1 - Self.maskFloor) * m * (maskGradient[w] + sums[w])
            }
            kernels.addScaledMemoryGradient(
                matrixGradient, vectors: squares, weights: normScales, heads: count, memory: memory + f.matrix, width: width, stride: stride)
            kernels.fill(normScales, 0, stride)
        } else {
            kernels.add(keyGradient, keyGradient, sums, count * width)
        }
        kernels.addMemoryGradient(
            matrixGradient, vectors: isMasked ? masked : keys, weights: products, heads: count, memory: memory + f.matrix, scale: normScales,
            width: width,
            stride: stride)
    }

    /// The gradient of the interface before its functions and its clipping, in place of its values.
    private func activationGradient(
        _ values: UnsafeMutablePointer<Float>, z: UnsafePointer<Float>, dz: UnsafePointer<Float>, _ result: UnsafeMutablePointer<Float>,
        _ kernels: any KernelSet
    ) {
        let (i, heads) = (interface, frame.heads)
        result.update(from: dz, count: i.erase)
        kernels.fill(result + i.erase, 0, i.modes - i.erase)
        kernels.unaryGradient(
            .sigmoid, result + i.erase, outputGradient: dz + i.erase, input: values + i.erase, output: z + i.erase, i.readStrengths - i.erase)
        kernels.unaryGradient(
            .softplus, result + i.readStrengths, outputGradient: dz + i.readStrengths, input: values + i.readStrengths, output: z + i.readStrengths,
            i.modes - i.readStrengths)
        for h in 0..<heads {
            let (b, c, f) = (i.modes + h, i.modes + heads + h, i.modes + 2 * heads + h)
            let inner = z[b] * dz[b] + z[c] * dz[c] + z[f] * dz[f]
            result[b] = z[b] * (dz[b] - inner)
            result[c] = z[c] * (dz[c] - inner)
            result[f] = z[f] * (dz[f] - inner)
        }
        if let clip = configuration.interfaceClip {
            for k in 0..<i.count { values[k] = abs(values[k]) < clip ? result[k] : 0 }
        } else {
            values.update(from: result, count: i.count)
        }
    }
}

// A step of the memory of a Differentiable Neural Computer (Graves et al. 2016) for one sequence: usage, allocation, weights.
//
// Legend: N memory rows; S elements of a vector over memory rows, a multiple of 16, of which those from N on are padding and hold 0; H heads.

import KernelTypes

/// The product over all heads but one of 1 - f[k] r[k], block j.
@_transparent
private func retained(_ readWeights: FloatInput, _ freeGates: FloatInput, _ heads: Int, except head: Int, _ j: Int, _ stride: Int) -> Vector {
    var product: Vector = splat(1)
    for k in 0..<heads where k != head {
        product *= multiplySubtract(splat(freeGates[k]), load(readWeights + (k &* stride &+ j)), from: splat(1))
    }
    return product
}

/// The ranks of one block of usages among all: how many rows come before each by rising usage, then by index.
@inline(__always)
private func ranks(_ usage: FloatInput, _ j: Int, _ rows: Int) -> IntegerVector {
    let u = load(usage + j)
    var rank = IntegerVector.zero
    let before = Swift.min(j, rows)
    let within = Swift.min(j &+ laneCount, rows)
    var i = 0
    while i < before {
        rank &-= integers(splat(usage[i]) .<= u)
        i &+= 1
    }
    while i < within {
        let v = splat(usage[i])
        let isEarlier = splat(Int32(truncatingIfNeeded: i &- j)) .< laneIndices
        rank &-= integers(v .< u) | (integers(v .== u) & integers(isEarlier))
        i &+= 1
    }
    while i < rows {
        rank &-= integers(splat(usage[i]) .< u)
        i &+= 1
    }
    return rank
}

/// out = exp(a - m) / sum over the first N elements, m the largest; 0 behind them.
@inline(__always)
private func normalizeExponentials(_ out: FloatOutput, _ rows: Int, _ stride: Int) {
    let a = UnsafePointer(out)
    var maximum: Vector = splat(-Float.infinity)
    for i in blocks(rows).full { maximum = larger(maximum, load(a, i)) }
    if let i = blocks(rows).rest { maximum = larger(maximum, load(a, i, padding: -Float.infinity)) }
    let largest = splat(horizontalMaximum(maximum))
    var sum = Vector.zero
    for i in blocks(rows).full {
        let e = boundedExponential(load(a, i) - largest)
        store(out, i, e)
        sum += e
    }
    if let i = blocks(rows).rest {
        let e = lanes(before: i.count, boundedExponential(load(a, i) - largest))
        store(out + i.offset, e)
        sum += e
    }
    let reciprocal = splat(1 / laneSum(sum))
    for i in blocks(rows) { store(out + i.offset, load(a + i.offset) * reciprocal) }
    for i in Blocks(from: (rows &+ laneCount &- 1) / laneCount &* laneCount, to: stride) { store(out + i.offset, Vector.zero) }
}

extension VariantKernels {
    // MARK: usage

    public func memoryUsage(
        _ usage: FloatOutput, retention: FloatOutput, previousUsage: FloatInput, writeWeights: FloatInput, readWeights: FloatInput,
        freeGates: FloatInput,
        heads: Int, stride: Int
    ) {
        var j = 0
        while j < stride {
            let kept = retained(readWeights, freeGates, heads, except: -1, j, stride)
            let (u, w) = (load(previousUsage + j), load(writeWeights + j))
            store(retention + j, kept)
            store(usage + j, (u + multiplySubtract(u, w, from: w)) * kept)
            j &+= laneCount
        }
    }

    public func memoryUsageGradient(
        _ usageGradient: FloatOutput, retentionGradient: FloatOutput, writeWeightGradient: FloatOutput?, readWeightGradient: FloatOutput,
        freeGateGradient: FloatOutput, previousUsage: FloatInput, writeWeights: FloatInput, retention: FloatInput, readWeights: FloatInput,
        freeGates: FloatInput, heads: Int, stride: Int
    ) {
        var j = 0
        while j < stride {
            let (u, w, d) = (load(previousUsage + j), load(writeWeights + j), load(UnsafePointer(usageGradient) + j))
            store(retentionGradient + j, multiplyAdd(d, u + multiplySubtract(u, w, from: w), load(UnsafePointer(retentionGradient) + j)))
            let kept = d * load(retention + j)
            store(usageGradient + j, multiplySubtract(kept, w, from: kept))
            if let target = writeWeightGradient {
                store(target + j, load(UnsafePointer(target) + j) + multiplySubtract(kept, u, from: kept))
            }
            j &+= laneCount
        }
        for h in 0..<heads {
            let gate = splat(freeGates[h])
            var sum = Vector.zero
            j = 0
            while j < stride {
                let d = load(UnsafePointer(retentionGradient) + j) * retained(readWeights, freeGates, heads, except: h, j, stride)
                let target = readWeightGradient + (h &* stride &+ j)
                sum = multiplySubtract(d, load(readWeights + (h &* stride &+ j)), from: sum)
                store(target, multiplySubtract(d, gate, from: load(UnsafePointer(target))))
                j &+= laneCount
            }
            freeGateGradient[h] = laneSum(sum)
        }
    }

    // MARK: allocation

    public func memoryAllocation(
        _ allocation: FloatOutput, order: UnsafeMutablePointer<Int32>, usage: FloatInput, epsilon: Float, rows: Int, stride: Int
    ) {
        var j = 0
        while j < stride {
            store(allocation + j, floats(ranks(usage, j, rows)))
            j &+= laneCount
        }
        for i in 0..<rows { order[i] = Int32(truncatingIfNeeded: i) }
        for i in 0..<rows { order[Int(allocation[i].bitPattern)] = Int32(truncatingIfNeeded: i) }
        var product: Float = 1
        for i in 0..<rows {
            let row = Int(order[i])
            let u = epsilon + (1 - epsilon) * usage[row]
            allocation[row] = (1 - u) * product
            product *= u
        }
        for i in rows..<stride { allocation[i] = 0 }
    }

    public func memoryAllocationGradient(
        _ usageGradient: FloatOutput, allocationGradient: FloatInput, order: UnsafePointer<Int32>, usage: FloatInput, products: FloatOutput,
        epsilon: Float,
        rows: Int
    ) {
        let scale: Float = 1 - epsilon
        var product: Float = 1
        for i in 0..<rows {
            products[i] = product
            product *= epsilon + scale * usage[Int(order[i])]
        }
        // What the products behind a row give to it, each without the factors up to the row.
        var behind: Float = 0
        var i = rows &- 1
        while i >= 0 {
            let row = Int(order[i])
            let u = epsilon + scale * usage[row]
            let d = allocationGradient[row]
            usageGradient[row] += scale * products[i] * (behind - d)
            behind = d * (1 - u) + u * behind
            i &-= 1
        }
    }

    // MARK: weights

    public func memoryWriteWeights(
        _ weights: FloatOutput, precedence: FloatOutput, previousPrecedence: FloatInput, allocation: FloatInput, content: FloatInput,
        allocationGate: Float,
        writeGate: Float, stride: Int
    ) {
        let (a, c) = (splat(writeGate * allocationGate), splat(writeGate * (1 - allocationGate)))
        var sum = Vector.zero
        var j = 0
        while j < stride {
            let w = multiplyAdd(a, load(allocation + j), c * load(content + j))
            store(weights + j, w)
            sum += w
            j &+= laneCount
        }
        let kept = splat(1 - laneSum(sum))
        j = 0
        while j < stride {
            store(precedence + j, multiplyAdd(kept, load(previousPrecedence + j), load(UnsafePointer(weights) + j)))
            j &+= laneCount
        }
    }

    public func memoryPrecedenceGradient(
        _ precedenceGradient: FloatOutput, writeWeightGradient: FloatOutput, previousPrecedence: FloatInput, writeWeights: FloatInput, stride: Int
    ) {
        var (inner, sum) = (Vector.zero, Vector.zero)
        var j = 0
        while j < stride {
            inner = multiplyAdd(load(UnsafePointer(precedenceGradient) + j), load(previousPrecedence + j), inner)
            sum += load(writeWeights + j)
            j &+= laneCount
        }
        let (product, kept) = (splat(laneSum(inner)), splat(1 - laneSum(sum)))
        j = 0
        while j < stride {
            let d = load(UnsafePointer(precedenceGradient) + j)
            store(writeWeightGradient + j, load(UnsafePointer(writeWeightGradient) + j) + (d - product))
            store(precedenceGradient + j, d * kept)
            j &+= laneCount
        }
    }

    public func memoryWriteWeightsGradient(
        allocationGradient: FloatOutput, contentGradient: FloatOutput, weightGradient: FloatInput, allocation: FloatInput, content: FloatInput,
        allocationGate: Float, writeGate: Float, stride: Int
    ) -> (allocationGate: Float, writeGate: Float) {
        let (a, c) = (splat(writeGate * allocationGate), splat(writeGate * (1 - allocationGate)))
        var (ofAllocation, ofContent) = (Vector.zero, Vector.zero)
        var j = 0
        while j < stride {
            let d = load(weightGradient + j)
            ofAllocation = multiplyAdd(d, load(allocation + j), ofAllocation)
            ofContent = multiplyAdd(d, load(content + j), ofContent)
            store(allocationGradient + j, a * d)
            store(contentGradient + j, c * d)
            j &+= laneCount
        }
        let (sumA, sumC) = (laneSum(ofAllocation), laneSum(ofContent))
        return (writeGate * (sumA - sumC), allocationGate * sumA + (1 - allocationGate) * sumC)
    }

    public func memoryReadWeights(
        _ weights: FloatOutput, backward: FloatInput, content: FloatInput, forward: FloatInput, modes: FloatInput, heads: Int, stride: Int
    ) {
        for h in 0..<heads {
            let (b, c, f) = (splat(modes[h]), splat(modes[heads &+ h]), splat(modes[2 &* heads &+ h]))
            var j = h &* stride
            let end = j &+ stride
            while j < end {
                store(weights + j, multiplyAdd(b, load(backward + j), multiplyAdd(c, load(content + j), f * load(forward + j))))
                j &+= laneCount
            }
        }
    }

    public func memoryReadWeightsGradient(
        backwardGradient: FloatOutput, contentGradient: FloatOutput, forwardGradient: FloatOutput, modeGradient: FloatOutput,
        weightGradient: FloatInput,
        backward: FloatInput, content: FloatInput, forward: FloatInput, modes: FloatInput, heads: Int, stride: Int
    ) {
        for h in 0..<heads {
            let (b, c, f) = (splat(modes[h]), splat(modes[heads &+ h]), splat(modes[2 &* heads &+ h]))
            var (ofBackward, ofContent, ofForward) = (Vector.zero, Vector.zero, Vector.zero)
            var j = h &* stride
            let end = j &+ stride
            while j < end {
                let d = load(weightGradient + j)
                ofBackward = multiplyAdd(d, load(backward + j), ofBackward)
                ofContent = multiplyAdd(d, load(content + j), ofContent)
                ofForward = multiplyAdd(d, load(forward + j), ofForward)
                store(backwardGradient + j, b * d)
                store(contentGradient + j, c * d)
                store(forwardGradient + j, f * d)
                j &+= laneCount
            }
            modeGradient[h] = laneSum(ofBackward)
            modeGradient[heads &+ h] = laneSum(ofContent)
            modeGradient[2 &* heads &+ h] = laneSum(ofForward)
        }
    }

    public func readModes(_ modes: FloatOutput, heads: Int) {
        for i in blocks(heads) {
            let (b, c, f) = (load(UnsafePointer(modes), i), load(UnsafePointer(modes + heads), i), load(UnsafePointer(modes + 2 &* heads), i))
            let largest = larger(larger(b, c), f)
            let (eb, ec, ef) = (boundedExponential(b - largest), boundedExponential(c - largest), boundedExponential(f - largest))
            let reciprocal: Vector = splat(1) / (eb + ec + ef)
            store(modes, i, eb * reciprocal)
            store(modes + heads, i, ec * reciprocal)
            store(modes + 2 &* heads, i, ef * reciprocal)
        }
    }

    // MARK: content and links

    public func contentWeights(
        _ weights: FloatOutput, cosines: FloatOutput, inverseNorms: FloatInput, inverseKeyNorm: Float, strength: Float, rows: Int, stride: Int
    ) {
        let (key, beta) = (splat(inverseKeyNorm), splat(strength))
        var j = 0
        while j < stride {
            let cosine = load(UnsafePointer(cosines) + j) * (load(inverseNorms + j) * key)
            store(cosines + j, cosine)
            store(weights + j, cosine * beta)
            j &+= laneCount
        }
        normalizeExponentials(weights, rows, stride)
    }

    public func contentWeightsGradient(
        _ productGradient: FloatOutput, normScale: FloatOutput, weightGradient: FloatInput, weights: FloatInput, cosines: FloatInput,
        inverseNorms: FloatInput, inverseKeyNorm: Float, strength: Float, stride: Int
    ) -> (strength: Float, keyScale: Float) {
        let (key, beta) = (splat(inverseKeyNorm), splat(strength))
        var inner = Vector.zero
        var j = 0
        while j < stride {
            inner = multiplyAdd(load(weightGradient + j), load(weights + j), inner)
            j &+= laneCount
        }
        let mean = splat(laneSum(inner))
        var sum = Vector.zero
        j = 0
        while j < stride {
            let d = load(weights + j) * (load(weightGradient + j) - mean)
            let (cosine, norm) = (load(cosines + j), load(inverseNorms + j))
            let pull = d * cosine
            sum += pull
            let dc = d * beta
            store(productGradient + j, dc * norm * key)
            store(normScale + j, multiplySubtract(pull * beta, norm * norm, from: load(UnsafePointer(normScale) + j)))
            j &+= laneCount
        }
        let total = laneSum(sum)
        return (total, -total * strength * inverseKeyNorm * inverseKeyNorm)
    }

    public func sharpen(_ out: FloatOutput, _ a: FloatInput, power: Float, epsilon: Float, rows: Int, stride: Int) {
        let (s, e) = (splat(power), splat(epsilon))
        var j = 0
        while j < stride {
            store(out + j, s * logarithm(load(a + j) + e))
            j &+= laneCount
        }
        normalizeExponentials(out, rows, stride)
    }

    public func sharpenGradient(_ gradient: FloatOutput, _ a: FloatInput, output: FloatInput, power: Float, epsilon: Float, stride: Int) -> Float {
        let (s, e) = (splat(power), splat(epsilon))
        var inner = Vector.zero
        var j = 0
        while j < stride {
            inner = multiplyAdd(load(UnsafePointer(gradient) + j), load(output + j), inner)
            j &+= laneCount
        }
        let mean = splat(laneSum(inner))
        var sum = Vector.zero
        j = 0
        while j < stride {
            let x = load(a + j) + e
            let d = load(output + j) * (load(UnsafePointer(gradient) + j) - mean)
            sum = multiplyAdd(d, logarithm(x), sum)
            store(gradient + j, d * s / x)
            j &+= laneCount
        }
        return laneSum(sum)
    }
}

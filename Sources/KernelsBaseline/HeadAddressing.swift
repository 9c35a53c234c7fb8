// From the numbers of a Neural Turing Machine's head to its weights over the rows of the memory, and back (Graves, Wayne and Danihelka 2014,
// section 3.3).
//
// Legend: N rows of the memory, W their width, S their stride, C shifts.

import KernelTypes

/// What a weight before sharpening counts as at least.
private let smallestWeight: Float = 1e-16

/// The lanes that belong to rows, 0 in those beyond.
@inline(__always)
private func rows(_ v: Vector, _ offset: Int, _ n: Int) -> Vector {
    offset &+ laneCount <= n ? v : lanes(before: n &- offset, v)
}

/// The lanes that belong to rows, -infinity in those beyond.
@inline(__always)
private func rowsOrNone(_ v: Vector, _ offset: Int, _ n: Int) -> Vector {
    if offset &+ laneCount <= n { return v }
    return v.replacing(with: splat(-.infinity), where: laneIndices .>= splat(Int32(truncatingIfNeeded: n &- offset)))
}

/// `value` cut to -limit ... limit.
@inline(__always)
private func cut(_ value: Float, _ limit: Float) -> Float { value > limit ? limit : value < -limit ? -limit : value }

@inline(__always)
private func cut(_ v: Vector, _ limit: Float) -> Vector { atMost(atLeast(v, -limit), limit) }

/// `gradient` where |number| is within the limit, else 0.
@inline(__always)
private func passed(_ gradient: Vector, _ number: Vector, _ limit: Float) -> Vector {
    gradient.replacing(with: Vector.zero, where: magnitude(number) .> splat(limit))
}

@inline(__always)
private func passed(_ gradient: Float, _ number: Float, _ limit: Float) -> Float { number > limit || number < -limit ? 0 : gradient }

/// Puts copies of the ends of ring[0 ..< n] before and behind it: ring[-halo] ... ring[n + halo - 1] go round and round.
@inline(__always)
private func closeRing(_ ring: FloatOutput, _ n: Int, _ halo: Int) {
    var i = 1
    while i <= halo {
        ring[-i] = ring[n &- 1 &- (i &- 1) % n]
        ring[n &+ i &- 1] = ring[(i &- 1) % n]
        i &+= 1
    }
}

/// out = key or tanh(key), of numbers cut to -limit ... limit; returns the sum of squares.
@inline(never)
private func storeKey(_ out: FloatOutput, _ numbers: FloatInput, _ limit: Float, _ squashes: Bool, _ n: Int) -> Double {
    var squares = Vector.zero
    for i in blocks(n) {
        var key = cut(load(numbers, i), limit)
        if squashes { key = hyperbolicTangent(key) }
        squares = multiplyAdd(key, key, squares)
        store(out, i, key)
    }
    return horizontalSum(squares)
}

/// What the two halves of `headWeights` share.
private struct HeadRing {
    let n: Int
    let stride: Int
    let halo: Int
    /// Element 0 of the gated weights, with room for the halo on either side.
    let gated: FloatOutput

    @inline(__always)
    init(_ addressing: HeadAddressing, _ shape: AddressedMemoryShape, _ scratch: FloatOutput) {
        (n, stride, halo) = (shape.rows, shape.stride, addressing.reach)
        gated = scratch + (halo &+ 15) / 16 * 16
    }
}

/// Cosine, its softmax, and the gate: the weights before the shift, as a ring.
@inline(never)
private func storeGated(
    _ ring: HeadRing, _ steps: AddressingSteps, _ previous: FloatInput, _ norms: FloatInput, _ keyNorm: Float, strength: Float, gate: Float,
    epsilon: Float
) {
    let (n, stride) = (ring.n, ring.stride)
    var largest = splat(-Float.infinity)
    for i in Blocks(from: 0, to: stride).full {
        let c = load(UnsafePointer(steps.cosine), i) / multiplyAdd(splat(keyNorm), load(norms, i), splat(epsilon))
        store(steps.cosine, i, c)
        largest = larger(largest, rowsOrNone(c, i.offset, n))
    }
    let shift = splat(strength * horizontalMaximum(largest))
    var total = Vector.zero
    for i in Blocks(from: 0, to: stride).full {
        let e = rows(boundedExponential(splat(strength) * load(UnsafePointer(steps.cosine), i) - shift), i.offset, n)
        store(steps.content, i, e)
        total += e
    }
    let reciprocal = splat(Float(1 / horizontalSum(total)))
    let (g, rest) = (splat(gate), splat(1 - gate))
    for i in Blocks(from: 0, to: stride).full {
        let content = load(UnsafePointer(steps.content), i) * reciprocal
        store(steps.content, i, content)
        store(ring.gated, i, multiplyAdd(g, content, rest * load(previous, i)))
    }
    closeRing(ring.gated, n, ring.halo)
}

/// Shift, and sharpening as a softmax of logarithms.
@inline(never)
private func storeSharpened(_ ring: HeadRing, _ steps: AddressingSteps, shifts: FloatInput, count: Int, lowest: Int, sharpness: Float) {
    let (n, stride) = (ring.n, ring.stride)
    var largest = splat(-Float.infinity)
    for i in Blocks(from: 0, to: stride).full {
        var shifted = Vector.zero
        for j in 0..<count { shifted = multiplyAdd(splat(shifts[j]), load(UnsafePointer(ring.gated) + (i.offset &- lowest &- j)), shifted) }
        shifted = rows(shifted, i.offset, n)
        store(steps.shifted, i, shifted)
        let y = splat(sharpness) * logarithm(atLeast(shifted, smallestWeight))
        store(steps.weights, i, y)
        largest = larger(largest, rowsOrNone(y, i.offset, n))
    }
    let top = splat(horizontalMaximum(largest))
    var total = Vector.zero
    for i in Blocks(from: 0, to: stride).full {
        let e = rows(boundedExponential(load(UnsafePointer(steps.weights), i) - top), i.offset, n)
        store(steps.weights, i, e)
        total += e
    }
    let factor = splat(Float(1 / horizontalSum(total)))
    for i in Blocks(from: 0, to: stride).full { store(steps.weights, i, load(UnsafePointer(steps.weights), i) * factor) }
}

extension VariantKernels {
    public func headNumbers(_ out: FloatOutput, _ numbers: FloatInput, _ addressing: HeadAddressing, width w: Int) -> Float {
        let squares = storeKey(out, numbers, addressing.limit, addressing.squashesKeys, w)
        let (count, limit) = (addressing.shifts, addressing.limit)
        out[w] = softplus(splat(cut(numbers[w], limit)))[0]
        out[w &+ 1] = sigmoid(splat(cut(numbers[w &+ 1], limit)))[0]
        let (source, target) = (numbers + (w &+ 2), out + (w &+ 2))
        var largest = -Float.infinity
        for j in 0..<count { largest = max(largest, cut(source[j], limit)) }
        var total: Float = 0
        for j in 0..<count {
            let e = boundedExponential(splat(cut(source[j], limit) - largest))[0]
            target[j] = e
            total += e
        }
        for j in 0..<count { target[j] /= total }
        target[count] = 1 + softplus(splat(cut(source[count], limit)))[0]
        return Float(squares.squareRoot())
    }

    public func headNumbersGradient(_ gradient: FloatOutput, numbers: FloatInput, results: FloatInput, _ addressing: HeadAddressing, width w: Int) {
        let (count, limit) = (addressing.shifts, addressing.limit)
        for i in blocks(w) {
            var g = load(gradient, i)
            if addressing.squashesKeys {
                let key = load(results, i)
                g *= splat(1) - key * key
            }
            store(gradient, i, passed(g, load(numbers, i), limit))
        }
        gradient[w] = passed(gradient[w] * sigmoid(splat(cut(numbers[w], limit)))[0], numbers[w], limit)
        let gate = results[w &+ 1]
        gradient[w &+ 1] = passed(gradient[w &+ 1] * gate * (1 - gate), numbers[w &+ 1], limit)
        let (g, p, x) = (gradient + (w &+ 2), results + (w &+ 2), numbers + (w &+ 2))
        var inner: Float = 0
        for j in 0..<count { inner += g[j] * p[j] }
        for j in 0..<count { g[j] = passed(p[j] * (g[j] - inner), x[j], limit) }
        g[count] = passed(g[count] * sigmoid(splat(cut(x[count], limit)))[0], x[count], limit)
    }

    public func writeVectors(
        erase: FloatOutput, add: FloatOutput, numbers: FloatInput, additions: FloatInput, _ addressing: HeadAddressing, width w: Int
    ) {
        for i in blocks(w) {
            store(erase, i, sigmoid(cut(load(numbers, i), addressing.limit)))
            let a = cut(load(additions, i), addressing.limit)
            store(add, i, addressing.squashesAdditions ? hyperbolicTangent(a) : a)
        }
    }

    public func writeVectorsGradient(
        eraseGradient: FloatOutput, addGradient: FloatOutput, numbers: FloatInput, additions: FloatInput, erase: FloatInput, add: FloatInput,
        _ addressing: HeadAddressing, width w: Int
    ) {
        for i in blocks(w) {
            let (e, a) = (load(erase, i), load(add, i))
            store(eraseGradient, i, passed(load(eraseGradient, i) * e * (splat(1) - e), load(numbers, i), addressing.limit))
            var g = load(addGradient, i)
            if addressing.squashesAdditions { g *= splat(1) - a * a }
            store(addGradient, i, passed(g, load(additions, i), addressing.limit))
        }
    }

    public func headWeights(
        _ steps: AddressingSteps, previous: FloatInput, norms: FloatInput, keyNorm: Float, numbers: FloatInput, _ addressing: HeadAddressing,
        scratch: FloatOutput, _ shape: AddressedMemoryShape
    ) {
        let ring = HeadRing(addressing, shape, scratch)
        let behind = numbers + shape.width
        storeGated(ring, steps, previous, norms, keyNorm, strength: behind[0], gate: behind[1], epsilon: addressing.epsilon)
        storeSharpened(
            ring, steps, shifts: behind + 2, count: addressing.shifts, lowest: addressing.lowestShift, sharpness: behind[2 &+ addressing.shifts])
    }

    public func headWeightsGradient(
        weightGradient: FloatOutput, keyFactors: FloatOutput, rowScale: FloatOutput, numberGradient: FloatOutput, _ steps: AddressingSteps,
        previous: FloatInput, norms: FloatInput, keyNorm: Float, numbers: FloatInput, _ addressing: HeadAddressing, scratch: FloatOutput,
        _ shape: AddressedMemoryShape
    ) -> Float {
        let (n, stride, halo) = (shape.rows, shape.stride, addressing.reach)
        let (behind, behindGradient) = (numbers + shape.width, numberGradient + shape.width)
        let (strength, gate, sharpness) = (behind[0], behind[1], behind[2 &+ addressing.shifts])
        let edge = (halo &+ 15) / 16 * 16
        let gated = scratch + edge
        let ring = gated + (stride &+ 2 &* edge)
        // Sharpening.
        var inner = Vector.zero
        for i in Blocks(from: 0, to: stride).full { inner = multiplyAdd(load(UnsafePointer(steps.weights), i), load(weightGradient, i), inner) }
        let mean = splat(laneSum(inner))
        var sharpnessGradient = Vector.zero
        let (g, rest) = (splat(gate), splat(1 - gate))
        for i in Blocks(from: 0, to: stride).full {
            let shifted = load(UnsafePointer(steps.shifted), i)
            let bounded = atLeast(shifted, smallestWeight)
            let y = load(UnsafePointer(steps.weights), i) * (load(UnsafePointer(weightGradient), i) - mean)
            sharpnessGradient = multiplyAdd(y, rows(logarithm(bounded), i.offset, n), sharpnessGradient)
            let slope = splat(sharpness) * y / bounded
            store(ring, i, slope.replacing(with: Vector.zero, where: shifted .< splat(smallestWeight)))
            store(gated, i, multiplyAdd(g, load(UnsafePointer(steps.content), i), rest * load(previous, i)))
        }
        behindGradient[2 &+ addressing.shifts] = laneSum(sharpnessGradient)
        // Shift.
        closeRing(ring, n, halo)
        closeRing(gated, n, halo)
        for j in 0..<addressing.shifts {
            var total = Vector.zero
            let source = UnsafePointer(gated) - (addressing.lowestShift &+ j)
            for i in Blocks(from: 0, to: stride).full {
                total += rows(load(UnsafePointer(ring), i) * load(source + i.offset), i.offset, n)
            }
            behindGradient[2 &+ j] = laneSum(total)
        }
        // Gate and the content's softmax.
        var (gateGradient, contentInner) = (Vector.zero, Vector.zero)
        for i in Blocks(from: 0, to: stride).full {
            var slope = Vector.zero
            for j in 0..<addressing.shifts {
                slope = multiplyAdd(splat(behind[2 &+ j]), load(UnsafePointer(ring) + (i.offset &+ addressing.lowestShift &+ j)), slope)
            }
            slope = rows(slope, i.offset, n)
            let content = load(UnsafePointer(steps.content), i)
            gateGradient = multiplyAdd(slope, content - load(previous, i), gateGradient)
            contentInner = multiplyAdd(slope, content, contentInner)
            store(weightGradient, i, rest * slope)
            store(keyFactors, i, slope)
        }
        behindGradient[1] = laneSum(gateGradient)
        let contentMean = splat(laneSum(contentInner))
        // Strength and cosine: c = product / (keyNorm * norm + epsilon).
        var (strengthGradient, keyDecay) = (Vector.zero, Vector.zero)
        for i in Blocks(from: 0, to: stride).full {
            let (c, norm) = (load(UnsafePointer(steps.cosine), i), load(norms, i))
            let slope = g * load(UnsafePointer(steps.content), i) * (load(UnsafePointer(keyFactors), i) - contentMean)
            strengthGradient = multiplyAdd(slope, c, strengthGradient)
            let factor = splat(strength) * slope / multiplyAdd(splat(keyNorm), norm, splat(addressing.epsilon))
            store(keyFactors, i, factor)
            let turned = factor * c
            keyDecay = multiplyAdd(turned, norm, keyDecay)
            let own = turned * splat(keyNorm) / norm
            store(rowScale, i, load(UnsafePointer(rowScale), i) - own.replacing(with: Vector.zero, where: norm .== splat(0)))
        }
        behindGradient[0] = laneSum(strengthGradient)
        return keyNorm > 0 ? laneSum(keyDecay) / keyNorm : 0
    }
}

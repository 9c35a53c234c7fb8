// Softmax and cross-entropy of one row.
//
// Legend: n classes or positions.

import KernelTypes

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The largest scale * a[i]; NaN is passed over.
@_transparent
private func scaledMaximum(_ a: FloatInput, scale: Float, _ n: Int) -> Float {
    let s = splat(scale)
    var older = splat(-Float.infinity), newer = older
    for i in blocks(n) {
        // The padding repeats an element of the row.
        let m = larger(older, load(a, i, padding: a[i.offset]) * s)
        older = newer
        newer = m
    }
    return horizontalMaximum(larger(older, newer))
}

/// exp(scale * a - m) in the lanes of block i, 0 in the others.
@_transparent
private func shiftedExponential(_ a: FloatInput, _ i: Block, scale: Vector, minus m: Vector) -> Vector {
    var x = load(a, i) * scale - m
    if !i.isFull { x.replace(with: splat(-.infinity), where: laneIndices .>= splat(Int32(truncatingIfNeeded: i.count))) }
    return exponential(x)
}

/// out = exp(scale * a - m); returns the sum.
@_transparent
private func storeExponentials(_ out: FloatOutput, _ a: FloatInput, scale: Float, minus m: Float, _ n: Int) -> Double {
    let s = splat(scale), shift = splat(m)
    var total = 0.0
    for span in Spans(n) {
        var sum = Vector.zero
        for i in span {
            let e = shiftedExponential(a, i, scale: s, minus: shift)
            store(out, i, e)
            sum += e
        }
        total += horizontalSum(sum)
    }
    return total
}

extension VariantKernels {
    public func softmax(_ out: FloatOutput, _ a: FloatInput, scale: Float, _ n: Int) {
        let m = scaledMaximum(a, scale: scale, n)
        if m == -.infinity && !containsNaN(a, n) { return fill(out, 0, n) }
        let total = storeExponentials(out, a, scale: scale, minus: m, n)
        let reciprocal = splat(Float(1 / total))
        for i in blocks(n) { store(out, i, load(out, i) * reciprocal) }
    }

    public func softmaxGradient(_ gradient: FloatOutput, outputGradient: FloatInput, probability: FloatInput, scale: Float, _ n: Int) {
        let inner = splat(dot(outputGradient, probability, n)), s = splat(scale)
        for i in blocks(n) { store(gradient, i, s * load(probability, i) * (load(outputGradient, i) - inner)) }
    }

    public func logSumExponential(_ a: FloatInput, _ n: Int) -> Float {
        let m = maximum(a, n)
        if !m.isFinite { return m }
        let shift = splat(m)
        var total = 0.0
        for span in Spans(n) {
            var sum = Vector.zero
            for i in span { sum += shiftedExponential(a, i, scale: splat(1), minus: shift) }
            total += horizontalSum(sum)
        }
        return Float(Double(m) + log(total))
    }

    public func crossEntropy(_ logits: FloatOutput, target: Int, labelSmoothing: Float, _ n: Int) -> (loss: Float, negativeLogLikelihood: Float) {
        let m = scaledMaximum(logits, scale: 1, n)
        let targetLogit = Double(logits[target])
        let mean = labelSmoothing == 0 ? 0 : sum(logits, n) / Double(n)
        let total = storeExponentials(logits, logits, scale: 1, minus: m, n)
        let uniform = splat(labelSmoothing / Float(n))
        let reciprocal = splat(Float(1 / total))
        for i in blocks(n) { store(logits, i, load(logits, i) * reciprocal - uniform) }
        logits[target] -= 1 - labelSmoothing
        let logTotal = log(total) + Double(m)
        let negativeLogLikelihood = logTotal - targetLogit
        if labelSmoothing == 0 { return (Float(negativeLogLikelihood), Float(negativeLogLikelihood)) }
        let e = Double(labelSmoothing)
        return (Float((1 - e) * negativeLogLikelihood + e * (logTotal - mean)), Float(negativeLogLikelihood))
    }

    /// True when any element is NaN.
    private func containsNaN(_ a: FloatInput, _ n: Int) -> Bool {
        maximum(a, n).isNaN
    }
}

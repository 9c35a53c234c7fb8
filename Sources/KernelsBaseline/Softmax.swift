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
@inline(__always)
private func scaledMaximum(_ a: FloatInput, scale: Float, _ n: Int) -> Float {
    let s = splat(scale)
    var m0 = splat(-Float.infinity), m1 = m0
    var i = 0
    while i &+ 2 &* width <= n {
        m0 = larger(m0, load(a + i) * s)
        m1 = larger(m1, load(a + i + width) * s)
        i &+= 2 &* width
    }
    while i < n {
        let count = min(width, n &- i)
        // The padding repeats an element of the row.
        m0 = larger(m0, load(a + i, count: count, padding: a[i]) * s)
        i &+= width
    }
    return horizontalMaximum(larger(m0, m1))
}

/// out = exp(scale * a - m); returns the sum.
@inline(__always)
private func storeExponentials(_ out: FloatOutput, _ a: FloatInput, scale: Float, maximum: Float, _ n: Int) -> Double {
    let s = splat(scale), m = splat(maximum)
    return sumOfVectors(n) { i, count in
        // Lanes beyond the row give exp(-infinity) = 0.
        let e = exponential(scaled(load(a + i, count: count), s, minus: m, count: count))
        store(out + i, e, count: count)
        return e
    }
}

/// scale * v - m in the first `count` lanes, -infinity in the others.
@inline(__always)
private func scaled(_ v: Vector, _ scale: Vector, minus m: Vector, count: Int) -> Vector {
    let x = v * scale - m
    if count == width { return x }
    return x.replacing(with: splat(-.infinity), where: laneIndices .>= splat(Int32(truncatingIfNeeded: count)))
}

extension VariantKernels {
    public func softmax(_ out: FloatOutput, _ a: FloatInput, scale: Float, _ n: Int) {
        let m = scaledMaximum(a, scale: scale, n)
        if m == -.infinity && !containsNaN(a, n) { return fill(out, 0, n) }
        let total = storeExponentials(out, a, scale: scale, maximum: m, n)
        let reciprocal = splat(Float(1 / total))
        map(out, out, n) { $0 * reciprocal }
    }

    public func softmaxGradient(_ gradient: FloatOutput, outputGradient: FloatInput, probability: FloatInput, scale: Float, _ n: Int) {
        let inner = splat(dot(outputGradient, probability, n)), s = splat(scale)
        map(gradient, outputGradient, probability, n) { s * $1 * ($0 - inner) }
    }

    public func logSumExponential(_ a: FloatInput, _ n: Int) -> Float {
        let m = maximum(a, n)
        if !m.isFinite { return m }
        let shift = splat(m)
        let total = sumOfVectors(n) { i, count in exponential(scaled(load(a + i, count: count), splat(1), minus: shift, count: count)) }
        return Float(Double(m) + log(total))
    }

    public func crossEntropy(_ logits: FloatOutput, target: Int, labelSmoothing: Float, _ n: Int) -> (loss: Float, negativeLogLikelihood: Float) {
        let m = scaledMaximum(logits, scale: 1, n)
        let targetLogit = Double(logits[target])
        let mean = labelSmoothing == 0 ? 0 : sum(logits, n) / Double(n)
        let total = storeExponentials(logits, logits, scale: 1, maximum: m, n)
        let uniform = splat(labelSmoothing / Float(n))
        let reciprocal = splat(Float(1 / total))
        map(logits, logits, n) { multiplySubtract(splat(1), uniform, from: $0 * reciprocal) }
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

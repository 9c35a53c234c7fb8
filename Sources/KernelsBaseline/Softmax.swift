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
func largestScaled(_ a: FloatInput, scale: Float, _ n: Int) -> Float {
    let s = splat(scale)
    var older = splat(-Float.infinity)
    var newer = older
    for i in Blocks(from: 0, to: n - n % width) {
        let m = larger(older, load(a, i) * s)
        older = newer
        newer = m
    }
    if n % width != 0 {
        // The last W elements, some of them for the second time; in a short row the padding repeats an element.
        newer = larger(newer, (n > width ? load(a + (n - width)) : load(a, Block(offset: 0, count: n), padding: a[0])) * s)
    }
    return horizontalMaximum(larger(older, newer))
}

/// The lanes from `start` on, 0 in those before.
@_transparent
private func lanes(from start: Int, _ v: Vector) -> Vector {
    v.replacing(with: Vector.zero, where: laneIndices .< splat(Int32(truncatingIfNeeded: start)))
}

/// The first `count` lanes, 0 in the others.
@_transparent
func lanes(before count: Int, _ v: Vector) -> Vector {
    v.replacing(with: Vector.zero, where: laneIndices .>= splat(Int32(truncatingIfNeeded: count)))
}

/// out = exp(scale * a - m) / total - offset; returns the total, the sum of the exponentials. The exponentials go through `scratch`; `scratch` may
/// be `a`, and `out` may be `scratch`.
/// A remainder is done as the last W elements: read before anything is stored, those done already counted once, and stored last.
@inline(__always)
private func storeSoftmax<Out: VectorElement>(
    _ out: UnsafeMutablePointer<Out>, through scratch: FloatOutput, _ a: FloatInput, scale: Float, minus m: Float, offset: Float, _ n: Int
) -> Double {
    let s = splat(scale)
    let shift = splat(m)
    let o = splat(offset)
    if n < width {
        let i = Block(offset: 0, count: n)
        let e = lanes(before: n, exponential(load(a, i) * s - shift))
        let total = horizontalSum(e)
        store(out, i, e * splat(Float(1 / total)) - o)
        return total
    }
    let rest = n % width
    let last = load(a + (n - width)) * s - shift
    var total = 0.0
    for span in Spans(n - rest) {
        var sum = Vector.zero
        for i in span.full {
            let e = exponential(load(a, i) * s - shift)
            store(scratch, i, e)
            sum += e
        }
        total += horizontalSum(sum)
    }
    let e = exponential(last)
    if rest != 0 { total += horizontalSum(lanes(from: width - rest, e)) }
    let reciprocal = splat(Float(1 / total))
    for i in Blocks(from: 0, to: n - rest).full { store(out, i, load(scratch, i) * reciprocal - o) }
    if rest != 0 { store(out + (n - width), e * reciprocal - o) }
    return total
}

extension VariantKernels {
    public func softmax(_ out: FloatOutput, _ a: FloatInput, scale: Float, _ n: Int) {
        if n == 0 { return }
        let m = largestScaled(a, scale: scale, n)
        if m == -.infinity && !containsNaN(a, n) { return fill(out, 0, n) }
        _ = storeSoftmax(out, through: out, a, scale: scale, minus: m, offset: 0, n)
    }

    public func softmaxGradient(_ gradient: FloatOutput, outputGradient: FloatInput, probability: FloatInput, scale: Float, _ n: Int) {
        let inner = splat(dot(outputGradient, probability, n))
        let s = splat(scale)
        for i in blocks(n).full { store(gradient, i, s * load(probability, i) * (load(outputGradient, i) - inner)) }
        if let i = blocks(n).rest { store(gradient, i, s * load(probability, i) * (load(outputGradient, i) - inner)) }
    }

    public func logSumExponential(_ a: FloatInput, _ n: Int) -> Float {
        let m = maximum(a, n)
        if !m.isFinite { return m }
        let shift = splat(m)
        var total = 0.0
        for span in Spans(n) {
            var sum = Vector.zero
            for i in span { sum += lanes(before: i.count, exponential(load(a, i) - shift)) }
            total += horizontalSum(sum)
        }
        return Float(Double(m) + log(total))
    }

    public func crossEntropy(_ logits: FloatOutput, target: Int, labelSmoothing: Float, _ n: Int) -> (loss: Float, negativeLogLikelihood: Float) {
        let m = largestScaled(logits, scale: 1, n)
        let targetLogit = Double(logits[target])
        let mean = labelSmoothing == 0 ? 0 : sum(logits, n) / Double(n)
        let total = storeSoftmax(logits, through: logits, logits, scale: 1, minus: m, offset: labelSmoothing / Float(n), n)
        logits[target] -= 1 - labelSmoothing
        return losses(logTotal: log(total) + Double(m), targetLogit, mean, labelSmoothing)
    }

    public func crossEntropy(_ gradient: BFloatOutput, logits: FloatOutput, target: Int, labelSmoothing: Float, _ n: Int) -> (
        loss: Float, negativeLogLikelihood: Float
    ) {
        let m = largestScaled(logits, scale: 1, n)
        let targetLogit = Double(logits[target])
        let mean = labelSmoothing == 0 ? 0 : sum(logits, n) / Double(n)
        let total = storeSoftmax(gradient, through: logits, logits, scale: 1, minus: m, offset: labelSmoothing / Float(n), n)
        let logTotal = log(total) + Double(m)
        // The one element that differs from its neighbours is rounded once too.
        let e = Double(labelSmoothing)
        let last = splat(Float(exp(targetLogit - logTotal) - (1 - e) - e / Double(n)))
        store(gradient + target, Block(offset: 0, count: 1), last)
        return losses(logTotal: logTotal, targetLogit, mean, labelSmoothing)
    }

    /// The loss of a row and the negative log-likelihood of its target.
    private func losses(
        logTotal: Double, _ targetLogit: Double, _ mean: Double, _ labelSmoothing: Float
    ) -> (loss: Float, negativeLogLikelihood: Float) {
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

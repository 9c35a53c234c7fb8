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
    var maximum = VectorMaximum()
    for i in blocks(n).full { maximum.add(load(a, i) * s) }
    // The last W elements, some of them for the second time; in a short row the padding repeats an element.
    if n % width != 0 { maximum.add((n > width ? load(a + (n - width)) : load(a, Block(offset: 0, count: n), padding: a[0])) * s) }
    return maximum.largest
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

/// How far above the running shift a later maximum may lie before what is done is lifted to it: exp(32) is far from overflow.
private let headroom: Float = 32

/// The exponentials of scale * a - shift over a span of W-multiples, stored in `out` and summed, and the largest scale * a of the `ahead` elements
/// that follow the span: they come from memory while the processor computes.
@inline(__always)
private func storeSpan<Out: VectorElement>(
    _ out: UnsafeMutablePointer<Out>, _ a: FloatInput, _ scale: Vector, _ shift: Vector, _ count: Int, ahead: Int,
    _ scratch: UnsafeMutableRawPointer
) -> (sum: Double, largest: Float) {
    var sum = Vector.zero
    var maximum = VectorMaximum()
    for run in ScratchRuns(count) {
        let x = a + run.start
        let y = Out.workspace(out + run.start, or: scratch.assumingMemoryBound(to: Float.self))
        let both = max(0, min(run.count, ahead - run.start))
        for i in Blocks(from: 0, to: both).full {
            let e = boundedExponential(load(x, i) * scale - shift)
            store(y, i, e)
            sum += e
            maximum.add(load(x + count, i) * scale)
        }
        for i in Blocks(from: both, to: run.count).full {
            let e = boundedExponential(load(x, i) * scale - shift)
            store(y, i, e)
            sum += e
        }
        Out.finish(out + run.start, from: y, run.count)
    }
    return (horizontalSum(sum), maximum.largest)
}

/// out = exp(scale * a) / total - offset, where total is the sum of the exponentials; returns the logarithm of the total. `out` may be `a`.
/// A row is done in spans of 4,096. Exponentials are taken relative to the largest element so far, or one that is at most `headroom` below it, so
/// that each element is read from memory once. A remainder is done as the last W elements: read before anything is stored, those done already
/// counted once, and stored last.
@inline(never)
private func storeSoftmax<Out: VectorElement>(
    _ out: UnsafeMutablePointer<Out>, _ a: FloatInput, scale: Float, offset: Float, _ n: Int, _ scratch: UnsafeMutableRawPointer
) -> Double {
    let s = splat(scale)
    let o = splat(offset)
    let rest = n % width
    let end = n - rest
    let firstSpan = min(end, sumSpan)
    var m = largestScaled(a, scale: scale, n < width ? n : firstSpan)
    if n < width {
        let shift: Float = m == -.infinity ? 0 : m
        let i = Block(offset: 0, count: n)
        let e = lanes(before: n, boundedExponential(load(a, i) * s - splat(shift)))
        let total = horizontalSum(e)
        store(out, i, e * splat(total == 0 ? 0 : Float(1 / total)) - o)
        return log(total) + Double(shift)
    }
    let last = load(a + (n - width)) * s
    if rest != 0 { m = max(m, horizontalMaximum(last)) }
    var shift: Float = m == -.infinity ? 0 : m
    var total = 0.0
    var start = 0
    var count = firstSpan
    while start < end {
        let ahead = min(sumSpan, end &- start &- count)
        let (sum, largest) = storeSpan(out + start, a + start, s, splat(shift), count, ahead: ahead, scratch)
        total += sum
        start &+= count
        count = ahead
        if largest > m + headroom {
            // Before the first finite element all exponentials are 0 (or NaN).
            let factor = m == -.infinity ? 0 : Float(exp(Double(shift - largest)))
            for i in Blocks(from: 0, to: start).full { store(out, i, load(UnsafePointer(out), i) * splat(factor)) }
            total *= Double(factor)
            m = largest
            shift = largest
        }
    }
    let e = boundedExponential(last - splat(shift))
    if rest != 0 { total += horizontalSum(lanes(from: width - rest, e)) }
    let reciprocal = splat(total == 0 ? 0 : Float(1 / total))
    for i in Blocks(from: 0, to: end).full { store(out, i, load(UnsafePointer(out), i) * reciprocal - o) }
    if rest != 0 { store(out + (n - width), e * reciprocal - o) }
    return log(total) + Double(shift)
}

extension VariantKernels {
    public func softmax(_ out: FloatOutput, _ a: FloatInput, scale: Float, _ n: Int) {
        if n == 0 { return }
        var scratch = Scratch()
        _ = storeSoftmax(out, a, scale: scale, offset: 0, n, &scratch)
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
            for i in span.full { sum += boundedExponential(load(a, i) - shift) }
            if let i = span.rest { sum += lanes(before: i.count, boundedExponential(load(a, i) - shift)) }
            total += horizontalSum(sum)
        }
        return Float(Double(m) + log(total))
    }

    public func crossEntropy(
        _ gradient: Elements, logits: FloatInput, target: Int, labelSmoothing: Float, _ n: Int
    ) -> (loss: Float, negativeLogLikelihood: Float) {
        let targetLogit = Double(logits[target])
        let mean = labelSmoothing == 0 ? 0 : sum(logits, n) / Double(n)
        let offset = labelSmoothing / Float(n)
        var scratch = Scratch()
        let logTotal: Double
        switch floatingType("crossEntropy", gradient) {
        case .float32:
            logTotal = storeSoftmax(gradient.floats, logits, scale: 1, offset: offset, n, &scratch)
            gradient.floats[target] -= 1 - labelSmoothing
        case .bfloat16:
            logTotal = storeSoftmax(gradient.bfloats, logits, scale: 1, offset: offset, n, &scratch)
            let e = Double(labelSmoothing)
            let last = splat(Float(exp(targetLogit - logTotal) - (1 - e) - e / Double(n)))
            store(gradient.bfloats + target, Block(offset: 0, count: 1), last)
        }
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
}

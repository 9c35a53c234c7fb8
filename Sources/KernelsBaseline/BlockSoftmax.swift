// Softmax of rows that are seen one block of columns at a time, as attention without a whole matrix of scores needs it: Milakov and Gimelshein,
// "Online normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022.
//
// Legend: R rows, C columns of a block.

import KernelTypes

/// out = exp(scale * a - minus); returns the sum of the exponentials.
@inline(__always)
private func storeExponentials<Out: VectorElement>(
    _ out: UnsafeMutablePointer<Out>, _ a: FloatInput, _ scale: Float, _ minus: Float, _ n: Int, _ scratch: UnsafeMutableRawPointer
) -> Float {
    let s = splat(scale)
    let shift = splat(minus == -.infinity ? 0 : minus)
    var total = 0.0
    for span in Spans(n) {
        var sum = Vector.zero
        for run in ScratchRuns(span.end &- span.offset) {
            let x = a + span.offset + run.start
            let y = Out.workspace(out + span.offset + run.start, or: scratch.assumingMemoryBound(to: Float.self))
            for i in blocks(run.count).full {
                let e = boundedExponential(load(x, i) * s - shift)
                store(y, i, e)
                sum += e
            }
            if let i = blocks(run.count).rest {
                let e = boundedExponential(load(x, i) * s - shift)
                store(y, i, e)
                sum += lanes(before: i.count, e)
            }
            Out.finish(out + span.offset + run.start, from: y, run.count)
        }
        total += horizontalSum(sum)
    }
    return Float(total)
}

/// probability = exp(scale * scores - minus), gradient = scale * probability * (outputGradient - inner), in block i.
@inline(__always)
private func storeGradientBlock(
    _ i: Block, _ gradient: FloatOutput, _ probability: FloatOutput, _ outputGradient: FloatInput, _ scores: FloatInput, _ shift: Vector,
    _ inner: Vector, _ scale: Vector
) {
    let p = boundedExponential(load(scores, i) * scale - shift)
    let g = scale * p * (load(outputGradient, i) - inner)
    store(probability, i, p)
    store(gradient, i, g)
}

/// `storeGradientBlock` for a row.
@inline(__always)
private func storeGradientRow<Out: VectorElement>(
    _ gradient: UnsafeMutablePointer<Out>, _ probability: UnsafeMutablePointer<Out>, _ outputGradient: FloatInput, _ scores: FloatInput,
    _ minus: Float, _ inner: Float, _ scale: Float, _ n: Int, _ scratch: UnsafeMutableRawPointer
) {
    let shift = splat(minus == -.infinity ? 0 : minus)
    let d = splat(inner)
    let s = splat(scale)
    let wide = scratch.assumingMemoryBound(to: Float.self)
    for run in ScratchRuns(n) {
        let dy = outputGradient + run.start
        let x = scores + run.start
        let g = Out.workspace(gradient + run.start, or: wide)
        let p = Out.workspace(probability + run.start, or: wide + Scratch.count)
        for i in blocks(run.count).full { storeGradientBlock(i, g, p, dy, x, shift, d, s) }
        if let i = blocks(run.count).rest { storeGradientBlock(i, g, p, dy, x, shift, d, s) }
        Out.finish(gradient + run.start, from: g, run.count)
        Out.finish(probability + run.start, from: p, run.count)
    }
}

/// Zeros from column `start` to column `end`.
@inline(__always)
private func storeZeros<Out: VectorElement>(_ out: UnsafeMutablePointer<Out>, from start: Int, to end: Int) {
    for i in Blocks(from: start, to: end) { store(out, i, Vector.zero) }
}

/// Columns of row r that are seen.
@_transparent
private func seenColumns(_ row: Int, _ firstVisible: Int, _ columns: Int) -> Int {
    min(columns, max(0, firstVisible &+ row))
}

/// One block of columns of softmax in blocks.
@inline(never)
private func storeSoftmaxBlock<Out: VectorElement>(
    _ out: UnsafeMutablePointer<Out>, _ outStride: Int, _ scores: FloatInput, _ stride: Int, _ scale: Float, _ maximum: FloatOutput,
    _ sum: FloatOutput, _ correction: FloatOutput, _ firstVisible: Int, _ rows: Int, _ columns: Int,
    _ scratch: UnsafeMutableRawPointer
) {
    var next = rows == 0 ? 0 : seenMaximum(scores, scale, seenColumns(0, firstVisible, columns))
    for r in 0..<rows {
        let seen = seenColumns(r, firstVisible, columns)
        let block = next
        // The next row's maximum first, so that its last steps run beside this row's exponentials.
        if r &+ 1 < rows { next = seenMaximum(scores + (r &+ 1) &* stride, scale, seenColumns(r &+ 1, firstVisible, columns)) }
        let y = out + r &* outStride
        let old = maximum[r]
        let new = block > old ? block : old
        let factor: Float = new == old ? 1 : boundedExponential(splat(old - new))[0]
        let total = storeExponentials(y, scores + r &* stride, scale, new, seen, scratch)
        storeZeros(y, from: seen, to: columns)
        maximum[r] = new
        correction[r] = factor
        sum[r] = sum[r] * factor + total
    }
}

/// The largest of the n columns that are seen; -infinity for none.
@inline(__always)
private func seenMaximum(_ a: FloatInput, _ scale: Float, _ n: Int) -> Float {
    n == 0 ? -.infinity : largestScaled(a, scale: scale, n)
}

/// The gradient of a block of rows, with the probabilities made again from the scores.
@inline(never)
private func storeGradientBlocks<Out: VectorElement>(
    _ gradient: UnsafeMutablePointer<Out>, _ probability: UnsafeMutablePointer<Out>, _ outStride: Int, _ outputGradient: FloatInput,
    _ scores: FloatInput, _ stride: Int, _ minus: FloatInput, _ inner: FloatInput, _ scale: Float, _ firstVisible: Int, _ rows: Int, _ columns: Int,
    _ scratch: UnsafeMutableRawPointer
) {
    for r in 0..<rows {
        let seen = seenColumns(r, firstVisible, columns)
        let p = probability + r &* outStride
        let g = gradient + r &* outStride
        storeGradientRow(g, p, outputGradient + r &* stride, scores + r &* stride, minus[r], inner[r], scale, seen, scratch)
        storeZeros(p, from: seen, to: columns)
        storeZeros(g, from: seen, to: columns)
    }
}

extension VariantKernels {
    public func softmaxBlock(
        _ out: Elements, outStride: Int, scores: FloatInput, stride: Int, scale: Float, maximum: FloatOutput, sum: FloatOutput,
        correction: FloatOutput, firstVisible: Int, rows: Int, columns: Int
    ) {
        var scratch = Scratch()
        switch floatingType("softmaxBlock", out) {
        case .float32:
            storeSoftmaxBlock(out.floats, outStride, scores, stride, scale, maximum, sum, correction, firstVisible, rows, columns, &scratch)
        case .bfloat16:
            storeSoftmaxBlock(out.bfloats, outStride, scores, stride, scale, maximum, sum, correction, firstVisible, rows, columns, &scratch)
        }
    }

    public func softmaxBlockGradient(
        _ gradient: Elements, probability: Elements, outStride: Int, outputGradient: FloatInput, scores: FloatInput, stride: Int,
        minus: FloatInput, inner: FloatInput, scale: Float, firstVisible: Int, rows: Int, columns: Int
    ) {
        var scratch = Scratch()
        switch floatingType("softmaxBlockGradient", gradient, probability) {
        case .float32:
            storeGradientBlocks(
                gradient.floats, probability.floats, outStride, outputGradient, scores, stride, minus, inner, scale, firstVisible, rows, columns,
                &scratch)
        case .bfloat16:
            storeGradientBlocks(
                gradient.bfloats, probability.bfloats, outStride, outputGradient, scores, stride, minus, inner, scale, firstVisible, rows, columns,
                &scratch)
        }
    }
}

// Layer normalisation (Ba et al., 2016) and root-mean-square normalisation (Zhang and Sennrich, 2019), with gradients.
//
// Legend: R rows, C columns. x^ = (a - mean) * reciprocalDeviation.

import KernelTypes

/// Adds dy * gain and dy * gain * x^ of block i to two sums.
@inline(__always)
private func addTerms<DY: VectorElement>(
    _ i: Block, _ dy: UnsafePointer<DY>, _ x: FloatInput, _ gain: FloatInput, _ mean: Vector, _ scale: Vector, to gradients: inout VectorSum,
    _ products: inout VectorSum
) {
    let g = load(dy, i) * load(gain, i)
    gradients.add(g)
    products.add(g * ((load(x, i) - mean) * scale))
}

/// The sum of a row.
@inline(__always)
private func rowSum(_ x: FloatInput, _ n: Int) -> Double {
    var total = 0.0
    for span in Spans(n) {
        var sum = VectorSum()
        for i in span.full { sum.add(load(x, i)) }
        if let i = span.rest { sum.add(load(x, i)) }
        total += sum.total
    }
    return total
}

/// The sum of (x - mean)^2 of a row.
@inline(__always)
private func rowSumOfSquares(_ x: FloatInput, minus mean: Float, _ n: Int) -> Double {
    let m = splat(mean)
    var total = 0.0
    for span in Spans(n) {
        var sum = VectorSum()
        for i in span.full {
            let d = load(x, i) - m
            sum.add(d * d)
        }
        if let i = span.rest {
            // Padding with the mean leaves the lanes beyond the row at 0.
            let d = load(x, i, padding: mean) - m
            sum.add(d * d)
        }
        total += sum.total
    }
    return total
}

/// Mean and sum of squared deviations of a row.
private struct Moments {
    var mean: Float = 0
    var squares = 0.0
}

/// The moments of a row, in one pass over deviations from its first element. Where that lies so far out that the sums lose digits (four standard
/// deviations), in two passes.
@inline(__always)
private func moments(_ x: FloatInput, _ n: Int) -> Moments {
    if n == 0 { return Moments() }
    let first = x[0]
    let origin = splat(first)
    var sum = 0.0
    var squares = 0.0
    for span in Spans(n) {
        var deviations = VectorSum()
        var products = VectorSum()
        for i in span.full {
            let d = load(x, i) - origin
            deviations.add(d)
            products.add(d * d)
        }
        if let i = span.rest {
            // Padding with the origin leaves the lanes beyond the row at 0.
            let d = load(x, i, padding: first) - origin
            deviations.add(d)
            products.add(d * d)
        }
        sum += deviations.total
        squares += products.total
    }
    let shift = sum / Double(n)
    let rest = squares - sum * shift
    if rest * 16 > squares { return Moments(mean: Float(Double(first) + shift), squares: rest) }
    let mean = Float(rowSum(x, n) / Double(n))
    return Moments(mean: mean, squares: rowSumOfSquares(x, minus: mean, n))
}

/// Layer normalisation of all rows.
@inline(never)
private func normalize<Y: VectorElement>(
    _ out: UnsafeMutablePointer<Y>, _ mean: FloatOutput, _ reciprocalDeviation: FloatOutput, _ a: FloatInput, _ gain: FloatInput,
    _ bias: FloatInput?, _ epsilon: Float, _ rows: Int, _ columns: Int
) {
    var next = rows == 0 ? Moments() : moments(a, columns)
    for r in 0..<rows {
        let x = a + r &* columns
        let y = out + r &* columns
        let row = next
        // The next row's moments first, so that their last steps run beside this row's stores.
        if r &+ 1 < rows { next = moments(x + columns, columns) }
        let reciprocal = Float(1 / (row.squares / Double(columns) + Double(epsilon)).squareRoot())
        mean[r] = row.mean
        reciprocalDeviation[r] = reciprocal
        let m = splat(row.mean)
        let scale = splat(reciprocal)
        if let bias {
            for i in blocks(columns).full { store(y, i, multiplyAdd((load(x, i) - m) * scale, load(gain, i), load(bias, i))) }
            if let i = blocks(columns).rest { store(y, i, multiplyAdd((load(x, i) - m) * scale, load(gain, i), load(bias, i))) }
        } else {
            for i in blocks(columns).full { store(y, i, (load(x, i) - m) * scale * load(gain, i)) }
            if let i = blocks(columns).rest { store(y, i, (load(x, i) - m) * scale * load(gain, i)) }
        }
    }
}

/// The means over a row of dy * gain and of dy * gain * x^.
private struct GradientMeans {
    let gradient: Float
    let product: Float
}

/// The means that the gradient of a row subtracts.
@inline(__always)
private func gradientMeans<DY: VectorElement>(
    _ dy: UnsafePointer<DY>, _ x: FloatInput, _ gain: FloatInput, _ mean: Float, _ reciprocal: Float, _ n: Int
) -> GradientMeans {
    let m = splat(mean)
    let scale = splat(reciprocal)
    var sumOfGradients = 0.0
    var sumOfProducts = 0.0
    for span in Spans(n) {
        var gradients = VectorSum()
        var products = VectorSum()
        for i in span.full { addTerms(i, dy, x, gain, m, scale, to: &gradients, &products) }
        if let i = span.rest { addTerms(i, dy, x, gain, m, scale, to: &gradients, &products) }
        sumOfGradients += gradients.total
        sumOfProducts += products.total
    }
    return GradientMeans(gradient: Float(sumOfGradients / Double(n)), product: Float(sumOfProducts / Double(n)))
}

/// What the loop over a row needs.
private struct GradientRow {
    let mean: Vector
    let scale: Vector
    let gradient: Vector
    let product: Vector
    let accumulate: Bool
}

/// dx = (dy * gain - mean of that - x^ * mean of products) * scale in block i, stored or added.
@inline(__always)
private func storeGradient<DY: VectorElement>(
    _ i: Block, _ dx: FloatOutput, _ dy: UnsafePointer<DY>, _ x: FloatInput, _ gain: FloatInput, _ row: GradientRow
) {
    let normal = (load(x, i) - row.mean) * row.scale
    let g = multiplySubtract(normal, row.product, from: load(dy, i) * load(gain, i) - row.gradient) * row.scale
    store(dx, i, row.accumulate ? load(dx, i) + g : g)
}

/// gainGradient += dy * x^ and biasGradient += dy in block i.
@inline(__always)
private func addRowGradients<DY: VectorElement>(
    _ i: Block, _ gainGradient: FloatOutput?, _ biasGradient: FloatOutput?, _ dy: UnsafePointer<DY>, _ x: FloatInput, _ row: GradientRow
) {
    let d = load(dy, i)
    if let gainGradient { store(gainGradient, i, multiplyAdd(d, (load(x, i) - row.mean) * row.scale, load(gainGradient, i))) }
    if let biasGradient { store(biasGradient, i, load(biasGradient, i) + d) }
}

/// The gradients of a row. Those of gain and bias come first, since the input's may take the place of what they read, and in a loop of their own,
/// since stores that hit the cache would wait in line behind stores that miss it.
@inline(__always)
private func storeGradients<DY: VectorElement>(
    _ dx: FloatOutput, _ gainGradient: FloatOutput?, _ biasGradient: FloatOutput?, _ dy: UnsafePointer<DY>, _ x: FloatInput,
    _ gain: FloatInput, _ row: GradientRow, _ n: Int
) {
    if let gainGradient, let biasGradient {
        for i in blocks(n).full { addRowGradients(i, gainGradient, biasGradient, dy, x, row) }
        if let i = blocks(n).rest { addRowGradients(i, gainGradient, biasGradient, dy, x, row) }
    } else if let gainGradient {
        for i in blocks(n).full { addRowGradients(i, gainGradient, nil, dy, x, row) }
        if let i = blocks(n).rest { addRowGradients(i, gainGradient, nil, dy, x, row) }
    } else if let biasGradient {
        for i in blocks(n) { addRowGradients(i, nil, biasGradient, dy, x, row) }
    }
    for i in blocks(n).full { storeGradient(i, dx, dy, x, gain, row) }
    if let i = blocks(n).rest { storeGradient(i, dx, dy, x, gain, row) }
}

/// The gradient of layer normalisation, all rows.
@inline(never)
private func normalizeGradient<DY: VectorElement>(
    _ inputGradient: FloatOutput, _ accumulate: Bool, _ gainGradient: FloatOutput?, _ biasGradient: FloatOutput?, _ outputGradient: UnsafePointer<DY>,
    _ a: FloatInput, _ gain: FloatInput, _ mean: FloatInput, _ reciprocalDeviation: FloatInput, _ rows: Int, _ columns: Int
) {
    for r in 0..<rows {
        let x = a + r &* columns
        let dy = outputGradient + r &* columns
        let dx = inputGradient + r &* columns
        let means = gradientMeans(dy, x, gain, mean[r], reciprocalDeviation[r], columns)
        let row = GradientRow(
            mean: splat(mean[r]), scale: splat(reciprocalDeviation[r]), gradient: splat(means.gradient), product: splat(means.product),
            accumulate: accumulate)
        storeGradients(dx, gainGradient, biasGradient, dy, x, gain, row, columns)
    }
}

/// Root-mean-square normalisation of all rows.
@inline(never)
private func normalizeRoot<Y: VectorElement>(
    _ out: UnsafeMutablePointer<Y>, _ reciprocalRoot: FloatOutput, _ a: FloatInput, _ gain: FloatInput, _ epsilon: Float, _ rows: Int,
    _ columns: Int
) {
    var next = rows == 0 ? 0 : rowSumOfSquares(a, minus: 0, columns)
    for r in 0..<rows {
        let x = a + r &* columns
        let y = out + r &* columns
        let squares = next
        if r &+ 1 < rows { next = rowSumOfSquares(x + columns, minus: 0, columns) }
        let reciprocal = Float(1 / (squares / Double(columns) + Double(epsilon)).squareRoot())
        reciprocalRoot[r] = reciprocal
        let scale = splat(reciprocal)
        for i in blocks(columns).full { store(y, i, load(x, i) * scale * load(gain, i)) }
        if let i = blocks(columns).rest { store(y, i, load(x, i) * scale * load(gain, i)) }
    }
}

/// The gradient of root-mean-square normalisation, all rows: that of layer normalisation about a mean of 0, without the mean of dy * gain.
@inline(never)
private func normalizeRootGradient<DY: VectorElement>(
    _ inputGradient: FloatOutput, _ accumulate: Bool, _ gainGradient: FloatOutput?, _ outputGradient: UnsafePointer<DY>, _ a: FloatInput,
    _ gain: FloatInput, _ reciprocalRoot: FloatInput, _ rows: Int, _ columns: Int
) {
    for r in 0..<rows {
        let x = a + r &* columns
        let dy = outputGradient + r &* columns
        let dx = inputGradient + r &* columns
        let means = gradientMeans(dy, x, gain, 0, reciprocalRoot[r], columns)
        let row = GradientRow(
            mean: Vector.zero, scale: splat(reciprocalRoot[r]), gradient: Vector.zero, product: splat(means.product), accumulate: accumulate)
        storeGradients(dx, gainGradient, nil, dy, x, gain, row, columns)
    }
}

extension VariantKernels {
    public func layerNorm(
        _ out: Elements, mean: FloatOutput, reciprocalDeviation: FloatOutput, _ a: FloatInput, gain: FloatInput, bias: FloatInput?,
        epsilon: Float, rows: Int, columns: Int
    ) {
        switch floatingType("layerNorm", out) {
        case .float32: normalize(out.floats, mean, reciprocalDeviation, a, gain, bias, epsilon, rows, columns)
        case .bfloat16: normalize(out.bfloats, mean, reciprocalDeviation, a, gain, bias, epsilon, rows, columns)
        }
    }

    public func layerNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, biasGradient: FloatOutput?, outputGradient dy: Elements,
        _ a: FloatInput, gain: FloatInput, mean: FloatInput, reciprocalDeviation scale: FloatInput, rows: Int, columns: Int
    ) {
        switch floatingType("layerNormGradient", dy) {
        case .float32: normalizeGradient(inputGradient, accumulate, gainGradient, biasGradient, dy.floats, a, gain, mean, scale, rows, columns)
        case .bfloat16: normalizeGradient(inputGradient, accumulate, gainGradient, biasGradient, dy.bfloats, a, gain, mean, scale, rows, columns)
        }
    }

    public func rmsNorm(_ out: Elements, reciprocalRoot: FloatOutput, _ a: FloatInput, gain: FloatInput, epsilon: Float, rows: Int, columns: Int) {
        switch floatingType("rmsNorm", out) {
        case .float32: normalizeRoot(out.floats, reciprocalRoot, a, gain, epsilon, rows, columns)
        case .bfloat16: normalizeRoot(out.bfloats, reciprocalRoot, a, gain, epsilon, rows, columns)
        }
    }

    public func rmsNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, outputGradient dy: Elements, _ a: FloatInput,
        gain: FloatInput, reciprocalRoot: FloatInput, rows: Int, columns: Int
    ) {
        switch floatingType("rmsNormGradient", dy) {
        case .float32: normalizeRootGradient(inputGradient, accumulate, gainGradient, dy.floats, a, gain, reciprocalRoot, rows, columns)
        case .bfloat16: normalizeRootGradient(inputGradient, accumulate, gainGradient, dy.bfloats, a, gain, reciprocalRoot, rows, columns)
        }
    }
}

// Layer normalisation (Ba et al., 2016) and root-mean-square normalisation (Zhang and Sennrich, 2019), with gradients.
//
// Legend: R rows, C columns. x^ = (a - mean) * reciprocalDeviation.

import KernelTypes

/// Adds dy * gain and dy * gain * x^ of block i to two sums.
@inline(__always)
private func addTerms<DY: VectorElement, X: VectorElement>(
    _ i: Block, _ dy: UnsafePointer<DY>, _ x: UnsafePointer<X>, _ gain: FloatInput, _ mean: Vector, _ scale: Vector, to gradients: inout VectorSum,
    _ products: inout VectorSum
) {
    let g = load(dy, i) * load(gain, i)
    gradients.add(g)
    products.add(g * ((load(x, i) - mean) * scale))
}

/// dx = (dy * gain - first - x^ * second) * scale in block i, stored or added.
@inline(__always)
private func storeGradient<DY: VectorElement, X: VectorElement>(
    _ i: Block, _ dx: FloatOutput, _ accumulate: Bool, _ dy: UnsafePointer<DY>, _ x: UnsafePointer<X>, _ gain: FloatInput, _ mean: Vector,
    _ scale: Vector, _ first: Vector, _ second: Vector
) {
    let normal = (load(x, i) - mean) * scale
    let g = multiplySubtract(normal, second, from: load(dy, i) * load(gain, i) - first) * scale
    store(dx, i, accumulate ? load(dx, i) + g : g)
}

/// gainGradient += dy * x^ for one row.
@inline(__always)
private func addGainGradient<DY: VectorElement, X: VectorElement>(
    _ gainGradient: FloatOutput, _ dy: UnsafePointer<DY>, _ x: UnsafePointer<X>, _ mean: Vector, _ scale: Vector, _ n: Int
) {
    for i in blocks(n) { store(gainGradient, i, multiplyAdd(load(dy, i), (load(x, i) - mean) * scale, load(gainGradient, i))) }
}

/// The sum of a row.
@inline(__always)
private func rowSum<X: VectorElement>(_ x: UnsafePointer<X>, _ n: Int) -> Double {
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
private func rowSumOfSquares<X: VectorElement>(_ x: UnsafePointer<X>, minus mean: Float, _ n: Int) -> Double {
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

/// Layer normalisation of all rows.
@inline(__always)
private func normalize<Y: VectorElement, X: VectorElement>(
    _ out: UnsafeMutablePointer<Y>, _ mean: FloatOutput, _ reciprocalDeviation: FloatOutput, _ a: UnsafePointer<X>, _ gain: FloatInput,
    _ bias: FloatInput?, _ epsilon: Float, _ rows: Int, _ columns: Int
) {
    for r in 0..<rows {
        let x = a + r &* columns
        let y = out + r &* columns
        let average = Float(rowSum(x, columns) / Double(columns))
        let reciprocal = Float(1 / (rowSumOfSquares(x, minus: average, columns) / Double(columns) + Double(epsilon)).squareRoot())
        mean[r] = average
        reciprocalDeviation[r] = reciprocal
        let m = splat(average)
        let scale = splat(reciprocal)
        if let bias {
            for i in blocks(columns) { store(y, i, multiplyAdd((load(x, i) - m) * scale, load(gain, i), load(bias, i))) }
        } else {
            for i in blocks(columns) { store(y, i, (load(x, i) - m) * scale * load(gain, i)) }
        }
    }
}

/// The gradient of layer normalisation, all rows.
@inline(__always)
private func normalizeGradient<DY: VectorElement, X: VectorElement>(
    _ inputGradient: FloatOutput, _ accumulate: Bool, _ gainGradient: FloatOutput?, _ biasGradient: FloatOutput?, _ outputGradient: UnsafePointer<DY>,
    _ a: UnsafePointer<X>, _ gain: FloatInput, _ mean: FloatInput, _ reciprocalDeviation: FloatInput, _ rows: Int, _ columns: Int
) {
    for r in 0..<rows {
        let x = a + r &* columns
        let dy = outputGradient + r &* columns
        let dx = inputGradient + r &* columns
        let m = splat(mean[r])
        let scale = splat(reciprocalDeviation[r])
        var sumOfGradients = 0.0
        var sumOfProducts = 0.0
        for span in Spans(columns) {
            var gradients = VectorSum()
            var products = VectorSum()
            for i in span.full { addTerms(i, dy, x, gain, m, scale, to: &gradients, &products) }
            if let i = span.rest { addTerms(i, dy, x, gain, m, scale, to: &gradients, &products) }
            sumOfGradients += gradients.total
            sumOfProducts += products.total
        }
        let first = splat(Float(sumOfGradients / Double(columns)))
        let second = splat(Float(sumOfProducts / Double(columns)))
        // Before the input gradient, which may take the place of what these read.
        if let gainGradient { addGainGradient(gainGradient, dy, x, m, scale, columns) }
        if let biasGradient {
            for i in blocks(columns) { store(biasGradient, i, load(biasGradient, i) + load(dy, i)) }
        }
        for i in blocks(columns).full { storeGradient(i, dx, accumulate, dy, x, gain, m, scale, first, second) }
        if let i = blocks(columns).rest { storeGradient(i, dx, accumulate, dy, x, gain, m, scale, first, second) }
    }
}

/// Root-mean-square normalisation of all rows.
@inline(__always)
private func normalizeRoot<Y: VectorElement, X: VectorElement>(
    _ out: UnsafeMutablePointer<Y>, _ reciprocalRoot: FloatOutput, _ a: UnsafePointer<X>, _ gain: FloatInput, _ epsilon: Float, _ rows: Int,
    _ columns: Int
) {
    for r in 0..<rows {
        let x = a + r &* columns
        let y = out + r &* columns
        let reciprocal = Float(1 / (rowSumOfSquares(x, minus: 0, columns) / Double(columns) + Double(epsilon)).squareRoot())
        reciprocalRoot[r] = reciprocal
        let scale = splat(reciprocal)
        for i in blocks(columns) { store(y, i, load(x, i) * scale * load(gain, i)) }
    }
}

/// The gradient of root-mean-square normalisation, all rows.
@inline(__always)
private func normalizeRootGradient<DY: VectorElement, X: VectorElement>(
    _ inputGradient: FloatOutput, _ accumulate: Bool, _ gainGradient: FloatOutput?, _ outputGradient: UnsafePointer<DY>, _ a: UnsafePointer<X>,
    _ gain: FloatInput, _ reciprocalRoot: FloatInput, _ rows: Int, _ columns: Int
) {
    for r in 0..<rows {
        let x = a + r &* columns
        let dy = outputGradient + r &* columns
        let dx = inputGradient + r &* columns
        let scale = splat(reciprocalRoot[r])
        var sumOfProducts = 0.0
        for span in Spans(columns) {
            var products = VectorSum()
            for i in span.full { products.add(load(dy, i) * load(gain, i) * (load(x, i) * scale)) }
            if let i = span.rest { products.add(load(dy, i) * load(gain, i) * (load(x, i) * scale)) }
            sumOfProducts += products.total
        }
        let second = splat(Float(sumOfProducts / Double(columns)))
        for i in blocks(columns) {
            let d = load(dy, i)
            let normal = load(x, i) * scale
            let g = multiplySubtract(normal, second, from: d * load(gain, i)) * scale
            if let gainGradient { store(gainGradient, i, multiplyAdd(d, normal, load(gainGradient, i))) }
            store(dx, i, accumulate ? load(dx, i) + g : g)
        }
    }
}

extension VariantKernels {
    public func layerNorm(
        _ out: FloatOutput, mean: FloatOutput, reciprocalDeviation: FloatOutput, _ a: FloatInput, gain: FloatInput, bias: FloatInput?,
        epsilon: Float, rows: Int, columns: Int
    ) {
        normalize(out, mean, reciprocalDeviation, a, gain, bias, epsilon, rows, columns)
    }

    public func layerNorm(
        _ out: BFloatOutput, mean: FloatOutput, reciprocalDeviation: FloatOutput, _ a: FloatInput, gain: FloatInput, bias: FloatInput?,
        epsilon: Float, rows: Int, columns: Int
    ) {
        normalize(out, mean, reciprocalDeviation, a, gain, bias, epsilon, rows, columns)
    }

    public func layerNorm(
        _ out: BFloatOutput, mean: FloatOutput, reciprocalDeviation: FloatOutput, _ a: BFloatInput, gain: FloatInput, bias: FloatInput?,
        epsilon: Float, rows: Int, columns: Int
    ) {
        normalize(out, mean, reciprocalDeviation, a, gain, bias, epsilon, rows, columns)
    }

    public func layerNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, biasGradient: FloatOutput?, outputGradient: FloatInput,
        _ a: FloatInput, gain: FloatInput, mean: FloatInput, reciprocalDeviation: FloatInput, rows: Int, columns: Int
    ) {
        normalizeGradient(
            inputGradient, accumulate, gainGradient, biasGradient, outputGradient, a, gain, mean, reciprocalDeviation, rows, columns)
    }

    public func layerNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, biasGradient: FloatOutput?, outputGradient: BFloatInput,
        _ a: FloatInput, gain: FloatInput, mean: FloatInput, reciprocalDeviation: FloatInput, rows: Int, columns: Int
    ) {
        normalizeGradient(
            inputGradient, accumulate, gainGradient, biasGradient, outputGradient, a, gain, mean, reciprocalDeviation, rows, columns)
    }

    public func layerNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, biasGradient: FloatOutput?, outputGradient: BFloatInput,
        _ a: BFloatInput, gain: FloatInput, mean: FloatInput, reciprocalDeviation: FloatInput, rows: Int, columns: Int
    ) {
        normalizeGradient(
            inputGradient, accumulate, gainGradient, biasGradient, outputGradient, a, gain, mean, reciprocalDeviation, rows, columns)
    }

    public func rmsNorm(
        _ out: FloatOutput, reciprocalRoot: FloatOutput, _ a: FloatInput, gain: FloatInput, epsilon: Float, rows: Int, columns: Int
    ) {
        normalizeRoot(out, reciprocalRoot, a, gain, epsilon, rows, columns)
    }

    public func rmsNorm(
        _ out: BFloatOutput, reciprocalRoot: FloatOutput, _ a: FloatInput, gain: FloatInput, epsilon: Float, rows: Int, columns: Int
    ) {
        normalizeRoot(out, reciprocalRoot, a, gain, epsilon, rows, columns)
    }

    public func rmsNorm(
        _ out: BFloatOutput, reciprocalRoot: FloatOutput, _ a: BFloatInput, gain: FloatInput, epsilon: Float, rows: Int, columns: Int
    ) {
        normalizeRoot(out, reciprocalRoot, a, gain, epsilon, rows, columns)
    }

    public func rmsNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, outputGradient: FloatInput, _ a: FloatInput,
        gain: FloatInput, reciprocalRoot: FloatInput, rows: Int, columns: Int
    ) {
        normalizeRootGradient(inputGradient, accumulate, gainGradient, outputGradient, a, gain, reciprocalRoot, rows, columns)
    }

    public func rmsNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, outputGradient: BFloatInput, _ a: FloatInput,
        gain: FloatInput, reciprocalRoot: FloatInput, rows: Int, columns: Int
    ) {
        normalizeRootGradient(inputGradient, accumulate, gainGradient, outputGradient, a, gain, reciprocalRoot, rows, columns)
    }

    public func rmsNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, outputGradient: BFloatInput, _ a: BFloatInput,
        gain: FloatInput, reciprocalRoot: FloatInput, rows: Int, columns: Int
    ) {
        normalizeRootGradient(inputGradient, accumulate, gainGradient, outputGradient, a, gain, reciprocalRoot, rows, columns)
    }
}

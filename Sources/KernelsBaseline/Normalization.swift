// Layer normalisation (Ba et al., 2016) and root-mean-square normalisation (Zhang and Sennrich, 2019), with gradients.
//
// Legend: R rows, C columns. x^ = (a - mean) * reciprocalDeviation.

import KernelTypes

/// Adds dy * gain and dy * gain * x^ of block i to two sums.
@_transparent
private func addTerms(
    _ i: Block, _ dy: FloatInput, _ x: FloatInput, _ gain: FloatInput, _ mean: Vector, _ scale: Vector, to gradients: inout VectorSum,
    _ products: inout VectorSum
) {
    let g = load(dy, i) * load(gain, i)
    gradients.add(g)
    products.add(g * ((load(x, i) - mean) * scale))
}

/// dx = (dy * gain - first - x^ * second) * scale in block i, stored or added.
@_transparent
private func storeGradient(
    _ i: Block, _ dx: FloatOutput, _ accumulate: Bool, _ dy: FloatInput, _ x: FloatInput, _ gain: FloatInput, _ mean: Vector, _ scale: Vector,
    _ first: Vector,
    _ second: Vector
) {
    let normal = (load(x, i) - mean) * scale
    let g = multiplySubtract(normal, second, from: load(dy, i) * load(gain, i) - first) * scale
    store(dx, i, accumulate ? load(dx, i) + g : g)
}

/// gainGradient += dy * x^ for one row.
@_transparent
private func addGainGradient(_ gainGradient: FloatOutput, _ dy: FloatInput, _ x: FloatInput, _ mean: Vector, _ scale: Vector, _ n: Int) {
    for i in blocks(n) { store(gainGradient, i, multiplyAdd(load(dy, i), (load(x, i) - mean) * scale, load(gainGradient, i))) }
}

extension VariantKernels {
    public func layerNorm(
        _ out: FloatOutput, mean: FloatOutput, reciprocalDeviation: FloatOutput, _ a: FloatInput, gain: FloatInput, bias: FloatInput?, epsilon: Float,
        rows: Int, columns: Int
    ) {
        for r in 0..<rows {
            let x = a + r &* columns
            let y = out + r &* columns
            let average = Float(sum(x, columns) / Double(columns))
            let m = splat(average)
            var squares = 0.0
            for span in Spans(columns) {
                var sum = VectorSum()
                for i in span {
                    // Padding with the mean leaves the lanes beyond the row at 0.
                    let d = load(x, i, padding: average) - m
                    sum.add(d * d)
                }
                squares += sum.total
            }
            let reciprocal = Float(1 / (squares / Double(columns) + Double(epsilon)).squareRoot())
            mean[r] = average
            reciprocalDeviation[r] = reciprocal
            let scale = splat(reciprocal)
            if let bias {
                for i in blocks(columns) { store(y, i, multiplyAdd((load(x, i) - m) * scale, load(gain, i), load(bias, i))) }
            } else {
                for i in blocks(columns) { store(y, i, (load(x, i) - m) * scale * load(gain, i)) }
            }
        }
    }

    public func layerNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, biasGradient: FloatOutput?, outputGradient: FloatInput,
        _ a: FloatInput,
        gain: FloatInput, mean: FloatInput, reciprocalDeviation: FloatInput, rows: Int, columns: Int
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
            if let biasGradient { add(biasGradient, biasGradient, dy, columns) }
            for i in blocks(columns).full { storeGradient(i, dx, accumulate, dy, x, gain, m, scale, first, second) }
            if let i = blocks(columns).rest { storeGradient(i, dx, accumulate, dy, x, gain, m, scale, first, second) }
        }
    }

    public func rmsNorm(
        _ out: FloatOutput, reciprocalRoot: FloatOutput, _ a: FloatInput, gain: FloatInput, epsilon: Float, rows: Int, columns: Int
    ) {
        for r in 0..<rows {
            let x = a + r &* columns
            let y = out + r &* columns
            let reciprocal = Float(1 / (sumOfSquares(x, columns) / Double(columns) + Double(epsilon)).squareRoot())
            reciprocalRoot[r] = reciprocal
            let scale = splat(reciprocal)
            for i in blocks(columns) { store(y, i, load(x, i) * scale * load(gain, i)) }
        }
    }

    public func rmsNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, outputGradient: FloatInput, _ a: FloatInput, gain: FloatInput,
        reciprocalRoot: FloatInput, rows: Int, columns: Int
    ) {
        for r in 0..<rows {
            let x = a + r &* columns
            let dy = outputGradient + r &* columns
            let dx = inputGradient + r &* columns
            let scale = splat(reciprocalRoot[r])
            var sumOfProducts = 0.0
            for span in Spans(columns) {
                var products = VectorSum()
                for i in span { products.add(load(dy, i) * load(gain, i) * (load(x, i) * scale)) }
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
}

// Layer normalisation (Ba et al., 2016) and root-mean-square normalisation (Zhang and Sennrich, 2019), with gradients.
//
// Legend: R rows, C columns. x^ = (a - mean) * reciprocalDeviation.

import KernelTypes

extension VariantKernels {
    public func layerNorm(
        _ out: FloatOutput, mean: FloatOutput, reciprocalDeviation: FloatOutput, _ a: FloatInput, gain: FloatInput, bias: FloatInput?, epsilon: Float,
        rows: Int, columns: Int
    ) {
        for r in 0..<rows {
            let x = a + r &* columns, y = out + r &* columns
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
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, biasGradient: FloatOutput?, outputGradient: FloatInput, _ a: FloatInput,
        gain: FloatInput, mean: FloatInput, reciprocalDeviation: FloatInput, rows: Int, columns: Int
    ) {
        for r in 0..<rows {
            let x = a + r &* columns, dy = outputGradient + r &* columns, dx = inputGradient + r &* columns
            let m = splat(mean[r]), scale = splat(reciprocalDeviation[r])
            var sumOfGradients = 0.0, sumOfProducts = 0.0
            for span in Spans(columns) {
                var gradients = VectorSum(), products = VectorSum()
                for i in span {
                    let g = load(dy, i) * load(gain, i)
                    gradients.add(g)
                    products.add(g * ((load(x, i) - m) * scale))
                }
                sumOfGradients += gradients.total
                sumOfProducts += products.total
            }
            let first = splat(Float(sumOfGradients / Double(columns))), second = splat(Float(sumOfProducts / Double(columns)))
            for i in blocks(columns) {
                let d = load(dy, i)
                let normal = (load(x, i) - m) * scale
                let g = multiplySubtract(normal, second, from: d * load(gain, i) - first) * scale
                if let gainGradient { store(gainGradient, i, multiplyAdd(d, normal, load(gainGradient, i))) }
                if let biasGradient { store(biasGradient, i, load(biasGradient, i) + d) }
                store(dx, i, accumulate ? load(dx, i) + g : g)
            }
        }
    }

    public func rmsNorm(
        _ out: FloatOutput, reciprocalRoot: FloatOutput, _ a: FloatInput, gain: FloatInput, epsilon: Float, rows: Int, columns: Int
    ) {
        for r in 0..<rows {
            let x = a + r &* columns, y = out + r &* columns
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
            let x = a + r &* columns, dy = outputGradient + r &* columns, dx = inputGradient + r &* columns
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

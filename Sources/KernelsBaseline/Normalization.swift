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
            let squares = sumOfVectors(columns) { i, count in
                // Padding with the mean leaves the lanes beyond the row at 0.
                let d = load(x + i, count: count, padding: average) - m
                return d * d
            }
            let reciprocal = Float(1 / (squares / Double(columns) + Double(epsilon)).squareRoot())
            mean[r] = average
            reciprocalDeviation[r] = reciprocal
            let scale = splat(reciprocal)
            if let bias {
                forEachVector(columns) { i, count in
                    let normal = (load(x + i, count: count) - m) * scale
                    store(y + i, multiplyAdd(normal, load(gain + i, count: count), load(bias + i, count: count)), count: count)
                }
            } else {
                map(y, x, gain, columns) { ($0 - m) * scale * $1 }
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
            let sumOfGradients = dot(dy, gain, columns)
            let sumOfProducts = sumOfVectors(columns) { i, count in
                load(dy + i, count: count) * load(gain + i, count: count) * ((load(x + i, count: count) - m) * scale)
            }
            let first = splat(sumOfGradients / Float(columns)), second = splat(Float(sumOfProducts / Double(columns)))
            forEachVector(columns) { i, count in
                let d = load(dy + i, count: count)
                let normal = (load(x + i, count: count) - m) * scale
                let g = multiplySubtract(normal, second, from: d * load(gain + i, count: count) - first) * scale
                if let gainGradient { store(gainGradient + i, multiplyAdd(d, normal, load(gainGradient + i, count: count)), count: count) }
                if let biasGradient { store(biasGradient + i, load(biasGradient + i, count: count) + d, count: count) }
                store(dx + i, accumulate ? load(dx + i, count: count) + g : g, count: count)
            }
        }
    }

    public func rmsNorm(
        _ out: FloatOutput, reciprocalRoot: FloatOutput, _ a: FloatInput, gain: FloatInput, epsilon: Float, rows: Int, columns: Int
    ) {
        for r in 0..<rows {
            let x = a + r &* columns
            let reciprocal = Float(1 / (sumOfSquares(x, columns) / Double(columns) + Double(epsilon)).squareRoot())
            reciprocalRoot[r] = reciprocal
            let scale = splat(reciprocal)
            map(out + r &* columns, x, gain, columns) { $0 * scale * $1 }
        }
    }

    public func rmsNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, outputGradient: FloatInput, _ a: FloatInput, gain: FloatInput,
        reciprocalRoot: FloatInput, rows: Int, columns: Int
    ) {
        for r in 0..<rows {
            let x = a + r &* columns, dy = outputGradient + r &* columns, dx = inputGradient + r &* columns
            let scale = splat(reciprocalRoot[r])
            let sumOfProducts = sumOfVectors(columns) { i, count in
                load(dy + i, count: count) * load(gain + i, count: count) * (load(x + i, count: count) * scale)
            }
            let second = splat(Float(sumOfProducts / Double(columns)))
            forEachVector(columns) { i, count in
                let d = load(dy + i, count: count)
                let normal = load(x + i, count: count) * scale
                let g = multiplySubtract(normal, second, from: d * load(gain + i, count: count)) * scale
                if let gainGradient { store(gainGradient + i, multiplyAdd(d, normal, load(gainGradient + i, count: count)), count: count) }
                store(dx + i, accumulate ? load(dx + i, count: count) + g : g, count: count)
            }
        }
    }
}

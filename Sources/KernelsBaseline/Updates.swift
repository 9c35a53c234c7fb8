// The update rules of the optimizers, one pass over the arrays each.
//
// Legend: n elements. Scalars of the rules are combined in float64 and rounded to float32 once, as PyTorch does.
// AdamW: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019; RMSProp: Tieleman and Hinton, 2012; Adagrad: Duchi et al., 2011.

import KernelTypes

extension VariantKernels {
    public func adamW(
        _ value: FloatOutput, _ firstMoment: FloatOutput, _ secondMoment: FloatOutput, _ gradient: FloatInput, _ settings: UpdateSettings,
        lowPrecision: BFloatOutput?, _ n: Int
    ) {
        let scale = splat(Float(settings.gradientScale))
        let keep = splat(Float(1 - settings.learningRate * settings.weightDecay))
        let beta2 = splat(Float(settings.beta2))
        let rest1 = splat(Float(1 - settings.beta1))
        let rest2 = splat(Float(1 - settings.beta2))
        let step = splat(Float(settings.learningRate * settings.biasCorrection1))
        let root = splat(Float(settings.biasCorrection2.squareRoot()))
        let epsilon = splat(Float(settings.epsilon))
        for i in blocks(n) {
            let g = load(gradient, i) * scale
            let m0 = load(firstMoment, i)
            let m = multiplyAdd(rest1, g - m0, m0)
            let v = multiplyAdd(g * rest2, g, load(secondMoment, i) * beta2)
            let denominator = multiplyAdd(v.squareRoot(), root, epsilon)
            let x = load(value, i) * keep
            store(firstMoment, i, m)
            store(secondMoment, i, v)
            let updated = multiplySubtract(step, m / denominator, from: x)
            store(value, i, updated)
            if let lowPrecision { store(lowPrecision, i, updated) }
        }
    }

    public func sgd(
        _ value: FloatOutput, _ momentum: FloatOutput?, _ gradient: FloatInput, _ settings: UpdateSettings, lowPrecision: BFloatOutput?, _ n: Int
    ) {
        let scale = splat(Float(settings.gradientScale))
        let decay = splat(Float(settings.weightDecay))
        let beta1 = splat(Float(settings.beta1))
        let rate = splat(Float(settings.learningRate))
        let nesterov = settings.nesterov
        for i in blocks(n) {
            let x = load(value, i)
            let g = multiplyAdd(decay, x, load(gradient, i) * scale)
            var direction = g
            if let momentum {
                let m = multiplyAdd(beta1, load(momentum, i), g)
                store(momentum, i, m)
                direction = nesterov ? multiplyAdd(beta1, m, g) : m
            }
            let updated = multiplySubtract(rate, direction, from: x)
            store(value, i, updated)
            if let lowPrecision { store(lowPrecision, i, updated) }
        }
    }

    public func rmsProp(
        _ value: FloatOutput, _ average: FloatOutput, _ momentum: FloatOutput?, _ gradient: FloatInput, _ settings: UpdateSettings,
        lowPrecision: BFloatOutput?, _ n: Int
    ) {
        let scale = splat(Float(settings.gradientScale))
        let decay = splat(Float(settings.weightDecay))
        let beta1 = splat(Float(settings.beta1))
        let beta2 = splat(Float(settings.beta2))
        let rest2 = splat(Float(1 - settings.beta2))
        let rate = splat(Float(settings.learningRate))
        let epsilon = splat(Float(settings.epsilon))
        for i in blocks(n) {
            let x = load(value, i)
            let g = multiplyAdd(decay, x, load(gradient, i) * scale)
            let v = multiplyAdd(g * rest2, g, load(average, i) * beta2)
            store(average, i, v)
            var direction = g / (v.squareRoot() + epsilon)
            if let momentum {
                direction = multiplyAdd(beta1, load(momentum, i), direction)
                store(momentum, i, direction)
            }
            let updated = multiplySubtract(rate, direction, from: x)
            store(value, i, updated)
            if let lowPrecision { store(lowPrecision, i, updated) }
        }
    }

    public func adagrad(
        _ value: FloatOutput, _ accumulator: FloatOutput, _ gradient: FloatInput, _ settings: UpdateSettings, lowPrecision: BFloatOutput?, _ n: Int
    ) {
        let scale = splat(Float(settings.gradientScale))
        let decay = splat(Float(settings.weightDecay))
        let rate = splat(Float(settings.learningRate))
        let epsilon = splat(Float(settings.epsilon))
        for i in blocks(n) {
            let x = load(value, i)
            let g = multiplyAdd(decay, x, load(gradient, i) * scale)
            let s = multiplyAdd(g, g, load(accumulator, i))
            store(accumulator, i, s)
            let updated = multiplySubtract(rate, g / (s.squareRoot() + epsilon), from: x)
            store(value, i, updated)
            if let lowPrecision { store(lowPrecision, i, updated) }
        }
    }
}

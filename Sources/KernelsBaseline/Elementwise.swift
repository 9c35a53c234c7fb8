// Kernels of one element at a time, and their gradients.
//
// Legend: n elements.

import KernelTypes

extension VariantKernels {
    public func fill(_ out: FloatOutput, _ value: Float, _ n: Int) {
        let v = splat(value)
        forEachVector(n) { store(out + $0, v, count: $1) }
    }

    public func add(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int) {
        map(out, a, b, n) { $0 + $1 }
    }

    public func subtract(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int) {
        map(out, a, b, n) { $0 - $1 }
    }

    public func multiply(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int) {
        map(out, a, b, n) { $0 * $1 }
    }

    public func divide(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int) {
        map(out, a, b, n) { $0 / $1 }
    }

    public func addProduct(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int) {
        forEachVector(n) { i, count in
            store(out + i, multiplyAdd(load(a + i, count: count), load(b + i, count: count), load(out + i, count: count)), count: count)
        }
    }

    public func affine(_ out: FloatOutput, _ a: FloatInput, scale: Float, offset: Float, _ n: Int) {
        let s = splat(scale), o = splat(offset)
        map(out, a, n) { multiplyAdd(s, $0, o) }
    }

    public func addScaled(_ out: FloatOutput, _ a: FloatInput, scale: Float, _ n: Int) {
        let s = splat(scale)
        map(out, a, out, n) { multiplyAdd(s, $0, $1) }
    }

    public func clamp(_ out: FloatOutput, _ a: FloatInput, lower: Float, upper: Float, _ n: Int) {
        map(out, a, n) { atMost(atLeast($0, lower), upper) }
    }

    public func unary(_ function: UnaryFunction, _ out: FloatOutput, _ a: FloatInput, _ n: Int) {
        switch function {
        case .exponential: map(out, a, n) { exponential($0) }
        case .logarithm: map(out, a, n) { logarithm($0) }
        case .hyperbolicTangent: map(out, a, n) { hyperbolicTangent($0) }
        case .sigmoid: map(out, a, n) { sigmoid($0) }
        case .rectifier: map(out, a, n) { atLeast($0, 0) }
        case .softplus: map(out, a, n) { softplus($0) }
        case .squareRoot: map(out, a, n) { $0.squareRoot() }
        case .reciprocal: map(out, a, n) { splat(1) / $0 }
        case .square: map(out, a, n) { $0 * $0 }
        case .absolute: map(out, a, n) { magnitude($0) }
        case .negate: map(out, a, n) { floats(bits($0) ^ splat(Int32.min)) }
        case .geluTanh: map(out, a, n) { geluTanh($0) }
        case .gelu: map(out, a, n) { gelu($0) }
        case .sine: map(out, a, n) { sine($0) }
        case .cosine: map(out, a, n) { cosine($0) }
        }
    }

    public func unaryGradient(_ function: UnaryFunction, _ gradient: FloatOutput, outputGradient: FloatInput, input: FloatInput, output: FloatInput, _ n: Int) {
        /// gradient += outputGradient * derivative(argument)
        @inline(__always)
        func accumulate(_ argument: FloatInput, _ derivative: (Vector) -> Vector) {
            forEachVector(n) { i, count in
                let slope = derivative(load(argument + i, count: count))
                store(gradient + i, multiplyAdd(load(outputGradient + i, count: count), slope, load(gradient + i, count: count)), count: count)
            }
        }
        switch function {
        case .exponential: accumulate(output) { $0 }
        case .logarithm: accumulate(input) { splat(1) / $0 }
        case .hyperbolicTangent: accumulate(output) { multiplySubtract($0, $0, from: splat(1)) }
        case .sigmoid: accumulate(output) { $0 * (splat(1) - $0) }
        case .rectifier: accumulate(input) { Vector.zero.replacing(with: splat(1), where: $0 .> splat(0)) }
        case .softplus: accumulate(input) { sigmoid($0) }
        case .squareRoot: accumulate(output) { splat(0.5) / $0 }
        case .reciprocal: accumulate(output) { -($0 * $0) }
        case .square: accumulate(input) { $0 + $0 }
        case .absolute: accumulate(input) { withSign(Vector.zero.replacing(with: splat(1), where: $0 .!= splat(0)), of: $0) }
        case .negate: accumulate(input) { _ in splat(-1) }
        case .geluTanh: accumulate(input) { geluTanhDerivative($0) }
        case .gelu: accumulate(input) { geluDerivative($0) }
        case .sine: accumulate(input) { cosine($0) }
        case .cosine: accumulate(input) { -sine($0) }
        }
    }
}

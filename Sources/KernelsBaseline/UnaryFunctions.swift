// The functions of one argument, and their gradients.
//
// Legend: n elements.
// Each loop is a function of its own: in one large function the compiler would stop inlining the loads and stores.

import KernelTypes

extension VariantKernels {
    public func unary(_ function: UnaryFunction, _ out: FloatOutput, _ a: FloatInput, _ n: Int) {
        switch function {
        case .exponential: exponential(out, a, n)
        case .logarithm: logarithm(out, a, n)
        case .hyperbolicTangent: hyperbolicTangent(out, a, n)
        case .sigmoid: sigmoid(out, a, n)
        case .rectifier: rectifier(out, a, n)
        case .softplus: softplus(out, a, n)
        case .squareRoot: squareRoot(out, a, n)
        case .reciprocal: reciprocal(out, a, n)
        case .square: square(out, a, n)
        case .absolute: absolute(out, a, n)
        case .negate: negate(out, a, n)
        case .geluTanh: geluTanh(out, a, n)
        case .gelu: gelu(out, a, n)
        case .sine: sine(out, a, n)
        case .cosine: cosine(out, a, n)
        case .softsign: softsign(out, a, n)
        }
    }

    public func unaryGradient(
        _ function: UnaryFunction, _ gradient: FloatOutput, outputGradient: FloatInput, input: FloatInput, output: FloatInput, _ n: Int
    ) {
        switch function {
        case .exponential: exponentialGradient(gradient, outputGradient, output, n)
        case .logarithm: logarithmGradient(gradient, outputGradient, input, n)
        case .hyperbolicTangent: hyperbolicTangentGradient(gradient, outputGradient, output, n)
        case .sigmoid: sigmoidGradient(gradient, outputGradient, output, n)
        case .rectifier: rectifiedGradient(gradient, outputGradient, input, n)
        case .softplus: softplusGradient(gradient, outputGradient, input, n)
        case .squareRoot: squareRootGradient(gradient, outputGradient, output, n)
        case .reciprocal: reciprocalGradient(gradient, outputGradient, output, n)
        case .square: squareGradient(gradient, outputGradient, input, n)
        case .absolute: absoluteGradient(gradient, outputGradient, input, n)
        case .negate: negateGradient(gradient, outputGradient, input, n)
        case .geluTanh: geluTanhGradient(gradient, outputGradient, input, n)
        case .gelu: geluGradient(gradient, outputGradient, input, n)
        case .sine: sineGradient(gradient, outputGradient, input, n)
        case .cosine: cosineGradient(gradient, outputGradient, input, n)
        case .softsign: softsignGradient(gradient, outputGradient, input, n)
        }
    }
}

// MARK: out[i] = f(a[i])

@inline(never)
private func exponential(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, exponential(load(a, i))) }
}

@inline(never)
private func logarithm(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, logarithm(load(a, i))) }
}

@inline(never)
private func hyperbolicTangent(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, hyperbolicTangent(load(a, i))) }
}

@inline(never)
private func sigmoid(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, sigmoid(load(a, i))) }
}

@inline(never)
private func rectifier(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, atLeast(load(a, i), 0)) }
}

@inline(never)
private func softplus(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, softplus(load(a, i))) }
}

@inline(never)
private func squareRoot(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, load(a, i).squareRoot()) }
}

@inline(never)
private func reciprocal(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, splat(1) / load(a, i)) }
}

@inline(never)
private func square(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, load(a, i) * load(a, i)) }
}

@inline(never)
private func absolute(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, magnitude(load(a, i))) }
}

@inline(never)
private func negate(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, negated(load(a, i))) }
}

@inline(never)
private func geluTanh(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, geluTanh(load(a, i))) }
}

@inline(never)
private func gelu(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, gelu(load(a, i))) }
}

@inline(never)
private func sine(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, sine(load(a, i))) }
}

@inline(never)
private func cosine(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, cosine(load(a, i))) }
}

@inline(never)
private func softsign(_ out: FloatOutput, _ a: FloatInput, _ n: Int) {
    // An infinite x counts as the largest number: infinity over infinity would be no number.
    for i in blocks(n) {
        let x = load(a, i)
        let size = magnitude(x)
        let finite = size.replacing(with: splat(.greatestFiniteMagnitude), where: size .== splat(.infinity))
        store(out, i, withSign(finite / (splat(1) + finite), of: x))
    }
}

// MARK: gradient[i] += outputGradient[i] * f'(x[i]), where f' is written in x or in y = f(x)

/// gradient += outputGradient * slope, in block i.
@_transparent
private func accumulate(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ i: Block, _ slope: Vector) {
    store(gradient, i, multiplyAdd(load(outputGradient, i), slope, load(gradient, i)))
}

@inline(never)
private func exponentialGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ y: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, load(y, i)) }
}

@inline(never)
private func logarithmGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, splat(1) / load(x, i)) }
}

@inline(never)
private func hyperbolicTangentGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ y: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, multiplySubtract(load(y, i), load(y, i), from: splat(1))) }
}

@inline(never)
private func sigmoidGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ y: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, load(y, i) * (splat(1) - load(y, i))) }
}

@inline(never)
private func rectifiedGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, Vector.zero.replacing(with: splat(1), where: load(x, i) .> splat(0))) }
}

@inline(never)
private func softplusGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, sigmoid(load(x, i))) }
}

@inline(never)
private func squareRootGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ y: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, splat(0.5) / load(y, i)) }
}

@inline(never)
private func reciprocalGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ y: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, negated(load(y, i) * load(y, i))) }
}

@inline(never)
private func squareGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, load(x, i) + load(x, i)) }
}

@inline(never)
private func absoluteGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) {
        accumulate(gradient, outputGradient, i, withSign(Vector.zero.replacing(with: splat(1), where: load(x, i) .!= splat(0)), of: load(x, i)))
    }
}

@inline(never)
private func negateGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, splat(-1)) }
}

@inline(never)
private func geluTanhGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, geluTanhDerivative(load(x, i))) }
}

@inline(never)
private func geluGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, geluDerivative(load(x, i))) }
}

@inline(never)
private func sineGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, cosine(load(x, i))) }
}

@inline(never)
private func cosineGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) { accumulate(gradient, outputGradient, i, negated(sine(load(x, i)))) }
}

@inline(never)
private func softsignGradient(_ gradient: FloatOutput, _ outputGradient: FloatInput, _ x: FloatInput, _ n: Int) {
    for i in blocks(n) {
        let root = splat(1) / (splat(1) + magnitude(load(x, i)))
        accumulate(gradient, outputGradient, i, root * root)
    }
}

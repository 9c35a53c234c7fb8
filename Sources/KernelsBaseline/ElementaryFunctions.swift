// exp, log, tanh, sigmoid, the normal distribution, sine and cosine on vectors.
//
// The reductions are Cody and Waite's (Software Manual for the Elementary Functions, 1980); the polynomials are minimax fits made by
// Tests/KernelsTests/Polynomials/fit.py. Bounds on the error stand at each function and are tested on every instruction set.
// With denormals flushed to zero (FTZ, DAZ) results and arguments below 2^-126 in magnitude count as 0.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Adding 1.5 * 2^23 rounds to the nearest integer, which then stands in the low bits of the sum.
private let roundingShift: Float = 0x1.8p23
private let roundingShiftBits: Int32 = 0x4B40_0000

/// exp(x), error below 2 ulp. 0 at -infinity, infinity from 88.73 up.
@_transparent
func exponential(_ argument: Vector) -> Vector {
    let x = atMost(atLeast(argument, -105), 90)
    let shifted = multiplyAdd(x, splat(0x1.715476p0), splat(roundingShift))
    let k = bits(shifted) &- splat(roundingShiftBits)
    let n = shifted - splat(roundingShift)
    let r = multiplySubtract(n, splat(-0x1.e8082ep-16), from: multiplySubtract(n, splat(0x1.62e8p-1), from: x))
    var p = splat(0x1.6a2428p-10)
    p = multiplyAdd(p, r, splat(0x1.123ad2p-7))
    p = multiplyAdd(p, r, splat(0x1.5558f4p-5))
    p = multiplyAdd(p, r, splat(0x1.555490p-3))
    p = multiplyAdd(p, r, splat(0x1.fffffcp-2))
    let y = multiplyAdd(r * r, p, r) + splat(1)
    // 2^k in two factors, since k may lie outside the exponents of float32.
    let half = k &>> splat(Int32(1))
    let first = floats((half &+ splat(Int32(127))) &<< splat(Int32(23)))
    let second = floats((k &- half &+ splat(Int32(127))) &<< splat(Int32(23)))
    return y * first * second
}

/// exp(x) for x up to 88, error below 2 ulp; 0 from -87.7 down, where the result would be denormal. Two thirds of the instructions of `exponential`.
@_transparent
func boundedExponential(_ argument: Vector) -> Vector {
    // From -88 the exponent field of 2^k below becomes 0, and so the result.
    let x = atLeast(argument, -88)
    let shifted = multiplyAdd(x, splat(0x1.715476p0), splat(roundingShift))
    let n = shifted - splat(roundingShift)
    let r = multiplySubtract(n, splat(-0x1.e8082ep-16), from: multiplySubtract(n, splat(0x1.62e8p-1), from: x))
    var p = splat(0x1.6a2428p-10)
    p = multiplyAdd(p, r, splat(0x1.123ad2p-7))
    p = multiplyAdd(p, r, splat(0x1.5558f4p-5))
    p = multiplyAdd(p, r, splat(0x1.555490p-3))
    p = multiplyAdd(p, r, splat(0x1.fffffcp-2))
    p = multiplyAdd(p, r, splat(1))
    p = multiplyAdd(p, r, splat(1))
    // k stands in the low bits of the shifted number; the others leave on the left.
    return p * floats((bits(shifted) &<< splat(Int32(23))) &+ splat(Int32(0x3F80_0000)))
}

/// log(x), error below 2 ulp. -infinity at 0, NaN below.
@_transparent
func logarithm(_ x: Vector) -> Vector {
    let isSmall = x .< splat(0x1p-126)
    let scaled = x.replacing(with: x * splat(0x1p23), where: isSmall)
    let offset = bits(scaled) &- splat(Int32(0x3F35_04F3))
    let exponent = (offset &>> splat(Int32(23))) &- (integers(isSmall) & splat(Int32(23)))
    let e = floats(exponent &+ splat(roundingShiftBits)) - splat(roundingShift)
    let f = floats((offset & splat(0x007F_FFFF)) &+ splat(Int32(0x3F35_04F3))) - splat(1)
    let z = f * f
    var p = splat(0x1.14f6e2p-4)
    p = multiplyAdd(p, f, splat(-0x1.dedb3cp-4))
    p = multiplyAdd(p, f, splat(0x1.e701dcp-4))
    p = multiplyAdd(p, f, splat(-0x1.fc0a7ap-4))
    p = multiplyAdd(p, f, splat(0x1.2334c2p-3))
    p = multiplyAdd(p, f, splat(-0x1.555cd4p-3))
    p = multiplyAdd(p, f, splat(0x1.99a4dap-3))
    p = multiplyAdd(p, f, splat(-0x1.000006p-2))
    p = multiplyAdd(p, f, splat(0x1.555548p-2))
    var y = f * z * p
    y = multiplyAdd(e, splat(-0x1.e8082ep-16), y)
    y = multiplyAdd(z, splat(-0.5), y)
    y = multiplyAdd(e, splat(0x1.62e8p-1), f + y)
    y.replace(with: x, where: x .== splat(.infinity))
    y.replace(with: splat(-.infinity), where: x .== splat(0))
    y.replace(with: splat(.nan), where: x .< splat(0))
    y.replace(with: x, where: x .!= x)
    return y
}

/// tanh(x), error below 4 ulp.
@_transparent
func hyperbolicTangent(_ x: Vector) -> Vector {
    let a = magnitude(x)
    let z = a * a
    var p = splat(-0x1.75e1cap-8)
    p = multiplyAdd(p, z, splat(0x1.52269ap-6))
    p = multiplyAdd(p, z, splat(-0x1.b83c5ap-5))
    p = multiplyAdd(p, z, splat(0x1.110726p-3))
    p = multiplyAdd(p, z, splat(-0x1.555532p-2))
    let small = multiplyAdd(a * z, p, a)
    let e = boundedExponential(a * splat(-2))
    let large = (splat(1) - e) / (splat(1) + e)
    return withSign(large.replacing(with: small, where: a .< splat(0.625)), of: x)
}

/// 1 / (1 + exp(-x)), error below 4 ulp: only exp(-|x|) is taken, so nothing overflows.
@_transparent
func sigmoid(_ x: Vector) -> Vector {
    let e = boundedExponential(negated(magnitude(x)))
    return e.replacing(with: splat(1), where: x .>= splat(0)) / (splat(1) + e)
}

/// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), error below 4 ulp.
@_transparent
func softplus(_ x: Vector) -> Vector {
    let y = exponential(negated(magnitude(x)))
    let u = y + splat(1)
    // log(1 + y) with the rounding of 1 + y put back.
    let tail = logarithm(u) + (y - (u - splat(1))) / u
    return atLeast(x, 0) + tail
}

/// The standard normal distribution: P(X <= x), error below 8 ulp, also in the lower tail; and its density.
/// The tail is exp(-x^2 / 2) times a polynomial in 1 / (1 + |x| / sqrt(8)).
@_transparent
func normalDistribution(_ argument: Vector) -> (cumulative: Vector, density: Vector) {
    let x = atMost(atLeast(argument, -16), 16)
    let a = magnitude(x)
    // exp(-x^2 / 2) with the rounding of x^2 put back: x = high + low, high of 12 bits.
    let high = floats(bits(a) & splat(Int32(bitPattern: 0xFFFF_F000)))
    let low = a - high
    let square = a * a
    let rest = ((high * high - square) + splat(2) * high * low) + low * low
    let e = boundedExponential(square * splat(-0.5))
    let bell = multiplySubtract(e, rest * splat(0.5), from: e)
    let s = splat(1) / multiplyAdd(a, splat(0x1.6a09e6p-2), splat(1))
    var p = splat(0x1.4f900cp-5)
    p = multiplyAdd(p, s, splat(-0x1.c5702ep-3))
    p = multiplyAdd(p, s, splat(0x1.d61ba0p-2))
    p = multiplyAdd(p, s, splat(-0x1.9d6692p-2))
    p = multiplyAdd(p, s, splat(0x1.59ce70p-4))
    p = multiplyAdd(p, s, splat(-0x1.ede8c2p-6))
    p = multiplyAdd(p, s, splat(0x1.4f2c58p-4))
    p = multiplyAdd(p, s, splat(0x1.6d319cp-3))
    p = multiplyAdd(p, s, splat(0x1.f8a61ep-3))
    p = multiplyAdd(p, s, splat(0x1.20e7f2p-2))
    p = multiplyAdd(p, s, splat(0x1.20dd12p-2))
    let tail = bell * (p * s) * splat(0.5)
    let cumulative = tail.replacing(with: splat(1) - tail, where: x .> splat(0))
    return (cumulative, bell * splat(0x1.988454p-2))
}

// MARK: GELU

/// 1 + exp(-2 u) with u = sqrt(2/pi) (x + 0.044715 x^3), for x in -10 ... infinity, where -2 u is at most 87.3:
/// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)).
@_transparent
private func geluDenominator(_ x: Vector) -> Vector {
    let cubic = multiplyAdd(x * x, splat(-2 * 0.7978845608 * 0.044715), splat(-2 * 0.7978845608))
    return boundedExponential(x * cubic) + splat(1)
}

/// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), error below 16 ulp for x > -3. Below, the error relative to the vanishing value grows with
/// the exponent of the tail, and stays below 2e-7 in itself.
@_transparent
func geluTanh(_ x: Vector) -> Vector {
    let bounded = atLeast(x, -10)
    return bounded / geluDenominator(bounded)
}

/// The derivative of `geluTanh`.
@_transparent
func geluTanhDerivative(_ argument: Vector) -> Vector {
    let x = atMost(atLeast(argument, -10), 10)
    let s = splat(1) / geluDenominator(x)
    let slope = multiplyAdd(x * x, splat(3 * 0.044715 * 2 * 0.7978845608), splat(2 * 0.7978845608))
    return multiplyAdd((splat(1) - s) * s * x, slope, s)
}

/// x P(X <= x), error below 8 ulp, also in the lower tail.
@_transparent
func gelu(_ x: Vector) -> Vector {
    atLeast(x, -64) * normalDistribution(x).cumulative
}

/// The derivative of `gelu`.
@_transparent
func geluDerivative(_ argument: Vector) -> Vector {
    let x = atMost(atLeast(argument, -64), 64)
    let (cumulative, density) = normalDistribution(x)
    return multiplyAdd(x, density, cumulative)
}

// MARK: sine and cosine

/// Beyond this the reduction in three parts loses digits, and elements are computed one at a time in float64.
private let trigonometricLimit: Float = 8192

/// sin(x) for `quarter` 0, cos(x) for 1: error below 2 ulp where the result is above 2^-12 in magnitude, and 2^-36 absolute below.
@_transparent
private func sineShifted(_ argument: Vector, quarter: Int32) -> Vector {
    // Not <= rather than >: NaN and infinity are reduced as 0 here and mended by the caller.
    let isReduced = magnitude(argument) .<= splat(trigonometricLimit)
    let x = Vector.zero.replacing(with: argument, where: isReduced)
    let shifted = multiplyAdd(x, splat(0x1.45f306p-1), splat(roundingShift))
    let n = shifted - splat(roundingShift)
    let quadrant = bits(shifted) &- splat(roundingShiftBits) &+ splat(quarter)
    var r = multiplySubtract(n, splat(0x1.92p0), from: x)
    r = multiplySubtract(n, splat(0x1.fb4p-12), from: r)
    r = multiplySubtract(n, splat(0x1.4442d2p-24), from: r)
    let z = r * r
    var p = splat(-0x1.994e90p-13)
    p = multiplyAdd(p, z, splat(0x1.110760p-7))
    p = multiplyAdd(p, z, splat(-0x1.555546p-3))
    // Where z is 0 the sum would turn -0 into 0.
    let sine = multiplyAdd(r * z, p, r).replacing(with: r, where: z .== splat(0))
    var q = splat(0x1.9a023ap-16)
    q = multiplyAdd(q, z, splat(-0x1.6c0c8cp-10))
    q = multiplyAdd(q, z, splat(0x1.55554ap-5))
    let cosine = multiplyAdd(z * z, q, multiplySubtract(z, splat(0.5), from: splat(1)))
    let isOdd = (quadrant & splat(Int32(1))) .== splat(Int32(1))
    let value = sine.replacing(with: cosine, where: isOdd)
    return floats(bits(value) ^ ((quadrant & splat(Int32(2))) &<< splat(Int32(30))))
}

/// Applies sine (`quarter` 0) or cosine (1); lanes with large arguments, infinities and NaN go through the C library in float64.
@_transparent
private func trigonometric(_ x: Vector, quarter: Int32) -> Vector {
    var value = sineShifted(x, quarter: quarter)
    let beyond = ~integers(magnitude(x) .<= splat(trigonometricLimit))
    if anyBit(beyond) {
        for lane in 0..<laneCount where beyond[lane] != 0 {
            value[lane] = Float(quarter == 0 ? sin(Double(x[lane])) : cos(Double(x[lane])))
        }
    }
    return value
}

/// sin(x)
@_transparent
func sine(_ x: Vector) -> Vector { trigonometric(x, quarter: 0) }

/// cos(x)
@_transparent
func cosine(_ x: Vector) -> Vector { trigonometric(x, quarter: 1) }

// Functions of one tensor on the tape, element by element, and arithmetic with a number.

import Foundation
import Kernels
@_exported import enum KernelTypes.UnaryFunction

extension Tensor {
    /// function(x) of every element.
    ///
    /// - Returns: the same shape. Keeps input and output for the gradient.
    public func applying(_ function: UnaryFunction) -> Tensor {
        let y = Tensor(uninitialized: shape)
        kernels.unary(function, y.floats, floats, count)
        return Operation(function.name).record(y, from: self) { [x = self] gradient in
            x.node?.withZeroedGradient { target in
                kernels.unaryGradient(function, target, outputGradient: gradient.floats, input: x.floats, output: y.floats, x.count)
            }
        }
    }

    /// e^x.
    public func exponential() -> Tensor { applying(.exponential) }
    /// The natural logarithm.
    public func logarithm() -> Tensor { applying(.logarithm) }
    /// tanh x.
    public func hyperbolicTangent() -> Tensor { applying(.hyperbolicTangent) }
    /// 1 / (1 + e^-x).
    public func sigmoid() -> Tensor { applying(.sigmoid) }
    /// max(x, 0).
    public func rectified() -> Tensor { applying(.rectifier) }
    /// log(1 + e^x).
    public func softplus() -> Tensor { applying(.softplus) }
    /// The square root.
    public func squareRoot() -> Tensor { applying(.squareRoot) }
    /// 1 / x.
    public func reciprocal() -> Tensor { applying(.reciprocal) }
    /// x^2.
    public func squared() -> Tensor { applying(.square) }
    /// |x|.
    public func absoluteValue() -> Tensor { applying(.absolute) }
    /// x Phi(x), the exact form.
    public func gelu() -> Tensor { applying(.gelu) }
    /// GPT-2's approximation of x Phi(x).
    public func geluTanh() -> Tensor { applying(.geluTanh) }
    /// sin x.
    public func sine() -> Tensor { applying(.sine) }
    /// cos x.
    public func cosine() -> Tensor { applying(.cosine) }

    /// scale * x + offset.
    public func scaled(by scale: Float, offset: Float = 0) -> Tensor {
        let y = Tensor(uninitialized: shape)
        kernels.affine(y.floats, floats, scale: scale, offset: offset, count)
        return Operation("affine").record(y, from: self) { [node] gradient in
            if scale == 1 { node?.accumulate(gradient) } else { node?.accumulateScaled(gradient, scale) }
        }
    }

    /// x limited to a range. The gradient passes where x is within it, ends included.
    public func clamped(to range: ClosedRange<Float>) -> Tensor {
        let (lower, upper) = (range.lowerBound, range.upperBound)
        let y = Tensor(uninitialized: shape)
        kernels.clamp(y.floats, floats, lower: lower, upper: upper, count)
        return Operation("clamp").record(y, from: self) { [x = self] gradient in
            let (input, g, n) = (x.floats, gradient.floats, x.count)
            x.node?.withGradient { target, accumulate in
                if accumulate {
                    for i in 0..<n { target[i] += input[i] >= lower && input[i] <= upper ? g[i] : 0 }
                } else {
                    for i in 0..<n { target[i] = input[i] >= lower && input[i] <= upper ? g[i] : 0 }
                }
            }
        }
    }

    /// x^exponent for a fixed exponent; negative x is allowed for whole exponents. The gradient is exponent * x^(exponent - 1).
    public func power(_ exponent: Float) -> Tensor {
        if exponent == 2 { return squared() }
        if exponent == 1 { return scaled(by: 1) }
        let y = Tensor(uninitialized: shape)
        let (input, output) = (floats, y.floats)
        for i in 0..<count { output[i] = pow(input[i], exponent) }
        return Operation("power").record(y, from: self) { [x = self] gradient in
            let (input, g) = (x.floats, gradient.floats)
            x.node?.withZeroedGradient { target in
                for i in 0..<x.count { target[i] += g[i] * exponent * pow(input[i], exponent - 1) }
            }
        }
    }

    /// -x.
    public static prefix func - (x: Tensor) -> Tensor { x.scaled(by: -1) }
    /// x + c.
    public static func + (x: Tensor, c: Float) -> Tensor { x.scaled(by: 1, offset: c) }
    /// c + x.
    public static func + (c: Float, x: Tensor) -> Tensor { x.scaled(by: 1, offset: c) }
    /// x - c.
    public static func - (x: Tensor, c: Float) -> Tensor { x.scaled(by: 1, offset: -c) }
    /// c - x.
    public static func - (c: Float, x: Tensor) -> Tensor { x.scaled(by: -1, offset: c) }
    /// c x.
    public static func * (x: Tensor, c: Float) -> Tensor { x.scaled(by: c) }
    /// c x.
    public static func * (c: Float, x: Tensor) -> Tensor { x.scaled(by: c) }
    /// x / c, as x times 1 / c.
    public static func / (x: Tensor, c: Float) -> Tensor { x.scaled(by: 1 / c) }
    /// c / x.
    public static func / (c: Float, x: Tensor) -> Tensor { Tensor(c) / x }
}

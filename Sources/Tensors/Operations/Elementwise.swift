// Functions of one tensor on the tape, element by element, and arithmetic with a number.

import Kernels
@_exported import enum KernelTypes.UnaryFunction

extension Tensor {
    /// function(x) of every element.
    ///
    /// - Returns: the same shape. Keeps input and output for the gradient.
    public func applying(_ function: UnaryFunction) -> Tensor {
        let y = Tensor(uninitialized: shape)
        kernels.unary(function, y.floats, floats, count)
        return Operation(function.name).record(y, from: self) { [node, x = kept, y = y.kept] gradient in
            node?.withZeroedGradient { target in
                kernels.unaryGradient(function, target, outputGradient: gradient.floats, input: x.floats, output: y.floats, gradient.count)
            }
        }
    }

    /// tanh x.
    public func hyperbolicTangent() -> Tensor { applying(.hyperbolicTangent) }
    /// 1 / (1 + e^-x).
    public func sigmoid() -> Tensor { applying(.sigmoid) }
    /// max(x, 0).
    public func rectified() -> Tensor { applying(.rectifier) }
    /// x^2.
    public func squared() -> Tensor { applying(.square) }
    /// GPT-2's approximation of x Phi(x).
    public func geluTanh() -> Tensor { applying(.geluTanh) }
    /// x / (1 + |x|) (Turian, Bergstra and Bengio 2009).
    public func softsign() -> Tensor { applying(.softsign) }

    /// scale * x + offset.
    public func scaled(by scale: Float, offset: Float = 0) -> Tensor {
        let y = Tensor(uninitialized: shape)
        kernels.affine(y.floats, floats, scale: scale, offset: offset, count)
        return Operation("affine").record(y, from: self) { [node] gradient in
            if scale == 1 { node?.accumulate(gradient) } else { node?.accumulateScaled(gradient, scale) }
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
}

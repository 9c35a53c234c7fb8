// Arithmetic of two tensors on the tape. Shapes broadcast by NumPy's rule: axes are matched from the last one, an extent of 1 stretches.

import Kernels

extension Tensor {
    /// a + b, broadcast.
    public static func + (a: Tensor, b: Tensor) -> Tensor {
        let plan = BroadcastPlan(a.shape, b.shape)
        let y = plan.combine(.add, a.floats, b.floats)
        return Operation("add").record(y, from: a, b) { gradient in
            plan.accumulate(gradient, toFirst: a.node)
            plan.accumulate(gradient, toSecond: b.node)
        }
    }

    /// a - b, broadcast.
    public static func - (a: Tensor, b: Tensor) -> Tensor {
        let plan = BroadcastPlan(a.shape, b.shape)
        let y = plan.combine(.subtract, a.floats, b.floats)
        return Operation("subtract").record(y, from: a, b) { gradient in
            plan.accumulate(gradient, toFirst: a.node)
            plan.accumulate(gradient, scale: -1, toSecond: b.node)
        }
    }

    /// a * b elementwise, broadcast.
    public static func * (a: Tensor, b: Tensor) -> Tensor {
        multiply(a, b, as: a.shape, b.shape)
    }

    /// a / b elementwise, broadcast.
    public static func / (a: Tensor, b: Tensor) -> Tensor {
        let plan = BroadcastPlan(a.shape, b.shape)
        let y = plan.combine(.divide, a.floats, b.floats)
        return Operation("divide").record(y, from: a, b) { gradient in
            let quotient = BroadcastPlan(y.shape, b.shape).combine(.divide, gradient.floats, b.floats)
            plan.accumulate(quotient, toFirst: a.node)
            guard b.node != nil else { return }
            let product = Tensor(uninitialized: y.shape)
            kernels.multiply(product.floats, quotient.floats, y.floats, y.count)
            plan.accumulate(product, scale: -1, toSecond: b.node)
        }
    }

    /// The product of a and b, seen under other shapes of the same counts.
    static func multiply(_ a: Tensor, _ b: Tensor, as shapeA: Shape, _ shapeB: Shape) -> Tensor {
        let plan = BroadcastPlan(shapeA, shapeB)
        let y = plan.combine(.multiply, a.floats, b.floats)
        return Operation("multiply").record(y, from: a, b) { gradient in
            if let node = a.node { plan.accumulateProductToFirst(gradient.floats, b.floats, node) }
            if let node = b.node { plan.accumulateProductToSecond(gradient.floats, a.floats, node) }
        }
    }

    /// `a` becomes a new tensor, the result of `a + b`: nothing is changed in place.
    public static func += (a: inout Tensor, b: Tensor) { a = a + b }
    /// `a` becomes the result of `a - b`.
    public static func -= (a: inout Tensor, b: Tensor) { a = a - b }
    /// `a` becomes the result of `a * b`.
    public static func *= (a: inout Tensor, b: Tensor) { a = a * b }
    /// `a` becomes the result of `a / b`.
    public static func /= (a: inout Tensor, b: Tensor) { a = a / b }
}

/// The smaller of a and b elementwise, broadcast. Where both are equal each gets half of the gradient.
public func minimum(_ a: Tensor, _ b: Tensor) -> Tensor { extremum(.minimum, a, b) }

/// The larger of a and b elementwise, broadcast. Where both are equal each gets half of the gradient.
public func maximum(_ a: Tensor, _ b: Tensor) -> Tensor { extremum(.maximum, a, b) }

private func extremum(_ operation: BinaryOperation, _ a: Tensor, _ b: Tensor) -> Tensor {
    let plan = BroadcastPlan(a.shape, b.shape)
    let y = plan.combine(operation, a.floats, b.floats)
    return Operation("extremum").record(y, from: a, b) { gradient in
        let (shareA, shareB) = (Tensor(uninitialized: y.shape), Tensor(uninitialized: y.shape))
        let (g, pa, pb, outA, outB, run) = (gradient.floats, a.floats, b.floats, shareA.floats, shareB.floats, plan.run)
        let (stepA, stepB) = (plan.movesA ? 1 : 0, plan.movesB ? 1 : 0)
        let sign: Float = operation == .maximum ? 1 : -1
        plan.forEachRun { out, indexA, indexB in
            for i in 0..<run {
                let difference = sign * (pa[indexA + i * stepA] - pb[indexB + i * stepB])
                let share: Float = difference > 0 ? 1 : difference < 0 ? 0 : 0.5
                outA[out + i] = share * g[out + i]
                outB[out + i] = (1 - share) * g[out + i]
            }
        }
        plan.accumulate(shareA, toFirst: a.node)
        plan.accumulate(shareB, toSecond: b.node)
    }
}

/// base ^ exponent elementwise, broadcast, as exp(exponent * log(base)); made for sharpening attention weights (NTM, equation 9).
///
/// - Parameters:
///   - base: not negative. Values below the smallest normal float32 count as that number, so that zero gives zero and finite gradients for
///     exponents of 1 and more.
///   - exponent: broadcast against `base`.
/// - Returns: the broadcast shape.
public func power(_ base: Tensor, _ exponent: Tensor) -> Tensor {
    let plan = BroadcastPlan(base.shape, exponent.shape)
    let logarithm = Tensor(uninitialized: base.shape)
    kernels.clamp(logarithm.floats, base.floats, lower: .leastNormalMagnitude, upper: .greatestFiniteMagnitude, base.count)
    kernels.unary(.logarithm, logarithm.floats, logarithm.floats, base.count)
    let y = plan.combine(.multiply, logarithm.floats, exponent.floats)
    kernels.unary(.exponential, y.floats, y.floats, y.count)
    return Operation("power").record(y, from: base, exponent) { gradient in
        if base.node != nil {
            // exponent * exp((exponent - 1) * log(base)): no division by the base.
            let less = Tensor(uninitialized: exponent.shape)
            kernels.affine(less.floats, exponent.floats, scale: 1, offset: -1, exponent.count)
            let slope = plan.combine(.multiply, logarithm.floats, less.floats)
            kernels.unary(.exponential, slope.floats, slope.floats, slope.count)
            kernels.multiply(slope.floats, slope.floats, gradient.floats, slope.count)
            BroadcastPlan(slope.shape, exponent.shape).combine(.multiply, slope.floats, exponent.floats, into: slope.floats)
            plan.accumulate(slope, toFirst: base.node)
        }
        if let node = exponent.node {
            let product = Tensor(uninitialized: y.shape)
            kernels.multiply(product.floats, gradient.floats, y.floats, y.count)
            plan.accumulateProductToSecond(product.floats, logarithm.floats, node)
        }
    }
}

/// Elementwise functions of two arguments.
enum BinaryOperation {
    case add, subtract, multiply, divide, minimum, maximum
}

extension BroadcastPlan {
    /// operation(a, b) over the broadcast shape.
    func combine(_ operation: BinaryOperation, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>) -> Tensor {
        let y = Tensor(uninitialized: shape)
        combine(operation, a, b, into: y.floats)
        return y
    }

    func combine(_ operation: BinaryOperation, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>) {
        let n = run
        switch operation {
        case .add:
            forEachRun { out, i, j in
                if movesA && movesB {
                    kernels.add(y + out, a + i, b + j, n)
                } else if movesA {
                    kernels.affine(y + out, a + i, scale: 1, offset: b[j], n)
                } else {
                    kernels.affine(y + out, b + j, scale: 1, offset: a[i], n)
                }
            }
        case .subtract:
            forEachRun { out, i, j in
                if movesA && movesB {
                    kernels.subtract(y + out, a + i, b + j, n)
                } else if movesA {
                    kernels.affine(y + out, a + i, scale: 1, offset: -b[j], n)
                } else {
                    kernels.affine(y + out, b + j, scale: -1, offset: a[i], n)
                }
            }
        case .multiply:
            forEachRun { out, i, j in
                if movesA && movesB {
                    kernels.multiply(y + out, a + i, b + j, n)
                } else if movesA {
                    kernels.affine(y + out, a + i, scale: b[j], offset: 0, n)
                } else {
                    kernels.affine(y + out, b + j, scale: a[i], offset: 0, n)
                }
            }
        case .divide:
            forEachRun { out, i, j in
                if movesA && movesB {
                    kernels.divide(y + out, a + i, b + j, n)
                } else if movesA {
                    let divisor = b[j]
                    for k in 0..<n { y[out + k] = a[i + k] / divisor }
                } else {
                    let dividend = a[i]
                    for k in 0..<n { y[out + k] = dividend / b[j + k] }
                }
            }
        case .minimum, .maximum:
            let (stepA, stepB) = (movesA ? 1 : 0, movesB ? 1 : 0)
            let wantsLarger = operation == .maximum
            forEachRun { out, i, j in
                for k in 0..<n {
                    let (x, z) = (a[i + k * stepA], b[j + k * stepB])
                    y[out + k] = (x > z) == wantsLarger ? x : z
                }
            }
        }
    }

    /// Adds gradient * b, summed over the axes along which `a` was stretched, to the node of `a`.
    func accumulateProductToFirst(_ gradient: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ node: Node) {
        accumulateProduct(gradient, b, node, isFirst: true)
    }

    /// Adds gradient * a, summed over the axes along which `b` was stretched, to the node of `b`.
    func accumulateProductToSecond(_ gradient: UnsafePointer<Float>, _ a: UnsafePointer<Float>, _ node: Node) {
        accumulateProduct(gradient, a, node, isFirst: false)
    }

    private func accumulateProduct(_ gradient: UnsafePointer<Float>, _ other: UnsafePointer<Float>, _ node: Node, isFirst: Bool) {
        let n = run
        let (movesTarget, movesOther) = isFirst ? (movesA, movesB) : (movesB, movesA)
        let isWhole = node.shape.count == shape.count
        node.withGradient { target, accumulate in
            if isWhole && !accumulate {
                forEachRun { out, i, j in
                    let source = other + (isFirst ? j : i)
                    if movesOther {
                        kernels.multiply(target + out, gradient + out, source, n)
                    } else {
                        kernels.affine(target + out, gradient + out, scale: source[0], offset: 0, n)
                    }
                }
                return
            }
            if !accumulate { kernels.fill(target, 0, node.shape.count) }
            forEachRun { out, i, j in
                let (own, source) = isFirst ? (target + i, other + j) : (target + j, other + i)
                if movesTarget && movesOther {
                    kernels.addProduct(own, gradient + out, source, n)
                } else if movesTarget {
                    kernels.addScaled(own, gradient + out, scale: source[0], n)
                } else {
                    own[0] += kernels.dot(gradient + out, source, n)
                }
            }
        }
    }
}

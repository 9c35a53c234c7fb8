// Arithmetic of two tensors on the tape. Shapes broadcast by NumPy's rule: axes are matched from the last one, an extent of 1 stretches.

import Kernels

extension Tensor {
    /// a + b, broadcast.
    public static func + (a: Tensor, b: Tensor) -> Tensor {
        let (shapeA, shapeB) = (a.shape, b.shape)
        let y = BroadcastPlan(shapeA, shapeB).combine(.add, a.floats, b.floats)
        return Operation("add").record(y, from: a, b) { [a = a.node, b = b.node] gradient in
            let plan = BroadcastPlan(shapeA, shapeB)
            plan.accumulate(gradient, toFirst: a)
            plan.accumulate(gradient, toSecond: b)
        }
    }

    /// a - b, broadcast.
    public static func - (a: Tensor, b: Tensor) -> Tensor {
        let (shapeA, shapeB) = (a.shape, b.shape)
        let y = BroadcastPlan(shapeA, shapeB).combine(.subtract, a.floats, b.floats)
        return Operation("subtract").record(y, from: a, b) { [a = a.node, b = b.node] gradient in
            let plan = BroadcastPlan(shapeA, shapeB)
            plan.accumulate(gradient, toFirst: a)
            plan.accumulate(gradient, scale: -1, toSecond: b)
        }
    }

    /// a * b elementwise, broadcast.
    public static func * (a: Tensor, b: Tensor) -> Tensor {
        if a.shape == b.shape { return productOfEqualShapes(a, b) }
        let (shapeA, shapeB) = (a.shape, b.shape)
        let y = BroadcastPlan(shapeA, shapeB).combine(.multiply, a.floats, b.floats)
        return Operation("multiply").record(y, from: a, b) { [nodeA = a.node, nodeB = b.node, a = a.kept, b = b.kept] gradient in
            let plan = BroadcastPlan(shapeA, shapeB)
            if let nodeA { plan.accumulateProductToFirst(gradient.floats, b.floats, nodeA) }
            if let nodeB { plan.accumulateProductToSecond(gradient.floats, a.floats, nodeB) }
        }
    }

    /// The commonest case, which needs no walk.
    private static func productOfEqualShapes(_ a: Tensor, _ b: Tensor) -> Tensor {
        let y = Tensor(uninitialized: a.shape)
        kernels.multiply(y.floats, a.floats, b.floats, a.count)
        return Operation("multiply").record(y, from: a, b) { [nodeA = a.node, nodeB = b.node, a = a.kept, b = b.kept] gradient in
            nodeA?.accumulateProduct(gradient, b)
            nodeB?.accumulateProduct(gradient, a)
        }
    }
}

/// Elementwise functions of two arguments.
enum BinaryOperation {
    case add, subtract, multiply
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

// Sums, means, extrema and norms over axes, on the tape.

import Diagnostics
import Kernels

extension Tensor {
    /// The sum of all elements, a scalar.
    public func sum() -> Tensor { reducedSum(over: allAxes, keepingAxes: false, scale: 1) }

    /// The sum along one axis. With `keepingAxis` the axis stays with an extent of 1.
    public func sum(axis: Int, keepingAxis: Bool = false) -> Tensor {
        reducedSum(over: 1 << shape.normalized(axis), keepingAxes: keepingAxis, scale: 1)
    }

    /// The sum along several axes. With `keepingAxes` they stay with an extent of 1.
    public func sum(axes: [Int], keepingAxes: Bool = false) -> Tensor { reducedSum(over: axisSet(axes), keepingAxes: keepingAxes, scale: 1) }

    /// The mean of all elements, a scalar.
    public func mean() -> Tensor { reducedMean(over: allAxes, keepingAxes: false) }

    /// The mean along one axis.
    public func mean(axis: Int, keepingAxis: Bool = false) -> Tensor { reducedMean(over: 1 << shape.normalized(axis), keepingAxes: keepingAxis) }

    /// The mean along several axes.
    public func mean(axes: [Int], keepingAxes: Bool = false) -> Tensor { reducedMean(over: axisSet(axes), keepingAxes: keepingAxes) }

    /// The largest element, a scalar. The gradient goes to the first of equal ones.
    public func maximum() -> Tensor { extremum(over: allAxes, keepingAxes: false, sign: 1) }

    /// The largest element along one axis. The gradient goes to the first of equal ones.
    public func maximum(axis: Int, keepingAxis: Bool = false) -> Tensor {
        extremum(over: 1 << shape.normalized(axis), keepingAxes: keepingAxis, sign: 1)
    }

    /// The largest element along several axes. The gradient goes to the first of equal ones.
    public func maximum(axes: [Int], keepingAxes: Bool = false) -> Tensor { extremum(over: axisSet(axes), keepingAxes: keepingAxes, sign: 1) }

    /// The smallest element, a scalar. The gradient goes to the first of equal ones.
    public func minimum() -> Tensor { extremum(over: allAxes, keepingAxes: false, sign: -1) }

    /// The smallest element along one axis. The gradient goes to the first of equal ones.
    public func minimum(axis: Int, keepingAxis: Bool = false) -> Tensor {
        extremum(over: 1 << shape.normalized(axis), keepingAxes: keepingAxis, sign: -1)
    }

    /// The smallest element along several axes. The gradient goes to the first of equal ones.
    public func minimum(axes: [Int], keepingAxes: Bool = false) -> Tensor { extremum(over: axisSet(axes), keepingAxes: keepingAxes, sign: -1) }

    /// sqrt(sum(x^2)) along the last axis. The gradient at a zero vector is zero.
    public func norm(keepingAxis: Bool = false) -> Tensor {
        let (rows, columns) = (shape.rows, shape.columns)
        let y = Tensor(uninitialized: keepingAxis ? shape.replacingColumns(1) : shape.removing(-1))
        for row in 0..<rows { y.floats[row] = Float(kernels.sumOfSquares(floats + row * columns, columns).squareRoot()) }
        return Operation("norm").record(y, from: self) { [x = self] gradient in
            x.node?.withZeroedGradient { target in
                for row in 0..<rows where y.floats[row] > 0 {
                    kernels.addScaled(target + row * columns, x.floats + row * columns, scale: gradient.floats[row] / y.floats[row], columns)
                }
            }
        }
    }

    /// x / max(norm, epsilon) along the last axis: vectors of length 1. A shorter vector than `epsilon` is divided by `epsilon`.
    public func normalized(epsilon: Float = 1e-8) -> Tensor {
        let (rows, columns) = (shape.rows, shape.columns)
        let y = Tensor(uninitialized: shape)
        let norms = Tensor(uninitialized: [rows])
        for row in 0..<rows {
            let norm = Float(kernels.sumOfSquares(floats + row * columns, columns).squareRoot())
            norms.floats[row] = norm
            kernels.affine(y.floats + row * columns, floats + row * columns, scale: 1 / max(norm, epsilon), offset: 0, columns)
        }
        return Operation("sum").record(y, from: self) { [node] gradient in
            node?.withZeroedGradient { target in
                for row in 0..<rows {
                    let (to, g, out) = (target + row * columns, gradient.floats + row * columns, y.floats + row * columns)
                    let scale = 1 / max(norms.floats[row], epsilon)
                    kernels.addScaled(to, g, scale: scale, columns)
                    if norms.floats[row] > epsilon { kernels.addScaled(to, out, scale: -scale * kernels.dot(g, out, columns), columns) }
                }
            }
        }
    }

    // MARK: one implementation for any set of axes

    private var allAxes: Int { (1 << shape.rank) - 1 }

    private func axisSet(_ axes: [Int]) -> Int { axes.reduce(0) { $0 | 1 << shape.normalized($1) } }

    private func reducedMean(over axes: Int, keepingAxes: Bool) -> Tensor {
        var divisor = 1
        for axis in 0..<shape.rank where axes >> axis & 1 == 1 { divisor *= shape[axis] }
        require(divisor > 0, "the mean of no elements: shape \(shape)")
        return reducedSum(over: axes, keepingAxes: keepingAxes, scale: 1 / Float(divisor))
    }

    /// The shape after a reduction over a set of axes (bit i is axis i), and how each element maps to it.
    private func reduction(over axes: Int, keepingAxes: Bool) -> (shape: Shape, layout: StridedLayout) {
        var kept = shape
        for axis in 0..<shape.rank where axes >> axis & 1 == 1 { kept[axis] = 1 }
        var strides = kept.inlineStrides
        for axis in 0..<shape.rank where axes >> axis & 1 == 1 { strides[axis] = 0 }
        var result = kept
        if !keepingAxes {
            for axis in stride(from: shape.rank - 1, through: 0, by: -1) where axes >> axis & 1 == 1 { result = result.removing(axis) }
        }
        return (result, StridedLayout(shape, strides: strides))
    }

    private func reducedSum(over axes: Int, keepingAxes: Bool, scale: Float) -> Tensor {
        let (result, layout) = reduction(over: axes, keepingAxes: keepingAxes)
        let y = Tensor(zeros: result)
        layout.scatterAdd(from: floats, to: y.floats)
        if scale != 1 { kernels.affine(y.floats, y.floats, scale: scale, offset: 0, y.count) }
        return Operation("sum").record(y, from: self) { [node] gradient in
            guard let node else { return }
            var source = gradient
            if scale != 1 {
                source = Tensor(uninitialized: gradient.shape)
                kernels.affine(source.floats, gradient.floats, scale: scale, offset: 0, gradient.count)
            }
            node.withGradient { target, accumulate in
                if accumulate { layout.add(to: target, from: source.floats) } else { layout.copy(to: target, from: source.floats) }
            }
        }
    }

    private func extremum(over axes: Int, keepingAxes: Bool, sign: Float) -> Tensor {
        require(count > 0, "an extremum of no elements: shape \(shape)")
        let (result, layout) = reduction(over: axes, keepingAxes: keepingAxes)
        let y = Tensor(repeating: -sign * .infinity, result)
        let places = Tensor(uninitialized: result, .int32)
        let (input, best, place) = (floats, y.floats, places.integers)
        for i in 0..<places.count { place[i] = -1 }
        let (n, s) = (layout.run, layout.runStride)
        layout.forEachRun { contiguous, strided in
            for i in 0..<n {
                let (value, target) = (input[contiguous + i], strided + i * s)
                if sign * value > sign * best[target] || place[target] < 0 {
                    best[target] = value
                    place[target] = Int32(truncatingIfNeeded: contiguous + i)
                }
            }
        }
        return Operation("extremum").record(y, from: self) { [node] gradient in
            node?.withZeroedGradient { target in
                for i in 0..<places.count { target[Int(places.integers[i])] += gradient.floats[i] }
            }
        }
    }
}

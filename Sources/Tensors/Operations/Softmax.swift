// Softmax and its logarithms along the last axis, on the tape.
//
// Legend: R rows (all leading axes together), C columns (last axis).

import Kernels

/// softmax(scale * x) along the last axis.
///
/// - Parameters:
///   - x: [..., C].
///   - scale: multiplies x first (1 / temperature).
///   - mask: int32, broadcast to the shape of x; 0 excludes an element. Excluded elements are 0, and so is a row with nothing left;
///     no gradient flows to them.
/// - Returns: [..., C].
public func softmax(_ x: Tensor, scale: Float = 1, mask: Tensor? = nil) -> Tensor {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    let y = Tensor(uninitialized: x.shape)
    let input = mask.map { masked(x, $0) } ?? x
    for row in 0..<rows { kernels.softmax(y.floats + row * columns, input.floats + row * columns, scale: scale, columns) }
    return Operation("softmax").record(y, from: x) { [node = x.node] gradient in
        node?.withGradient { target, accumulate in
            let scratch = accumulate ? Tensor(uninitialized: [columns]) : nil
            for row in 0..<rows {
                let out = scratch?.floats ?? (target + row * columns)
                kernels.softmaxGradient(
                    out, outputGradient: gradient.floats + row * columns, probability: y.floats + row * columns, scale: scale, columns)
                if accumulate { kernels.add(target + row * columns, target + row * columns, out, columns) }
            }
        }
    }
}

/// log(softmax(x)) along the last axis, from the log-sum-exp.
///
/// - Parameters:
///   - x: [..., C].
///   - mask: as `softmax`. Excluded elements give 0, not minus infinity, so that products with them stay finite; no gradient flows to them.
/// - Returns: [..., C].
public func logSoftmax(_ x: Tensor, mask: Tensor? = nil) -> Tensor {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    let y = Tensor(uninitialized: x.shape)
    let input = mask.map { masked(x, $0) } ?? x
    for row in 0..<rows {
        let total = kernels.logSumExponential(input.floats + row * columns, columns)
        kernels.affine(y.floats + row * columns, input.floats + row * columns, scale: 1, offset: -total, columns)
    }
    let included = mask.map { $0.expandedMask(to: x.shape) }
    if let included { zeroExcluded(y.floats, included) }
    return Operation("log-softmax").record(y, from: x) { [node = x.node] gradient in
        node?.withZeroedGradient { target in
            // gradient - softmax * sum(gradient), over the included elements
            let probability = Tensor(uninitialized: [columns])
            let g = Tensor(uninitialized: [columns])
            for row in 0..<rows {
                let first = row * columns
                kernels.unary(.exponential, probability.floats, y.floats + first, columns)
                g.floats.update(from: gradient.floats + first, count: columns)
                if let included {
                    for c in 0..<columns where included.integers[first + c] == 0 {
                        probability.floats[c] = 0
                        g.floats[c] = 0
                    }
                }
                kernels.add(target + first, target + first, g.floats, columns)
                kernels.addScaled(target + first, probability.floats, scale: -Float(kernels.sum(g.floats, columns)), columns)
            }
        }
    }
}

/// log(sum(exp(x))) along the last axis, from the largest element, so that nothing overflows. A row of minus infinity gives minus infinity
/// and no gradient.
///
/// - Parameters:
///   - x: [..., C].
///   - keepingAxis: the axis stays with an extent of 1.
/// - Returns: [...].
public func logSumExponential(_ x: Tensor, keepingAxis: Bool = false) -> Tensor {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    let y = Tensor(uninitialized: keepingAxis ? x.shape.replacingColumns(1) : x.shape.removing(-1))
    for row in 0..<rows { y.floats[row] = kernels.logSumExponential(x.floats + row * columns, columns) }
    return Operation("log-sum-exp").record(y, from: x) { [x] gradient in
        x.node?.withZeroedGradient { target in
            let probability = Tensor(uninitialized: [columns])
            for row in 0..<rows where y.floats[row] > -.infinity {
                kernels.affine(probability.floats, x.floats + row * columns, scale: 1, offset: -y.floats[row], columns)
                kernels.unary(.exponential, probability.floats, probability.floats, columns)
                kernels.addScaled(target + row * columns, probability.floats, scale: gradient.floats[row], columns)
            }
        }
    }
}

/// x with minus infinity where the mask is 0, off the tape.
private func masked(_ x: Tensor, _ mask: Tensor) -> Tensor {
    let included = mask.expandedMask(to: x.shape)
    let result = Tensor(uninitialized: x.shape)
    let (input, output, flag) = (x.floats, result.floats, included.integers)
    for i in 0..<x.count { output[i] = flag[i] == 0 ? -.infinity : input[i] }
    return result
}

private func zeroExcluded(_ values: UnsafeMutablePointer<Float>, _ included: Tensor) {
    let flag = included.integers
    for i in 0..<included.count where flag[i] == 0 { values[i] = 0 }
}

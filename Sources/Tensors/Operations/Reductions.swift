// Sums, softmax, one-hot vectors and a loss of bits, on the tape.

import Diagnostics
import Kernels

extension Tensor {
    /// The sum of all elements, a scalar.
    public func sum() -> Tensor {
        Operation("sum").record(Tensor(Float(kernels.sum(floats, count))), from: self) { [node] gradient in
            let (value, count) = (gradient.scalar, node?.shape.count ?? 0)
            node?.withGradient { target, accumulate in
                if accumulate { kernels.affine(target, target, scale: 1, offset: value, count) } else { kernels.fill(target, value, count) }
            }
        }
    }
}

/// softmax(scale * x) along the last axis.
///
/// - Parameters:
///   - x: [..., C].
///   - scale: multiplies x first (1 / temperature).
/// - Returns: [..., C].
public func softmax(_ x: Tensor, scale: Float = 1) -> Tensor {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    let y = Tensor(uninitialized: x.shape)
    for row in 0..<rows { kernels.softmax(y.floats + row * columns, x.floats + row * columns, scale: scale, columns) }
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

/// Vectors with a 1 at each index and 0 elsewhere. An index below 0 gives zeros. No gradient.
///
/// - Returns: [indices..., classes], float32.
public func oneHot(_ indices: Tensor, classes: Int) -> Tensor {
    let y = Tensor(zeros: indices.shape.inserting(classes, at: indices.shape.rank))
    for i in 0..<indices.count {
        let index = Int(indices.integers[i])
        require(index < classes, "oneHot: index \(index) of \(classes) classes")
        if index >= 0 { y.floats[i * classes + index] = 1 }
    }
    return y
}

/// -t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)) of every element, computed from the logit as max(x, 0) - t x + softplus(-|x|).
///
/// - Parameters:
///   - logits: any shape.
///   - targets: the same shape, 0 ... 1; gradients flow to both.
/// - Returns: the same shape, in nats: multiply by a mask and sum.
public func binaryCrossEntropy(logits: Tensor, targets: Tensor) -> Tensor {
    require(logits.shape == targets.shape, "binaryCrossEntropy: \(logits.shape) and \(targets.shape)")
    let count = logits.count
    let y = Tensor(uninitialized: logits.shape)
    let (output, x, t) = (y.floats, logits.floats, targets.floats)
    for i in 0..<count { output[i] = -abs(x[i]) }
    kernels.unary(.softplus, output, output, count)
    for i in 0..<count { output[i] += max(x[i], 0) - t[i] * x[i] }
    return Operation("binary cross-entropy").record(y, from: logits, targets) { gradient in
        if let node = logits.node {
            let slope = Tensor(uninitialized: logits.shape)
            kernels.unary(.sigmoid, slope.floats, logits.floats, count)
            kernels.subtract(slope.floats, slope.floats, targets.floats, count)
            kernels.multiply(slope.floats, slope.floats, gradient.floats, count)
            node.accumulate(slope)
        }
        if let node = targets.node {
            let slope = Tensor(uninitialized: logits.shape)
            kernels.multiply(slope.floats, logits.floats, gradient.floats, count)
            node.accumulateScaled(slope, -1)
        }
    }
}

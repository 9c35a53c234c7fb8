// Losses other than cross-entropy over classes, on the tape.

import Diagnostics
import Kernels

/// The mean of (prediction - target)^2 over all elements, a scalar.
///
/// - Parameters:
///   - prediction, target: the same shape; gradients flow to both.
public func meanSquaredError(_ prediction: Tensor, _ target: Tensor) -> Tensor {
    require(prediction.shape == target.shape && prediction.count > 0, "meanSquaredError: \(prediction.shape) and \(target.shape)")
    let count = prediction.count
    let difference = Tensor(uninitialized: prediction.shape)
    kernels.subtract(difference.floats, prediction.floats, target.floats, count)
    let loss = Tensor(Float(kernels.sumOfSquares(difference.floats, count) / Double(count)))
    return Operation("mean squared error").record(loss, from: prediction, target) { gradient in
        let scale = 2 * gradient.scalar / Float(count)
        prediction.node?.accumulateScaled(difference, scale)
        target.node?.accumulateScaled(difference, -scale)
    }
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

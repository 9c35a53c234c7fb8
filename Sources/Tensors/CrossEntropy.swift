// The loss of language models, from logits or fused with the output projection.
//
// Legend: R positions, V classes (vocabulary), D width.

import Diagnostics
import Kernels

/// A loss summed over positions, with what is needed to average it over ranks: sums and counts travel, averages do not.
public struct SummedLoss {
    /// The sum of the positions' losses in nats, label smoothing included; a scalar on the tape.
    public let loss: Tensor
    /// The sum of -log p(target) in nats: the loss without label smoothing. What perplexity is made of.
    public let negativeLogLikelihood: Double
    /// The number of positions that count: those with a target.
    public let count: Int
    /// -log p(target) of each position, 0 where there is no target.
    public let perPosition: [Float]
    /// What parts of the model learn besides, a sum like `loss`, of which it is no part; a scalar on the tape. `nil` where there is nothing such.
    public var auxiliary: Tensor?

    /// What is run backwards: the loss, and what is learned besides.
    public var objective: Tensor { auxiliary.map { loss + $0 } ?? loss }

    /// Sums that another loss than the cross-entropy of classes has made; `count` is what the loss is divided by for a mean.
    public init(loss: Tensor, negativeLogLikelihood: Double, count: Int, perPosition: [Float]) {
        self.loss = loss
        self.negativeLogLikelihood = negativeLogLikelihood
        self.count = count
        self.perPosition = perPosition
    }
}

/// Cross-entropy of softmax(logits) against target classes.
///
/// - Parameters:
///   - logits: [..., V].
///   - targets: int32, one for each row of `logits`; a negative target means that the position does not count.
///   - labelSmoothing: e; the target distribution is (1 - e) one-hot plus e / V on every class (Szegedy et al. 2016).
/// - Returns: the summed loss. The gradient of the logits is computed on the way and kept.
public func crossEntropy(_ logits: Tensor, targets: Tensor, labelSmoothing: Float = 0) -> SummedLoss {
    let (rows, classes) = (logits.shape.rows, logits.shape.columns)
    require(targets.count == rows, "crossEntropy: \(targets.count) targets for logits \(logits.shape)")
    let work = logits.copied()
    let sums = crossEntropyInPlace(work.floats, targets.integers, rows: rows, classes: classes, labelSmoothing: labelSmoothing)
    let loss = Operation("cross-entropy").record(Tensor(Float(sums.loss)), from: logits) { gradient in
        let scale = gradient.scalar
        logits.node?.withGradient { target, accumulate in
            if accumulate {
                kernels.addScaled(target, work.floats, scale: scale, work.count)
            } else {
                kernels.affine(target, work.floats, scale: scale, offset: 0, work.count)
            }
        }
    }
    return SummedLoss(loss: loss, negativeLogLikelihood: sums.negativeLogLikelihood, count: sums.count, perPosition: sums.perPosition)
}

/// Turns logits into their gradient row by row, and sums the losses in float64.
private func crossEntropyInPlace(
    _ logits: UnsafeMutablePointer<Float>, _ targets: UnsafePointer<Int32>, rows: Int, classes: Int, labelSmoothing: Float
) -> (loss: Double, negativeLogLikelihood: Double, count: Int, perPosition: [Float]) {
    var (loss, negativeLogLikelihood, count) = (0.0, 0.0, 0)
    var perPosition = [Float](repeating: 0, count: rows)
    for row in 0..<rows {
        let target = Int(targets[row])
        guard target >= 0 else {
            kernels.fill(logits + row * classes, 0, classes)
            continue
        }
        require(target < classes, "crossEntropy: target \(target) of \(classes) classes")
        let values = logits + row * classes
        let result = kernels.crossEntropy(Elements(values), logits: values, target: target, labelSmoothing: labelSmoothing, classes)
        loss += Double(result.loss)
        negativeLogLikelihood += Double(result.negativeLogLikelihood)
        perPosition[row] = result.negativeLogLikelihood
        count += 1
    }
    return (loss, negativeLogLikelihood, count, perPosition)
}

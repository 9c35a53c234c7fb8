// The loss of language models fused with the output projection.
//
// Legend: R positions, V classes (vocabulary), D width.

import Diagnostics
import Kernels

/// Cross-entropy of softmax(hidden W^T) against target classes, in chunks of positions: never more than one chunk's logits exist. Positions without a
/// target cost nothing.
///
/// When a gradient is wanted, a chunk's logits are turned into their gradient at once and multiplied into the gradients of `hidden` and `weight`, as
/// if the loss were what the tape is run backwards from. A loss that arrives at another gradient s than 1 (because something else was computed from
/// it) is corrected in the backward pass: exactly, but at the price of computing the logits again.
///
/// - Parameters:
///   - hidden: [..., D], float32 or bfloat16.
///   - weight: [V, D] of the same type; the embedding table when the output is tied.
///   - bias: [V], float32.
///   - targets: int32, one for each row of `hidden`; negative: the position does not count.
///   - labelSmoothing: as `crossEntropy`.
///   - chunk: positions of a chunk; `nil` chooses.
/// - Returns: the summed loss. Logits and sums are float32 for both types; the gradient of the logits is rounded to the type of `hidden`.
/// - Complexity: 2 R V D flops forward, 4 R V D more for the gradient, R counting the positions with a target; holds one chunk's logits.
public func linearCrossEntropy(
    _ hidden: Tensor, weight: Tensor, bias: Tensor? = nil, targets: Tensor, labelSmoothing: Float = 0, chunk: Int? = nil
) -> SummedLoss {
    let (rows, width, classes) = (hidden.shape.rows, hidden.shape.columns, weight.shape[0])
    require(weight.shape.rank == 2 && weight.shape[1] == width, "linearCrossEntropy: hidden \(hidden.shape) does not fit weight \(weight.shape)")
    require(targets.count == rows, "linearCrossEntropy: \(targets.count) targets for hidden \(hidden.shape)")
    let target = targets.integers
    let active = (0..<rows).filter { target[$0] >= 0 }
    let isDense = active.count == rows
    let work = ChunkedCrossEntropy(
        inputs: isDense ? hidden.stopGradient() : gatherRows(hidden, active), weight: weight, bias: bias,
        targets: isDense ? targets : Tensor(active.map { target[$0] }, [active.count]), labelSmoothing: labelSmoothing,
        chunk: chunk ?? ChunkedCrossEntropy.chunk(positions: active.count, classes: classes))
    let results = work.run(inputGradient: hidden.node != nil, scale: 1)
    var perPosition = results.perPosition
    if !isDense {
        perPosition = [Float](repeating: 0, count: rows)
        for (i, row) in active.enumerated() { perPosition[row] = results.perPosition[i] }
    }
    let inputs = bias.map { [hidden, weight, $0] } ?? [hidden, weight]
    let loss = Tape.record(Tensor(Float(results.loss)), from: inputs) { gradient in
        let scale = gradient.scalar
        if scale != 1 { _ = work.run(inputGradient: false, scale: scale - 1) }
        guard let node = hidden.node, let part = results.inputGradient else { return }
        if scale != 1 { scaleElements(part, by: scale) }
        if isDense {
            node.accumulate(part.viewed(as: hidden.shape))
        } else {
            node.accumulate(scatterRows(part, active, rows: rows).viewed(as: hidden.shape))
        }
    }
    return SummedLoss(loss: loss, negativeLogLikelihood: results.negativeLogLikelihood, count: active.count, perPosition: perPosition)
}

/// The loss over a large vocabulary, chunk by chunk. Legend: n positions with a target.
private struct ChunkedCrossEntropy {
    /// [n, D].
    let inputs: Tensor
    /// [V, D].
    let weight: Tensor
    let bias: Tensor?
    /// [n].
    let targets: Tensor
    let labelSmoothing: Float
    /// Positions of a chunk.
    let chunk: Int

    /// What a run leaves.
    struct Results {
        var loss = 0.0
        var negativeLogLikelihood = 0.0
        var perPosition: [Float]
        /// [n, D], when it was asked for.
        var inputGradient: Tensor?
    }

    /// Few enough positions that their logits stay near the processor, but not so few that reading and writing the weight's gradient once a chunk
    /// shows beside the product. Never all positions, unless they are few.
    static func chunk(positions: Int, classes: Int) -> Int {
        let most = max(512, (32 << 20) / (4 * max(classes, 1)))
        let chunks = max((positions + most - 1) / most, positions > 256 ? 2 : 1)
        return max(1, ((positions + chunks - 1) / chunks + 15) / 16 * 16)
    }

    /// Computes losses and, where there are nodes, adds `scale` times the gradients of weight and bias to theirs.
    func run(inputGradient: Bool, scale: Float) -> Results {
        let (count, width, classes) = (inputs.shape.rows, inputs.shape.columns, weight.shape[0])
        var results = Results(perPosition: [Float](repeating: 0, count: count))
        let needsGradient = inputGradient || weight.node != nil || bias?.node != nil
        if inputGradient { results.inputGradient = Tensor(uninitialized: [count, width], inputs.dataType) }
        if count == 0 {
            weight.node?.withZeroedGradient { _ in }
            bias?.node?.withZeroedGradient { _ in }
            return results
        }
        let rows = min(chunk, count)
        let isRounded = needsGradient && inputs.dataType == .bfloat16
        // Rows of the logits' gradient are a little apart: the products that read it are then up to half again as fast with oneDNN.
        let isLarge = min(chunk, count) * classes * width >= 1 << 26
        let leading = needsGradient && isLarge ? (classes + 31) / 16 * 16 : classes
        let logits = Tensor(uninitialized: [rows, isRounded ? classes : leading])
        let rounded = isRounded ? Tensor(uninitialized: [rows, leading], .bfloat16) : nil
        let losses = Tensor(uninitialized: [count])
        for first in stride(from: 0, to: count, by: rows) {
            let part = min(rows, count - first)
            let x = MatrixOperand(inputs, first: first * width)
            multiplyMatrices(
                into: MatrixOperand(logits), x, MatrixOperand(weight, .transposed), m: part, n: classes, k: width,
                bias: bias.map { UnsafePointer($0.floats) })
            results.perPosition.withUnsafeMutableBufferPointer { positions in
                turnIntoGradient(
                    logits, rounded, losses: losses.floats + first, positions: positions.baseAddress.unsafelyUnwrapped + first, first: first,
                    rows: part)
            }
            guard needsGradient else { continue }
            let gradient = rounded ?? logits
            if let target = results.inputGradient {
                multiplyMatrices(
                    into: MatrixOperand(target, first: first * width), MatrixOperand(gradient), MatrixOperand(weight), m: part, n: width, k: classes)
            }
            weight.node?.withGradientTensor { target, accumulate in
                multiplyMatrices(
                    into: MatrixOperand(target, leading: width), MatrixOperand(gradient, .transposed), x, m: classes, n: width, k: part, alpha: scale,
                    beta: accumulate ? 1 : 0)
            }
            if let node = bias?.node {
                let sums = Tensor(zeros: [leading])
                kernels.accumulateColumnSums(sums.floats, gradient.elements, rows: part, columns: leading)
                node.withZeroedGradient { kernels.addScaled($0, sums.floats, scale: scale, classes) }
            }
        }
        for position in 0..<count {
            results.loss += Double(losses.floats[position])
            results.negativeLogLikelihood += Double(results.perPosition[position])
        }
        return results
    }

    /// Overwrites float32 logits with softmax - target distribution, or writes that to `rounded`; stores the losses.
    private func turnIntoGradient(
        _ logits: Tensor, _ rounded: Tensor?, losses: UnsafeMutablePointer<Float>, positions: UnsafeMutablePointer<Float>, first: Int, rows: Int
    ) {
        let classes = weight.shape[0]
        let targets = targets.integers + first
        parallelRows(rows, columns: classes) { start, count in
            for row in start..<start + count {
                let target = Int(targets[row])
                require(target < classes, "linearCrossEntropy: target \(target) of \(classes) classes")
                let values = logits.floats + row * logits.shape[1]
                let gradient = rounded ?? logits
                let result = kernels.crossEntropy(
                    gradient.elements + row * gradient.shape[1], logits: values, target: target, labelSmoothing: labelSmoothing, classes)
                losses[row] = result.loss
                positions[row] = result.negativeLogLikelihood
            }
        }
    }
}

/// x *= factor, in place.
private func scaleElements(_ x: Tensor, by factor: Float) {
    if x.dataType == .float32 {
        kernels.affine(x.floats, x.floats, scale: factor, offset: 0, x.count)
    } else {
        let wide = x.converted(to: .float32)
        kernels.affine(wide.floats, wide.floats, scale: factor, offset: 0, x.count)
        kernels.convert(x.elements, wide.elements, x.count)
    }
}

/// Copies the rows `indices` of a matrix, off the tape.
private func gatherRows(_ x: Tensor, _ indices: [Int]) -> Tensor {
    let bytes = x.shape.columns * x.dataType.byteCount
    let result = Tensor(uninitialized: [indices.count, x.shape.columns], x.dataType)
    for (i, row) in indices.enumerated() { (result.bytes + i * bytes).copyMemory(from: x.bytes + row * bytes, byteCount: bytes) }
    return result
}

/// A matrix of `rows` rows that holds the rows of x at `indices` and zeros elsewhere.
private func scatterRows(_ x: Tensor, _ indices: [Int], rows: Int) -> Tensor {
    let bytes = x.shape.columns * x.dataType.byteCount
    let result = Tensor(uninitialized: [rows, x.shape.columns], x.dataType)
    result.bytes.initializeMemory(as: UInt8.self, repeating: 0, count: rows * bytes)
    for (i, row) in indices.enumerated() { (result.bytes + row * bytes).copyMemory(from: x.bytes + i * bytes, byteCount: bytes) }
    return result
}


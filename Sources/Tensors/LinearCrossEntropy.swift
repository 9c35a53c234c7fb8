// The loss of language models fused with the output projection.
//
// Legend: R positions, V classes (vocabulary), D width.

import Diagnostics
import Kernels

/// Cross-entropy of softmax(hidden W^T) against target classes, in chunks of positions: never more than one chunk's logits exist. Positions without a
/// target cost nothing.
///
/// When a gradient is wanted, a chunk's logits are turned into their gradient at once and multiplied into gradients of `hidden`, `weight` and `bias`
/// that the operation keeps until the tape runs backwards: a loss that nothing is trained by leaves no trace.
///
/// - Parameters:
///   - hidden: [..., D], float32 or bfloat16.
///   - weight: [V, D] of the same type; the embedding table when the output is tied.
///   - bias: [V], float32.
///   - targets: int32, one for each row of `hidden`; negative: the position does not count.
///   - labelSmoothing: as `crossEntropy`.
///   - chunk: positions of a chunk; `nil` chooses.
/// - Returns: the summed loss. Logits and sums are float32 for both types; the gradient of the logits is rounded to the type of `hidden`.
/// - Complexity: 2 R V D flops forward, 4 R V D more for the gradient, R counting the positions with a target; holds one chunk's logits, and V D
///   float32 values until the backward pass.
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
        inputs: isDense ? hidden.stopGradient() : hidden.viewed(as: [rows, width]).rows(active), weight: weight, bias: bias,
        targets: isDense ? targets : Tensor(active.map { target[$0] }, [active.count]), labelSmoothing: labelSmoothing,
        chunk: chunk ?? ChunkedCrossEntropy.chunk(positions: active.count, classes: classes))
    let wanted = ChunkedCrossEntropy.Wanted(input: hidden.requiresGradient, weight: weight.requiresGradient, bias: bias?.requiresGradient == true)
    let results = work.run(wanted)
    var perPosition = results.perPosition
    if !isDense {
        perPosition = [Float](repeating: 0, count: rows)
        for (i, row) in active.enumerated() { perPosition[row] = results.perPosition[i] }
    }
    let inputs = bias.map { [hidden, weight, $0] } ?? [hidden, weight]
    let loss = Operation("linear cross-entropy").record(Tensor(Float(results.loss)), from: inputs) { gradient in
        let scale = gradient.scalar
        for part in [results.inputGradient, results.weightGradient, results.biasGradient] { if scale != 1, let part { scaleElements(part, by: scale) } }
        if let part = results.weightGradient { weight.node?.accumulate(part) }
        if let part = results.biasGradient { bias?.node?.accumulate(part) }
        guard let node = hidden.node, let part = results.inputGradient else { return }
        node.accumulate((isDense ? part : scatterRows(part, active, rows: rows)).viewed(as: hidden.shape))
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

    /// What gradients are asked for.
    struct Wanted {
        let input: Bool
        let weight: Bool
        let bias: Bool
    }

    /// What a run leaves. The gradients are those that were asked for.
    struct Results {
        var loss = 0.0
        var negativeLogLikelihood = 0.0
        var perPosition: [Float]
        /// [n, D], in the type of the inputs.
        var inputGradient: Tensor?
        /// [V, D], float32.
        var weightGradient: Tensor?
        /// [V], float32.
        var biasGradient: Tensor?
    }

    /// Few enough positions that their logits stay near the processor, but not so few that reading and writing the weight's gradient once a chunk
    /// shows beside the product. Never all positions, unless they are few.
    static func chunk(positions: Int, classes: Int) -> Int {
        let most = max(512, (32 << 20) / (4 * max(classes, 1)))
        let chunks = max((positions + most - 1) / most, positions > 256 ? 2 : 1)
        return max(1, ((positions + chunks - 1) / chunks + 15) / 16 * 16)
    }

    /// Computes losses and gradients.
    func run(_ wanted: Wanted) -> Results {
        let (count, width, classes) = (inputs.shape.rows, inputs.shape.columns, weight.shape[0])
        var results = Results(perPosition: [Float](repeating: 0, count: count))
        let needsGradient = wanted.input || wanted.weight || wanted.bias
        if wanted.input { results.inputGradient = Tensor(uninitialized: [count, width], inputs.dataType) }
        if wanted.weight { results.weightGradient = count == 0 ? Tensor(zeros: weight.shape) : Tensor(uninitialized: weight.shape) }
        if wanted.bias { results.biasGradient = Tensor(zeros: [classes]) }
        if count == 0 { return results }
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
            if let target = results.weightGradient {
                multiplyMatrices(
                    into: MatrixOperand(target), MatrixOperand(gradient, .transposed), x, m: classes, n: width, k: part, beta: first == 0 ? 0 : 1)
            }
            if let target = results.biasGradient {
                let sums = Tensor(zeros: [leading])
                kernels.accumulateColumnSums(sums.floats, gradient.elements, rows: part, columns: leading)
                kernels.add(target.floats, target.floats, sums.floats, classes)
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

/// A matrix of `rows` rows that holds the rows of x at `indices` and zeros elsewhere.
private func scatterRows(_ x: Tensor, _ indices: [Int], rows: Int) -> Tensor {
    let result = Tensor(uninitialized: [rows, x.shape.columns], x.dataType)
    result.bytes.initializeMemory(as: UInt8.self, repeating: 0, count: result.count * x.dataType.byteCount)
    result.storeRows(indices, from: x)
    return result
}

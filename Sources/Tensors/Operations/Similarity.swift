// Products that compare or combine vectors of a memory, on the tape.
//
// Legend: B batch (all leading axes together), H keys (heads), N memory rows, W width, M another width.

import Diagnostics
import Kernels

/// a b^T for each vector: what a memory write adds.
///
/// - Parameters:
///   - a: [..., N].
///   - b: [..., M], the same leading extents.
/// - Returns: [..., N, M].
public func outerProduct(_ a: Tensor, _ b: Tensor) -> Tensor {
    require(a.shape.rank == b.shape.rank && a.shape.rows == b.shape.rows, "outerProduct: \(a.shape) and \(b.shape)")
    return Tensor.multiply(a, b, as: a.shape.inserting(1, at: a.shape.rank), b.shape.inserting(1, at: b.shape.rank - 1))
}

/// The cosine of the angle between each key and each row of a memory: k . m / (|k| |m| + epsilon) (NTM, equation 6).
///
/// - Parameters:
///   - keys: [..., H, W].
///   - memory: [..., N, W], the same leading extents.
///   - epsilon: added to the product of the norms; keeps a zero memory finite. The gradient of the norm of a zero vector is zero.
/// - Returns: [..., H, N].
/// - Complexity: 2 B H N W flops forward, 4 B H N W backward.
public func cosineSimilarity(_ keys: Tensor, _ memory: Tensor, epsilon: Float = 1e-6) -> Tensor {
    require(
        keys.shape.rank >= 2 && keys.shape.rank == memory.shape.rank && keys.shape[-1] == memory.shape[-1],
        "cosineSimilarity: \(keys.shape) and \(memory.shape)")
    let (heads, rows, width) = (keys.shape[-2], memory.shape[-2], keys.shape[-1])
    let batch = keys.shape.count(from: 0, to: keys.shape.rank - 2)
    require(memory.shape.count(from: 0, to: memory.shape.rank - 2) == batch, "cosineSimilarity: \(keys.shape) and \(memory.shape)")
    let y = Tensor(uninitialized: keys.shape.replacingColumns(rows))
    let keyNorms = rowNorms(keys)
    let memoryNorms = rowNorms(memory)
    for b in 0..<batch {
        let out = y.floats + b * heads * rows
        multiplyMatrices(
            out, leadingC: rows, keys.floats + b * heads * width, leadingA: width, memory.floats + b * rows * width, .transposed, leadingB: width,
            m: heads, n: rows, k: width)
        for h in 0..<heads {
            let norm = keyNorms.floats[b * heads + h]
            for n in 0..<rows { out[h * rows + n] /= norm * memoryNorms.floats[b * rows + n] + epsilon }
        }
    }
    return Operation("cosine similarity").record(y, from: keys, memory) { gradient in
        // With d = |k| |m| + epsilon and c = k . m / d:  dc = (m dk + k dm) / d - c (|m| d|k| + |k| d|m|) / d
        let dots = Tensor(uninitialized: y.shape)
        let keyScales = Tensor(zeros: [batch * heads])
        let memoryScales = Tensor(zeros: [batch * rows])
        for b in 0..<batch {
            for h in 0..<heads {
                let (key, first) = (b * heads + h, (b * heads + h) * rows)
                let norm = keyNorms.floats[key]
                var sum: Float = 0
                for n in 0..<rows {
                    let memoryNorm = memoryNorms.floats[b * rows + n]
                    let weight = gradient.floats[first + n] / (norm * memoryNorm + epsilon)
                    dots.floats[first + n] = weight
                    let pull = weight * y.floats[first + n]
                    sum += pull * memoryNorm
                    if memoryNorm > 0 { memoryScales.floats[b * rows + n] -= pull * norm / memoryNorm }
                }
                if norm > 0 { keyScales.floats[key] = -sum / norm }
            }
        }
        keys.node?.withGradient { target, accumulate in
            for b in 0..<batch {
                multiplyMatrices(
                    target + b * heads * width, leadingC: width, dots.floats + b * heads * rows, leadingA: rows, memory.floats + b * rows * width,
                    leadingB: width, m: heads, n: width, k: rows, beta: accumulate ? 1 : 0)
            }
            addScaledRows(target, keys, keyScales)
        }
        memory.node?.withGradient { target, accumulate in
            for b in 0..<batch {
                multiplyMatrices(
                    target + b * rows * width, leadingC: width, dots.floats + b * heads * rows, .transposed, leadingA: rows,
                    keys.floats + b * heads * width, leadingB: width, m: rows, n: width, k: heads, beta: accumulate ? 1 : 0)
            }
            addScaledRows(target, memory, memoryScales)
        }
    }
}

/// The length of each vector of the last axis.
private func rowNorms(_ x: Tensor) -> Tensor {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    let norms = Tensor(uninitialized: [rows])
    for row in 0..<rows { norms.floats[row] = Float(kernels.sumOfSquares(x.floats + row * columns, columns).squareRoot()) }
    return norms
}

/// target[r] += scales[r] * x[r] for each row.
private func addScaledRows(_ target: UnsafeMutablePointer<Float>, _ x: Tensor, _ scales: Tensor) {
    let columns = x.shape.columns
    for row in 0..<x.shape.rows { kernels.addScaled(target + row * columns, x.floats + row * columns, scale: scales.floats[row], columns) }
}

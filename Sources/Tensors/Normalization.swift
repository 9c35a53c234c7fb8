// Layer and root-mean-square normalisation on the tape.
//
// Legend: R rows (all leading axes together), D width.

import Diagnostics
import Kernels

/// Layer normalisation of the last axis (Ba, Kiros and Hinton 2016): (x - mean) / sqrt(variance + epsilon) * gain + bias.
///
/// - Parameters:
///   - x: [..., D], float32 or bfloat16.
///   - gain: [D].
///   - bias: [D]; may be absent.
///   - epsilon: added to the biased variance.
///   - outputType: of the result; `nil` is x's. Statistics are float32 always.
/// - Returns: [..., D].
/// - Complexity: memory-bound; reads x twice.
public func layerNorm(_ x: Tensor, gain: Tensor, bias: Tensor?, epsilon: Float = 1e-5, outputType: DataType? = nil) -> Tensor {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    require(gain.count == columns && (bias?.count ?? columns) == columns, "layerNorm: input \(x.shape) does not fit gain \(gain.shape)")
    let y = Tensor(uninitialized: x.shape, outputType ?? x.dataType)
    let x = convert(x, to: .float32)
    let statistics = Tensor(uninitialized: [2, rows])
    let (mean, deviation) = (statistics.floats, statistics.floats + rows)
    let (gains, biases) = (gain.floats, bias.map { UnsafePointer($0.floats) })
    parallelRows(rows, columns: columns) { first, count in
        let start = first * columns
        kernels.layerNorm(
            y.elements + start, mean: mean + first, reciprocalDeviation: deviation + first, x.floats + start, gain: gains, bias: biases,
            epsilon: epsilon, rows: count, columns: columns)
    }
    let backward = { (gradient: Tensor) in
        let (mean, deviation) = (statistics.floats, statistics.floats + rows)
        withInputGradient(x) { target, accumulate in
            withOptionalSums(gain.node, bias?.node, columns) { sums, hasGain, hasBias in
                parallelRowSums(rows, columns: columns, into: sums, count: 2 * columns) { first, count, sums in
                    let start = first * columns
                    kernels.layerNormGradient(
                        target + start, accumulate: accumulate, gainGradient: hasGain ? sums : nil, biasGradient: hasBias ? sums + columns : nil,
                        outputGradient: gradient.elements + start, x.floats + start, gain: gain.floats, mean: mean + first,
                        reciprocalDeviation: deviation + first, rows: count, columns: columns)
                }
            }
        }
    }
    guard let bias else { return Operation("layer norm").record(y, from: x, gain, backward: backward) }
    return Operation("layer norm").record(y, from: [x, gain, bias], backward: backward)
}

/// Root-mean-square normalisation of the last axis (Zhang and Sennrich 2019): x / sqrt(mean(x^2) + epsilon) * gain.
///
/// - Parameters: as `layerNorm`.
/// - Returns: [..., D].
public func rmsNorm(_ x: Tensor, gain: Tensor, epsilon: Float = 1e-6, outputType: DataType? = nil) -> Tensor {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    require(gain.count == columns, "rmsNorm: input \(x.shape) does not fit gain \(gain.shape)")
    let y = Tensor(uninitialized: x.shape, outputType ?? x.dataType)
    let x = convert(x, to: .float32)
    let roots = Tensor(uninitialized: [rows])
    parallelRows(rows, columns: columns) { first, count in
        let start = first * columns
        kernels.rmsNorm(
            y.elements + start, reciprocalRoot: roots.floats + first, x.floats + start, gain: gain.floats, epsilon: epsilon, rows: count,
            columns: columns)
    }
    return Operation("RMS norm").record(y, from: x, gain) { gradient in
        withInputGradient(x) { target, accumulate in
            withOptionalSums(gain.node, nil, columns) { sums, hasGain, _ in
                parallelRowSums(rows, columns: columns, into: sums, count: 2 * columns) { first, count, sums in
                    let start = first * columns
                    kernels.rmsNormGradient(
                        target + start, accumulate: accumulate, gainGradient: hasGain ? sums : nil, outputGradient: gradient.elements + start,
                        x.floats + start, gain: gain.floats, reciprocalRoot: roots.floats + first, rows: count, columns: columns)
                }
            }
        }
    }
}

/// Rows at length 1: x / sqrt(|x|^2 + epsilon).
///
/// - Parameters:
///   - x: [..., D].
///   - epsilon: keeps a row near zero, and its gradient, finite.
/// - Returns: [..., D].
public func unitLength(_ x: Tensor, epsilon: Float = 1e-8) -> Tensor {
    let width = Float(x.shape.columns)
    return rmsNorm(x, gain: Tensor(repeating: 1 / width.squareRoot(), [x.shape.columns]), epsilon: epsilon / width)
}

/// Calls `body` with the gradient of x, or with memory that nobody reads when x is a constant.
private func withInputGradient(_ x: Tensor, _ body: (UnsafeMutablePointer<Float>, _ accumulate: Bool) -> Void) {
    if let node = x.node { return node.withGradient(body) }
    let unwanted = Tensor(uninitialized: x.shape)
    body(unwanted.floats, false)
}

/// Calls `body` with zeros for the sums of a gain (the first C) and of a bias (the next C), and adds them to the gradients that exist.
private func withOptionalSums(
    _ gain: Node?, _ bias: Node?, _ columns: Int, _ body: (_ sums: UnsafeMutablePointer<Float>, _ hasGain: Bool, _ hasBias: Bool) -> Void
) {
    let sums = Tensor(zeros: [2, columns])
    body(sums.floats, gain != nil, bias != nil)
    gain?.accumulate(sums.viewed(as: [columns]))
    bias?.accumulate(sums.viewed(as: [columns], offset: columns))
}

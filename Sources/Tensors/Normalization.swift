// Layer and root-mean-square normalisation on the tape.
//
// Legend: R rows (all leading axes together), D width.

import Kernels

/// Layer normalisation of the last axis (Ba, Kiros and Hinton 2016): (x - mean) / sqrt(variance + epsilon) * gain + bias.
///
/// - Parameters:
///   - x: [..., D].
///   - gain, bias: [D]; `bias` may be absent.
///   - epsilon: added to the biased variance.
/// - Returns: [..., D].
/// - Complexity: memory-bound; reads x twice.
public func layerNorm(_ x: Tensor, gain: Tensor, bias: Tensor?, epsilon: Float = 1e-5) -> Tensor {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    precondition(gain.count == columns && (bias?.count ?? columns) == columns, "layerNorm: input \(x.shape) does not fit gain \(gain.shape)")
    let y = Tensor(uninitialized: x.shape)
    let statistics = Tensor(uninitialized: [2, rows])
    let (mean, deviation) = (statistics.floats, statistics.floats + rows)
    kernels.layerNorm(
        y.floats, mean: mean, reciprocalDeviation: deviation, x.floats, gain: gain.floats, bias: bias.map { UnsafePointer($0.floats) }, epsilon: epsilon,
        rows: rows, columns: columns)
    return Tape.record(y, from: bias.map { [x, gain, $0] } ?? [x, gain]) { gradient in
        let (mean, deviation) = (statistics.floats, statistics.floats + rows)
        let unwanted = x.node == nil ? Tensor(uninitialized: x.shape) : nil
        withOptionalGradient(gain.node) { gainGradient in
            withOptionalGradient(bias?.node) { biasGradient in
                let run = { (target: UnsafeMutablePointer<Float>, accumulate: Bool) in
                    kernels.layerNormGradient(
                        target, accumulate: accumulate, gainGradient: gainGradient, biasGradient: biasGradient, outputGradient: gradient.floats, x.floats,
                        gain: gain.floats, mean: mean, reciprocalDeviation: deviation, rows: rows, columns: columns)
                }
                if let node = x.node { node.withGradient(run) } else if let unwanted { run(unwanted.floats, false) }
            }
        }
    }
}

/// Root-mean-square normalisation of the last axis (Zhang and Sennrich 2019): x / sqrt(mean(x^2) + epsilon) * gain.
///
/// - Parameters: as `layerNorm`.
/// - Returns: [..., D].
public func rmsNorm(_ x: Tensor, gain: Tensor, epsilon: Float = 1e-6) -> Tensor {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    precondition(gain.count == columns, "rmsNorm: input \(x.shape) does not fit gain \(gain.shape)")
    let y = Tensor(uninitialized: x.shape)
    let roots = Tensor(uninitialized: [rows])
    kernels.rmsNorm(y.floats, reciprocalRoot: roots.floats, x.floats, gain: gain.floats, epsilon: epsilon, rows: rows, columns: columns)
    return Tape.record(y, from: x, gain) { gradient in
        let unwanted = x.node == nil ? Tensor(uninitialized: x.shape) : nil
        withOptionalGradient(gain.node) { gainGradient in
            let run = { (target: UnsafeMutablePointer<Float>, accumulate: Bool) in
                kernels.rmsNormGradient(
                    target, accumulate: accumulate, gainGradient: gainGradient, outputGradient: gradient.floats, x.floats, gain: gain.floats,
                    reciprocalRoot: roots.floats, rows: rows, columns: columns)
            }
            if let node = x.node { node.withGradient(run) } else if let unwanted { run(unwanted.floats, false) }
        }
    }
}

/// Calls `body` with the zeroed or gathered gradient of `node`, or with `nil` when there is no node.
private func withOptionalGradient(_ node: Node?, _ body: (UnsafeMutablePointer<Float>?) -> Void) {
    if let node { node.withZeroedGradient { body($0) } } else { body(nil) }
}

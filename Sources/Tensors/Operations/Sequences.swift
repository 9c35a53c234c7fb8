// Operations on positions: circular convolution, the relative shift of Transformer-XL, reversal of padded sequences.

import Diagnostics
import Kernels

/// Each row of weights convolved, circularly, with a short kernel of its own: the shift of an NTM head (Graves et al. 2014, equation 8).
///
/// y[i] = sum over s of kernel[s] * weights[(i - (s - S / 2)) mod N]: entry s of the kernel moves the weights by s - S / 2 places to the right.
///
/// - Parameters:
///   - weights: [..., N].
///   - kernel: [..., S], the same leading extents, S odd.
/// - Returns: [..., N].
/// - Complexity: 2 R N S flops forward, 4 R N S backward, R the rows.
public func circularConvolution(_ weights: Tensor, _ kernel: Tensor) -> Tensor {
    let (rows, places, taps) = (weights.shape.rows, weights.shape.columns, kernel.shape.columns)
    require(kernel.shape.rows == rows && taps % 2 == 1 && places > 0, "circularConvolution: \(weights.shape) with \(kernel.shape)")
    let y = Tensor(zeros: weights.shape)
    forEachShift(rows, places, taps) { row, tap, move in
        let (from, to) = (weights.floats + row * places, y.floats + row * places)
        let scale = kernel.floats[row * taps + tap]
        kernels.addScaled(to + move, from, scale: scale, places - move)
        kernels.addScaled(to, from + places - move, scale: scale, move)
    }
    return Operation("circular convolution").record(y, from: weights, kernel) { gradient in
        weights.node?.withZeroedGradient { target in
            forEachShift(rows, places, taps) { row, tap, move in
                let (from, to) = (gradient.floats + row * places, target + row * places)
                let scale = kernel.floats[row * taps + tap]
                kernels.addScaled(to, from + move, scale: scale, places - move)
                kernels.addScaled(to + places - move, from, scale: scale, move)
            }
        }
        kernel.node?.withZeroedGradient { target in
            forEachShift(rows, places, taps) { row, tap, move in
                let (w, g) = (weights.floats + row * places, gradient.floats + row * places)
                target[row * taps + tap] += kernels.dot(g + move, w, places - move) + kernels.dot(g, w + places - move, move)
            }
        }
    }
}

/// Calls `body` for each entry of each row's kernel with the places, 0 ..< N, by which it moves the weights to the right.
@inline(__always)
private func forEachShift(_ rows: Int, _ places: Int, _ taps: Int, _ body: (_ row: Int, _ tap: Int, _ move: Int) -> Void) {
    for row in 0..<rows {
        for tap in 0..<taps {
            let shift = (tap - taps / 2) % places
            body(row, tap, shift < 0 ? shift + places : shift)
        }
    }
}

/// Moves scores by distance to scores by key (Dai et al. 2019, appendix B): row i of T rows moves left by T - 1 - i places.
///
/// - Parameter x: [..., T, S], S at least T; column c of a row stands for the distance S - 1 - c.
/// - Returns: [..., T, S]; column j of row i stands for key j. What moves in from the right is zero, and lies behind a causal mask.
public func relativeShift(_ x: Tensor) -> Tensor {
    require(x.shape.rank >= 2 && x.shape[-1] >= x.shape[-2], "relativeShift of shape \(x.shape)")
    let (queries, keys) = (x.shape[-2], x.shape[-1])
    let rows = x.shape.rows
    let y = Tensor(uninitialized: x.shape)
    for row in 0..<rows {
        let move = queries - 1 - row % queries
        (y.floats + row * keys).update(from: x.floats + row * keys + move, count: keys - move)
        (y.floats + row * keys + keys - move).update(repeating: 0, count: move)
    }
    return Operation("relative shift").record(y, from: x) { [node = x.node] gradient in
        node?.withZeroedGradient { target in
            for row in 0..<rows {
                let move = queries - 1 - row % queries
                let to = target + row * keys + move
                kernels.add(to, to, gradient.floats + row * keys, keys - move)
            }
        }
    }
}

/// The first `lengths[b]` positions of each sequence in reverse order; the padding behind them stays where it is.
///
/// - Parameters:
///   - x: [B, T, ...].
///   - lengths: one for each sequence, 0 ... T.
/// - Returns: the same shape. Applied twice it gives x again.
public func reversedSequences(_ x: Tensor, lengths: [Int]) -> Tensor {
    require(x.shape.rank >= 2 && lengths.count == x.shape[0], "reversedSequences: \(lengths.count) lengths for shape \(x.shape)")
    let (length, width) = (x.shape[1], x.shape.count(from: 2, to: x.shape.rank))
    require(lengths.allSatisfy { $0 >= 0 && $0 <= length }, "reversedSequences: lengths \(lengths) for shape \(x.shape)")
    let y = Tensor(uninitialized: x.shape, x.dataType)
    for (b, real) in lengths.enumerated() {
        for t in 0..<length {
            let source = b * length + (t < real ? real - 1 - t : t)
            (y.words + (b * length + t) * width).update(from: x.words + source * width, count: width)
        }
    }
    return Operation("reversed sequences").record(y, from: x) { [node = x.node] gradient in
        node?.withZeroedGradient { target in
            for (b, real) in lengths.enumerated() {
                for t in 0..<length {
                    let to = target + (b * length + (t < real ? real - 1 - t : t)) * width
                    kernels.add(to, to, gradient.floats + (b * length + t) * width, width)
                }
            }
        }
    }
}

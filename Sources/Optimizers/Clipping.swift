// The norm of the whole gradient, and clipping by it (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013).

import Kernels

/// The L2 norm of scale * gradients.
///
/// - Parameters:
///   - gradients: all gradients, float32.
///   - scale: what the gradients will be multiplied by before the update.
/// - Returns: the norm, summed in float64 over blocks. Not finite when a gradient is NaN or infinite, or beyond 1e19 in magnitude: the caller
///   checks it before the update.
public func gradientNorm(of gradients: UnsafeBufferPointer<Float>, scale: Double = 1) -> Double {
    gradientSumOfSquares(of: gradients).squareRoot() * abs(scale)
}

/// The sum of squared gradients, for a caller that owns only a part of them and adds up the parts.
public func gradientSumOfSquares(of gradients: UnsafeBufferPointer<Float>) -> Double {
    guard let base = gradients.baseAddress, !gradients.isEmpty else { return 0 }
    // Parts of one size, added in their order: the sum does not depend on the number of threads.
    let (part, count) = (1 << 16, gradients.count)
    let parts = (count + part - 1) / part
    return withUnsafeTemporaryAllocation(of: Double.self, capacity: parts) { sums in
        let sums = UnsafeMutableBufferPointer(rebasing: sums[0..<parts])
        let target = sums.baseAddress
        Workers.parallel(parts, minimum: 4) { range in
            for index in range { target?[index] = Kernels.active.sumOfSquares(base + index * part, min(part, count - index * part)) }
        }
        return sums.reduce(0, +)
    }
}

/// What to multiply gradients by so that their norm is at most `clip`: min(1, clip / (norm + 1e-6)), as PyTorch's clip_grad_norm_.
///
/// - Parameters:
///   - norm: the L2 norm of all gradients.
///   - clip: the largest norm, 0 for no clipping.
/// - Returns: the factor; NaN where the norm is NaN, 0 where it is infinite.
public func clipFactor(norm: Double, clip: Double) -> Double {
    if clip == 0 { return 1 }
    let factor = clip / (norm + 1e-6)
    return factor > 1 ? 1 : factor
}

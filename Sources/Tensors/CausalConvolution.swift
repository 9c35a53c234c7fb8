// The short causal convolution of linear attention: a few positions of each channel, then SiLU; one operation on the tape.
//
// Legend: B sequences, T positions, C channels, W width of the convolution.

import Diagnostics
import Kernels

private let operation = Operation("causal convolution")

/// y[t, c] = silu(sum over j < W of weight[c, j] x[t - W + 1 + j, c]), where what lies before the first position is the state; silu(z) = z
/// sigmoid(z).
///
/// - Parameters:
///   - x: float32 [B, T, C].
///   - weight: float32 [C, W], W at least 2; the last column weighs the position itself.
///   - state: float32 [B, W - 1, C], the positions before the first; `nil` is zeros.
///   - resets: [B, T], true where what lies before the position is zeros, for it and all later ones; empty for nowhere.
/// - Returns: y, [B, T, C], and the last W - 1 positions read, [B, W - 1, C].
/// - Complexity: 2 B T C W flops forward, six times that backward; keeps its inputs alone.
public func causalConvolution(_ x: Tensor, weight: Tensor, from state: Tensor?, resets: [Bool] = []) -> (outputs: Tensor, state: Tensor) {
    operation.require(x.shape.rank == 3 && weight.shape.rank == 2 && weight.shape[0] == x.shape[2], "x \(x.shape) and weights \(weight.shape)")
    operation.require(resets.isEmpty || resets.count == x.shape[0] * x.shape[1], "\(resets.count) resets for x \(x.shape)")
    let convolution = CausalConvolution(x: x.stopGradient(), weight: weight.stopGradient(), state: state?.stopGradient(), resets: resets)
    operation.require(convolution.width >= 2, "a width of \(convolution.width)")
    let stateShape: Shape = [x.shape[0], convolution.width - 1, x.shape[2]]
    operation.require(state.map { $0.shape == stateShape } ?? true, "a state \(state?.shape ?? stateShape), not \(stateShape)")
    let (y, last) = (Tensor(uninitialized: x.shape), Tensor(uninitialized: stateShape))
    convolution.forward(y, last)
    let inputs = [x, weight] + (state.map { [$0] } ?? [])
    let results = operation.record([y, last], from: inputs) { gradients in
        let found = convolution.backward(gradients[0], gradients[1])
        for (input, gradient) in zip(inputs, [found.x, found.weight, found.state]) { input.node?.accumulate(gradient) }
    }
    return (results[0], results[1])
}

private struct CausalConvolution {
    let x: Tensor
    let weight: Tensor
    let state: Tensor?
    /// [B, T]: the first position that a position sees anything of; empty where that is never limited.
    private let firstSeen: [Int]

    init(x: Tensor, weight: Tensor, state: Tensor?, resets: [Bool]) {
        (self.x, self.weight, self.state) = (x, weight, state)
        var latest = -weight.shape[1]
        firstSeen = resets.indices.map { place in
            let position = place % x.shape[1]
            if position == 0 { latest = -weight.shape[1] }
            if resets[place] { latest = position }
            return latest
        }
    }

    /// W.
    var width: Int { weight.shape[1] }
    private var batch: Int { x.shape[0] }
    private var positions: Int { x.shape[1] }
    private var channels: Int { x.shape[2] }

    /// [W, C].
    private var columns: Tensor {
        let result = Tensor(uninitialized: [width, channels])
        for c in 0..<channels { for j in 0..<width { result.floats[j * channels + c] = weight.floats[c * width + j] } }
        return result
    }

    /// Whether position `seen` of a sequence, from -(W - 1) on, lies behind the latest reset up to position t.
    private func sees(_ seen: Int, _ b: Int, from t: Int) -> Bool { firstSeen.isEmpty || t < 0 || seen >= firstSeen[b * positions + t] }

    /// Position `seen` of a sequence, from -(W - 1) on, as position t sees it; `nil` is zeros.
    private func row(_ b: Int, _ seen: Int, from t: Int) -> UnsafeMutablePointer<Float>? {
        if !sees(seen, b, from: t) { return nil }
        if seen >= 0 { return x.floats + (b * positions + seen) * channels }
        return state.map { $0.floats + (b * (width - 1) + width - 1 + seen) * channels }
    }

    /// The weighted sum at a position.
    private func sum(_ b: Int, _ t: Int, _ columns: UnsafePointer<Float>, into z: UnsafeMutablePointer<Float>) {
        kernels.multiply(z, columns + (width - 1) * channels, x.floats + (b * positions + t) * channels, channels)
        for j in 0..<width - 1 {
            if let source = row(b, t - width + 1 + j, from: t) { kernels.addProduct(z, columns + j * channels, source, channels) }
        }
    }

    /// Writes all outputs and the positions that the next call starts from.
    func forward(_ y: Tensor, _ last: Tensor) {
        let columns = columns
        Workers.forEach(tasks: batch) { b in
            for t in 0..<positions { sum(b, t, columns.floats, into: y.floats + (b * positions + t) * channels) }
            for t in 0..<width - 1 {
                let target = last.floats + (b * (width - 1) + t) * channels
                if let source = row(b, positions - width + 1 + t, from: positions - 1) {
                    target.update(from: source, count: channels)
                } else {
                    kernels.fill(target, 0, channels)
                }
            }
            let sigmoids = Tensor(uninitialized: [channels])
            for t in 0..<positions {
                let out = y.floats + (b * positions + t) * channels
                kernels.unary(.sigmoid, sigmoids.floats, out, channels)
                kernels.multiply(out, out, sigmoids.floats, channels)
            }
        }
    }

    /// The gradients of x, weight and state, from those of the outputs and of the last positions, `nil` for zeros. Each sequence sums the weights'
    /// gradient for itself, and sequences are added in their order.
    func backward(_ outputs: Tensor?, _ last: Tensor?) -> (x: Tensor, weight: Tensor, state: Tensor) {
        let columns = columns
        let (xGradient, stateGradient) = (Tensor(zeros: x.shape), Tensor(zeros: [batch, width - 1, channels]))
        let parts = Tensor(zeros: [batch, width, channels])
        func target(_ b: Int, _ t: Int) -> UnsafeMutablePointer<Float> {
            t >= 0 ? xGradient.floats + (b * positions + t) * channels : stateGradient.floats + (b * (width - 1) + width - 1 + t) * channels
        }
        Workers.forEach(tasks: batch) { b in
            if let last {
                for t in 0..<width - 1 where sees(positions - width + 1 + t, b, from: positions - 1) {
                    let place = target(b, positions - width + 1 + t)
                    kernels.add(place, place, last.floats + (b * (width - 1) + t) * channels, channels)
                }
            }
            guard let outputs else { return }
            let work = Tensor(uninitialized: [3, channels])
            let (z, sigmoids, gradient) = (work.floats, work.floats + channels, work.floats + 2 * channels)
            for t in 0..<positions {
                // silu'(z) = s + z s (1 - s).
                sum(b, t, columns.floats, into: z)
                kernels.unary(.sigmoid, sigmoids, z, channels)
                kernels.affine(gradient, sigmoids, scale: -1, offset: 1, channels)
                kernels.multiply(z, z, sigmoids, channels)
                kernels.addProduct(sigmoids, z, gradient, channels)
                kernels.multiply(gradient, sigmoids, outputs.floats + (b * positions + t) * channels, channels)
                for j in 0..<width {
                    let place = t - width + 1 + j
                    if !sees(place, b, from: t) { continue }
                    kernels.addProduct(target(b, place), gradient, columns.floats + j * channels, channels)
                    if let source = row(b, place, from: t) { kernels.addProduct(parts.floats + (b * width + j) * channels, gradient, source, channels) }
                }
            }
        }
        let sums = Tensor(zeros: [width, channels])
        kernels.accumulateColumnSums(sums.floats, parts.elements, rows: batch, columns: width * channels)
        let weightGradient = Tensor(uninitialized: weight.shape)
        for c in 0..<channels { for j in 0..<width { weightGradient.floats[c * width + j] = sums.floats[j * channels + c] } }
        return (xGradient, weightGradient, stateGradient)
    }
}

// What reads stored pairs beside an attention over the segment, and mixes the two.
//
// Legend: B sequences, T positions, H heads, K head size, D = H K width, k pairs of a query.

import Foundation
import NeuralNetworks
import Tensors

/// Attends to the k nearest of the keys and values that earlier segments have left, and gates what it finds with what an attention over the segment
/// gives:
///
///     q = scale_h x_q / |x_q|,  key = x_k / |x_k|
///     head = (1 - g_h) local_h + g_h softmax(q . stored keys) stored values,  g_h = sigmoid(gate_h)
///
/// Stored pairs are constants: gradients flow into queries, scales and gates. A query that finds no pair is answered by the segment alone.
///
/// - Source: Wu, Rabe, Hutchins and Szegedy, "Memorizing Transformers", 2022, section 3; keys and queries of length 1 with a learned scale, so that
///   old keys stay comparable, as in Henry et al., "Query-Key Normalization for Transformers", 2020.
public struct PairReader {
    /// H.
    public let heads: Int
    /// What unit queries are multiplied by, [H]; starts at log2(L^2 - L) for L positions (Henry et al.).
    public let scale: Parameter
    /// Before the sigmoid, [H]; starts at 0, an even mixture.
    public let gate: Parameter
    /// k.
    public let nearest: Int
    /// What brings a vector whose mean square is 1 to length 1, [K].
    private let unitGain: Tensor

    /// Declares `path.scale` and `path.gate`.
    /// - Parameters:
    ///   - width: D.
    ///   - positions: L, the most positions that a query is compared with.
    ///   - nearest: k.
    public init(_ store: ParameterStore, _ path: String, width: Int, heads: Int, positions: Int, nearest: Int) {
        let length = Double(max(positions, 2))
        (self.heads, self.nearest) = (heads, nearest)
        scale = store.add("\(path).scale", [heads], .constant(Float(log2(length * length - length))))
        gate = store.add("\(path).gate", [heads], .zeros)
        let size = width / heads
        unitGain = Tensor([Float](repeating: 1 / Float(size).squareRoot(), count: size), [size])
    }

    /// Keys as they are compared, each head's of length 1: [B, T, D] to float32 [B, T, D].
    public func key(_ x: Tensor) -> Tensor { unit(x).reshaped(to: x.shape) }

    /// Queries as they are compared: [B, T, D] to float32 [B, T, D].
    public func query(_ x: Tensor, _ pass: ForwardPass) -> Tensor { (unit(x) * pass(scale).reshaped(to: [heads, 1])).reshaped(to: x.shape) }

    /// Heads of length 1, float32 [B, T, H, K].
    private func unit(_ x: Tensor) -> Tensor {
        rmsNorm(convert(x, to: .float32).reshaped(to: [x.shape[0], x.shape[1], heads, x.shape[2] / heads]), gain: unitGain, epsilon: 1e-12)
    }

    /// What the segment gives and what stored pairs give, by the gates: [B, T, D] in the type of `local`.
    /// - Parameters:
    ///   - query: as ``query(_:_:)`` makes it.
    ///   - pairs: what is read; `nil` for nothing.
    public func mixed(_ local: Tensor, query: Tensor, _ pass: ForwardPass, _ pairs: PairReading?) -> Tensor {
        guard let pairs, !pairs.isEmpty else { return local }
        let near = convert(local, to: .float32)
        let (far, read) = pairAttention(query, elsewhere: near, heads: heads, limit: nearest, pairs)
        let gates = pass(gate).sigmoid()
        var statistics = PairStatistics()
        for head in 0..<heads {
            var sums = read[head]
            sums.gate = Double(gates.floats[head]) * sums.queries
            statistics += sums
        }
        pairs.count(statistics)
        let shape: Shape = [local.shape[0], local.shape[1], heads, local.shape[2] / heads]
        let byHeads = near.reshaped(to: shape)
        let result = byHeads + (far.reshaped(to: shape) - byHeads) * gates.reshaped(to: [heads, 1])
        return convert(result.reshaped(to: local.shape), to: local.dataType)
    }
}

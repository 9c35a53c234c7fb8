// Attention that also sees earlier segments, through the stored pairs nearest to each query.
//
// Legend: B sequences, T positions, H heads, K head size, D = H K width, k pairs of a query.

import Foundation
import NeuralNetworks
import Tensors

/// Causal self-attention whose heads attend, beside the segment, to the k nearest of the keys and values that earlier segments have left:
///
///     q = scale_h x_q / |x_q|,  key = x_k / |x_k|
///     head = (1 - g_h) softmax(q . keys of the segment) values + g_h softmax(q . stored keys) stored values,  g_h = sigmoid(gate_h)
///
/// Stored pairs are constants: gradients flow into queries, scales and gates. A query that finds no pair is answered by the segment alone.
///
/// - Source: Wu, Rabe, Hutchins and Szegedy, "Memorizing Transformers", 2022, section 3; keys and queries of length 1 with a learned scale, so that old keys
///   stay comparable, as in Henry et al., "Query-Key Normalization for Transformers", 2020.
public struct MemorizingAttention {
    /// The projections.
    public let attention: SelfAttention
    /// What unit queries are multiplied by, [H]; starts at log2(L^2 - L) for L positions (Henry et al.).
    public let scale: Parameter
    /// Before the sigmoid, [H]; starts at 0, an even mixture.
    public let gate: Parameter
    /// k.
    public let nearest: Int
    /// What brings a vector whose mean square is 1 to length 1, [K].
    private let unitGain: Tensor

    /// Declares `path.scale` and `path.gate` beside the attention's own parameters.
    /// - Parameters:
    ///   - positions: L, the most positions of a segment.
    ///   - nearest: k.
    public init(_ store: ParameterStore, _ path: String, _ attention: SelfAttention, positions: Int, nearest: Int) {
        let length = Double(max(positions, 2))
        let heads = attention.heads
        (self.attention, self.nearest) = (attention, nearest)
        scale = store.add("\(path).scale", [heads], .constant(Float(log2(length * length - length))))
        gate = store.add("\(path).gate", [heads], .zeros)
        let size = attention.output.weight.shape[1] / heads
        unitGain = Tensor([Float](repeating: 1 / Float(size).squareRoot(), count: size), [size])
    }

    /// [B, T, D] to [B, T, D].
    /// - Parameters:
    ///   - pairs: what is read and left; `nil` for the segment alone.
    ///   - onKeysAndValues: gets query, key and value as they are compared, [B, T, 3 D], for a cache to copy from.
    public func callAsFunction(
        _ x: Tensor, mask: AttentionMask, _ pass: ForwardPass, pairs: PairReading?, onKeysAndValues: ((Tensor) -> Void)? = nil
    ) -> Tensor {
        let parts = Parts(self, x, pass)
        onKeysAndValues?(parts.packed)
        pairs?.keep(keys: parts.key, values: parts.value)
        let type = parts.type
        let local = Tensors.attention(
            query: AttentionOperand(convert(parts.query, to: type)), key: AttentionOperand(convert(parts.key, to: type)),
            value: AttentionOperand(convert(parts.value, to: type)), width: x.shape[2], heads: attention.heads, mask: mask, scale: 1,
            dropoutRate: attention.dropoutRate, dropout: pass.dropout)
        return attention.output(mixed(local, parts.query, pass, pairs), pass)
    }

    /// One new position a sequence, over keys and values that a cache holds, and stored pairs. As ``SelfAttention/step(_:_:remember:)``.
    public func step(
        _ x: Tensor, _ pass: ForwardPass, pairs: PairReading?, remember: (Tensor) -> (keysAndValues: Tensor, lengths: [Int])
    ) -> Tensor {
        let (width, heads) = (x.shape[2], attention.heads)
        let parts = Parts(self, x, pass)
        let (cache, lengths) = remember(parts.packed)
        let local = Tensors.attention(
            query: AttentionOperand(convert(parts.query, to: parts.type)), key: AttentionOperand(headMajor: cache),
            value: AttentionOperand(headMajor: cache, column: width / heads), width: width, heads: heads,
            mask: AttentionMask(keyLengths: lengths), scale: 1)
        return attention.output(mixed(local, parts.query, pass, pairs), pass)
    }

    /// What the segment gives and what stored pairs give, by the gates: [B, T, D] in the type of `local`.
    private func mixed(_ local: Tensor, _ query: Tensor, _ pass: ForwardPass, _ pairs: PairReading?) -> Tensor {
        guard let pairs, !pairs.isEmpty else { return local }
        let heads = attention.heads
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

    /// Query, key and value as they are compared, float32 [B, T, D] each.
    private struct Parts {
        let query: Tensor
        let key: Tensor
        let value: Tensor
        /// Of activations.
        let type: DataType

        init(_ layer: MemorizingAttention, _ x: Tensor, _ pass: ForwardPass) {
            let (width, heads) = (x.shape[2], layer.attention.heads)
            let projected = layer.attention.qkv(x, pass)
            type = projected.dataType
            let packed = convert(projected, to: .float32)
            let byHeads: Shape = [x.shape[0], x.shape[1], heads, width / heads]
            func unit(_ part: Int) -> Tensor {
                rmsNorm(packed.slice(part * width..<(part + 1) * width, axis: 2).reshaped(to: byHeads), gain: layer.unitGain, epsilon: 1e-12)
            }
            query = (unit(0) * pass(layer.scale).reshaped(to: [heads, 1])).reshaped(to: x.shape)
            key = unit(1).reshaped(to: x.shape)
            value = packed.slice(2 * width..<3 * width, axis: 2)
        }

        /// [B, T, 3 D] in the type of activations, off any tape.
        var packed: Tensor { concatenate([query, key, value].map { $0.stopGradient() }, axis: 2).converted(to: type) }
    }
}

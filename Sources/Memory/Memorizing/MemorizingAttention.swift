// Attention that also sees earlier segments, through the stored pairs nearest to each query.
//
// Legend: B sequences, T positions, H heads, K head size, D = H K width, k pairs of a query.

import NeuralNetworks
import Tensors

/// Causal self-attention whose queries and keys are those of a ``PairReader``, which adds what earlier segments have left.
public struct MemorizingAttention {
    /// The projections.
    public let attention: SelfAttention
    /// What reads stored pairs.
    public let reader: PairReader

    /// Declares `path.scale` and `path.gate` beside the attention's own parameters.
    /// - Parameters:
    ///   - positions: L, the most positions of a segment.
    ///   - nearest: k.
    public init(_ store: ParameterStore, _ path: String, _ attention: SelfAttention, positions: Int, nearest: Int) {
        self.attention = attention
        reader = PairReader(
            store, path, width: attention.output.weight.shape[1], heads: attention.heads, positions: positions, nearest: nearest)
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
        return attention.output(reader.mixed(local, query: parts.query, pass, pairs), pass)
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
        return attention.output(reader.mixed(local, query: parts.query, pass, pairs), pass)
    }

    /// Query, key and value as they are compared, float32 [B, T, D] each.
    private struct Parts {
        let query: Tensor
        let key: Tensor
        let value: Tensor
        /// Of activations.
        let type: DataType

        init(_ layer: MemorizingAttention, _ x: Tensor, _ pass: ForwardPass) {
            let width = x.shape[2]
            let projected = layer.attention.qkv(x, pass)
            type = projected.dataType
            let packed = convert(projected, to: .float32)
            func part(_ index: Int) -> Tensor { packed.slice(index * width..<(index + 1) * width, axis: 2) }
            query = layer.reader.query(part(0), pass)
            key = layer.reader.key(part(1))
            value = part(2)
        }

        /// [B, T, 3 D] in the type of activations, off any tape.
        var packed: Tensor { concatenate([query, key, value].map { $0.stopGradient() }, axis: 2).converted(to: type) }
    }
}

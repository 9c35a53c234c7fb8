// Multi-head attention as Transformers use it: over the sequence itself, or over another one.
//
// Legend: B sequences, T positions, S positions of the other sequence, H heads, K head size, D = H K width.

import Tensors

/// Attention of a sequence over itself. Query, key and value come from one packed projection.
public struct SelfAttention {
    /// D to 3 D: query, key, value.
    public let qkv: Linear
    /// D to D.
    public let output: Linear
    /// H, a divisor of D.
    public let heads: Int
    /// The dropout rate of the attention probabilities.
    public let dropoutRate: Float

    /// Declares `path.qkv` and `path.output`.
    public init(
        _ store: ParameterStore, _ path: String, width: Int, heads: Int, initializer: Initializer, outputInitializer: Initializer, dropoutRate: Float
    ) {
        qkv = Linear(store, "\(path).qkv", inputs: width, outputs: 3 * width, initializer: initializer)
        output = Linear(store, "\(path).output", inputs: width, outputs: width, initializer: outputInitializer)
        self.heads = heads
        self.dropoutRate = dropoutRate
    }

    /// [B, T, D] to [B, T, D]. `onKeysAndValues` gets the packed projection [B, T, 3 D], for a cache to copy from.
    public func callAsFunction(_ x: Tensor, mask: AttentionMask, _ pass: ForwardPass, onKeysAndValues: ((Tensor) -> Void)? = nil) -> Tensor {
        let width = x.shape[2]
        let packed = qkv(x, pass)
        onKeysAndValues?(packed)
        let mixed = attention(
            query: AttentionOperand(packed), key: AttentionOperand(packed, column: width), value: AttentionOperand(packed, column: 2 * width),
            width: width, heads: heads, mask: mask, dropoutRate: dropoutRate, dropout: pass.dropout)
        return output(mixed, pass)
    }

    /// One new position a sequence, over keys and values that a cache holds.
    ///
    /// - Parameters:
    ///   - x: [B, 1, D].
    ///   - remember: stores the new keys and values (the packed projection [B, 1, 3 D]); returns all of them, [B, H, capacity, 2 K], and how many
    ///     of each sequence are real.
    /// - Returns: [B, 1, D].
    public func step(_ x: Tensor, _ pass: ForwardPass, remember: (Tensor) -> (keysAndValues: Tensor, lengths: [Int])) -> Tensor {
        let width = x.shape[2]
        let packed = qkv(x, pass)
        let (cache, lengths) = remember(packed)
        let mixed = attention(
            query: AttentionOperand(packed), key: AttentionOperand(headMajor: cache),
            value: AttentionOperand(headMajor: cache, column: width / heads), width: width, heads: heads,
            mask: AttentionMask(keyLengths: lengths))
        return output(mixed, pass)
    }
}

/// Attention over another sequence: a decoder's over its encoder's.
public struct CrossAttention {
    /// D to D.
    public let query: Linear
    /// D to 2 D: key, value.
    public let keyValue: Linear
    /// D to D.
    public let output: Linear
    /// H, a divisor of D.
    public let heads: Int
    /// The dropout rate of the attention probabilities.
    public let dropoutRate: Float

    /// Declares `path.query`, `path.keyValue` and `path.output`.
    public init(
        _ store: ParameterStore, _ path: String, width: Int, heads: Int, initializer: Initializer, outputInitializer: Initializer, dropoutRate: Float
    ) {
        query = Linear(store, "\(path).query", inputs: width, outputs: width, initializer: initializer)
        keyValue = Linear(store, "\(path).keyValue", inputs: width, outputs: 2 * width, initializer: initializer)
        output = Linear(store, "\(path).output", inputs: width, outputs: width, initializer: outputInitializer)
        self.heads = heads
        self.dropoutRate = dropoutRate
    }

    /// The keys and values of the other sequence, made once for all steps of decoding: [B, S, D] to [B, S, 2 D].
    public func project(_ memory: Tensor, _ pass: ForwardPass) -> Tensor { keyValue(memory, pass) }

    /// [B, T, D] over projected keys and values [B, S, 2 D] of which `lengths` are real, to [B, T, D].
    public func callAsFunction(_ x: Tensor, keysAndValues: Tensor, lengths: [Int], _ pass: ForwardPass) -> Tensor {
        let width = x.shape[2]
        let mixed = attention(
            query: AttentionOperand(query(x, pass)), key: AttentionOperand(keysAndValues), value: AttentionOperand(keysAndValues, column: width),
            width: width, heads: heads, mask: AttentionMask(keyLengths: lengths), dropoutRate: dropoutRate, dropout: pass.dropout)
        return output(mixed, pass)
    }

    /// The same without a gradient, over keys and values that are laid out by heads, [B, H, S, 2 K].
    public func step(_ x: Tensor, memory: Tensor, lengths: [Int], _ pass: ForwardPass) -> Tensor {
        let width = x.shape[2]
        let mixed = attention(
            query: AttentionOperand(query(x, pass)), key: AttentionOperand(headMajor: memory),
            value: AttentionOperand(headMajor: memory, column: width / heads), width: width, heads: heads, mask: AttentionMask(keyLengths: lengths))
        return output(mixed, pass)
    }
}

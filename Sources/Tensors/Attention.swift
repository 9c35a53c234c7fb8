// Scaled dot-product attention over several heads, one operation on the tape.
//
// Legend: B sequences, T queries a sequence, S keys a sequence, H heads, K head size, D = H K width.

import Diagnostics
import Kernels

/// Which keys a query may see.
public struct AttentionMask: Sendable {
    /// Query t sees keys 0 ... t + (S - T) only.
    public var causal: Bool
    /// The number of real keys of each sequence, [B]; `nil` when all S are real. A query that sees no key gives zeros.
    public var keyLengths: [Int]?
    /// The first key that each query sees, [B, T], 0 ... S; `nil` when that is key 0 for all.
    public var firstKeys: [Int]?
    /// Of a causal mask: how many of the T keys of the segment itself a query sees, the latest ones, its own among them; `nil` for all of them.
    /// The S - T keys of the past are seen whole.
    public var segmentWindow: Int?

    /// Without arguments: every query sees every key. A window asks for a causal mask.
    public init(causal: Bool = false, keyLengths: [Int]? = nil, firstKeys: [Int]? = nil, segmentWindow: Int? = nil) {
        self.causal = causal
        self.keyLengths = keyLengths
        self.firstKeys = firstKeys
        self.segmentWindow = segmentWindow
    }
}

/// One operand of attention: D columns of a [B, L, C] tensor, so that packed projections need not be split, or a memory that is laid out by heads.
public struct AttentionOperand {
    /// [B, L, C], C at least `column` + D; or [B, H, L, C], C at least `column` + K.
    public let tensor: Tensor
    /// The first of the columns.
    public let column: Int
    /// L.
    let length: Int
    /// True for [B, H, L, C].
    private let isHeadMajor: Bool

    /// Columns of [B, L, C].
    public init(_ tensor: Tensor, column: Int = 0) {
        require(tensor.shape.rank == 3, "attention takes [B, L, C], not \(tensor.shape)")
        self.tensor = tensor
        self.column = column
        length = tensor.shape[1]
        isHeadMajor = false
    }

    /// Columns of [B, H, L, C]: one head's rows follow one another, so that a step of decoding reads them in one sweep. Not on a tape.
    public init(headMajor tensor: Tensor, column: Int = 0) {
        require(tensor.shape.rank == 4 && !tensor.requiresGradient, "attention takes a constant [B, H, L, C], not \(tensor.shape)")
        self.tensor = tensor
        self.column = column
        length = tensor.shape[2]
        isHeadMajor = true
    }

    /// Elements between rows.
    var stride: Int { tensor.shape.columns }

    /// The place of one head's row, in elements from the tensor's first.
    @inline(__always)
    func place(sequence: Int, row: Int, head: Int, headSize: Int) -> Int {
        isHeadMajor
            ? ((sequence * tensor.shape[1] + head) * length + row) * stride + column : (sequence * length + row) * stride + column + head * headSize
    }

    func check(heads: Int, headSize: Int) {
        if isHeadMajor {
            require(
                tensor.shape[1] == heads && column + headSize <= stride, "attention: \(heads) heads of \(headSize) from \(column) of \(tensor.shape)")
        } else {
            require(column + heads * headSize <= stride, "attention: \(heads * headSize) columns from \(column) of shape \(tensor.shape)")
        }
    }
}

/// softmax(Q K^T / sqrt(K) + mask) V for each head (Vaswani et al. 2017, equation 1), heads concatenated.
///
/// Works in blocks of queries and keys with a running maximum and sum (Dao et al. 2022, algorithms 1 and 4): no more than a block of scores exists at
/// a time, and the backward pass computes the scores again from the kept log-sum-exp of each query.
///
/// - Parameters:
///   - query: D columns of [B, T, ...], float32 or bfloat16.
///   - key: D columns of [B, S, ...], of the same type.
///   - value: D columns of [B, S, ...], of the same type; all three may be parts of one packed tensor.
///   - width: D.
///   - heads: H, a divisor of D.
///   - mask: causal, padding, both or none. A causal mask aligns the last query with the last key.
///   - scale: multiplies the scores; `nil` is 1 / sqrt(K).
///   - dropoutRate: on the probabilities, during training.
///   - dropout: where the masks come from; `nil` in evaluation.
/// - Returns: [B, T, D] of the query's type. Scores, sums and the gathering of products are float32 for both types.
/// - Complexity: 4 B T S D flops forward (half of it when causal), 10 backward; keeps B H T numbers for the gradient.
public func attention(
    query: AttentionOperand, key: AttentionOperand, value: AttentionOperand, width: Int, heads: Int, mask: AttentionMask = AttentionMask(),
    scale: Float? = nil, dropoutRate: Float = 0, dropout: DropoutContext? = nil
) -> Tensor {
    let computation = AttentionComputation(
        query: query, key: key, value: value, width: width, heads: heads, mask: mask, scale: scale,
        dropout: dropoutRate > 0 ? dropout.map { AttentionDropout(rate: DropoutRate(dropoutRate), keys: $0.nextSiteKeys()) } : nil)
    let wantsGradient = query.tensor.requiresGradient || key.tensor.requiresGradient || value.tensor.requiresGradient
    if !wantsGradient, computation.isDecodingStep { return computation.decodingStep() }
    let (output, logSums) = computation.forward(keepsLogSums: wantsGradient)
    guard let logSums else { return output }
    return Operation("attention").record(output, from: query.tensor, key.tensor, value.tensor) { gradient in
        computation.backward(gradient, output: output, logSums: logSums)
    }
}

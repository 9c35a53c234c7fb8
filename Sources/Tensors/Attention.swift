// Scaled dot-product attention over several heads, one operation on the tape.
//
// Legend: B sequences, T queries a sequence, S keys a sequence, H heads, K head size, D = H K width.

import Kernels

/// Which keys a query may see.
public struct AttentionMask: Sendable {
    /// Query t sees keys 0 ... t + (S - T) only.
    public var causal: Bool
    /// The number of real keys of each sequence, [B]; `nil` when all S are real. A query that sees no key gives zeros.
    public var keyLengths: [Int]?

    public init(causal: Bool = false, keyLengths: [Int]? = nil) {
        self.causal = causal
        self.keyLengths = keyLengths
    }
}

/// One operand of attention: D columns of a [B, L, C] tensor, so that packed projections need not be split.
public struct AttentionOperand {
    /// [B, L, C], C at least `column` + D.
    public let tensor: Tensor
    /// The first of the D columns.
    public let column: Int

    public init(_ tensor: Tensor, column: Int = 0) {
        precondition(tensor.shape.rank == 3, "attention takes [B, L, C], not \(tensor.shape)")
        self.tensor = tensor
        self.column = column
    }

    var stride: Int { tensor.shape[2] }
    var length: Int { tensor.shape[1] }

    func pointer(_ base: UnsafeMutablePointer<Float>, sequence: Int, row: Int, head: Int, headSize: Int) -> UnsafeMutablePointer<Float> {
        base + (sequence * length + row) * stride + column + head * headSize
    }
}

/// softmax(Q K^T / sqrt(K) + mask) V for each head (Vaswani et al. 2017, equation 1), heads concatenated.
///
/// - Parameters:
///   - query: D columns of [B, T, ...].
///   - key, value: D columns of [B, S, ...]; all three may be parts of one packed tensor.
///   - width: D.
///   - heads: H, a divisor of D.
///   - mask: causal, padding, both or none. A causal mask aligns the last query with the last key.
///   - scale: multiplies the scores; `nil` is 1 / sqrt(K).
///   - dropoutRate: on the probabilities, during training.
///   - dropout: where the masks come from; `nil` in evaluation.
/// - Returns: [B, T, D].
/// - Complexity: 4 B T S D flops forward (half of it when causal), 8 backward; keeps the B H T S probabilities for the gradient, S rounded up to 16.
public func attention(
    query: AttentionOperand, key: AttentionOperand, value: AttentionOperand, width: Int, heads: Int, mask: AttentionMask = AttentionMask(),
    scale: Float? = nil, dropoutRate: Float = 0, dropout: DropoutContext? = nil
) -> Tensor {
    let computation = AttentionComputation(
        query: query, key: key, value: value, width: width, heads: heads, mask: mask, scale: scale,
        dropout: dropoutRate > 0 ? dropout.map { AttentionDropout(rate: DropoutRate(dropoutRate), keys: $0.nextSiteKeys()) } : nil)
    let keepsProbabilities = query.tensor.requiresGradient || key.tensor.requiresGradient || value.tensor.requiresGradient
    let (output, probabilities) = computation.forward(keepsProbabilities: keepsProbabilities)
    guard let probabilities else { return output }
    return Tape.record(output, from: query.tensor, key.tensor, value.tensor) { gradient in computation.backward(gradient, probabilities) }
}

struct AttentionDropout {
    let rate: DropoutRate
    let keys: [UInt64]

    /// Drops elements of rows `first ..< first + rows` of one head's probabilities. An element's fate depends on lane, head, query and key alone.
    func apply(_ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, sequence: Int, head: Int, first: Int, rows: Int, columns: Int, stride: Int) {
        for row in 0..<rows {
            kernels.dropout(
                out + row * stride, x + row * stride, key: keys[sequence], first: UInt64(head) << 48 | UInt64(first + row) << 24,
                keepThreshold: rate.keepThreshold, scale: rate.scale, columns)
        }
    }
}

struct AttentionComputation {
    let query: AttentionOperand
    let key: AttentionOperand
    let value: AttentionOperand
    let heads: Int
    let headSize: Int
    let mask: AttentionMask
    let scale: Float
    let dropout: AttentionDropout?
    let (batch, queries, keys): (Int, Int, Int)
    /// Elements between rows of scores and probabilities: S in whole vectors. What lies between the last key and the end of its vector is zero
    /// while kernels work on it, so that they need not stop in the middle of a vector.
    private let stride: Int

    /// Queries of one block: a causal block computes no score beyond its last query.
    private static let causalBlock = 64

    init(
        query: AttentionOperand, key: AttentionOperand, value: AttentionOperand, width: Int, heads: Int, mask: AttentionMask, scale: Float?,
        dropout: AttentionDropout?
    ) {
        precondition(heads > 0 && width % heads == 0, "attention: \(heads) heads do not divide a width of \(width)")
        precondition(
            query.tensor.shape[0] == key.tensor.shape[0] && key.tensor.shape[0] == value.tensor.shape[0] && key.length == value.length,
            "attention: query \(query.tensor.shape), key \(key.tensor.shape) and value \(value.tensor.shape) do not fit")
        for operand in [query, key, value] {
            precondition(operand.column + width <= operand.stride, "attention: \(width) columns from \(operand.column) of shape \(operand.tensor.shape)")
        }
        self.query = query
        self.key = key
        self.value = value
        self.heads = heads
        headSize = width / heads
        self.mask = mask
        self.scale = scale ?? 1 / Float(width / heads).squareRoot()
        self.dropout = dropout
        (batch, queries, keys) = (query.tensor.shape[0], query.length, key.length)
        stride = Self.wholeVectors(keys)
        precondition(!mask.causal || keys >= queries, "attention: a causal mask over \(queries) queries and \(keys) keys")
        precondition(mask.keyLengths.map { $0.count == batch } ?? true, "attention: \(mask.keyLengths?.count ?? 0) key lengths for \(batch) sequences")
    }

    /// Blocks of queries with the number of keys that the block's last query sees.
    private func blocks(_ sequence: Int) -> [(first: Int, rows: Int, keys: Int)] {
        let real = min(mask.keyLengths?[sequence] ?? keys, keys)
        guard mask.causal else { return [(0, queries, real)] }
        return Swift.stride(from: 0, to: queries, by: Self.causalBlock).map { first in
            let rows = min(Self.causalBlock, queries - first)
            return (first, rows, min(real, first + rows + keys - queries))
        }
    }

    /// The keys that query `row` sees, out of the first `limit`.
    private func visible(_ row: Int, limit: Int) -> Int {
        mask.causal ? min(limit, row + 1 + keys - queries) : limit
    }

    /// `count` rounded up to the widest vector of any instruction set.
    private static func wholeVectors(_ count: Int) -> Int { (count + 15) & ~15 }

    /// Writes zeros between the last of `columns` and the end of its vector, in each row, before the columns themselves are written.
    private func clearPadding(_ scores: UnsafeMutablePointer<Float>, rows: Int, columns: Int) {
        let end = Self.wholeVectors(columns)
        guard end != columns else { return }
        for row in 0..<rows { kernels.fill(scores + row * stride + end - 16, 0, 16) }
    }

    func forward(keepsProbabilities: Bool) -> (output: Tensor, probabilities: Tensor?) {
        let width = heads * headSize
        let output = Tensor(uninitialized: [batch, queries, width])
        let kept = keepsProbabilities ? Tensor(uninitialized: [batch, heads, queries, stride]) : nil
        let scratch = keepsProbabilities && dropout == nil ? nil : Tensor(uninitialized: [queries, stride])
        for b in 0..<batch {
            for h in 0..<heads {
                for block in blocks(b) {
                    let out = output.floats + (b * queries + block.first) * width + h * headSize
                    if block.keys == 0 {
                        for row in 0..<block.rows { kernels.fill(out + row * width, 0, headSize) }
                        continue
                    }
                    let p = kept.map { $0.floats + ((b * heads + h) * queries + block.first) * stride } ?? scratch!.floats
                    let q = query.pointer(query.tensor.floats, sequence: b, row: block.first, head: h, headSize: headSize)
                    let k = key.pointer(key.tensor.floats, sequence: b, row: 0, head: h, headSize: headSize)
                    let padded = Self.wholeVectors(block.keys)
                    clearPadding(p, rows: block.rows, columns: block.keys)
                    multiplyMatrices(
                        p, leadingC: stride, q, leadingA: query.stride, k, .transposed, leadingB: key.stride, m: block.rows, n: block.keys, k: headSize)
                    for row in 0..<block.rows {
                        let seen = visible(block.first + row, limit: block.keys)
                        kernels.softmax(p + row * stride, p + row * stride, scale: scale, seen)
                        if seen < block.keys { kernels.fill(p + row * stride + seen, 0, padded - seen) }
                    }
                    var weights = p
                    if let dropout, let scratch {
                        weights = scratch.floats
                        dropout.apply(
                            weights, p, sequence: b, head: h, first: block.first, rows: block.rows, columns: padded, stride: stride)
                    }
                    let v = value.pointer(value.tensor.floats, sequence: b, row: 0, head: h, headSize: headSize)
                    multiplyMatrices(
                        out, leadingC: width, weights, leadingA: stride, v, leadingB: value.stride, m: block.rows, n: headSize, k: block.keys)
                }
            }
        }
        return (output, kept)
    }

    func backward(_ gradient: Tensor, _ probabilities: Tensor) {
        // Operands may be parts of one packed tensor: then they share its gradient, which starts from zero because each covers some columns only.
        let (queryNode, keyNode, valueNode) = (query.tensor.node, key.tensor.node, value.tensor.node)
        let keyIsQuery = keyNode === queryNode
        let (valueIsQuery, valueIsKey) = (valueNode === queryNode, valueNode === keyNode)
        withTarget(queryNode) { q in
            withTarget(keyIsQuery ? nil : keyNode) { ownKey in
                let k = keyIsQuery ? q : ownKey
                withTarget(valueIsQuery || valueIsKey ? nil : valueNode) { ownValue in
                    run(gradient, probabilities, q, k, valueIsQuery ? q : valueIsKey ? k : ownValue)
                }
            }
        }
    }

    private func withTarget(_ node: Node?, _ body: (UnsafeMutablePointer<Float>?) -> Void) {
        if let node { node.withZeroedGradient { body($0) } } else { body(nil) }
    }

    private func run(
        _ gradient: Tensor, _ probabilities: Tensor, _ queryGradient: UnsafeMutablePointer<Float>?, _ keyGradient: UnsafeMutablePointer<Float>?,
        _ valueGradient: UnsafeMutablePointer<Float>?
    ) {
        let width = heads * headSize
        let scratch = Tensor(uninitialized: [2, queries, stride])
        let (weightScratch, scoreGradient) = (scratch.floats, scratch.floats + queries * stride)
        for b in 0..<batch {
            for h in 0..<heads {
                for block in blocks(b) where block.keys > 0 {
                    let p = probabilities.floats + ((b * heads + h) * queries + block.first) * stride
                    let padded = Self.wholeVectors(block.keys)
                    let dOut = gradient.floats + (b * queries + block.first) * width + h * headSize
                    var weights = p
                    if let dropout {
                        weights = weightScratch
                        dropout.apply(weights, p, sequence: b, head: h, first: block.first, rows: block.rows, columns: padded, stride: stride)
                    }
                    if let valueGradient {
                        multiplyMatrices(
                            value.pointer(valueGradient, sequence: b, row: 0, head: h, headSize: headSize), leadingC: value.stride, weights, .transposed,
                            leadingA: stride, dOut, leadingB: width, m: block.keys, n: headSize, k: block.rows, beta: 1)
                    }
                    guard queryGradient != nil || keyGradient != nil else { continue }
                    let v = value.pointer(value.tensor.floats, sequence: b, row: 0, head: h, headSize: headSize)
                    clearPadding(scoreGradient, rows: block.rows, columns: block.keys)
                    multiplyMatrices(
                        scoreGradient, leadingC: stride, dOut, leadingA: width, v, .transposed, leadingB: value.stride, m: block.rows, n: block.keys, k: headSize)
                    dropout?.apply(
                        scoreGradient, scoreGradient, sequence: b, head: h, first: block.first, rows: block.rows, columns: padded, stride: stride)
                    for row in 0..<block.rows {
                        // Probabilities of keys that the query does not see are zero, and so are their gradients.
                        let seen = Self.wholeVectors(visible(block.first + row, limit: block.keys))
                        let d = scoreGradient + row * stride
                        kernels.softmaxGradient(d, outputGradient: d, probability: p + row * stride, scale: scale, seen)
                        if seen < padded { kernels.fill(d + seen, 0, padded - seen) }
                    }
                    if let queryGradient {
                        let k = key.pointer(key.tensor.floats, sequence: b, row: 0, head: h, headSize: headSize)
                        multiplyMatrices(
                            query.pointer(queryGradient, sequence: b, row: block.first, head: h, headSize: headSize), leadingC: query.stride, scoreGradient,
                            leadingA: stride, k, leadingB: key.stride, m: block.rows, n: headSize, k: block.keys, beta: 1)
                    }
                    if let keyGradient {
                        let q = query.pointer(query.tensor.floats, sequence: b, row: block.first, head: h, headSize: headSize)
                        multiplyMatrices(
                            key.pointer(keyGradient, sequence: b, row: 0, head: h, headSize: headSize), leadingC: key.stride, scoreGradient, .transposed,
                            leadingA: stride, q, leadingB: query.stride, m: block.keys, n: headSize, k: block.rows, beta: 1)
                    }
                }
            }
        }
    }
}

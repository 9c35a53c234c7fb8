// Self-attention over a segment and the positions before it, by their distances.
//
// Legend: B sequences, T positions of the segment, M positions before it, S = M + T, H heads, K head size, D = H K width.

import Diagnostics
import Foundation
import Tensors

/// Attention of a segment over itself and over what came before it, with Transformer-XL's relative scores (see `relativeAttention`). No projection
/// has a bias.
///
/// - Source: Dai et al., "Transformer-XL: Attentive language models beyond a fixed-length context", 2019, section 3.3.
public struct RelativeSelfAttention {
    /// D to D.
    public let query: Linear
    /// D to 2 D: key, value; the paper's W_k,E and W_v.
    public let keyValue: Linear
    /// D to D, from encoded distances to what queries are compared with, the paper's W_k,R.
    public let distance: Linear
    /// D to D.
    public let output: Linear
    /// H, a divisor of D.
    public let heads: Int
    /// The dropout rate of the attention probabilities.
    public let dropoutRate: Float

    /// Declares `path.query`, `path.keyValue`, `path.distance` and `path.output`.
    public init(_ store: ParameterStore, _ path: String, width: Int, heads: Int, initializer: Initializer, dropoutRate: Float) {
        func layer(_ name: String, outputs: Int) -> Linear {
            Linear(store, "\(path).\(name)", inputs: width, outputs: outputs, initializer: initializer, hasBias: false)
        }
        query = layer("query", outputs: width)
        keyValue = layer("keyValue", outputs: 2 * width)
        distance = layer("distance", outputs: width)
        output = layer("output", outputs: width)
        self.heads = heads
        self.dropoutRate = dropoutRate
    }

    /// The encodings of the distances 0 ..< count, float32 [count, D]: the sines of the D / 2 frequencies 10000^(-2 i / D), then their cosines.
    /// - Parameter clamp: distances above this have its encoding; `nil` where each has its own.
    public static func encodedDistances(_ count: Int, width: Int, clamp: Int? = nil) -> Tensor {
        let table = Tensor(uninitialized: [count, width])
        let half = (width + 1) / 2
        for distance in 0..<count {
            for i in 0..<width {
                let angle = Double(min(distance, clamp ?? .max)) / pow(10_000, Double(2 * (i % half)) / Double(width))
                table.floats[distance * width + i] = Float(i < half ? sin(angle) : cos(angle))
            }
        }
        return table
    }

    /// [B, T, D] over the keys and values of the positions before and its own, to [B, T, D].
    ///
    /// - Parameters:
    ///   - past: the keys and values of the M positions before, [B, M, 2 D], as `keyValue` gives them; `nil` for none.
    ///   - distances: what `distance` makes of the encodings of the distances S - 1 ... 0, in this order, [S, D].
    ///   - biases: u and v, float32 [D] each, which all layers share.
    ///   - firstKeys, window: as `relativeAttention` takes them, the latter as `segmentWindow`.
    ///   - mixing: makes what the output layer reads of what was attended to, [B, T, D], the queries, [B, T, D], and the keys and values of the
    ///     segment, [B, T, 2 D]; `nil` for a layer that reads what was attended to.
    ///   - onKeysAndValues: gets those of the segment, [B, T, 2 D], for a cache to copy from.
    ///   - onWeights: gets the weights of the first sequence, for a picture.
    ///   - onReceived: as `relativeAttention` takes it.
    public func callAsFunction(
        _ x: Tensor, past: Tensor?, distances: Tensor, biases: (content: Tensor, position: Tensor), firstKeys: [Int]?,
        window: Int? = nil, _ pass: ForwardPass, mixing: ((_ attended: Tensor, _ queries: Tensor, _ keysAndValues: Tensor) -> Tensor)? = nil,
        onKeysAndValues: ((Tensor) -> Void)? = nil, onWeights: ((RelativeWeights) -> Void)? = nil, onReceived: ((Tensor) -> Void)? = nil
    ) -> Tensor {
        let own = keyValue(x, pass)
        onKeysAndValues?(own)
        let all = past.map { concatenate([$0, own], axis: 1) } ?? own
        let queries = query(x, pass)
        onWeights?(RelativeWeights(queries, all, distances, biases, heads: heads, firstKeys: firstKeys, window: window))
        let mixed = relativeAttention(
            query: AttentionOperand(queries), key: AttentionOperand(all), value: AttentionOperand(all, column: x.shape[2]), distances: distances,
            contentBias: biases.content, positionBias: biases.position, heads: heads, firstKeys: firstKeys, segmentWindow: window,
            dropoutRate: dropoutRate, dropout: pass.dropout, onReceived: onReceived)
        return output(mixing?(mixed, queries, own) ?? mixed, pass)
    }

    /// What positions read of several memories by content alone, softmax(q k / sqrt(K)) v: without distances and their biases, without the output
    /// projection. The matrices are constants: no gradient reaches them.
    ///
    /// - Parameters:
    ///   - x: [B, T, D] in the type of activations, as `callAsFunction` takes it.
    ///   - memories: rows [B, R, D] likewise, and the first of them that the positions of each sequence see, [B]; R for none.
    /// - Returns: [B, T, D] for each memory, zeros where nothing is seen.
    public func contentReadings(_ x: Tensor, of memories: [(rows: Tensor, first: [Int])]) -> [Tensor] {
        let (positions, width) = (x.shape[1], x.shape[2])
        let queries = linear(x, weight: query.weight.operand)
        return memories.map { memory in
            let pairs = linear(memory.rows, weight: keyValue.weight.operand)
            return attention(
                query: AttentionOperand(queries), key: AttentionOperand(pairs), value: AttentionOperand(pairs, column: width), width: width,
                heads: heads, mask: AttentionMask(firstKeys: memory.first.flatMap { [Int](repeating: $0, count: positions) }))
        }
    }
}

/// How the positions of a batch's first sequence weigh what they see, the mean of the heads. Made for pictures: one key after the other.
public struct RelativeWeights {
    /// T.
    public let positions: Int
    /// S.
    public let keys: Int
    /// [T, S], 0 where a key is not seen.
    public let values: [Float]

    init(
        _ query: Tensor, _ keysAndValues: Tensor, _ distances: Tensor, _ biases: (content: Tensor, position: Tensor), heads: Int, firstKeys: [Int]?,
        window: Int?
    ) {
        let (positions, keys, width) = (query.shape[1], keysAndValues.shape[1], query.shape[2])
        let size = width / heads
        let (q, k, r) = (query.converted(to: .float32), keysAndValues.converted(to: .float32), distances.converted(to: .float32))
        var values = [Float](repeating: 0, count: positions * keys)
        for t in 0..<positions {
            let own = keys - positions + t
            let hidden = keys - positions..<max(keys - positions, own + 1 - (window ?? positions))
            let seen = ((firstKeys?[t] ?? 0)..<own + 1).filter { !hidden.contains($0) }
            for head in 0..<heads {
                let scores = seen.map { key -> Float in
                    var sum: Float = 0
                    for i in head * size..<(head + 1) * size {
                        let value = q.floats[t * width + i]
                        sum += (value + biases.content.floats[i]) * k.floats[key * 2 * width + i]
                        sum += (value + biases.position.floats[i]) * r.floats[(positions - 1 - t + key) * width + i]
                    }
                    return sum / Float(size).squareRoot()
                }
                let largest = scores.max() ?? 0
                let weights = scores.map { exp($0 - largest) }
                let total = weights.reduce(0, +) * Float(heads)
                for (key, weight) in zip(seen, weights) { values[t * keys + key] += weight / total }
            }
        }
        (self.positions, self.keys, self.values) = (positions, keys, values)
    }
}

// Reading a key-value memory: each query from the facts that are its own (Miller et al. 2016, "Key-value memory networks for directly reading
// documents", section 3.1).
//
// Legend: B queries, F facts of all queries together, n facts of one query, D width.

import Diagnostics
import Kernels
import Tensors

/// What was read, and by which weights.
public struct KeyValueReading {
    /// [B, D], on the tape; 0 where a query has no facts.
    public let values: Tensor
    /// [F]: the weights of each query's facts add up to 1. Off the tape.
    public let weights: Tensor
}

/// Reads the values of each query's facts by softmax(strength * query . key).
///
/// Facts are not padded: a query's softmax runs over its own facts and over nothing else.
///
/// - Parameters:
///   - query: [B, D].
///   - keys, values: [F, D].
///   - facts: B segments of F.
///   - strength: multiplies the scores; with rising strength the reading tends to the value of the best key.
/// - Complexity: 4 F D flops forward, 8 F D backward; keeps F weights.
public func readKeyValues(_ query: Tensor, keys: Tensor, values: Tensor, facts: Segments, strength: Float = 1) -> KeyValueReading {
    let width = query.shape.columns
    require(
        query.shape.rank == 2 && query.shape[0] == facts.count && keys.shape.rank == 2 && keys.shape == values.shape && keys.shape[1] == width
            && keys.shape[0] == facts.total, "readKeyValues: query \(query.shape), keys \(keys.shape), values \(values.shape), \(facts.total) facts")
    let y = Tensor(uninitialized: query.shape)
    let weights = Tensor(uninitialized: [facts.total])
    let perQuery = 2 * width * max(facts.total / max(facts.count, 1), 1)
    Workers.parallel(facts.count, minimum: max(1, elementGrain / max(perQuery, 1))) { queries in
        for b in queries {
            let (range, q, out) = (facts[b], query.floats + b * width, y.floats + b * width)
            let p = weights.floats + range.lowerBound
            for (i, fact) in range.enumerated() { p[i] = kernels.dot(q, keys.floats + fact * width, width) }
            kernels.softmax(p, p, scale: strength, range.count)
            kernels.fill(out, 0, width)
            for (i, fact) in range.enumerated() { kernels.addScaled(out, values.floats + fact * width, scale: p[i], width) }
        }
    }
    let output = Operation("read key-values").record(y, from: [query, keys, values]) { gradient in
        let scores = Tensor(uninitialized: [facts.total])
        for b in 0..<facts.count {
            let (range, g) = (facts[b], gradient.floats + b * width)
            let s = scores.floats + range.lowerBound
            for (i, fact) in range.enumerated() { s[i] = kernels.dot(g, values.floats + fact * width, width) }
            kernels.softmaxGradient(s, outputGradient: s, probability: weights.floats + range.lowerBound, scale: strength, range.count)
        }
        query.node?.withZeroedGradient { target in
            for b in 0..<facts.count {
                for fact in facts[b] { kernels.addScaled(target + b * width, keys.floats + fact * width, scale: scores.floats[fact], width) }
            }
        }
        keys.node?.withZeroedGradient { target in
            for b in 0..<facts.count {
                for fact in facts[b] { kernels.addScaled(target + fact * width, query.floats + b * width, scale: scores.floats[fact], width) }
            }
        }
        values.node?.withZeroedGradient { target in
            for b in 0..<facts.count {
                for fact in facts[b] { kernels.addScaled(target + fact * width, gradient.floats + b * width, scale: weights.floats[fact], width) }
            }
        }
    }
    return KeyValueReading(values: output, weights: weights)
}

// The gated delta rule, step by step and in chunks, and the short convolution in front of it.
//
// Legend: T steps, K width of a key, V width of a value, S the matrix that is remembered [K, V], C channels, W width of the convolution.

/// One head over the steps of one sequence (Yang, Kautz and Hatamizadeh 2024, "Gated Delta Networks", equation 10): S = exp(g) S,
/// u = b (v - S^T k), S = S + k u^T, o = S^T q / sqrt(K).
///
/// - Parameters:
///   - queries: q, [T, K], of length 1; likewise the keys.
///   - values: v, [T, V].
///   - strengths: b, [T].
///   - logDecays: g, [T].
///   - matrix: S before the first step; gets S after the last one.
///   - erases: false for u = b v, gated linear attention.
/// - Returns: o, [T, V].
public func gatedDeltaRule(
    queries: ReferenceArray, keys: ReferenceArray, values: ReferenceArray, strengths: ReferenceArray, logDecays: ReferenceArray,
    _ matrix: inout ReferenceArray, erases: Bool = true
) -> ReferenceArray {
    .stacked(
        queries.rows.indices.map { t in
            matrix = matrix * exp(logDecays[t])
            let error = erases ? values[t] - matrix.transposed.times(keys[t]) : values[t]
            matrix = matrix + keys[t].outer(strengths[t] * error)
            return matrix.transposed.times(queries[t]) / squareRoot(ReferenceArray(Double(queries.shape[1])))
        })
}

/// The same in chunks of `chunk` steps (Yang et al. 2024, "Parallelizing linear transformers with the delta rule over sequence length", section 3),
/// with G[t] the sum of g in the chunk up to t. The updates of a chunk solve (I + L) U = b (V - exp(G) K S), L[t, i] = b[t] exp(G[t] - G[i])
/// k[t].k[i] below the diagonal.
public func chunkedGatedDeltaRule(
    queries: ReferenceArray, keys: ReferenceArray, values: ReferenceArray, strengths: ReferenceArray, logDecays: ReferenceArray,
    _ matrix: inout ReferenceArray, erases: Bool = true, chunk: Int
) -> ReferenceArray {
    let steps = queries.shape[0]
    var outputs: [ReferenceArray] = []
    for first in stride(from: 0, to: steps, by: chunk) {
        let range = first..<min(first + chunk, steps)
        let (q, k, v) = (queries.slice(range, axis: 0), keys.slice(range, axis: 0), values.slice(range, axis: 0))
        var sums: [ReferenceArray] = []
        for t in range { sums.append((sums.last ?? 0) + logDecays[t]) }
        func ratio(_ t: Int, _ i: Int) -> ReferenceArray { exp(sums[t] - sums[i]) }
        var updates: [ReferenceArray] = []
        for t in 0..<range.count {
            var error = v[t]
            if erases {
                error = error - exp(sums[t]) * matrix.transposed.times(k[t])
                for i in 0..<t { error = error - ratio(t, i) * k[t].dot(k[i]) * updates[i] }
            }
            updates.append(strengths[range.lowerBound + t] * error)
        }
        let scale = squareRoot(ReferenceArray(Double(queries.shape[1])))
        for t in 0..<range.count {
            var read = exp(sums[t]) * matrix.transposed.times(q[t])
            for i in 0...t { read = read + ratio(t, i) * q[t].dot(k[i]) * updates[i] }
            outputs.append(read / scale)
        }
        matrix = exp(sums[range.count - 1]) * matrix
        for i in 0..<range.count { matrix = matrix + ratio(range.count - 1, i) * k[i].outer(updates[i]) }
    }
    return .stacked(outputs)
}

/// y[t] = silu(sum over j of weight[:, j] x[t - W + 1 + j]), silu(z) = z sigmoid(z), for one sequence.
///
/// - Parameters:
///   - x: [T, C].
///   - weight: [C, W].
///   - before: the W - 1 positions before the first, [W - 1, C]; gets the last W - 1.
/// - Returns: [T, C].
public func causalConvolution(_ x: ReferenceArray, weight: ReferenceArray, _ before: inout ReferenceArray) -> ReferenceArray {
    let width = weight.shape[1]
    let all = ReferenceArray.concatenated([before, x], axis: 0)
    before = all.slice(x.shape[0]..<x.shape[0] + width - 1, axis: 0)
    return .stacked(
        (0..<x.shape[0]).map { t in
            let z = (all.slice(t..<t + width, axis: 0) * weight.transposed).sum(axis: 0).flattened
            return z * sigmoid(z)
        })
}

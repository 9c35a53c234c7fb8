// Scaled dot-product attention over several heads (Vaswani et al. 2017), and with Transformer-XL's relative scores (Dai et al. 2019).
//
// Legend: T queries, S keys, M = S - T keys of the past, H heads, K head size, D = H K width.

/// softmax(Q K^T / sqrt(K)) V (equation 1) for each head of one sequence, heads side by side (section 3.2.2 without the projections).
///
/// - Parameters:
///   - query: [T, D]; key, value: [S, D].
///   - keyLength: keys from this one on are padding.
///   - isCausal: query t sees keys 0 ... t + S - T.
///   - scale: in place of 1 / sqrt(K).
///   - mask: [H, T, S] factors of the probabilities, for dropout.
/// - Returns: [T, D]; 0 for a query that sees no key.
public func attention(
    query: ReferenceArray, key: ReferenceArray, value: ReferenceArray, heads: Int, keyLength: Int? = nil, isCausal: Bool = false,
    scale: Double? = nil, mask: ReferenceArray? = nil
) -> ReferenceArray {
    let (queries, keys, size) = (query.shape[0], key.shape[0], query.shape[1] / heads)
    let perHead = (0..<heads).map { head in
        let columns = head * size..<(head + 1) * size
        let (q, k, v) = (query.slice(columns), key.slice(columns), value.slice(columns))
        let scores = q.times(k.transposed) * ReferenceArray(scale ?? 1 / Double(size).squareRoot())
        return ReferenceArray.stacked(
            (0..<queries).map { t in
                let seen = min(keyLength ?? keys, isCausal ? t + keys - queries + 1 : keys)
                guard seen > 0 else { return ReferenceArray(repeating: 0, [size]) }
                var p = softmax(scores[t].slice(0..<seen))
                if let mask { p = p * mask[head][t].slice(0..<seen) }
                return v.slice(0..<seen, axis: 0).transposed.times(p)
            })
    }
    return .concatenated(perHead)
}

/// Transformer-XL's attention (section 3.3 without the projections): query t stands at key t + M and sees none behind it,
///
///     score(t, s) = ((q_t + u) . k_s + (q_t + v) . r_(t + M - s)) / sqrt(K)
///
/// The second products are shifted as in appendix B: those with all distances, a column of zeros in front of them, laid out anew.
///
/// - Parameters:
///   - query: [T, D]; key, value: [S, D].
///   - distances: r, [S, D], row c for distance S - 1 - c.
///   - contentBias: u, [D]; positionBias: v, [D].
///   - firstKeys: the first key that each query sees, [T].
///   - segmentWindow: how many of the T keys of the segment a query sees, the latest ones, its own among them.
///   - mask: [H, T, S] factors of the probabilities, for dropout.
/// - Returns: [T, D]; 0 for a query that sees no key.
public func relativeAttention(
    query: ReferenceArray, key: ReferenceArray, value: ReferenceArray, distances: ReferenceArray, contentBias: ReferenceArray,
    positionBias: ReferenceArray, heads: Int, firstKeys: [Int]? = nil, segmentWindow: Int? = nil, mask: ReferenceArray? = nil
) -> ReferenceArray {
    let (queries, keys, size) = (query.shape[0], key.shape[0], query.shape[1] / heads)
    let perHead = (0..<heads).map { head in
        let columns = head * size..<(head + 1) * size
        let (q, v) = (query.slice(columns), value.slice(columns))
        let content = (q + contentBias.slice(columns)).times(key.slice(columns).transposed)
        let position = (q + positionBias.slice(columns)).times(distances.slice(columns).transposed)
        let scores = (content + relativeShift(position)) / ReferenceArray(Double(size).squareRoot())
        return ReferenceArray.stacked(
            (0..<queries).map { t in
                let seen = (firstKeys?[t] ?? 0)..<keys - queries + t + 1
                guard !seen.isEmpty else { return ReferenceArray(repeating: 0, [size]) }
                let past = keys - queries
                let hidden = past..<max(past, past + t + 1 - (segmentWindow ?? queries))
                // Whatever a hidden score is, its weight is nothing.
                let own = ReferenceArray(seen.map { hidden.contains($0) ? -1e30 : 0 }, [seen.count])
                var p = softmax(scores[t].slice(seen) + own)
                if let mask { p = p * mask[head][t].slice(seen) }
                return v.slice(seen, axis: 0).transposed.times(p)
            })
    }
    return .concatenated(perHead)
}

/// [T, S], column c for distance S - 1 - c, so that column s of row t is for the distance t + S - T - s. What stands above the last one is of no use.
public func relativeShift(_ products: ReferenceArray) -> ReferenceArray {
    let (queries, keys) = (products.shape[0], products.shape[1])
    let padded = ReferenceArray.concatenated([ReferenceArray(repeating: 0, [queries, 1]), products])
    return padded.reshaped([keys + 1, queries]).slice(1..<keys + 1, axis: 0).reshaped([queries, keys])
}

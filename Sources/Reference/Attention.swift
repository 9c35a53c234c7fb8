// Scaled dot-product attention over several heads (Vaswani et al. 2017).
//
// Legend: T queries, S keys, H heads, K head size, D = H K width.

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

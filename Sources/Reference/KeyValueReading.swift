// What key-value memory networks are made of (Miller et al. 2016, "Key-value memory networks for directly reading documents", section 3.1).
//
// Legend: B queries, F facts of all queries, V rows of a table, D width.

/// Sums of a table's rows with weights. table: [V, D]; returns a row of [D] for each bag.
public func sumBags(_ table: ReferenceArray, _ bags: [[(row: Int, weight: Double)]]) -> ReferenceArray {
    .stacked(bags.map { bag in bag.reduce(ReferenceArray(repeating: 0, [table.shape[1]])) { $0 + table[$1.row] * ReferenceArray($1.weight) } })
}

/// What each query reads from its own facts: p = softmax(strength * k q), then the sum of p v. 0 without facts.
///
/// - Parameters:
///   - query: [B, D]; keys, values: [F, D].
///   - facts: the facts of each query.
public func readKeyValues(
    _ query: ReferenceArray, keys: ReferenceArray, values: ReferenceArray, facts: [Range<Int>], strength: Double = 1
) -> ReferenceArray {
    .stacked(
        zip(query.rows, facts).map { q, range in
            guard !range.isEmpty else { return ReferenceArray(repeating: 0, q.shape) }
            let p = softmax(keys.slice(range, axis: 0).times(q) * ReferenceArray(strength))
            return values.slice(range, axis: 0).transposed.times(p)
        })
}

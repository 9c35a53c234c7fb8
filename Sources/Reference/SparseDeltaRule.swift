// The gated delta rule on a few rows of a memory, step by step, and the search for the rows that a query stands for by looking at all of them.
//
// Legend: T steps, S rows, V width of a row, n halves of keys on either side, W rows of an address.

/// Some rows, and how much goes to each: what a step writes to, or what it reads.
public struct ReferenceAddress: Sendable {
    /// [W], different ones.
    public var rows: [Int]
    /// [W].
    public var weights: ReferenceArray

    /// Rows and as many weights.
    public init(rows: [Int], weights: ReferenceArray) { (self.rows, self.weights) = (rows, weights) }
}

/// The W best of n^2 rows by the sums of two scores, that of row i n + j being firsts[i] + seconds[j], and the softmax over their sums. Of equal sums
/// that comes first whose first score, and then whose second score, is the larger, or has the lower number.
///
/// - Parameters:
///   - firsts: [n]; likewise seconds.
///   - count: W.
public func productKeyAddress(_ firsts: ReferenceArray, _ seconds: ReferenceArray, count: Int) -> ReferenceAddress {
    func ranked(_ scores: ReferenceArray) -> [Int] {
        scores.values.indices.sorted { (a: Int, b: Int) -> Bool in (-scores.values[a], a) < (-scores.values[b], b) }
    }
    let (side, seconds) = (firsts.values.count, (order: ranked(seconds), values: seconds.values))
    var pairs: [(sum: Double, place: Int, row: Int)] = []
    for i in ranked(firsts) {
        for j in seconds.order { pairs.append((firsts.values[i] + seconds.values[j], pairs.count, i * side + j)) }
    }
    pairs.sort { ($1.sum, $0.place) < ($0.sum, $1.place) }
    let best = pairs.prefix(count)
    return ReferenceAddress(rows: best.map(\.row), weights: softmax(ReferenceArray(best.map(\.sum), [count])))
}

/// One head over the steps of one sequence (Cabannes et al. 2026, "Sparse Delta Memory", section 3): of the rows i that are written
/// M[i] = exp(g) M[i], u = b (v - sum over i of k[i] M[i]), M[i] = M[i] + k[i] u; then o = sum over j of q[j] M[j].
///
/// - Parameters:
///   - values: v, [T, V].
///   - strengths: b, [T].
///   - logDecays: g, [T].
///   - writes: k, of each step.
///   - reads: q, of each step.
///   - memory: M before the first step, [S, V]; gets M after the last one.
///   - start: what M is put back to, [S, V].
///   - resets: whether that happens before a step, [T].
/// - Returns: o, [T, V].
public func sparseDeltaRule(
    values: ReferenceArray, strengths: ReferenceArray, logDecays: ReferenceArray, writes: [ReferenceAddress], reads: [ReferenceAddress],
    _ memory: inout ReferenceArray, start: ReferenceArray, resets: [Bool]
) -> ReferenceArray {
    .stacked(
        values.rows.indices.map { t in
            if resets[t] { memory = start }
            var rows = memory.rows
            var error = values[t]
            for (row, weight) in zip(writes[t].rows, writes[t].weights.rows) {
                rows[row] = exp(logDecays[t]) * rows[row]
                error = error - weight * rows[row]
            }
            for (row, weight) in zip(writes[t].rows, writes[t].weights.rows) { rows[row] = rows[row] + weight * strengths[t] * error }
            memory = .stacked(rows)
            var read = 0 * values[t]
            for (row, weight) in zip(reads[t].rows, reads[t].weights.rows) { read = read + weight * rows[row] }
            return read
        })
}

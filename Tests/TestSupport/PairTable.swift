// Stored pairs for tests of what attends to them: a table, looked through from its first row to its last.

import NeuralNetworks
import Tensors

/// Pairs that are all looked at for each query.
public final class PairTable: PairStore {
    public let width: Int
    private let heads: Int
    private let rows: Tensor
    private let ages: [Int]
    public var count: Int { ages.count }

    /// - Parameters:
    ///   - rows: float32 [n, 2 D], the keys of all heads and then their values.
    ///   - ages: of each.
    public init(_ rows: Tensor, heads: Int, ages: [Int]) {
        (self.rows, self.heads, self.ages, width) = (rows, heads, ages, rows.shape[1] / 2)
    }

    public func pair(_ slot: Int) -> UnsafePointer<Float> { UnsafePointer(rows.floats + slot * 2 * width) }
    public func age(_ slot: Int) -> Int { ages[slot] }

    public func nearest(_ queries: Tensor, head: Int, lanes: [Int], limit: Int) -> FoundPairs {
        let size = width / heads
        var found = FoundPairs(queries: queries.shape[0], limit: limit)
        for query in 0..<queries.shape[0] {
            let scores = (0..<count).map { slot in
                (0..<size).reduce(0.0) { $0 + Double(queries.floats[query * size + $1]) * Double(pair(slot)[head * size + $1]) }
            }
            let best = scores.indices.sorted { (-scores[$0], $0) < (-scores[$1], $1) }.prefix(limit)
            found.counts[query] = best.count
            for (place, slot) in best.enumerated() {
                found.slots[query * limit + place] = Int32(slot)
                found.scores[query * limit + place] = Float(scores[slot])
            }
        }
        return found
    }
}

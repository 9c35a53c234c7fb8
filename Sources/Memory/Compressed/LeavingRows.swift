// The rows that a memory of the latest positions gives up, and what of it stays.
//
// Legend: B sequences, N rows at hand, D width, c rows of a group, G groups.

import Diagnostics
import Tensors

/// Rows of several sequences, the latest last, of which the oldest leave in whole groups of c. Sequences may have unlike numbers of real rows and of
/// leaving groups; where one has fewer, its own come last.
public struct LeavingRows {
    /// float32 [B, N, D], off the tape; the real rows come last.
    public let rows: Tensor
    /// How many rows of each sequence are real, [B].
    public let counts: [Int]
    /// How many groups leave, [B].
    public let groups: [Int]
    /// c.
    public let rate: Int
    /// G, the most groups that leave a sequence.
    public let groupCount: Int

    /// The groups that leave when as many rows stay as fit, and up to c - 1 more, for which a group is not complete.
    /// - Parameters:
    ///   - rows: float32 [B, N, D].
    ///   - counts: the real rows of each sequence, [B].
    ///   - capacity: the rows that stay at least, where there are as many.
    ///   - rate: c.
    public init(_ rows: Tensor, counts: [Int], capacity: Int, rate: Int) {
        require(rows.shape.rank == 3 && counts.count == rows.shape[0], "\(counts.count) numbers of rows for \(rows.shape)")
        (self.rows, self.counts, self.rate) = (rows, counts, rate)
        groups = counts.map { max(0, $0 - capacity) / rate }
        groupCount = groups.max() ?? 0
    }

    /// The first group of each sequence among G, [B]; G where none leaves.
    public var firstGroups: [Int] { groups.map { groupCount - $0 } }

    /// The rows of each sequence that stay, [B].
    public var remaining: [Int] { zip(counts, groups).map { $0 - $1 * rate } }

    /// Some rows of each group side by side: float32 [B, G, n D], zeros for groups that a sequence has not.
    /// - Parameter offsets: n places, counted from the group's first row. Those past the group are of rows that stay.
    public func windows(_ offsets: [Int]) -> Tensor {
        let (length, width) = (rows.shape[1], rows.shape[2])
        let result = Tensor(zeros: [rows.shape[0], groupCount, offsets.count * width])
        for (b, first) in firstGroups.enumerated() {
            for group in first..<groupCount {
                let start = length - counts[b] + (group - first) * rate
                for (place, offset) in offsets.enumerated() {
                    let target = ((b * groupCount + group) * offsets.count + place) * width
                    (result.floats + target).update(from: rows.floats + (b * length + start + offset) * width, count: width)
                }
            }
        }
        return result
    }

    /// 1 for each group of a sequence, 0 for those that it has not: float32 [B, G, 1].
    public var groupMask: Tensor {
        let values = firstGroups.flatMap { first -> [Float] in (0..<groupCount).map { $0 < first ? 0 : 1 } }
        return Tensor(values, [rows.shape[0], groupCount, 1])
    }
}

/// The latest rows of sequences that are given in parts, one after the other: float32 [B, capacity, D]; zeros come first where there are too few.
/// - Parameter parts: rows [B, N, D] of either floating type whose real ones come last, and how many of them are real, [B].
/// - Complexity: a copy of what is kept.
public func latestRows(_ capacity: Int, of parts: [(rows: Tensor, counts: [Int])]) -> Tensor {
    let (batch, width) = (parts[0].rows.shape[0], parts[0].rows.shape[2])
    let result = Tensor(zeros: [batch, capacity, width])
    var ends = [Int](repeating: capacity, count: batch)
    for part in parts.reversed() {
        let (rows, length) = (part.rows.converted(to: .float32), part.rows.shape[1])
        for b in 0..<batch {
            let count = min(part.counts[b], ends[b])
            let (target, source) = ((b * capacity + ends[b] - count) * width, ((b + 1) * length - count) * width)
            (result.floats + target).update(from: rows.floats + source, count: count * width)
            ends[b] -= count
        }
    }
    return result
}

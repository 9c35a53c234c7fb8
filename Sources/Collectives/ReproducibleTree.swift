// Sums that are the same bits on any number of ranks: one fixed binary tree over the groups of a batch.
//
// Legend: G groups of the batch, P ranks, K = G / P groups a rank; all powers of two. Group g belongs to rank g mod P.

import Diagnostics

/// The fixed binary tree over G groups, cut between P ranks.
///
/// The tree adds groups that differ in the highest bit of their number first: g and g + G/2, then g and g + G/4, and so on. Since a rank
/// owns the groups whose low bits equal its rank, the first levels are local to a rank (`GroupAccumulator`), and the last ones run
/// across ranks: a reduce-scatter by recursive halving, the highest bit of the rank first, then an all-gather by recursive doubling.
/// Which two numbers are added is fixed by the tree, and an addition does not depend on the order of its two operands, so the
/// result is the same bits for every P that divides G.
///
/// - Source: Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH", 2005, section 4.5.
public final class ReproducibleTree {
    /// G, the number of groups of the batch.
    public let groupCount: Int
    /// P, the number of ranks.
    public let size: Int
    /// What one exchange receives before it is added.
    private var received: [Float] = []
    /// How many elements travel together: bounds the memory of `received`, and stays in the cache. No influence on the result.
    private let chunkCount: Int

    /// - Parameters:
    ///   - groupCount: G, a power of two.
    ///   - size: P, a power of two, at most G.
    ///   - chunkBytes: how much of a buffer travels at a time, in bytes.
    /// - Throws: `UserError` (.configuration) when G or P does not fit.
    public init(groupCount: Int, size: Int, chunkBytes: Int = 4 << 20) throws {
        guard groupCount > 0, groupCount.nonzeroBitCount == 1 else {
            throw UserError(.configuration, "\(groupCount) groups are not a power of two", at: "batch.groups", advice: "set it to 1, 2, 4, 8, ...")
        }
        guard size > 0, groupCount % size == 0 else {
            throw UserError(
                .configuration, "\(groupCount) groups cannot be shared by \(size) ranks", at: "batch.groups",
                advice: "start a number of ranks that divides \(groupCount), or turn parallel.reproducible off")
        }
        self.groupCount = groupCount
        self.size = size
        chunkCount = max(1, chunkBytes / MemoryLayout<Float>.stride)
    }

    /// The groups of a rank, in the order in which it runs them and gives them to its `GroupAccumulator`.
    ///
    /// The K groups rank + P j come by j with its bits reversed: groups that the tree adds to each other follow each other, so that
    /// partial sums can be kept on a stack.
    public func groups(ofRank rank: Int) -> [Int] {
        precondition((0..<size).contains(rank), "rank \(rank) of \(size)")
        let count = groupCount / size
        let width = count.trailingZeroBitCount
        return (0..<count).map { position in
            let reversed = (0..<width).reduce(0) { $0 << 1 | (position >> $1 & 1) }
            return rank + size * reversed
        }
    }

    /// Sums, in place, what the ranks' own parts of the tree gave. Collective.
    ///
    /// - Parameters:
    ///   - values: float32, any length, the same on every rank.
    ///   - communicator: the P ranks.
    /// - Complexity: as an ordinary all-reduce, 2 (P - 1) / P of the buffer sent by each rank, in 2 log2 P messages a chunk.
    public func allReduce(_ values: UnsafeMutableBufferPointer<Float>, communicator: any Communicator) throws {
        precondition(communicator.size == size, "a tree for \(size) ranks, \(communicator.size) ranks")
        guard size > 1, let base = values.baseAddress else { return }
        let receivedCount = (min(chunkCount, values.count) + 1) / 2
        if received.count < receivedCount { received = Array(repeating: 0, count: receivedCount) }
        try received.withUnsafeMutableBufferPointer { received in
            for first in stride(from: 0, to: values.count, by: chunkCount) {
                let chunk = UnsafeMutableBufferPointer(start: base + first, count: min(chunkCount, values.count - first))
                try reduceChunk(chunk, received, communicator)
            }
        }
    }

    private func reduceChunk(
        _ values: UnsafeMutableBufferPointer<Float>, _ received: UnsafeMutableBufferPointer<Float>, _ communicator: any Communicator
    ) throws {
        var own = 0..<values.count
        var others: [Range<Int>] = []
        // Halving: the rank whose bit is 0 keeps the lower half.
        for level in 1...size.trailingZeroBitCount {
            let bit = size >> level
            let middle = own.lowerBound + own.count / 2
            let (lower, upper) = (own.lowerBound..<middle, middle..<own.upperBound)
            let (kept, sent) = communicator.rank & bit == 0 ? (lower, upper) : (upper, lower)
            let incoming = UnsafeMutableBufferPointer(rebasing: received[..<kept.count])
            try communicator.exchange(
                UnsafeRawBufferPointer(UnsafeMutableBufferPointer(rebasing: values[sent])), UnsafeMutableRawBufferPointer(incoming),
                with: communicator.rank ^ bit)
            add(UnsafeBufferPointer(incoming), to: UnsafeMutableBufferPointer(rebasing: values[kept]))
            others.append(sent)
            own = kept
        }
        // Doubling: each partner has the finished other half.
        for level in (1...size.trailingZeroBitCount).reversed() {
            let other = others[level - 1]
            try communicator.exchange(
                UnsafeRawBufferPointer(UnsafeMutableBufferPointer(rebasing: values[own])),
                UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: values[other])), with: communicator.rank ^ (size >> level))
            own = min(own.lowerBound, other.lowerBound)..<max(own.upperBound, other.upperBound)
        }
    }

    /// The sum over all G groups of a few float64 values a group (losses, token counts). Collective.
    ///
    /// - Parameters:
    ///   - groupValues: this rank's values, K rows of equal length, in the order of `groups(ofRank:)`.
    ///   - communicator: the P ranks.
    /// - Returns: the sums, the same bits on every rank and for every P.
    public func sum(_ groupValues: [[Double]], communicator: any Communicator) throws -> [Double] {
        precondition(communicator.size == size, "a tree for \(size) ranks, \(communicator.size) ranks")
        precondition(groupValues.count == groupCount / size, "\(groupValues.count) groups given, \(groupCount / size) belong to a rank")
        var rows = groupValues
        while rows.count > 1 {
            rows = stride(from: 0, to: rows.count, by: 2).map { first in zip(rows[first], rows[first + 1]).map { $0 + $1 } }
        }
        var sums = rows[0]
        var incoming = sums
        for level in 0..<size.trailingZeroBitCount {
            try sums.withUnsafeBytes { outgoing in
                try incoming.withUnsafeMutableBytes { try communicator.exchange(outgoing, $0, with: communicator.rank ^ (size >> (level + 1))) }
            }
            for index in sums.indices { sums[index] += incoming[index] }
        }
        return sums
    }
}

/// The local part of the tree: adds the gradients of one rank's groups as they come, with log2 K buffers besides the gradients' own.
///
/// It counts in binary: buffer l holds the sum of 2^l groups that follow each other, and a new group carries as far as there are full
/// buffers. No memory is taken for K = 1.
public final class GroupAccumulator {
    /// K, the number of groups that one step brings.
    public let groupCount: Int
    private let elementCount: Int
    private var levels: [UnsafeMutableBufferPointer<Float>] = []
    private var added = 0

    /// - Parameters:
    ///   - groupCount: K, a power of two.
    ///   - elementCount: the length of the flat gradient buffer.
    public init(groupCount: Int, elementCount: Int) {
        precondition(groupCount > 0 && groupCount.nonzeroBitCount == 1, "\(groupCount) groups are not a power of two")
        self.groupCount = groupCount
        self.elementCount = elementCount
        for _ in 0..<Self.partialSums(ofGroups: groupCount) { levels.append(.allocate(capacity: elementCount)) }
    }

    /// The buffers of gradients that K groups of a rank take.
    public static func partialSums(ofGroups groupCount: Int) -> Int { groupCount.trailingZeroBitCount }

    deinit {
        for level in levels { level.deallocate() }
    }

    /// Takes one group's gradients. The buffer is free for the next group afterwards; after the last group it holds the rank's sum.
    ///
    /// - Parameter gradients: float32, `elementCount` elements, overwritten.
    /// - Returns: true after the last of the K groups; the next call begins a new step.
    /// - Complexity: two passes over the buffer a group, on average.
    @discardableResult
    public func add(_ gradients: UnsafeMutableBufferPointer<Float>) -> Bool {
        precondition(gradients.count == elementCount, "\(gradients.count) gradients, \(elementCount) expected")
        var level = 0
        while added >> level & 1 == 1 {
            Collectives.add(UnsafeBufferPointer(levels[level]), to: gradients)
            level += 1
        }
        added += 1
        guard added < groupCount else {
            added = 0
            return true
        }
        _ = levels[level].update(fromContentsOf: gradients)
        return false
    }
}

/// sum[i] += values[i], over the whole of `values`.
func add(_ values: UnsafeBufferPointer<Float>, to sum: UnsafeMutableBufferPointer<Float>) {
    guard let from = values.baseAddress, let to = sum.baseAddress else { return }
    for index in 0..<values.count { to[index] += from[index] }
}

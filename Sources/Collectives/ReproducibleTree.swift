// Sums that are the same bits on any number of ranks: one fixed binary tree over the groups of a batch.
//
// Legend: G groups of the batch, a power of two; P ranks, any number up to G; K groups of a rank.

import Diagnostics

/// A node of the tree: a run of 2^height groups that follow each other in the tree's order, at a multiple of 2^height.
struct TreeNode: Equatable, Sendable {
    /// The place of its first group in the tree's order.
    var first: Int
    var height: Int

    var end: Int { first + 1 << height }
    /// Whether the tree adds this node and the one that follows it.
    func isAdded(to next: TreeNode) -> Bool { height == next.height && first >> height & 1 == 0 && next.first == end }
    /// The sum of this node and the one that follows it.
    var parent: TreeNode { TreeNode(first: first, height: height + 1) }

    /// The fewest nodes that cover a run of groups, in order.
    static func covering(_ places: Range<Int>) -> [TreeNode] {
        var nodes: [TreeNode] = []
        var first = places.lowerBound
        while first < places.upperBound {
            var node = TreeNode(first: first, height: 0)
            while node.first & (1 << node.height) == 0, node.parent.end <= places.upperBound { node = node.parent }
            nodes.append(node)
            first = node.end
        }
        return nodes
    }
}

/// The fixed binary tree over G groups, cut between P ranks.
///
/// The tree adds groups that differ in the highest bit of their number first: g and g + G/2, then g and g + G/4, and so on. In the tree's order,
/// which is that of the numbers with their bits reversed, it adds neighbours, then neighbouring pairs, and so on. A rank owns a run of groups in this
/// order: the first sums are local to it (`GroupAccumulator`), and the last ones run across ranks (`startAllReduce`). Which two numbers are added is
/// fixed by the tree, and an addition does not depend on the order of its two operands, so the result is the same bits for every P up to G.
///
/// Ranks that are no power of two own unequal runs, as even as they can be had with few nodes on each rank: what does not make up a whole node
/// of the tree travels as several.
///
/// - Source: Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH", 2005, section 4.5, for powers of two.
public final class ReproducibleTree {
    /// One exchange between ranks: `radix` blocks of ranks, of which each keeps a part of what all of them hold.
    struct Level {
        /// The rank of each block that takes part, by block; one of them is this rank.
        var peers: [Int]
        /// The nodes that each block holds.
        var nodes: [[TreeNode]]
    }

    /// G, the number of groups of the batch.
    public let groupCount: Int
    /// P, the number of ranks.
    public let size: Int
    /// How many blocks exchange at each level; their product is P.
    private let radices: [Int]
    /// The number of equal runs that are dealt out to the ranks: a power of two.
    private let runCount: Int
    /// How many elements travel together.
    private let chunkCount: Int
    /// Reductions started so far: each has a tag of its own, the same on every rank.
    private var started = 0
    /// Memory of reductions that are over, for those to come.
    private let memory = TreeMemory()

    /// - Parameters:
    ///   - groupCount: G, a power of two.
    ///   - size: P, at most G.
    ///   - ranksPerNode: ranks that follow each other on a node, where every node has as many: they exchange before anything leaves the node, so
    ///     that a node sends what one rank alone would.
    ///   - chunkBytes: how much of a buffer travels at a time, in bytes. No influence on the result.
    /// - Throws: `UserError` (.configuration) when G or P does not fit.
    public init(groupCount: Int, size: Int, ranksPerNode: Int = 1, chunkBytes: Int = 4 << 20) throws {
        guard groupCount > 0, groupCount.nonzeroBitCount == 1 else {
            throw UserError(.configuration, "\(groupCount) groups are not a power of two", at: "batch.groups", advice: "set it to 1, 2, 4, 8, ...")
        }
        guard (1...groupCount).contains(size) else {
            throw UserError(
                .configuration, "\(groupCount) groups cannot be shared by \(size) ranks", at: "batch.groups",
                advice: "start at most \(groupCount) ranks, or turn parallel.reproducible off")
        }
        self.groupCount = groupCount
        self.size = size
        radices =
            size % ranksPerNode == 0 ? Self.factors(of: ranksPerNode) + Self.factors(of: size / ranksPerNode) : Self.factors(of: size)
        var runs = 1
        while runs < size { runs *= 2 }
        func largest(_ runs: Int) -> Int { ((runs - 1) / size + 1) * (groupCount / runs) }
        // As few and as large runs as make the busiest rank no more than a tenth busier than it must be.
        while runs < groupCount, 10 * largest(runs) > 11 * largest(groupCount) { runs *= 2 }
        runCount = runs
        chunkCount = max(1, chunkBytes / MemoryLayout<Float>.stride)
    }

    /// Factors of at most 8 where there are any, the large ones first.
    private static func factors(of number: Int) -> [Int] {
        var (rest, factors): (Int, [Int]) = (number, [])
        for factor in (2...8).reversed() {
            while rest % factor == 0 {
                factors.append(factor)
                rest /= factor
            }
        }
        return rest > 1 ? factors + [rest] : factors
    }

    /// The groups of a block of ranks, as places in the tree's order.
    private func places(ofRanks ranks: Range<Int>) -> Range<Int> {
        func first(_ rank: Int) -> Int { rank * runCount / size * (groupCount / runCount) }
        return first(ranks.lowerBound)..<first(ranks.upperBound)
    }

    /// The groups of a rank, as places in the tree's order.
    package func places(ofRank rank: Int) -> Range<Int> {
        precondition((0..<size).contains(rank), "rank \(rank) of \(size)")
        return places(ofRanks: rank..<rank + 1)
    }

    /// The groups of a rank, in the order in which it runs them and gives them to its `GroupAccumulator`.
    public func groups(ofRank rank: Int) -> [Int] {
        let width = groupCount.trailingZeroBitCount
        return places(ofRank: rank).map { place in (0..<width).reduce(0) { $0 << 1 | (place >> $1 & 1) } }
    }

    /// The buffers of gradients that a rank's accumulator keeps.
    public func partialSums(ofRank rank: Int) -> Int { GroupAccumulator.partialSums(places(ofRank: rank)) }

    /// What gathers the gradients of a rank's groups.
    ///
    /// - Parameter elementCount: the length of the flat gradient buffer.
    public func accumulator(ofRank rank: Int, elementCount: Int) -> GroupAccumulator {
        GroupAccumulator(places: places(ofRank: rank), elementCount: elementCount)
    }

    /// The exchanges of a rank, in the order in which they come: blocks of ranks that lie next to each other first.
    func levels(ofRank rank: Int) -> [Level] {
        var levels: [Level] = []
        var block = 1
        for radix in radices {
            let (first, offset) = (rank / (block * radix) * radix, rank % block)
            levels.append(
                Level(
                    peers: (first..<first + radix).map { $0 * block + offset },
                    nodes: (first..<first + radix).map { TreeNode.covering(places(ofRanks: $0 * block..<($0 + 1) * block)) }))
            block *= radix
        }
        return levels
    }

    /// Starts the sum of what the ranks' own parts of the tree gave. Collective: every rank starts its sums in the same order.
    ///
    /// - Parameters:
    ///   - values: float32, any length, the same on every rank: the last of this rank's partial sums, replaced by the sum over all ranks.
    ///   - elements: which of flat memory they are; from its first one on where it is not said.
    ///   - partials: the partial sums before it (``GroupAccumulator/partials(_:)``), which are overwritten.
    ///   - rounding: what the nodes hold, as it was for the accumulator.
    ///   - communicator: the P ranks.
    /// - Complexity: for P a power of two as an ordinary all-reduce, 2 (P - 1) / P of the buffer sent by each rank.
    public func startAllReduce(
        _ values: UnsafeMutableBufferPointer<Float>, of elements: Range<Int>? = nil, partials: [UnsafeMutablePointer<Float>] = [],
        rounding: GradientRounding = .none, communicator: any Communicator
    ) throws -> any PendingCollective {
        try startSum(values, of: elements ?? 0..<values.count, cuts: rounding.cuts, partials, rounding, communicator, .all)
    }

    /// Starts the first half of ``startAllReduce(_:partials:communicator:)``: a rank ends with the sum of its ``part(ofRank:of:cuts:)`` alone, and what is
    /// elsewhere in `values` is undefined. Collective.
    public func startReduceScatter(
        _ values: UnsafeMutableBufferPointer<Float>, of elements: Range<Int>, cuts: [Int], partials: [UnsafeMutablePointer<Float>] = [],
        rounding: GradientRounding = .none, communicator: any Communicator
    ) throws -> any PendingCollective {
        try startSum(values, of: elements, cuts: cuts, partials, rounding, communicator, .reduction)
    }

    /// Starts the second half: every rank's part goes to all ranks. Collective.
    public func startAllGather(
        _ values: UnsafeMutableBufferPointer<Float>, of elements: Range<Int>, cuts: [Int], communicator: any Communicator
    ) throws -> any PendingCollective {
        try start(values, leaves: [], [], communicator, cuts: TreeCuts(allowed: cuts, origin: elements.lowerBound), .distribution, PlainSums<Float>())
    }

    private func startSum(
        _ values: UnsafeMutableBufferPointer<Float>, of elements: Range<Int>, cuts: [Int]?, _ partials: [UnsafeMutablePointer<Float>],
        _ rounding: GradientRounding, _ communicator: any Communicator, _ phases: TreePhases
    ) throws -> any PendingCollective {
        func start(_ arithmetic: some TreeArithmetic<Float>) throws -> any PendingCollective {
            try self.start(
                values, leaves: TreeNode.covering(places(ofRank: communicator.rank)), partials, communicator,
                cuts: TreeCuts(allowed: cuts, origin: elements.lowerBound), phases, arithmetic)
        }
        return try start(rounding.arithmetic)
    }

    /// The part of some elements whose sum a rank ends with.
    ///
    /// - Parameters:
    ///   - elements: what is summed together.
    ///   - cuts: elements at which a part may begin, rising, counted as those of `elements`.
    public func part(ofRank rank: Int, of elements: Range<Int>, cuts: [Int]) -> Range<Int> {
        levels(ofRank: rank).reduce(elements) { part, level in
            TreeCuts(allowed: cuts).part(part, level.peers.firstIndex(of: rank) ?? 0, of: level.peers.count)
        }
    }

    private func start<Arithmetic: TreeArithmetic>(
        _ values: UnsafeMutableBufferPointer<Arithmetic.Scalar>, leaves: [TreeNode], _ partials: [UnsafeMutablePointer<Arithmetic.Scalar>],
        _ communicator: any Communicator, cuts: TreeCuts = TreeCuts(), _ phases: TreePhases, _ arithmetic: Arithmetic
    ) throws -> TreeReduction<Arithmetic> {
        precondition(communicator.size == size, "a tree for \(size) ranks, \(communicator.size) ranks")
        precondition(
            phases == .distribution || leaves.count == partials.count + 1, "\(partials.count + 1) partial sums given, \(leaves.count) belong to a rank")
        started += 1
        return try TreeReduction(
            values, leaves, partials, levels(ofRank: communicator.rank), communicator, tag: 1 + started % 16384, memory, cuts: cuts, phases: phases,
            arithmetic)
    }

    /// Sums, in place, what the ranks' own parts of the tree gave, a few chunks at a time. Collective.
    public func allReduce(_ values: UnsafeMutableBufferPointer<Float>, accumulator: GroupAccumulator? = nil, communicator: any Communicator) throws {
        let buckets = GradientBuckets(ranges: [0..<values.count], bucketBytes: chunkCount * MemoryLayout<Float>.stride)
        buckets.begin { [self] range in
            try startAllReduce(
                UnsafeMutableBufferPointer(rebasing: values[range]), partials: accumulator?.partials(range) ?? [], communicator: communicator)
        }
        try buckets.markReady(0)
        try buckets.finish()
    }

    /// The sum over all G groups of a few float64 values a group (losses, token counts). Collective.
    ///
    /// - Parameters:
    ///   - groupValues: this rank's values, K rows of equal length, in the order of `groups(ofRank:)`.
    ///   - communicator: the P ranks.
    /// - Returns: the sums, the same bits on every rank and for every P.
    public func sum(_ groupValues: [[Double]], communicator: any Communicator) throws -> [Double] {
        let places = places(ofRank: communicator.rank)
        precondition(groupValues.count == places.count, "\(groupValues.count) groups given, \(places.count) belong to a rank")
        let width = groupValues[0].count
        var rows = groupValues.flatMap { $0 }
        return try rows.withUnsafeMutableBufferPointer { rows in
            guard let base = rows.baseAddress else { return [] }
            let values = UnsafeMutableBufferPointer(start: base + (places.count - 1) * width, count: width)
            try start(
                values, leaves: places.map { TreeNode(first: $0, height: 0) }, (0..<places.count - 1).map { base + $0 * width }, communicator,
                .all, PlainSums<Double>()
            ).wait()
            return Array(values)
        }
    }
}

extension Communicator {
    /// The ranks of each node, where all nodes have as many and number them one after the other; else 1. Collective.
    public func ranksPerNode() throws -> Int {
        let isInOrder = size % localSize == 0 && rank % localSize == localRank
        let least = try allReduced([Int64(localSize), Int64(-localSize), isInOrder ? 1 : 0], .minimum)
        return least[0] == -least[1] && least[2] == 1 ? localSize : 1
    }
}

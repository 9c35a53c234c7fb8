// The part of the reproducible tree that runs across ranks.
//
// Legend: P ranks, N elements.

/// Where a buffer may be cut between ranks.
struct TreeCuts {
    /// Elements at which a part may begin, rising; `nil` for all.
    var allowed: [Int]?
    /// The element of which a reduction's first one is; `allowed` counts from 0.
    var origin = 0

    /// The part of some elements that a block of `count` keeps.
    func part(_ elements: Range<Int>, _ block: Int, of count: Int) -> Range<Int> {
        cut(elements, block, of: count)..<cut(elements, block + 1, of: count)
    }

    /// Where the part of a block begins: the first place where it may at or behind the even share.
    private func cut(_ elements: Range<Int>, _ block: Int, of count: Int) -> Int {
        let even = elements.lowerBound + elements.count * block / count
        guard let allowed, block > 0, block < count else { return even }
        var (low, high) = (0, allowed.count)
        while low < high {
            let middle = (low + high) / 2
            if allowed[middle] - origin < even { low = middle + 1 } else { high = middle }
        }
        return low < allowed.count ? min(allowed[low] - origin, elements.upperBound) : elements.upperBound
    }
}

/// What part of a sum over all ranks is done.
enum TreePhases {
    /// Every rank ends with the whole sum.
    case all
    /// Every rank ends with the sum of its own part.
    case reduction
    /// Every rank's own part goes to all.
    case distribution
}

/// One sum over all ranks along the tree, under way.
///
/// First the halves, thirds, ... of what is summed are dealt out among the ranks that exchange at a level, and each adds up the nodes of the tree that
/// its part then makes up: after the last level a rank has the whole sum of N / P elements. Then the sums travel back by the same levels. With levels of
/// two ranks this is recursive halving and doubling. Either half of the way can be had alone.
final class TreeReduction<Arithmetic: TreeArithmetic>: PendingCollective {
    typealias Scalar = Arithmetic.Scalar

    /// A partial sum: the values of a node, of the elements that this rank still has to do with.
    private struct Partial {
        var node: TreeNode
        var memory: UnsafeMutablePointer<Scalar>
        /// The element that `memory` points to.
        var first: Int

        func element(_ index: Int) -> UnsafeMutablePointer<Scalar> { memory + (index - first) }
    }

    /// Values that come in encoded: from where, to where, and which.
    private struct Delivery {
        var bytes: UnsafeMutableRawBufferPointer
        var values: UnsafeMutablePointer<Scalar>
        var elements: Range<Int>
    }

    private let values: UnsafeMutablePointer<Scalar>
    private let arithmetic: Arithmetic
    private let levels: [ReproducibleTree.Level]
    private let communicator: any Communicator
    private let tag: Int
    private let pool: TreeMemory
    private let cuts: TreeCuts
    /// The number of phases after which the work is done.
    private let end: Int
    private var partials: [Partial]
    /// What comes in at the present level, by block.
    private var arriving: [[Partial]] = []
    /// The elements that this rank holds before each level, and after the last one.
    private var owned: [Range<Int>]
    /// Levels on the way out, then on the way back.
    private var phase = 0
    private var pending: (any PendingCollective)?
    private var borrowed: [UnsafeMutableRawBufferPointer] = []
    /// What the present phase sends encoded.
    private var departing: [UnsafeMutableRawBufferPointer] = []
    private var deliveries: [Delivery] = []

    /// Starts.
    /// - Parameters:
    ///   - values: the last leaf, replaced by the sum.
    ///   - leaves: the nodes of this rank.
    ///   - partials: the leaves before the last, overwritten.
    init(
        _ values: UnsafeMutableBufferPointer<Scalar>, _ leaves: [TreeNode], _ partials: [UnsafeMutablePointer<Scalar>],
        _ levels: [ReproducibleTree.Level], _ communicator: any Communicator, tag: Int, _ pool: TreeMemory, cuts: TreeCuts, phases: TreePhases,
        _ arithmetic: Arithmetic
    ) throws {
        self.arithmetic = arithmetic
        (self.levels, self.communicator, self.tag, self.pool, self.cuts) = (levels, communicator, tag, pool, cuts)
        end = phases == .reduction ? levels.count : 2 * levels.count
        owned = [0..<values.count]
        guard let base = values.baseAddress, !values.isEmpty else {
            self.values = UnsafeMutablePointer(bitPattern: MemoryLayout<Scalar>.alignment)!
            self.partials = []
            phase = end
            return
        }
        self.values = base
        if phases == .distribution {
            self.partials = []
            for level in levels { owned.append(cuts.part(owned[owned.count - 1], digit(level), of: level.peers.count)) }
            phase = levels.count
        } else {
            self.partials = zip(leaves, partials + [base]).map { Partial(node: $0, memory: $1, first: 0) }
            self.partials = added(self.partials, 0..<values.count)
            if levels.isEmpty { keepSum() }
        }
        if !isComplete { try post() }
    }

    deinit { pool.giveBack(borrowed + departing + deliveries.map(\.bytes)) }

    private var isComplete: Bool { phase == end }

    func test() throws -> Bool {
        while let pending, try pending.test() { try advance() }
        return isComplete
    }

    func wait() throws {
        while !isComplete { try waitForPart() }
    }

    func waitForPart() throws {
        try pending?.wait()
        if !isComplete { try advance() }
    }

    /// The rank's own place among the blocks of a level.
    private func digit(_ level: ReproducibleTree.Level) -> Int { level.peers.firstIndex(of: communicator.rank) ?? 0 }

    private func post() throws { phase < levels.count ? try postOut() : try postBack() }

    /// Sends every other block its part of this rank's partial sums.
    private func postOut() throws {
        let level = levels[phase]
        let (elements, own) = (owned[phase], digit(level))
        let kept = cuts.part(elements, own, of: level.peers.count)
        owned.append(kept)
        var (outgoing, incoming): ([Message], [Message]) = ([], [])
        arriving = level.nodes.map { _ in [] }
        for (block, peer) in level.peers.enumerated() where block != own {
            let sent = cuts.part(elements, block, of: level.peers.count)
            if !sent.isEmpty { outgoing += partials.map { departure($0.element(sent.lowerBound), sent, peer) } }
            guard !kept.isEmpty else { continue }
            let memory = pool.take(level.nodes[block].count * kept.count * MemoryLayout<Scalar>.stride)
            borrowed.append(memory)
            guard let base = memory.baseAddress?.assumingMemoryBound(to: Scalar.self) else { continue }
            arriving[block] = level.nodes[block].enumerated().map { Partial(node: $1, memory: base + $0 * kept.count, first: kept.lowerBound) }
            incoming += arriving[block].map { arrival($0.memory, kept, peer) }
        }
        pending = try communicator.startMessages(outgoing, incoming, tag: tag)
    }

    /// Sends every other block the sums that this rank has, and takes theirs.
    private func postBack() throws {
        let index = 2 * levels.count - 1 - phase
        let level = levels[index]
        let (elements, own) = (owned[index], digit(level))
        var (outgoing, incoming): ([Message], [Message]) = ([], [])
        let kept = cuts.part(elements, own, of: level.peers.count)
        for (block, peer) in level.peers.enumerated() where block != own {
            let missing = cuts.part(elements, block, of: level.peers.count)
            if !kept.isEmpty { outgoing.append(departure(values + kept.lowerBound, kept, peer)) }
            if !missing.isEmpty { incoming.append(arrival(values + missing.lowerBound, missing, peer)) }
        }
        pending = try communicator.startMessages(outgoing, incoming, tag: tag)
    }

    /// Elements of this reduction as those of flat memory.
    private func flat(_ elements: Range<Int>) -> Range<Int> { cuts.origin + elements.lowerBound..<cuts.origin + elements.upperBound }

    private func departure(_ memory: UnsafeMutablePointer<Scalar>, _ elements: Range<Int>, _ peer: Int) -> Message {
        if arithmetic.isPlain { return Message(partner: peer, bytes: UnsafeMutableRawBufferPointer(start: memory, count: arithmetic.byteCount(elements))) }
        let bytes = encodedMemory(elements)
        if let base = bytes.baseAddress { arithmetic.encode(memory, flat(elements), into: base) }
        departing.append(bytes)
        return Message(partner: peer, bytes: UnsafeMutableRawBufferPointer(rebasing: bytes[..<arithmetic.byteCount(flat(elements))]))
    }

    private func arrival(_ memory: UnsafeMutablePointer<Scalar>, _ elements: Range<Int>, _ peer: Int) -> Message {
        if arithmetic.isPlain { return Message(partner: peer, bytes: UnsafeMutableRawBufferPointer(start: memory, count: arithmetic.byteCount(elements))) }
        let bytes = encodedMemory(elements)
        deliveries.append(Delivery(bytes: bytes, values: memory, elements: flat(elements)))
        return Message(partner: peer, bytes: UnsafeMutableRawBufferPointer(rebasing: bytes[..<arithmetic.byteCount(flat(elements))]))
    }

    private func encodedMemory(_ elements: Range<Int>) -> UnsafeMutableRawBufferPointer { pool.take(arithmetic.byteCount(flat(elements))) }

    /// Takes what has come in encoded out of its bytes.
    private func unpack() {
        for delivery in deliveries {
            if let base = delivery.bytes.baseAddress { arithmetic.decode(base, delivery.elements, into: delivery.values) }
        }
        pool.giveBack(departing + deliveries.map(\.bytes))
        (departing, deliveries) = ([], [])
    }

    /// Goes on once the messages of a phase are there.
    private func advance() throws {
        pending = nil
        unpack()
        if phase < levels.count {
            let kept = owned[phase + 1]
            arriving[digit(levels[phase])] = partials
            partials = kept.isEmpty ? [] : added(arriving.flatMap { $0 }, kept)
            arriving = []
            if phase == levels.count - 1 { keepSum() }
        }
        phase += 1
        if !isComplete { try post() }
    }

    /// Adds what the tree adds of some nodes that follow each other.
    private func added(_ nodes: [Partial], _ elements: Range<Int>) -> [Partial] {
        var sums: [Partial] = []
        for var next in nodes {
            while let before = sums.last, before.node.isAdded(to: next.node) {
                sums.removeLast()
                // What lies in the result's memory stays there.
                let (from, to) = isInPlace(next) ? (before, next) : (next, before)
                let node = before.node.parent
                arithmetic.add(from.element(elements.lowerBound), to: to.element(elements.lowerBound), flat(elements), node: node)
                next = Partial(node: node, memory: to.memory, first: to.first)
            }
            sums.append(next)
        }
        return sums
    }

    private func isInPlace(_ partial: Partial) -> Bool { partial.memory == values && partial.first == 0 }

    /// Brings the whole sum of this rank's elements to where the result belongs.
    private func keepSum() {
        guard let own = owned.last, !own.isEmpty else { return }
        precondition(partials.count == 1, "\(partials.count) partial sums are left")
        if !isInPlace(partials[0]) { (values + own.lowerBound).update(from: partials[0].element(own.lowerBound), count: own.count) }
        pool.giveBack(borrowed)
        borrowed = []
    }
}

/// Memory that reductions borrow, kept for the next ones: fresh pages cost more than additions.
final class TreeMemory {
    private var idle: [UnsafeMutableRawBufferPointer] = []

    deinit {
        for memory in idle { memory.deallocate() }
    }

    /// At least `byteCount` bytes.
    func take(_ byteCount: Int) -> UnsafeMutableRawBufferPointer {
        if let index = idle.indices.filter({ idle[$0].count >= byteCount }).min(by: { idle[$0].count < idle[$1].count }), idle[index].count <= 2 * byteCount {
            return idle.remove(at: index)
        }
        return .allocate(byteCount: byteCount, alignment: 64)
    }

    func giveBack(_ memory: [UnsafeMutableRawBufferPointer]) {
        idle += memory
        // What was never asked for again goes first.
        while idle.count > 64 { idle.removeFirst().deallocate() }
    }
}

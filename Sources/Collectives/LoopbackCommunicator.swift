// Ranks as threads of one process, for tests: no launcher, no library, sums in the order of ranks.

import Diagnostics
import Foundation

/// One rank of a world that lives in this process.
///
/// Sums are made in the order of ranks, so results repeat bit for bit. Ranks that call different collectives, or pass different lengths,
/// get an error that names both, instead of a hang; so do ranks that wait for one that has ended.
public final class LoopbackCommunicator: Communicator {
    public private(set) var rank: Int
    public private(set) var size: Int
    public var localRank: Int { rank }
    public var localSize: Int { size }
    public let nodeName = "loopback"
    public let libraryDescription = "loopback, threads of one process"

    /// As ``run(size:outlivesLostRanks:_:)`` was told.
    public let outlivesLostRanks: Bool
    private var world: LoopbackWorld
    /// The number of the next collective; the same collective has the same number on every rank.
    private var sequence = 0
    private var agreements = 0
    private var hasDisagreed = false

    private init(rank: Int, world: LoopbackWorld, outlivesLostRanks: Bool) {
        self.rank = rank
        self.size = world.size
        self.world = world
        self.outlivesLostRanks = outlivesLostRanks
    }

    /// What a rank throws that is to be lost as if it were killed: nobody else hears of it.
    public struct Killed: Error {
        /// The rank that throws it ends here.
        public init() {}
    }

    /// Runs `body` once a rank, each on a thread of its own.
    ///
    /// - Parameters:
    ///   - size: the number of ranks.
    ///   - outlivesLostRanks: whether ranks can go on without others, as with ULFM.
    ///   - body: what a rank does.
    /// - Returns: what the ranks returned, by rank; where ranks were ``Killed``, what the others returned.
    /// - Throws: the error of the lowest rank that failed by itself. The other ranks end with an error too, at their next collective.
    public static func run<Value: Sendable>(
        size: Int, outlivesLostRanks: Bool = false, _ body: @escaping @Sendable (LoopbackCommunicator) throws -> Value
    ) throws -> [Value] {
        precondition(size > 0, "a world of \(size) ranks")
        let world = LoopbackWorld(size: size)
        let outcomes = LoopbackOutcomes<Value>(size: size)
        for rank in 0..<size {
            let thread = Thread {
                let communicator = LoopbackCommunicator(rank: rank, world: world, outlivesLostRanks: outlivesLostRanks)
                let outcome = Result { try body(communicator) }
                outcomes.set(outcome, of: rank)
                var failed = false
                if case .failure(let error) = outcome { failed = !(error is Killed) }
                communicator.leave(failed: failed)
                world.leave(rank, failed: failed)
            }
            thread.stackSize = 16 << 20
            thread.start()
        }
        world.waitUntilAllLeft()
        if let culprit = world.firstCulprit { _ = try outcomes.value(of: culprit) }
        return try (0..<size).compactMap { rank in
            do { return try outcomes.value(of: rank) } catch is Killed { return nil }
        }
    }

    public func agrees(_ isWell: Bool) throws -> Bool {
        agreements += 1
        let isAgreed = world.agrees(isWell, rank: rank, sequence: agreements)
        hasDisagreed = !isAgreed
        return isAgreed
    }

    /// Contributes to nothing any more: what a test calls before it throws ``Killed``, with which the rank is lost to the others.
    public func fall() { world.fall(rank) }

    private func leave(failed: Bool) { world.leave(rank, failed: failed) }

    public func leaveLostRanks() throws -> [Int] {
        world.revoke()
        // Others may wait in an agreement: each rank comes to every one of them.
        if !hasDisagreed { _ = try agrees(false) }
        hasDisagreed = false
        let (successor, ranks) = try world.successor(rank: rank)
        rank = ranks.firstIndex(of: rank)!
        (world, size, sequence, agreements) = (successor, successor.size, 0, 0)
        return ranks
    }

    public func barrier() throws { try complete(.barrier) }

    public func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) throws {
        try complete(.reduceFloats(count: values.count, reduction), UnsafeMutableRawBufferPointer(values))
    }

    public func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) throws {
        try complete(.reduceDoubles(count: values.count, reduction), UnsafeMutableRawBufferPointer(values))
    }

    public func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) throws {
        try complete(.reduceIntegers(count: values.count, reduction), UnsafeMutableRawBufferPointer(values))
    }

    public func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) throws -> any PendingCollective {
        try start(.reduceFloats(count: values.count, .sum), UnsafeMutableRawBufferPointer(values))
    }

    public func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) throws {
        precondition((0..<size).contains(root), "root \(root) of \(size) ranks")
        try complete(.broadcast(count: bytes.count, root: root), bytes)
    }

    public func allGather(_ bytes: [UInt8]) throws -> [[UInt8]] {
        let pending = try start(.gather, gathered: bytes)
        try pending.wait()
        return pending.gathered
    }

    public func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) throws -> any PendingCollective {
        for message in outgoing {
            precondition((0..<size).contains(message.partner), "partner \(message.partner) of \(size) ranks")
            world.send(Array(message.bytes), from: rank, to: message.partner, tag: tag)
        }
        return LoopbackMessages(incoming, tag: tag, world: world, rank: rank)
    }

    public func abort(_ exitCode: Int32) -> Never { exit(exitCode) }

    private func complete(_ kind: LoopbackOperation.Kind, _ bytes: UnsafeMutableRawBufferPointer = .init(start: nil, count: 0)) throws {
        try start(kind, bytes).wait()
    }

    private func start(
        _ kind: LoopbackOperation.Kind, _ bytes: UnsafeMutableRawBufferPointer = .init(start: nil, count: 0), gathered: [UInt8] = []
    ) throws -> LoopbackPending {
        let operation = try world.contribute(kind, bytes, gathered, rank: rank, sequence: sequence)
        sequence += 1
        return LoopbackPending(operation, world: world, rank: rank)
    }
}

/// A started collective, seen from one rank.
private final class LoopbackPending: PendingCollective {
    private let operation: LoopbackOperation
    private let world: LoopbackWorld
    private let rank: Int

    init(_ operation: LoopbackOperation, world: LoopbackWorld, rank: Int) {
        self.operation = operation
        self.world = world
        self.rank = rank
    }

    /// Every rank's bytes, once the operation is complete.
    var gathered: [[UInt8]] { operation.gathered }

    func test() throws -> Bool { try world.isComplete(operation, rank: rank) }
    func wait() throws { try world.wait(for: operation, rank: rank) }
}

/// Messages that a rank waits for. Those that it sent were copied.
private final class LoopbackMessages: PendingCollective {
    private var missing: ArraySlice<Message>
    private let tag: Int
    private let world: LoopbackWorld
    private let rank: Int

    init(_ messages: [Message], tag: Int, world: LoopbackWorld, rank: Int) {
        missing = messages[...]
        (self.tag, self.world, self.rank) = (tag, world, rank)
    }

    func test() throws -> Bool {
        while let message = missing.first, let bytes = try world.received(from: message.partner, to: rank, tag: tag, waits: false) { try take(bytes) }
        return missing.isEmpty
    }

    func wait() throws {
        while let message = missing.first, let bytes = try world.received(from: message.partner, to: rank, tag: tag, waits: true) { try take(bytes) }
    }

    private func take(_ bytes: [UInt8]) throws {
        guard let message = missing.popFirst() else { return }
        guard bytes.count == message.bytes.count else {
            throw UserError(
                .unavailable, "rank \(message.partner) sent \(bytes.count) bytes where \(message.bytes.count) were expected", at: "rank \(rank)")
        }
        message.bytes.copyBytes(from: bytes)
    }
}

/// What the ranks' bodies returned or threw.
private final class LoopbackOutcomes<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var outcomes: [Result<Value, any Error>?]

    init(size: Int) { outcomes = Array(repeating: nil, count: size) }

    func set(_ outcome: Result<Value, any Error>, of rank: Int) { lock.withLock { outcomes[rank] = outcome } }

    func value(of rank: Int) throws -> Value {
        guard let outcome = lock.withLock({ outcomes[rank] }) else { preconditionFailure("rank \(rank) has not ended") }
        return try outcome.get()
    }
}

// Ranks that are lost at a given call, as if they were killed.

import Collectives

/// A rank of a loopback world that is lost at its n-th call.
public final class MortalCommunicator: ForwardingCommunicator {
    private let loopback: LoopbackCommunicator
    /// Calls so far.
    public private(set) var calls = 0
    private let lifetime: Int

    /// - Parameter lifetime: the number of calls that it lives for.
    public init(_ base: LoopbackCommunicator, lifetime: Int) {
        (loopback, self.lifetime) = (base, lifetime)
        super.init(base)
    }

    private func live() throws {
        calls += 1
        guard calls > lifetime else { return }
        loopback.fall()
        throw LoopbackCommunicator.Killed()
    }

    public override func barrier() throws {
        try live()
        try super.barrier()
    }

    public override func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) throws {
        try live()
        try super.allReduce(values, reduction)
    }

    public override func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) throws {
        try live()
        try super.allReduce(values, reduction)
    }

    public override func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) throws {
        try live()
        try super.allReduce(values, reduction)
    }

    public override func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) throws -> any PendingCollective {
        try live()
        return try super.startAllReduce(values)
    }

    public override func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) throws {
        try live()
        try super.broadcast(bytes, root: root)
    }

    public override func allGather(_ bytes: [UInt8]) throws -> [[UInt8]] {
        try live()
        return try super.allGather(bytes)
    }

    public override func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) throws -> any PendingCollective {
        try live()
        return try super.startMessages(outgoing, incoming, tag: tag)
    }

    public override func agrees(_ isWell: Bool) throws -> Bool {
        try live()
        return try super.agrees(isWell)
    }

    public override func leaveLostRanks() throws -> [Int] {
        try live()
        return try super.leaveLostRanks()
    }
}

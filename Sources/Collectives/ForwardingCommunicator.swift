// What stands between a communicator and those who use it begins here.

/// Another communicator, call by call. Subclasses change what they are about.
open class ForwardingCommunicator: Communicator {
    /// The communicator that does the work.
    public let base: any Communicator

    /// Stands before `base`.
    public init(_ base: any Communicator) { self.base = base }

    open var rank: Int { base.rank }
    open var size: Int { base.size }
    open var localRank: Int { base.localRank }
    open var localSize: Int { base.localSize }
    open var nodeName: String { base.nodeName }
    open var libraryDescription: String { base.libraryDescription }
    open var interruption: (() -> Bool)? { base.interruption }

    open func barrier() throws { try base.barrier() }
    open func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) throws { try base.allReduce(values, reduction) }
    open func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) throws { try base.allReduce(values, reduction) }
    open func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) throws { try base.allReduce(values, reduction) }
    open func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) throws -> any PendingCollective { try base.startAllReduce(values) }
    open func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) throws { try base.broadcast(bytes, root: root) }
    open func allGather(_ bytes: [UInt8]) throws -> [[UInt8]] { try base.allGather(bytes) }

    open func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) throws -> any PendingCollective {
        try base.startMessages(outgoing, incoming, tag: tag)
    }

    open var outlivesLostRanks: Bool { base.outlivesLostRanks }
    open func agrees(_ isWell: Bool) throws -> Bool { try base.agrees(isWell) }
    open func leaveLostRanks() throws -> [Int] { try base.leaveLostRanks() }
    open func abort(_ exitCode: Int32) -> Never { base.abort(exitCode) }
}

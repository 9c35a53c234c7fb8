// A communicator whose long works stop at a request.

/// Another communicator, with requests to stop.
final class InterruptibleCommunicator: Communicator {
    private let base: any Communicator
    let interruption: (() -> Bool)?

    init(_ base: any Communicator, _ isRequested: @escaping () -> Bool) {
        self.base = base
        interruption = isRequested
    }

    var rank: Int { base.rank }
    var size: Int { base.size }
    var localRank: Int { base.localRank }
    var localSize: Int { base.localSize }
    var nodeName: String { base.nodeName }
    var libraryDescription: String { base.libraryDescription }

    func barrier() throws { try base.barrier() }
    func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) throws { try base.allReduce(values, reduction) }
    func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) throws { try base.allReduce(values, reduction) }
    func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) throws { try base.allReduce(values, reduction) }
    func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) throws -> any PendingCollective { try base.startAllReduce(values) }
    func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) throws { try base.broadcast(bytes, root: root) }
    func allGather(_ bytes: [UInt8]) throws -> [[UInt8]] { try base.allGather(bytes) }

    func exchange(_ outgoing: UnsafeRawBufferPointer, _ incoming: UnsafeMutableRawBufferPointer, with partner: Int) throws {
        try base.exchange(outgoing, incoming, with: partner)
    }

    func abort(_ exitCode: Int32) -> Never { base.abort(exitCode) }
}

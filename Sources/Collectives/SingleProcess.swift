// A world of one rank: what a program started without a launcher uses. No library is behind it.

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A communicator of one rank: every collective is the identity and costs nothing.
public final class SingleProcess: Communicator {
    public let rank = 0
    public let size = 1
    public let localRank = 0
    public let localSize = 1
    public let nodeName: String
    public let libraryDescription = "single process, no MPI"

    /// Asks the system for the node's name, and for nothing else.
    public init() {
        var name = [CChar](repeating: 0, count: 256)
        let found = gethostname(&name, name.count - 1) == 0
        nodeName = found ? String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self) : "localhost"
    }

    public func barrier() {}
    public func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) {}
    public func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) {}
    public func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) {}
    public func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) -> any PendingCollective { CompletedCollective() }
    public func allGather(_ bytes: [UInt8]) -> [[UInt8]] { [bytes] }

    public func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) {
        precondition(root == 0, "root \(root) of a world of one rank")
    }

    public func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) -> any PendingCollective {
        for (sent, received) in zip(outgoing, incoming) {
            precondition(sent.partner == 0 && sent.bytes.count == received.bytes.count, "\(sent.bytes.count) bytes sent, \(received.bytes.count) received")
            received.bytes.copyMemory(from: UnsafeRawBufferPointer(sent.bytes))
        }
        return CompletedCollective()
    }

    public func abort(_ exitCode: Int32) -> Never { exit(exitCode) }
}

/// A collective that had nothing to do.
final class CompletedCollective: PendingCollective {
    func test() -> Bool { true }
    func wait() {}
}

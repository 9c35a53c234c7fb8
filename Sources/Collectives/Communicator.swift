// The one way that ranks talk to each other. Three implementations: `SingleProcess` (every collective is the identity),
// `MPICommunicator` (the real thing) and `LoopbackCommunicator` (threads of one process, for tests).

/// How values of several ranks become one.
public enum Reduction: Sendable {
    case sum, minimum, maximum
}

/// A collective that was started and may still be running.
public protocol PendingCollective: AnyObject {
    /// Gives the library a chance to make progress; true once the buffer holds the result. Cheap, never blocks.
    func test() throws -> Bool
    /// Blocks until the buffer holds the result.
    func wait() throws
}

/// A group of ranks that call the same collectives in the same order.
///
/// All calls of one communicator come from one thread. Every member marked *collective* must be called by all ranks.
public protocol Communicator: AnyObject {
    /// This process's number, 0 ..< size.
    var rank: Int { get }
    /// The number of ranks.
    var size: Int { get }
    /// This rank's number among the ranks of its node, 0 ..< localSize.
    var localRank: Int { get }
    /// The number of ranks on this rank's node.
    var localSize: Int { get }
    /// The name of this rank's node.
    var nodeName: String { get }
    /// The library behind it, with its version, for the start-up report.
    var libraryDescription: String { get }

    /// Returns once every rank has called it. Collective.
    func barrier() throws
    /// Reduces float32 values in place over all ranks. Collective.
    func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) throws
    /// Reduces float64 values in place over all ranks. Collective.
    func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) throws
    /// Reduces 64-bit integers in place over all ranks. Collective.
    func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) throws
    /// Starts summing float32 values in place; `values` must stay alive and untouched until the result waited for. Collective.
    func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) throws -> any PendingCollective
    /// Copies root's bytes to every rank. Collective.
    func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) throws
    /// Every rank's bytes, by rank; lengths may differ. Collective.
    func allGather(_ bytes: [UInt8]) throws -> [[UInt8]]
    /// Sends `outgoing` to `partner` while receiving `incoming` from it (both ranks call it). Either may be empty.
    func exchange(_ outgoing: UnsafeBufferPointer<Float>, _ incoming: UnsafeMutableBufferPointer<Float>, with partner: Int) throws
    /// Ends every rank at once with `exitCode`. For errors that one rank alone has seen.
    func abort(_ exitCode: Int32) -> Never
}

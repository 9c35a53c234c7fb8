// The one way that ranks talk to each other. Three implementations: `SingleProcess` (every collective is the identity),
// `MPICommunicator` (the real thing) and `LoopbackCommunicator` (threads of one process, for tests).

import Diagnostics

/// How values of several ranks become one.
public enum Reduction: Sendable {
    case sum, minimum, maximum
}

/// A collective that was started and may still be running.
public protocol PendingCollective: AnyObject {
    /// Gives the library a chance to make progress; true once the buffer holds the result. Cheap, never blocks.
    /// - Throws: `UserError` (.unavailable) when the library reports an error.
    func test() throws -> Bool
    /// Blocks until the buffer holds the result.
    /// - Throws: `UserError` (.unavailable) when the library reports an error.
    func wait() throws
    /// Blocks until a collective of several parts has come further, or until the buffer holds the result.
    /// - Throws: `UserError` (.unavailable) when the library reports an error.
    func waitForPart() throws
}

extension PendingCollective {
    /// A collective of one part is waited for as a whole.
    public func waitForPart() throws { try wait() }
}

/// Bytes on their way to one rank or from it.
public struct Message {
    /// The other rank.
    public let partner: Int
    /// What is sent, or where it comes to.
    public let bytes: UnsafeMutableRawBufferPointer

    /// Bytes of the caller's, which are neither copied nor owned.
    public init(partner: Int, bytes: UnsafeMutableRawBufferPointer) { (self.partner, self.bytes) = (partner, bytes) }
}

/// A group of ranks that call the same collectives in the same order.
///
/// All calls of one communicator come from one thread at a time. Every member marked *collective* must be called by all ranks.
/// Every throwing member throws `UserError` (.unavailable) with the call's name and the library's own text when the library reports an error.
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
    /// Reduces float32 values in place over all ranks. Every rank ends with the same bits. Collective.
    func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) throws
    /// Reduces float64 values in place over all ranks. Every rank ends with the same bits. Collective.
    func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) throws
    /// Reduces 64-bit integers in place over all ranks. Collective.
    func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) throws
    /// Starts summing float32 values in place; `values` must stay alive and untouched until the result was waited for. Collective.
    func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) throws -> any PendingCollective
    /// Copies root's bytes to every rank. All ranks pass the same length. Collective.
    func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) throws
    /// Every rank's bytes, by rank; lengths may differ. Collective.
    func allGather(_ bytes: [UInt8]) throws -> [[UInt8]]
    /// Starts sending some messages and receiving others; all their bytes must stay alive and untouched until the result was waited for. A message
    /// meets one of the same tag and length at its partner; several between the same two ranks arrive in the order in which they were started.
    ///
    /// - Parameter tag: 0 ..< 32,768; tells sets of messages apart that are under way at the same time.
    func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) throws -> any PendingCollective
    /// Whether the ranks that are left can go on when others are lost: ``agrees(_:)`` and ``leaveLostRanks()`` then do what they say.
    var outlivesLostRanks: Bool { get }
    /// Whether all is well on every rank: the same answer on all ranks that live, though some may be lost meanwhile. False where one was lost or says
    /// so. Collective.
    func agrees(_ isWell: Bool) throws -> Bool
    /// Becomes the communicator of the ranks that are left, in their order: numbers and size change. Whatever is under way ends: the others' calls throw,
    /// until they have called it too. Collective over the ranks that are left.
    ///
    /// - Returns: the numbers that the ranks which are left had before, ascending.
    /// - Throws: `UserError` (.unavailable) where no rank was lost, or the library cannot go on.
    func leaveLostRanks() throws -> [Int]
    /// Ends every rank at once with `exitCode`. For errors that one rank alone has seen.
    func abort(_ exitCode: Int32) -> Never
    /// Whether this rank was asked to stop, for long works to look at between their parts; `nil` where they run to their end. The same on every rank.
    var interruption: (() -> Bool)? { get }
}

extension Communicator {
    public var interruption: (() -> Bool)? { nil }
    public var outlivesLostRanks: Bool { false }
    public func agrees(_ isWell: Bool) throws -> Bool { size == 1 ? isWell : try allReduced(isWell ? 1 : 0, .minimum) == 1 }
    public func leaveLostRanks() throws -> [Int] {
        throw UserError(.unavailable, "\(libraryDescription) cannot go on without a rank that is lost", advice: "start again")
    }

    /// The same ranks, with works that stop when any of them is asked to.
    public func interruptible(_ isRequested: @escaping () -> Bool) -> any Communicator { InterruptibleCommunicator(self, isRequested) }
}

extension Communicator {
    /// The reduction of one float64 value over all ranks. Collective.
    public func allReduced(_ value: Double, _ reduction: Reduction) throws -> Double {
        var value = value
        try withUnsafeMutablePointer(to: &value) { try allReduce(UnsafeMutableBufferPointer(start: $0, count: 1), reduction) }
        return value
    }

    /// The reduction of one integer over all ranks. Collective.
    public func allReduced(_ value: Int, _ reduction: Reduction) throws -> Int {
        var value = Int64(value)
        try withUnsafeMutablePointer(to: &value) { try allReduce(UnsafeMutableBufferPointer(start: $0, count: 1), reduction) }
        return Int(value)
    }

    /// The elementwise reduction of float64 values over all ranks; every rank passes as many. Collective.
    public func allReduced(_ values: [Double], _ reduction: Reduction) throws -> [Double] {
        var values = values
        try values.withUnsafeMutableBufferPointer { try allReduce($0, reduction) }
        return values
    }

    /// The elementwise reduction of integers over all ranks; every rank passes as many. Collective.
    public func allReduced(_ values: [Int64], _ reduction: Reduction) throws -> [Int64] {
        var values = values
        try values.withUnsafeMutableBufferPointer { try allReduce($0, reduction) }
        return values
    }

    /// Sends `outgoing` to `partner` while receiving `incoming` from it. Both ranks call it, and the length that one sends is the length
    /// that the other receives. Either may be empty.
    public func exchange(_ outgoing: UnsafeRawBufferPointer, _ incoming: UnsafeMutableRawBufferPointer, with partner: Int) throws {
        try startMessages(
            [Message(partner: partner, bytes: UnsafeMutableRawBufferPointer(mutating: outgoing))], [Message(partner: partner, bytes: incoming)], tag: 0
        ).wait()
    }

    /// What every rank has for this one, by rank, where `outgoing` is what this one has for each; lengths may differ. Collective.
    public func allToAll(_ outgoing: [[UInt8]]) throws -> [[UInt8]] {
        require(outgoing.count == size, "bytes for \(outgoing.count) ranks of \(size)")
        if size == 1 { return outgoing }
        let counts = try allGather(outgoing.map { Int64($0.count) }.withUnsafeBytes { Array($0) }).map { counts in
            counts.withUnsafeBytes { Int($0.loadUnaligned(fromByteOffset: 8 * rank, as: Int64.self)) }
        }
        // What stays here needs no message.
        let partners = (0..<size).filter { $0 != rank }
        func memory(_ count: Int) -> UnsafeMutableRawBufferPointer { .allocate(byteCount: count, alignment: 16) }
        let sent = partners.map { Message(partner: $0, bytes: memory(outgoing[$0].count)) }
        let received = partners.map { Message(partner: $0, bytes: memory(counts[$0])) }
        defer { for message in sent + received { message.bytes.deallocate() } }
        for message in sent { message.bytes.copyBytes(from: outgoing[message.partner]) }
        try startMessages(sent.filter { !$0.bytes.isEmpty }, received.filter { !$0.bytes.isEmpty }, tag: 0).wait()
        var incoming = outgoing
        for message in received { incoming[message.partner] = Array(message.bytes) }
        return incoming
    }

    /// Root's bytes, of any length, on every rank; what the others pass is ignored. Collective.
    public func broadcasted(_ bytes: [UInt8], root: Int) throws -> [UInt8] {
        let count = try allReduced(rank == root ? bytes.count : 0, .maximum)
        var result = rank == root ? bytes : [UInt8](repeating: 0, count: count)
        try result.withUnsafeMutableBytes { try broadcast($0, root: root) }
        return result
    }
}

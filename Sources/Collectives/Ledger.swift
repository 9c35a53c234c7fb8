// What a rank is doing: its sections and its collectives, kept for those who ask when nothing moves.

import Synchronization

/// The ledger of one rank. The thread that computes writes it; a watchdog reads it from another.
public final class Ledger: Sendable {
    /// What a rank is doing at a moment.
    public struct Entry: Codable, Sendable, Equatable {
        /// Collectives begun since the start: the number of the last one, from 1.
        public var sequence = 0
        /// The last collective: `all-reduce`, `broadcast`, ...
        public var collective = ""
        /// Bytes that it moves.
        public var bytes = 0
        /// Whether the rank is in it still.
        public var isInside = false
        /// What the rank is about, the innermost last: `step`, `evaluation`, `restore`, ...
        public var sections: [String] = []
        /// The optimizer step.
        public var step = 0
        /// Grows with every change: a rank whose count stays does not move.
        public var events = 0

        /// A rank that has done nothing yet.
        public init() {}
    }

    private struct State {
        var entry = Entry()
        var began = ContinuousClock.now
        var waited = Duration.zero
        var completed = Set<String>()
    }

    private let state = Mutex(State())

    /// An empty ledger.
    public init() {}

    /// What the rank is doing.
    public var entry: Entry { state.withLock { $0.entry } }

    /// Notes that a section begins. It ends with ``leave()``.
    public func enter(_ section: String) {
        state.withLock {
            $0.entry.sections.append(section)
            $0.entry.events += 1
        }
    }

    /// Notes that the innermost section has ended.
    public func leave() {
        state.withLock {
            if let section = $0.entry.sections.popLast() { $0.completed.insert(section) }
            $0.entry.events += 1
        }
    }

    /// Whether a section of this name has come to its end.
    public func hasCompleted(_ section: String) -> Bool { state.withLock { $0.completed.contains(section) } }

    /// Does something as a section.
    public func section<Result>(_ name: String, _ body: () throws -> Result) rethrows -> Result {
        enter(name)
        defer { leave() }
        return try body()
    }

    /// Notes which step is computed.
    public func note(step: Int) {
        state.withLock {
            $0.entry.step = step
            $0.entry.events += 1
        }
    }

    /// Seconds in collectives since this was asked last: what a rank waited for others, and for the network.
    public func takeWaited() -> Double {
        state.withLock { state in
            defer { state.waited = .zero }
            return state.waited / .seconds(1)
        }
    }

    func began(_ collective: String, bytes: Int) {
        state.withLock {
            $0.entry.sequence += 1
            ($0.entry.collective, $0.entry.bytes, $0.entry.isInside) = (collective, bytes, true)
            $0.entry.events += 1
            $0.began = .now
        }
    }

    /// Notes that the rank goes back into a collective that it has started before.
    func returned() {
        state.withLock {
            $0.entry.isInside = true
            $0.entry.events += 1
            $0.began = .now
        }
    }

    func ended() {
        state.withLock {
            $0.entry.isInside = false
            $0.entry.events += 1
            $0.waited += ContinuousClock.now - $0.began
        }
    }
}

/// Another communicator, whose collectives a ledger keeps.
public final class LedgerCommunicator: ForwardingCommunicator {
    public let ledger: Ledger

    /// Stands before `base`.
    public init(_ base: any Communicator, _ ledger: Ledger) {
        self.ledger = ledger
        super.init(base)
    }

    private func kept<Result>(_ collective: String, bytes: Int, _ body: () throws -> Result) rethrows -> Result {
        ledger.began(collective, bytes: bytes)
        defer { ledger.ended() }
        return try body()
    }

    public override func barrier() throws { try kept("barrier", bytes: 0) { try base.barrier() } }

    public override func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) throws {
        try kept("all-reduce", bytes: 4 * values.count) { try base.allReduce(values, reduction) }
    }

    public override func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) throws {
        try kept("all-reduce", bytes: 8 * values.count) { try base.allReduce(values, reduction) }
    }

    public override func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) throws {
        try kept("all-reduce", bytes: 8 * values.count) { try base.allReduce(values, reduction) }
    }

    public override func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) throws -> any PendingCollective {
        let pending = try kept("all-reduce", bytes: 4 * values.count) { try base.startAllReduce(values) }
        return KeptCollective(pending, ledger)
    }

    public override func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) throws {
        try kept("broadcast", bytes: bytes.count) { try base.broadcast(bytes, root: root) }
    }

    public override func allGather(_ bytes: [UInt8]) throws -> [[UInt8]] {
        try kept("all-gather", bytes: bytes.count) { try base.allGather(bytes) }
    }

    public override func exchange(_ outgoing: UnsafeRawBufferPointer, _ incoming: UnsafeMutableRawBufferPointer, with partner: Int) throws {
        try kept("exchange", bytes: outgoing.count + incoming.count) { try base.exchange(outgoing, incoming, with: partner) }
    }
}

/// A collective that was started, and is waited for under the eyes of a ledger.
private final class KeptCollective: PendingCollective {
    private let base: any PendingCollective
    private let ledger: Ledger

    init(_ base: any PendingCollective, _ ledger: Ledger) { (self.base, self.ledger) = (base, ledger) }

    func test() throws -> Bool { try base.test() }

    func wait() throws {
        ledger.returned()
        defer { ledger.ended() }
        try base.wait()
    }
}

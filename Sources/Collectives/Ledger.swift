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

    /// Where the time of a section went.
    public struct Spent: Sendable, Equatable {
        /// Its own work, without that of sections inside it.
        public var own = Duration.zero
        /// In collectives: waiting for other ranks and for the network.
        public var waiting = Duration.zero

        /// No time.
        public init() {}
    }

    /// A section or a collective that has ended, or a moment.
    public struct Span: Sendable {
        /// What it was.
        public enum Kind: String, Sendable { case section, collective, moment }

        /// The section's name, the collective's, or the moment's.
        public let name: String
        /// What it was.
        public let kind: Kind
        /// When it began.
        public let begin: ContinuousClock.Instant
        /// When it ended; of a moment, its time.
        public let end: ContinuousClock.Instant
        /// The optimizer step.
        public let step: Int
        /// Bytes that a collective moves.
        public let bytes: Int
    }

    private struct State {
        var entry = Entry()
        var began = ContinuousClock.now
        var waited = Duration.zero
        var completed = Set<String>()
        /// Where time went, by section; that outside of all sections is under the empty name.
        var spent: [String: Spent] = [:]
        /// Until when time is accounted for.
        var accounted = ContinuousClock.now
        var beginnings: [ContinuousClock.Instant] = []
        /// What has ended since somebody asked; `nil` where nobody does.
        var spans: [Span]?

        /// Gives the time since the last change to what the rank was about.
        mutating func account() -> ContinuousClock.Instant {
            let now = ContinuousClock.now
            let name = entry.sections.last ?? ""
            if entry.isInside { spent[name, default: Spent()].waiting += now - accounted } else { spent[name, default: Spent()].own += now - accounted }
            accounted = now
            return now
        }

        mutating func keep(_ name: String, _ kind: Span.Kind, since begin: ContinuousClock.Instant, until end: ContinuousClock.Instant) {
            spans?.append(Span(name: name, kind: kind, begin: begin, end: end, step: entry.step, bytes: kind == .collective ? entry.bytes : 0))
        }
    }

    private let state = Mutex(State())

    /// An empty ledger.
    public init() {}

    /// What the rank is doing.
    public var entry: Entry { state.withLock { $0.entry } }

    /// Notes that a section begins. It ends with ``leave()``.
    public func enter(_ section: String) {
        state.withLock {
            $0.beginnings.append($0.account())
            $0.entry.sections.append(section)
            $0.entry.events += 1
        }
    }

    /// Notes that the innermost section has ended.
    public func leave() {
        state.withLock {
            let now = $0.account()
            if let section = $0.entry.sections.popLast() {
                $0.completed.insert(section)
                if let begin = $0.beginnings.popLast() { $0.keep(section, .section, since: begin, until: now) }
            }
            $0.entry.events += 1
        }
    }

    /// Where time went since the ledger was made, by section; that outside of all sections is under the empty name.
    public var spent: [String: Spent] {
        state.withLock {
            _ = $0.account()
            return $0.spent
        }
    }

    /// From now on what ends is kept for ``takeSpans()``.
    public func keepSpans() { state.withLock { $0.spans = $0.spans ?? [] } }

    /// What has ended since this was asked last.
    public func takeSpans() -> [Span] {
        state.withLock { state in
            defer { if state.spans != nil { state.spans = [] } }
            return state.spans ?? []
        }
    }

    /// Notes a moment, such as that a rank is ready for the others.
    public func mark(_ name: String) {
        state.withLock {
            let now = ContinuousClock.now
            $0.keep(name, .moment, since: now, until: now)
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
            $0.began = $0.account()
            ($0.entry.collective, $0.entry.bytes, $0.entry.isInside) = (collective, bytes, true)
            $0.entry.events += 1
        }
    }

    /// Notes that the rank goes back into a collective that it has started before.
    func returned() {
        state.withLock {
            $0.began = $0.account()
            $0.entry.isInside = true
            $0.entry.events += 1
        }
    }

    func ended() {
        state.withLock {
            let now = $0.account()
            $0.entry.isInside = false
            $0.entry.events += 1
            $0.waited += now - $0.began
            $0.keep($0.entry.collective, .collective, since: $0.began, until: now)
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

    public override func agrees(_ isWell: Bool) throws -> Bool { try kept("agreement", bytes: 4) { try base.agrees(isWell) } }

    public override func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) throws -> any PendingCollective {
        let pending = try kept("exchange", bytes: (outgoing + incoming).reduce(0) { $0 + $1.bytes.count }) {
            try base.startMessages(outgoing, incoming, tag: tag)
        }
        return KeptCollective(pending, ledger)
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

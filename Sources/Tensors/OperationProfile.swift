// Where the time of a tape goes, by operation.

/// Adds up the time of the operations of the tapes that it observes.
///
/// A tape reports when an operation is recorded and when its gradient begins and ends. What passes between two reports belongs to the operation that
/// the second one names: forwards with whatever was computed before it since the report before, backwards without the operations within it, such as
/// those of a recomputed part.
public final class OperationProfile: OperationObserver {
    /// One operation's share.
    public struct Share: Codable, Sendable, Equatable {
        /// The operation's name.
        public var operation: String
        /// How often it was recorded.
        public var count: Int
        /// Seconds in the forward pass, and in the backward pass.
        public var secondsForward: Double
        public var secondsBackward: Double

        /// Seconds of both passes.
        public var seconds: Double { secondsForward + secondsBackward }
    }

    private var shares: [Operation: Share] = [:]
    private var last = ContinuousClock.now

    /// A profile of nothing.
    public init() {}

    /// Starts the clock: call it before the first operation of a tape.
    public func begin() { last = .now }

    /// Forgets what was measured.
    public func reset() { shares.removeAll() }

    /// The operations, the one that took longest first.
    public var sorted: [Share] { shares.values.sorted { ($0.seconds, $1.operation) > ($1.seconds, $0.operation) } }

    public func recorded(_ operation: Operation, _ outputs: [Tensor]) {
        add(operation) { $0.secondsForward += $1 }
        shares[operation]?.count += 1
    }

    // What lies between two operations of the backward pass, bookkeeping and communication, belongs to none.
    public func startsBackward(_ operation: Operation) { begin() }
    public func finishedBackward(_ operation: Operation) { add(operation) { $0.secondsBackward += $1 } }

    private func add(_ operation: Operation, _ add: (inout Share, Double) -> Void) {
        let now = ContinuousClock.now
        let time = last.duration(to: now).components
        let share = Share(operation: operation.name, count: 0, secondsForward: 0, secondsBackward: 0)
        add(&shares[operation, default: share], Double(time.seconds) + Double(time.attoseconds) * 1e-18)
        last = now
    }
}

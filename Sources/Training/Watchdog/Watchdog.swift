// The watchdog of a session: no rank waits for ever.

import Checkpoints
import Collectives
import Foundation
import Synchronization

/// Watches, from threads of its own, whether a rank moves: whether its ledger changes.
///
/// A rank that has waited in a collective for longer than its section allows asks the others, over TCP, what they are doing. Who does not answer, or has
/// not come and stands still beyond its own limit, is named, and the session ends. A rank that computes or writes is nobody's business until others
/// have waited for it for too long. Time in which the whole process was stopped does not count: a suspended job is no standstill.
package final class Watchdog: @unchecked Sendable {
    private struct State {
        var limits: StandstillLimits
        var still = 0.0
    }

    private let ledger: Ledger
    private let exchange: LedgerExchange
    private let me: LedgerExchange.Peer
    private let state: Mutex<State>
    private let isRunning = Atomic<Bool>(true)
    private let end: @Sendable (String) -> Void

    /// Starts to watch. Collective.
    /// - Parameters:
    ///   - ledger: what this rank's collectives and sections are written into.
    ///   - end: called when the session cannot go on, with the reason, from a thread of the watchdog's.
    /// - Throws: `UserError` (.unavailable).
    package init(_ settings: WatchdogSettings, _ communicator: any Communicator, _ ledger: Ledger, end: @escaping @Sendable (String) -> Void) throws {
        self.ledger = ledger
        self.end = end
        exchange = try LedgerExchange(communicator)
        me = exchange.peers[communicator.rank]
        state = Mutex(State(limits: StandstillLimits(settings)))
        for work in [answer, watch] {
            let thread = Thread(block: work)
            thread.stackSize = 1 << 20
            thread.start()
        }
    }

    deinit { stop() }

    /// Ends watching. The others may then wait for this rank as long as they like.
    package func stop() { isRunning.store(false, ordering: .relaxed) }

    /// The longest standstills so far.
    package var longest: [String: Double] { state.withLock { $0.limits.longest } }

    private static func section(_ entry: Ledger.Entry) -> String { entry.sections.last ?? "session" }

    private func report() -> RankReport {
        let entry = ledger.entry
        return state.withLock { state in
            RankReport(
                rank: me.rank, node: me.node, process: me.process, entry: entry, still: state.still, limit: self.limit(entry, &state.limits))
        }
    }

    /// Seconds that a rank may stand still where it is. A section that has come to its end so fast that no standstill was seen has the least limit.
    private func limit(_ entry: Ledger.Entry, _ limits: inout StandstillLimits) -> Double {
        let section = Self.section(entry)
        if ledger.hasCompleted(section) { limits.observe(section, 0) }
        return limits.limit(section)
    }

    private var answer: @Sendable () -> Void {
        { [weak self] in
            while let self, self.isRunning.load(ordering: .relaxed) { self.exchange.answer(for: 200) { self.report() } }
        }
    }

    private var watch: @Sendable () -> Void {
        { [weak self] in
            var seen = Ledger.Entry()
            var (last, nextLook) = (ContinuousClock.now, 0.0)
            while let self, self.isRunning.load(ordering: .relaxed) {
                usleep(200_000)
                let now = ContinuousClock.now
                // A thread that was not let run for a second was stopped with its process.
                let passed = min((now - last) / .seconds(1), 1)
                last = now
                let entry = self.ledger.entry
                let hasMoved = entry.events != seen.events
                let (still, limit) = self.state.withLock { state in
                    state.still += passed
                    if hasMoved {
                        let section = Self.section(seen)
                        if self.ledger.hasCompleted(section) { state.limits.observe(section, state.still) }
                        state.still = 0
                    }
                    return (state.still, self.limit(entry, &state.limits))
                }
                if hasMoved { (seen, nextLook) = (entry, 0) }
                // The lowest of those who wait speaks for all.
                guard entry.isInside, still > limit + Double(min(self.me.rank, 5)), still > nextLook else { continue }
                nextLook = still + max(5, limit / 4)
                let answers = self.exchange.ask(within: 3)
                guard self.ledger.entry.events == entry.events, self.isRunning.load(ordering: .relaxed) else { continue }
                if case .end(let reason) = StandstillVerdict(mine: self.report(), answers: answers, peers: self.exchange.peers) {
                    self.stop()
                    self.end(reason)
                }
            }
        }
    }
}

extension Watchdog: RunState {
    package var stateName: String { "watchdog" }

    /// What rank 0 has seen goes into the checkpoint, and all ranks take it.
    package var stateAttributes: [StateAttribute] {
        [
            StateAttribute("watchdog_standstills", isOptional: true, save: { .string(self.state.withLock { $0.limits.text }) }) { value in
                guard case .string(let text) = value else { return false }
                return self.state.withLock { $0.limits.learn(text) }
            }
        ]
    }
}

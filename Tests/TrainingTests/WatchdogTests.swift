// Nobody waits for ever: limits, verdicts, stragglers, and ranks of one process one of which does not come.

import Collectives
import Foundation
import Synchronization
import Testing
import Training

@Suite struct WatchdogTests {
    private static func settings(atLeast: Double, first: Double) -> WatchdogSettings {
        var settings = WatchdogSettings()
        (settings.atLeast, settings.first) = (atLeast, first)
        return settings
    }

    @Test("a section's limit is that of a first time, then three times what was seen, and never less than the least")
    func limits() {
        var limits = StandstillLimits(Self.settings(atLeast: 10, first: 600))
        #expect(limits.limit("step") == 600)
        limits.observe("step", 0.2)
        #expect(limits.limit("step") == 10 && limits.limit("evaluation") == 600)
        limits.observe("evaluation", 40)
        limits.observe("evaluation", 5)
        #expect(limits.limit("evaluation") == 120 && limits.text == "evaluation 40.00, step 0.20")

        var later = StandstillLimits(Self.settings(atLeast: 10, first: 600))
        later.observe("step", 7)
        let learnt = [limits.text, ""].map { later.learn($0) }
        #expect(learnt == [true, true] && later.longest == ["evaluation": 40, "step": 7])
        for wrong in ["step", "step x", "step -1", "step inf", " 1"] {
            let isTaken = later.learn(wrong)
            #expect(!isTaken, "\(wrong)")
        }
    }

    @Test("what was seen of every section of a session comes back from a checkpoint")
    func sections() {
        var (limits, later) = (StandstillLimits(Self.settings(atLeast: 10, first: 600)), StandstillLimits(Self.settings(atLeast: 10, first: 600)))
        let sections = ["start", "restore", "rehearsal", "step", "data", "publish", "log", "save", "wait for the checkpoint", "evaluation", "session"]
        for (index, section) in sections.enumerated() { limits.observe(section, Double(index)) }
        let isTaken = later.learn(limits.text)
        #expect(isTaken && later.longest == limits.longest)
    }

    private func report(_ rank: Int, sequence: Int, still: Double = 0, limit: Double = 30, sections: [String] = ["step"]) -> RankReport {
        var entry = Ledger.Entry()
        (entry.sequence, entry.collective, entry.bytes, entry.isInside, entry.step) = (sequence, "all-reduce", 4096, true, 405)
        entry.sections = sections
        return RankReport(rank: rank, node: "node\(rank)", process: 40 + Int32(rank), entry: entry, still: still, limit: limit)
    }

    private func verdict(_ answers: [RankReport?]) -> StandstillVerdict {
        let peers = answers.indices.map { LedgerExchange.Peer(rank: $0, node: "node\($0)", process: 40 + Int32($0), port: 1, addresses: []) }
        return StandstillVerdict(mine: report(0, sequence: 812, still: 31.4), answers: answers, peers: peers)
    }

    @Test("who does not answer, or stands still and has not come, is named; who has not come and is within his limit is waited for")
    func verdicts() {
        let start = "nothing has moved for 31 s in all-reduce 812 (4096 bytes), step 405, step: "
        #expect(
            verdict([nil, nil, report(2, sequence: 812)])
                == .end(start + "rank 1 (node1, process 41) does not answer: it is stopped, its node is down or the link to it is cut"))
        #expect(
            verdict([nil, report(1, sequence: 811, still: 45, sections: ["save"]), report(2, sequence: 812)])
                == .end(
                    start + "rank 1 (node1, process 41) has not come to it and does not move: it has been in save in all-reduce 811 for 45 s"))
        #expect(verdict([nil, report(1, sequence: 811, still: 20), report(2, sequence: 812)]) == .patience)
        #expect(
            verdict([nil, report(1, sequence: 812), report(2, sequence: 813)])
                == .end(start + "all ranks have come to it, so the network or the MPI library stands still"))
        guard case .end(let many) = verdict([nil] + (1..<8).map { _ in nil }) else {
            Issue.record("seven ranks that do not answer were waited for")
            return
        }
        #expect(many.hasSuffix("; and 3 more"))
    }

    @Test("a rank is slow that works twice as long as the fastest and longer than it did itself, in two looks")
    func stragglers() {
        var watch = StragglerWatch(nodes: ["a", "b", "c"])
        let looks: [[Double]] = [
            [1, 1.1, 3], [1, 1.1, 3], [1, 10, 3], [1, 11, 3], [1, 12, 3], [1, 1.2, 3], [1, 11, 3], [1, 1.2, 3],
        ]
        let said = looks.map { watch.observe($0) }
        let slow = "rank 1 (b) is slow: 11 s of work a step, 1.1 s at its best, 1 s the fastest rank"
        #expect(said == [[], [], [], [slow], [], ["rank 1 (b) keeps up again"], [], []])
    }

    @Test("a ledger counts collectives, knows where the rank is, and how long it waited")
    func ledger() throws {
        let entries = try LoopbackCommunicator.run(size: 2) { base in
            let ledger = Ledger()
            let communicator = LedgerCommunicator(base, ledger)
            ledger.note(step: 7)
            try ledger.section("outer") {
                try ledger.section("inner") { try communicator.barrier() }
                if base.rank == 1 { usleep(50_000) }
                #expect(try communicator.allReduced(1, .sum) == 2)
                #expect(ledger.hasCompleted("inner") && !ledger.hasCompleted("outer"))
                var values: [Float] = [1, 2, 3]
                try values.withUnsafeMutableBufferPointer { try communicator.startAllReduce($0).wait() }
                #expect(values == [2, 4, 6])
            }
            return (ledger.entry, ledger.takeWaited())
        }
        for (entry, _) in entries {
            #expect(entry.sequence == 3 && entry.collective == "all-reduce" && entry.bytes == 12 && !entry.isInside)
            #expect(entry.sections.isEmpty && entry.step == 7)
        }
        #expect(entries[0].1 >= 0.04 && entries[0].1 > entries[1].1)
    }

    private final class Endings: Sendable {
        let reasons = Mutex<[String]>([])
        let isThere = DispatchSemaphore(value: 0)
        func end(_ reason: String) {
            reasons.withLock { $0.append(reason) }
            isThere.signal()
        }
    }

    @Test("a rank that does not come is named by one that waits, with its section")
    func standstill() throws {
        let endings = Endings()
        _ = try LoopbackCommunicator.run(size: 3) { base in
            let ledger = Ledger()
            let communicator = LedgerCommunicator(base, ledger)
            let watchdog = try Watchdog(Self.settings(atLeast: 1, first: 1), communicator, ledger) { endings.end($0) }
            defer { watchdog.stop() }
            try ledger.section("step") { try communicator.barrier() }
            ledger.note(step: 5)
            try ledger.section("step") {
                if base.rank == 1 { ledger.section("load") { endings.isThere.wait() } }
                try communicator.barrier()
            }
        }
        let reason = try #require(endings.reasons.withLock { $0.first })
        #expect(reason.contains("s in barrier ") && reason.contains("step 5, step: ") && reason.contains("rank 1 ("), "\(reason)")
        #expect(reason.contains("has not come to it and does not move: it has been in step > load after barrier"), "\(reason)")
    }

    @Test("a rank that works is waited for, however slow it is; standstills that ended are learnt and kept")
    func patience() throws {
        let endings = Endings()
        let learnt = try LoopbackCommunicator.run(size: 2) { base in
            let ledger = Ledger()
            let communicator = LedgerCommunicator(base, ledger)
            let watchdog = try Watchdog(Self.settings(atLeast: 1, first: 60), communicator, ledger) { endings.end($0) }
            defer { watchdog.stop() }
            try ledger.section("step") { try communicator.barrier() }
            try ledger.section("step") {
                // Longer than the limit of the one that waits, in a section whose limit is 60 s.
                if base.rank == 1 { ledger.section("load") { usleep(2_500_000) } }
                try communicator.barrier()
            }
            try ledger.section("evaluation") {
                if base.rank == 1 { usleep(1_500_000) }
                try communicator.barrier()
            }
            usleep(500_000)
            return watchdog.longest
        }
        #expect(endings.reasons.withLock { $0.isEmpty })
        #expect(try #require(learnt[0]["step"]) > 1.5 && #require(learnt[0]["evaluation"]) > 1)
    }
}

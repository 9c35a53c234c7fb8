// Where time went, and the traces of ranks.

import Collectives
import Foundation
import TestSupport
import Testing
import Training

@Suite struct GoodputTests {
    @Test("a ledger gives each moment to the innermost section, and the time in collectives to waiting")
    func ledger() throws {
        let ledger = Ledger()
        ledger.keepSpans()
        ledger.note(step: 3)
        ledger.section("step") { ledger.section("data") { usleep(20_000) } }
        let communicator = LedgerCommunicator(SingleProcess(), ledger)
        try ledger.section("step") { try communicator.barrier() }
        ledger.mark("ready")
        let spent = ledger.spent
        let (step, data) = (spent["step"] ?? .init(), spent["data"] ?? .init())
        #expect(data.own >= .milliseconds(20) && step.own < data.own && step.waiting > .zero)
        let spans = ledger.takeSpans()
        #expect(spans.map(\.name) == ["data", "step", "barrier", "step", "ready"])
        #expect(spans.map(\.kind) == [.section, .section, .collective, .section, .moment] && spans.allSatisfy { $0.step == 3 })
        #expect(spans[0].begin >= spans[1].begin && spans[0].end <= spans[1].end)
        #expect(ledger.takeSpans().isEmpty)
    }

    @Test("the record adds up, counts steps that were done again, and outlives a file that cannot be read")
    func record() throws {
        try withScratchDirectory { scratch in
            for (first, lastKnown, last) in [(0, 0, 10), (6, 10, 18)] {
                let ledger = Ledger()
                let goodput = GoodputLedger(ledger, SingleProcess(), directory: scratch, step: first, lastKnown: lastKnown)
                ledger.section("start") { usleep(3_000) }
                for _ in first..<last { ledger.section("step") { usleep(1_000) } }
                #expect(try goodput.record(step: (first + last) / 2) != nil)
                #expect(try goodput.record(step: last)?.contains("goodput") == true)
            }
            let run = RunGoodput(of: scratch)
            #expect(run.sessions.map(\.firstStep) == [0, 6] && run.sessions.map(\.lastStep) == [10, 18] && run.sessions.map(\.repeatedSteps) == [0, 4])
            for session in run.sessions {
                #expect(session.starting >= 0.003 && session.productive >= 0.001 * Double(session.lastStep - session.firstStep))
                #expect(abs(session.parts.reduce(0) { $0 + $1.seconds } - session.total) < 1e-9)
            }
            #expect(abs(run.sessions[1].repeated - (run.sessions[1].productive + run.sessions[1].waitingForRanks) / 3) < 1e-9)
            #expect(run.line.contains("in 2 sessions; ") && run.line.contains("steps done again"))
            try Data("{".utf8).write(to: URL(fileURLWithPath: "\(scratch)/goodput.json"))
            #expect(RunGoodput(of: scratch).sessions.isEmpty)
        }
    }

    @Test("the trace of each rank is JSON, and all ranks' times begin at one moment")
    func trace() throws {
        try withScratchDirectory { scratch in
            _ = try LoopbackCommunicator.run(size: 3) { communicator in
                let ledger = Ledger()
                let kept = LedgerCommunicator(communicator, ledger)
                let begin = ContinuousClock.now
                ledger.keepSpans()
                // What is over before the directory is this run's is in the trace too.
                ledger.section("restore") { usleep(communicator.rank == 2 ? 20_000 : 1_000) }
                let trace = try TraceFile(directory: scratch, since: begin, communicator, ledger)
                for step in 1...3 {
                    ledger.note(step: step)
                    ledger.section("step") { usleep(communicator.rank == 1 ? 60_000 : 1_000) }
                    ledger.mark("ready")
                    try kept.barrier()
                    trace.write()
                }
                trace.finish()
            }
            var leaving: [[Double]] = []
            for rank in 0..<3 {
                let data = try Data(contentsOf: URL(fileURLWithPath: "\(scratch)/trace-\(rank).json"))
                let events = try #require(JSONSerialization.jsonObject(with: data) as? [[String: Any]])
                let barriers = events.filter { $0["name"] as? String == "barrier" }
                #expect(events.allSatisfy { $0["pid"] as? Int == rank } && barriers.count == 3)
                #expect(events.count { $0["ph"] as? String == "i" } == 3 && events.count { $0["name"] as? String == "restore" } == 1)
                #expect(events.compactMap { $0["ts"] as? Double }.allSatisfy { $0 > -1 })
                leaving.append(barriers.compactMap { event in (event["ts"] as? Double).flatMap { begin in (event["dur"] as? Double).map { begin + $0 } } })
                // Who is late waits least.
                let waits = barriers.compactMap { $0["dur"] as? Double }
                #expect(rank == 1 || waits.reduce(0, +) > 30_000, "\(waits)")
            }
            // All ranks leave a barrier at about the same moment of the common clock.
            for index in 0..<3 {
                let times = leaving.map { $0[index] }
                #expect((times.max() ?? 0) - (times.min() ?? 0) < 500_000, "\(times)")
            }
        }
    }
}

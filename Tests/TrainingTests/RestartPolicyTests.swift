// Whether a run is started again, by what its session has left behind.

import Storage
import Testing
import Training

@Suite struct RestartPolicyTests {
    private func record(_ outcome: SessionRecord.Outcome, step: Int = 7, mayBeStartedAgain: Bool = true, exitCode: Int32? = nil, _ message: String? = nil) -> SessionRecord {
        SessionRecord(
            outcome: outcome, step: step, checkpoint: nil, mayBeStartedAgain: mayBeStartedAgain, exitCode: exitCode, message: message,
            session: SessionIdentity(environment: [:]), ranks: 2)
    }

    @Test("finished, stopped and hopeless sessions are the last")
    func ends() {
        var policy = RestartPolicy(checkpoint: nil)
        #expect(policy.decide(exitCode: 205, record: record(.finished), checkpoint: 9, isAsked: false) == .end(0, "the run is finished"))
        #expect(policy.decide(exitCode: 0, record: record(.stopped, "SIGTERM"), checkpoint: 9, isAsked: true) == .end(75, "stopped: SIGTERM"))
        let hopeless = record(.failed, mayBeStartedAgain: false, exitCode: 78, "wrong key")
        #expect(policy.decide(exitCode: 1, record: hopeless, checkpoint: nil, isAsked: false) == .end(78, "wrong key"))
        #expect(policy.decide(exitCode: 127, record: nil, checkpoint: nil, isAsked: false) == .end(127, "the command has run no session"))
        #expect(policy.decide(exitCode: 137, record: record(.running), checkpoint: 3, isAsked: true) == .end(75, "stopped: as asked"))
    }

    @Test("lost ranks start again with a pause that grows until a checkpoint comes, and three starts without one are the end")
    func restarts() {
        var policy = RestartPolicy(checkpoint: 10)
        func lost(_ checkpoint: Int) -> RestartPolicy.Decision {
            policy.decide(exitCode: 69, record: record(.running), checkpoint: checkpoint, isAsked: false)
        }
        let reason = "the session ended without a word"
        #expect(lost(20) == .restart(after: 1, reason))
        #expect(lost(20) == .restart(after: 1, reason))
        #expect(lost(20) == .restart(after: 2, reason))
        #expect(lost(30) == .restart(after: 1, reason))
        #expect(lost(30) == .restart(after: 1, reason))
        #expect(lost(30) == .restart(after: 2, reason))
        #expect(lost(30) == .end(73, "3 starts without a new checkpoint; the last: \(reason)"))
    }

    @Test("the same error at the same step twice is the end; at another step it is not")
    func sameError() {
        var policy = RestartPolicy(checkpoint: nil)
        func failed(_ step: Int) -> RestartPolicy.Decision {
            policy.decide(exitCode: 74, record: record(.failed, step: step, exitCode: 74, "no space"), checkpoint: nil, isAsked: false)
        }
        #expect(failed(5) == .restart(after: 1, "no space"))
        #expect(failed(6) == .restart(after: 2, "no space"))
        #expect(failed(6) == .end(73, "the same error at step 6 twice: no space"))
    }
}

// Whether a run is started again, by what its sessions have left behind.

import Diagnostics
import Storage
import TestSupport
import Testing
import Training

@Suite struct RestartPolicyTests {
    private func record(_ outcome: SessionRecord.Outcome, mayBeStartedAgain: Bool = true, exitCode: Int32? = nil, _ message: String? = nil) -> SessionRecord {
        SessionRecord(
            outcome: outcome, step: 7, checkpoint: nil, mayBeStartedAgain: mayBeStartedAgain, exitCode: exitCode, message: message,
            session: SessionIdentity(environment: [:]), ranks: 2)
    }

    /// What is decided after a session that has published a checkpoint or not, and then ended so; or died, where it is not said how.
    private func decision(
        _ run: String, checkpoint: Int? = nil, step: Int = 7, _ exitCode: ExitCode? = nil, _ message: String? = nil
    ) throws -> RestartPolicy.Decision {
        let directory = try RunDirectory(claiming: run, ranks: 2, environment: [:]) { _ in }
        try directory.note(step: step)
        if let checkpoint { try directory.note(step: checkpoint, checkpoint: checkpoint) }
        if let exitCode {
            try directory.end(exitCode == .stoppedOnRequest ? .stopped : .failed, step: step, exitCode: exitCode, message: message)
        } else {
            directory.abandon()
        }
        return RestartPolicy().decide(exitCode: exitCode?.rawValue ?? 137, record: SessionRecord.read(run), isAsked: false)
    }

    @Test("finished, stopped and hopeless sessions are the last")
    func ends() {
        let policy = RestartPolicy()
        #expect(policy.decide(exitCode: 205, record: record(.finished), isAsked: false) == .end(0, "the run is finished"))
        #expect(policy.decide(exitCode: 0, record: record(.stopped, "SIGTERM"), isAsked: true) == .end(75, "stopped: SIGTERM"))
        let hopeless = record(.failed, mayBeStartedAgain: false, exitCode: 78, "wrong key")
        #expect(policy.decide(exitCode: 1, record: hopeless, isAsked: false) == .end(78, "wrong key"))
        #expect(policy.decide(exitCode: 127, record: nil, isAsked: false) == .end(127, "the command has run no session"))
        #expect(policy.decide(exitCode: 137, record: record(.running), isAsked: true) == .end(75, "stopped: as asked"))
    }

    @Test("lost ranks start again with a pause that grows until a checkpoint comes, and three starts without one are the end")
    func restarts() throws {
        try withScratchDirectory { (scratch: String) throws in
            let (run, reason) = ("\(scratch)/run", "the session ended without a word")
            for checkpoint in [20, 30] {
                #expect(try decision(run, checkpoint: checkpoint) == .restart(after: 1, reason))
                #expect(try decision(run) == .restart(after: 1, reason))
                #expect(try decision(run) == .restart(after: 2, reason))
            }
            let end = RestartPolicy.Decision.end(73, "3 starts without a new checkpoint; the last session ended without a word")
            #expect(try decision(run) == end)
            #expect(try decision(run) == .end(73, "4 starts without a new checkpoint; the last session ended without a word"))
            // A request to stop is no fault, and a checkpoint is progress, whatever was before.
            #expect(try decision(run, .stoppedOnRequest, "SIGTERM") == .end(75, "stopped: SIGTERM"))
            #expect(try decision(run) == .restart(after: 1, reason))
            #expect(try decision(run, .inputOutput, "no space") == .restart(after: 2, "no space"))
            #expect(try decision(run, step: 9, .unavailable, "no rank") == .end(73, "3 starts without a new checkpoint: no rank"))
            #expect(try decision(run, checkpoint: 40) == .restart(after: 1, reason))
        }
    }

    @Test("the same error at the same step twice is the end; at another step it is not")
    func sameError() throws {
        try withScratchDirectory { (scratch: String) throws in
            let run = "\(scratch)/run"
            #expect(try decision(run, step: 5, .inputOutput, "no space") == .restart(after: 1, "no space"))
            #expect(try decision(run, step: 5, .inputOutput, "no space") == .end(73, "the same error at step 5 twice: no space"))
            let other = "\(scratch)/other"
            #expect(try decision(other, step: 5, .inputOutput, "no space") == .restart(after: 1, "no space"))
            #expect(try decision(other, step: 6, .inputOutput, "no space") == .restart(after: 2, "no space"))
        }
    }

    @Test("starts whose ranks were lost before they had the directory are counted; finished runs and those of others stay as they are")
    func lostStarts() throws {
        try withScratchDirectory { scratch in
            let file = "\(scratch)/run.yaml"
            try """
                run: \(scratch)/run
                steps: 12
                task: {kind: overwrite, keys: 5, values: 7, length: 20, examples: 64}
                model: {kind: erase-add, rows: 20, width: 12, controller: {width: 24}}
                batch: {lanes: 8}
                recovery: {starts: 2}
                """.write(toFile: file, atomically: true, encoding: .utf8)
            let configuration = try RunConfiguration(contentsOf: file)
            func mayBeStartedAgain() throws -> Bool? {
                try RunDirectory.noteLostStart(configuration, environment: [:])
                return SessionRecord.read(configuration.directory)?.mayBeStartedAgain
            }
            #expect(try mayBeStartedAgain() == true)
            #expect(try mayBeStartedAgain() == false)
            #expect(SessionRecord.read(configuration.directory)?.exitCode == 73)
            let holder = try RunDirectory(claiming: configuration.directory, ranks: 1, environment: [:]) { _ in }
            #expect(throws: UserError.self) { try mayBeStartedAgain() }
            try holder.end(.finished, step: 12, exitCode: .finished)
            #expect(try mayBeStartedAgain() == false)
            #expect(SessionRecord.read(configuration.directory)?.outcome == .finished)
        }
    }
}

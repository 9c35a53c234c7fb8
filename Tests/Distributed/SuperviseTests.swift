// A run that loses ranks is started again inside its allocation, by the real mpirun.

import Foundation
import TestSupport
import Testing
import Training

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct SuperviseTests {
    private static let launcher = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "launch/mpirun").path

    private func start(_ run: TrainingRun, failpoint: String?) throws -> StartedRun {
        var environment = ["MNEME": MPIRun.productsFolder.path + "/mneme"]
        environment["MNEME_FAILPOINT"] = failpoint
        return try MPIRun.start(
            ranks: nil, executable: "mneme", arguments: ["supervise", "--back-off", "0.1", "--", Self.launcher, "2"] + run.arguments,
            extraEnvironment: environment)
    }

    @Test("a rank that is killed in every session: each goes on from the last checkpoint, to the end and the same bits")
    func goesOn() throws {
        try withScratchDirectory { scratch in
            let settings = ["parallel.reproducible=true", "batch.groups=2"]
            var whole = try TrainingRun(.eraseAdd, "whole", in: scratch)
            whole.settings += settings
            try whole.trainOnThreads(1)
            var run = try TrainingRun(.eraseAdd, "run", in: scratch)
            run.settings += settings
            // The ninth step of each session, after checkpoints of which one at least is published by then.
            let finished = try start(run, failpoint: "step.gradient:8:kill@1").finish()
            #expect(finished.status == 0, "\(finished.standardError)")
            #expect(finished.standardError.contains("starting again in 0.1 s from step"), "\(finished.standardError)")
            #expect(finished.standardError.contains("mneme supervise: the run is finished"), "\(finished.standardError)")
            try run.expectSame(as: whole)
        }
    }

    @Test("without a new checkpoint it is given up with 73")
    func givesUp() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.eraseAdd, "run", in: scratch, "checkpoint.every=never")
            let finished = try start(run, failpoint: "step.gradient:4:kill@1").finish()
            #expect(finished.status == 73, "\(finished.standardError)")
            #expect(finished.standardError.contains("3 starts without a new checkpoint"), "\(finished.standardError)")
        }
    }

    @Test("a request to stop reaches the ranks, and the run is not started again")
    func stops() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.eraseAdd, "run", in: scratch, "steps=1000000", "evaluation.every=never", "checkpoint.every=never")
            let started = try start(run, failpoint: nil)
            let isUnderWay = started.wait { run.metrics.count > 3 }
            try #require(isUnderWay && kill(started.identifier, SIGTERM) == 0)
            let finished = try started.finish()
            #expect(finished.status == 75, "\(finished.standardError)")
            #expect(run.checkpointSteps.count == 1 && finished.standardError.contains("mneme supervise: stopped: SIGUSR1"), "\(finished.standardError)")
        }
    }

    @Test("a second request to stop ends the ranks of a launcher too, which has put them into a session of their own")
    func kills() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.eraseAdd, "run", in: scratch, "steps=1000000", "watchdog.enabled=false")
            let started = try start(run, failpoint: "step.gradient:4:stall@1")
            func rank() -> Int32? { SessionRecord.read(run.directory)?.session.process }
            try #require(started.wait { run.metrics.count > 3 })
            let process = try #require(rank())
            try #require(kill(started.identifier, SIGTERM) == 0)
            // The rank that stands still keeps the other from saving.
            usleep(500_000)
            try #require(started.isRunning && kill(started.identifier, SIGTERM) == 0)
            #expect(try started.finish().status == 75)
            func state() -> Character? {
                let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)
                return text.flatMap { text in text.lastIndex(of: ")").map { text[text.index($0, offsetBy: 2)] } }
            }
            let limit = Date(timeIntervalSinceNow: StartedRun.hangLimit)
            while let state = state(), state != "Z", Date() < limit { usleep(1000) }
            #expect(state() == nil || state() == "Z")
        }
    }

    @Test(
        "a host that is lost is asked twice and left out, and a spare takes its place: the run goes on there, to the same bits",
        .enabled(if: getuid() == 0, "hosts with names of their own want root"))
    func spareHost() throws {
        try withScratchDirectory { scratch in
            func sandbox(_ words: String...) throws -> String {
                let finished = try MPIRun.start(
                    ranks: nil, executable: URL(fileURLWithPath: Self.launcher).deletingLastPathComponent().path + "/../cluster/sandbox",
                    arguments: ["hosts", words[0], "--folder", "\(scratch)/hosts"] + words.dropFirst(), extraEnvironment: [:]
                ).finish()
                guard finished.status == 0 else { throw CocoaError(.featureUnsupported, userInfo: [NSDebugDescriptionErrorKey: finished.standardError]) }
                return finished.standardOutput
            }
            _ = try sandbox("up", "--count", "3")
            defer { _ = try? sandbox("down") }
            let settings = ["parallel.reproducible=true", "batch.groups=2", "steps=800", "evaluation.every=never", "checkpoint.every=50", "log.every=50"]
            var (whole, run) = (try TrainingRun(.eraseAdd, "whole", in: scratch), try TrainingRun(.eraseAdd, "run", in: scratch))
            whole.settings += settings
            run.settings += settings
            try whole.trainOnThreads(1)
            let started = try MPIRun.start(
                ranks: nil, executable: "mneme",
                arguments: ["supervise", "--back-off", "0.1", "--spares", "1", "--", Self.launcher, "2"] + run.arguments,
                extraEnvironment: [
                    "MNEME": MPIRun.productsFolder.path + "/mneme", "MNEME_HOSTFILE": "\(scratch)/hosts/hostfile", "MNEME_AGENT": "\(scratch)/hosts/agent",
                    "MNEME_NETWORK": "10.77.31.0/24",
                ])
            try #require(started.wait { !run.checkpointSteps.isEmpty })
            _ = try sandbox("lose", "mx2")
            let finished = try started.finish()
            #expect(finished.status == 0, "\(finished.standardError)")
            #expect(finished.standardError.contains("mneme supervise: mx2 does not answer\n"), "\(finished.standardError)")
            #expect(finished.standardError.contains("mx2 does not answer, for the second time: it is left out, mx3 takes its place"), "\(finished.standardError)")
            try run.expectSame(as: whole, step: 800)
        }
    }

    @Test("spares want a list of hosts")
    func sparesWithoutHosts() throws {
        let finished = try MPIRun.start(ranks: nil, executable: "mneme", arguments: ["supervise", "--spares", "1", "--run", "/none", "--", "true"], extraEnvironment: [:])
            .finish()
        #expect(finished.status == 64 && finished.standardError.contains("no list of hosts"), "\(finished.standardError)")
    }

    @Test("a command that cannot be started, and one that trains nothing")
    func badInput() throws {
        func run(_ words: String...) throws -> FinishedRun {
            try MPIRun.start(ranks: nil, executable: "mneme", arguments: ["supervise"] + words, extraEnvironment: [:]).finish()
        }
        #expect(try run("--", "true").status == 64)
        #expect(try run("--run", "/none", "--", "/none/such").status == 66)
        let other = try run("--run", "/none", "--", "false")
        #expect(other.status == 1 && other.standardError.contains("the command has run no session"), "\(other.standardError)")
    }
}

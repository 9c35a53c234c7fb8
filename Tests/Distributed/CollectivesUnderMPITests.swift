// The communicator over real MPI: several processes, lost ranks and library errors included.

import Foundation
import Testing
import TestSupport

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct CollectivesUnderMPITests {
    private func run(_ check: String, ranks: Int, timeout: Double = StartedRun.hangLimit) throws -> FinishedRun {
        try MPIRun.run(ranks: ranks, executable: "distributed-checks", arguments: [check], timeout: timeout)
    }

    @Test(arguments: ["reductions", "started-reductions", "movement", "buckets", "tree", "agreement", "short-counts", "places"], [1, 2, 3, 4])
    func holds(check: String, ranks: Int) throws {
        let run = try run(check, ranks: ranks)
        #expect(run.status == 0, "\(run.standardError)")
        #expect(run.standardOutput.contains("\(check): holds for \(ranks)"))
    }

    @Test func treeBitsDoNotDependOnTheNumberOfRanks() throws {
        let lines = try [1, 2, 4, 8].map { ranks in
            let run = try run("tree-bits", ranks: ranks)
            return run.standardOutput.split(separator: "\n").first { $0.hasPrefix("bits ") }.map(String.init) ?? run.standardError
        }
        #expect(lines[0].hasPrefix("bits "))
        #expect(Set(lines).count == 1, "\(lines)")
        let alone = try MPIRun.runAlone(executable: "distributed-checks", arguments: ["tree-bits"])
        #expect(alone.standardOutput.contains(lines[0]), "without a launcher")
    }

    @Test func aDifferenceEndsEveryRankWithOneCode() throws {
        let run = try run("disagree", ranks: 2)
        #expect(run.status == 78)
        let message = #"rank 1 differs from rank 0 in configuration key model.width: "512" there, "256" on rank 0"#
        #expect(run.standardError.contains(message), "\(run.standardError)")
    }

    @Test(arguments: ["truncated", "truncated-before"])
    func errorsOfTheLibraryNameCallAndRank(check: String) throws {
        let run = try run(check, ranks: 2)
        #expect(run.status == 69, "\(run.standardError)")
    }

    @Test func anAbortEndsEveryRankWithItsCode() throws {
        let run = try run("abort", ranks: 3, timeout: 20)
        #expect(run.status == 78 && run.seconds < 5, "status \(run.status) after \(run.seconds) s: \(run.standardError)")
        #expect(survivors(of: run).isEmpty)
    }

    @Test(arguments: ["kill-while-blocked", "kill-while-computing"])
    func aKilledRankEndsTheOthers(check: String) throws {
        let run = try run(check, ranks: 3, timeout: 20)
        #expect(run.isKilled && run.seconds < 5, "status \(run.status) after \(run.seconds) s: \(run.standardError)")
        #expect(survivors(of: run).isEmpty)
    }

    @Test("a library that cannot be had is refused in one line; without a launcher nobody asks for one")
    func missingLibrary() throws {
        for (name, message) in [("/none/libmpi.so", "no library for MNEME_MPI=/none/libmpi.so can be loaded"), ("openmp", "MNEME_MPI: 'openmp' is no MPI library")] {
            let environment = ["MNEME_MPI": name]
            let run = try MPIRun.run(ranks: 2, executable: "distributed-checks", arguments: ["reductions"], extraEnvironment: environment)
            #expect(run.status == 78 && run.standardError.contains(message), "\(run.standardError)")
            let alone = try MPIRun.runAlone(executable: "distributed-checks", arguments: ["reductions"], extraEnvironment: environment)
            #expect(alone.status == 0, "\(alone.standardError)")
        }
    }

    @Test func aMeasurementIsPrinted() throws {
        let run = try run("measure", ranks: 2)
        #expect(run.status == 0, "\(run.standardError)")
        #expect(run.standardOutput.contains("blocking 4096 bytes: min/median/mean/max"), "\(run.standardOutput)")
    }

    @Test func aTestThatTakesTooLongLeavesNothingBehind() throws {
        // Rank 0 of one computes for a minute: there is no rank 1 to be killed.
        let run = try run("kill-while-computing", ranks: 1, timeout: 3)
        #expect(run.isTimedOut)
        #expect(survivors(of: run).isEmpty)
    }

    /// The announced processes that are still there two seconds after the launcher has ended.
    private func survivors(of run: FinishedRun) -> [Int32] {
        let announced = run.standardOutput.split(separator: "\n").first { $0.hasPrefix("processes ") }
        let processes = announced?.split(separator: " ").dropFirst().compactMap { Int32($0) } ?? []
        #expect(!processes.isEmpty, "no processes announced")
        let deadline = ContinuousClock.now + .seconds(2)
        while processes.contains(where: isRunning), ContinuousClock.now < deadline { usleep(10_000) }
        return processes.filter(isRunning)
    }

    /// False also for a killed process whose parent, or init, has not yet asked for its code.
    private func isRunning(_ process: Int32) -> Bool {
        guard let line = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return false }
        return !line.contains(") Z")
    }
}

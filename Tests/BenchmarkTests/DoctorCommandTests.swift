import Cluster
import Foundation
import TestSupport
import Testing

/// `mneme doctor`, run as a program.
@Suite struct DoctorCommandTests {
    private struct Report: Decodable {
        struct Extremes: Decodable {
            var minimum: Double
            var maximum: Double
            var total: Double
        }

        struct Speeds: Decodable {
            var oneThread: Extremes
            var allThreads: Extremes
        }

        struct Library: Decodable {
            var version: String
            var instructionSet: String
        }

        var version: String
        var cores: Int
        var usableCores: Int
        var instructionSet: String
        var availableInstructionSets: [String]
        var blasCore: String
        var hint: String?
        var onednn: Library?
        var onednnProblem: String?
        var forcedMatrixBackend: String?
        var threads: Int
        var mpi: String
        var hdf5: String
        var zlib: String
        var ranks: Int
        var float32GflopsPerSecond: Speeds
        var bfloat16GflopsPerSecond: Speeds
        var memoryGigabytesPerSecond: Speeds
        var allReduce: AllReduceCurve?
        var directory: DirectoryFacts?
        var checks: [CheckResult]

        func verdict(_ check: String) -> CheckResult.Verdict? { checks.first { $0.check == check }?.verdict }
    }

    private func report(_ run: FinishedRun) throws -> Report {
        #expect(run.status == 0, "\(run.standardError)")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(Report.self, from: Data(run.standardOutput.utf8))
    }

    @Test func oneProcess() throws {
        let report = try report(MPIRun.runAlone(executable: "mneme", arguments: ["doctor", "--json"]))
        #expect(report.ranks == 1 && report.allReduce == nil && report.cores >= report.usableCores && report.usableCores >= 1)
        #expect(report.availableInstructionSets.contains(report.instructionSet))
        for speeds in [report.float32GflopsPerSecond, report.bfloat16GflopsPerSecond, report.memoryGigabytesPerSecond] {
            #expect(speeds.oneThread.minimum > 0.5 && speeds.allThreads.minimum > 0.5)
        }
        #expect(report.threads == report.usableCores && (report.onednn == nil) == (report.onednnProblem != nil))
        for version in [report.version, report.hdf5, report.zlib] { #expect(version.first?.isNumber == true, "\(version)") }
        #expect(report.mpi.contains("MPI"))
    }

    @Test func textForPeople() throws {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["doctor"])
        #expect(run.status == 0)
        for part in ["processor", "kernels", "BLAS", "oneDNN", "libraries", "float32", "bfloat16", "memory speed", "pass  program", "pass  arithmetic"] {
            #expect(run.standardOutput.contains("\n" + part))
        }
    }

    @Test(.enabled(if: MPIRun.launcher != nil, "there is no mpirun")) func theAllReduceCurve() throws {
        let run = try MPIRun.run(ranks: 2, executable: "mneme", arguments: ["doctor", "--json"])
        let report = try report(run)
        let curve = try #require(report.allReduce)
        #expect(report.ranks == 2)
        #expect(!curve.calls.isEmpty && curve.calls.allSatisfy { $0.seconds > 0 && $0.bytesPerSecond > 0 })
        #expect(curve.calls.map(\.bytes) == curve.calls.map(\.bytes).sorted())
        for name in ["program", "arithmetic", "MPI", "shared libraries"] { #expect(report.verdict(name) == .pass, "\(report.checks)") }
        // What ranks get at the same time is no more than what they get together.
        let speed = report.float32GflopsPerSecond.allThreads
        #expect(speed.total <= 2 * speed.maximum * 1.0001 && speed.total >= 2 * speed.minimum * 0.9999)
    }

    @Test(.enabled(if: MPIRun.launcher != nil, "there is no mpirun")) func theAllReduceCurveForPeople() throws {
        let run = try MPIRun.run(ranks: 2, executable: "mneme", arguments: ["doctor"])
        #expect(run.standardOutput.contains("\nall-reduce") && run.standardOutput.contains("together"), "\(run.standardOutput)")
    }

    @Test(.enabled(if: MPIRun.launcher != nil, "there is no mpirun")) func moreRanksThanCoresAndADirectory() throws {
        try withScratchDirectory { scratch in
            let ranks = 2 * ProcessInfo.processInfo.activeProcessorCount
            guard ranks <= 8 else { return }
            let report = try report(MPIRun.run(ranks: ranks, executable: "mneme", arguments: ["doctor", "--json", "--directory", scratch]))
            #expect(report.verdict("threads") == .warn && report.verdict("locking") == .pass, "\(report.checks)")
            #expect(try #require(report.directory).writeBytesPerSecond > 0)
        }
    }

    @Test(.enabled(if: MPIRun.launcher != nil, "there is no mpirun"), arguments: [[], ["--nhc"]]) func ranksWithOtherKernels(flags: [String]) throws {
        // A rank that was told what to take, beside one that was not.
        let mneme = MPIRun.productsFolder.appendingPathComponent("mneme").path
        let run = try MPIRun.run(
            ranks: 1, executable: "/usr/bin/env",
            arguments: ["MNEME_INSTRUCTION_SET=sse2", mneme, "doctor"] + flags + [":", "-n", "1", mneme, "doctor"] + flags)
        guard !run.standardOutput.contains("kernels sse2, ") else { return }
        #expect(run.status == (flags.isEmpty ? 78 : 1), "\(run.standardError)")
        #expect(run.standardOutput.contains("rank 1 on ") && run.standardOutput.contains(", but sse2 on rank 0"), "\(run.standardOutput)")
    }

    @Test func theNeedOfARun() throws {
        try withScratchDirectory { scratch in
            let yaml = "run: \(scratch)/run\nsteps: 2\ntask: {kind: copy, bits: 8, lengths: [1, 4], testLengths: [4]}\nmodel: {kind: lstm, layers: 1, width: 16}\nbatch: {lanes: 4}\n"
            try yaml.write(toFile: "\(scratch)/run.yaml", atomically: true, encoding: .utf8)
            func doctor(_ arguments: String...) throws -> FinishedRun {
                try MPIRun.runAlone(executable: "mneme", arguments: ["doctor", "--nhc", "--run", "\(scratch)/run.yaml"] + arguments)
            }
            let well = try doctor()
            #expect(well.status == 0 && well.standardOutput.hasPrefix("OK: mneme on ") && well.standardOutput.split(separator: "\n").count == 1, "\(well)")
            let large = try doctor("--set", "model.width=200000")
            #expect(large.status == 1 && large.standardOutput.hasPrefix("ERROR: mneme on ") && large.standardOutput.contains("memory: "), "\(large)")
            let nowhere = try doctor("--directory", "/proc/nothing")
            #expect(nowhere.status == 1 && nowhere.standardOutput.contains("directory: "), "\(nowhere)")
        }
    }

    @Test func aForcedCoreTypeIsNamed() throws {
        let forced = try report(
            MPIRun.runAlone(executable: "mneme", arguments: ["doctor", "--json"], extraEnvironment: ["OPENBLAS_CORETYPE": "Nehalem"]))
        // Only an OpenBLAS of several kernel sets, on a processor of AVX2 or more, can be forced below what it could do.
        guard forced.blasCore.lowercased() == "nehalem", forced.availableInstructionSets.contains("avx2") else { return }
        #expect(try #require(forced.hint).contains("OPENBLAS_CORETYPE=Nehalem"))
    }

    @Test func aForcedBackendIsNamed() throws {
        let forced = try report(
            MPIRun.runAlone(executable: "mneme", arguments: ["doctor", "--json"], extraEnvironment: ["MNEME_MATRIX_BACKEND": "openblas"]))
        #expect(forced.forcedMatrixBackend == "openBLAS")
        let wanted = try MPIRun.runAlone(executable: "mneme", arguments: ["doctor", "--json"], extraEnvironment: ["MNEME_MATRIX_BACKEND": "onednn"])
        if forced.onednn != nil {
            #expect(try report(wanted).forcedMatrixBackend == "oneDNN")
        } else {
            #expect(wanted.status == 78 && wanted.standardError.contains("libdnnl-dev"))
        }
    }

    @Test(arguments: [
        ("MNEME_MATRIX_BACKEND", "mkl", "there is no matrix backend 'mkl'"),
        ("OPENBLAS_CORETYPE", "Pentium9", "OpenBLAS knows no core type 'Pentium9'"), ("MNEME_INSTRUCTION_SET", "avx9", "instruction set 'avx9'"),
    ])
    func whatTheEnvironmentAsksForInVainIsNamed(variable: String, value: String, message: String) throws {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["doctor"], extraEnvironment: [variable: value])
        #expect(run.status == 78 && run.standardError.contains("\(variable): \(message)"), "\(run.standardError)")
        #expect(run.standardError.split(separator: "\n").count == 1)
    }

    @Test func tuningFillsTheCacheAndSaysWhatItChose() throws {
        try withScratchDirectory { scratch in
            let classes = ["float32 nt 512x512x512", "float32 tn 512x512x512 +"]
            func tune() throws -> String {
                let run = try MPIRun.runAlone(
                    executable: "mneme", arguments: ["doctor", "--tune"] + classes, extraEnvironment: ["XDG_CACHE_HOME": scratch])
                #expect(run.status == 0, "\(run.standardError)")
                return run.standardOutput
            }
            let first = try tune()
            guard first.contains("oneDNN") else { return }
            for name in classes {
                #expect(try first.contains(Regex("\\Q\(name)\\E +(openBLAS|oneDNN) +oneDNN [0-9.]+ ms, openBLAS [0-9.]+ ms\n")), "\(first)")
            }
            #expect(first.contains("kept in \(scratch)/mneme/matrix-products-"))
            let second = try tune()
            #expect(second.split(separator: "\n").filter { $0.hasSuffix("(in the cache already)") }.count == 2, "\(second)")
            let wrong = try MPIRun.runAlone(executable: "mneme", arguments: ["doctor", "--tune", "float16 nt 1x1x1"])
            #expect(wrong.status == 64 && wrong.standardError.contains("'float16 nt 1x1x1' is not a class of matrix products"), "\(wrong.standardError)")
        }
    }

    @Test func helpHasAnExample() throws {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["doctor", "--help"])
        #expect(run.status == 0 && run.standardOutput.contains("mpirun -n 2 mneme doctor") && run.standardOutput.contains("mneme doctor --tune"))
    }
}

import Foundation
import TestSupport
import Testing
import Training

/// `mneme doctor`, run as a program.
@Suite struct DoctorCommandTests {
    private struct Report: Decodable {
        struct Extremes: Decodable {
            var minimum: Double
            var maximum: Double
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
        #expect(run.status == 0 && run.seconds < 15)
        for part in ["processor", "kernels", "BLAS", "oneDNN", "libraries", "float32", "bfloat16", "memory speed"] {
            #expect(run.standardOutput.contains("\n" + part))
        }
    }

    @Test(.enabled(if: MPIRun.launcher != nil, "there is no mpirun")) func theAllReduceCurve() throws {
        let run = try MPIRun.run(ranks: 2, executable: "mneme", arguments: ["doctor", "--json"])
        let report = try report(run)
        let curve = try #require(report.allReduce)
        #expect(report.ranks == 2 && run.seconds < 30)
        #expect(!curve.calls.isEmpty && curve.calls.allSatisfy { $0.seconds > 0 && $0.bytesPerSecond > 0 })
        #expect(curve.calls.map(\.bytes) == curve.calls.map(\.bytes).sorted())
        let best = try #require(curve.buckets.min { $0.seconds < $1.seconds })
        #expect(curve.bestBucketBytes == best.bytes)
    }

    @Test(.enabled(if: MPIRun.launcher != nil, "there is no mpirun")) func theAllReduceCurveForPeople() throws {
        let run = try MPIRun.run(ranks: 2, executable: "mneme", arguments: ["doctor"])
        #expect(run.standardOutput.contains("all-reduce") && run.standardOutput.contains("set parallel.bucketBytes to"))
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

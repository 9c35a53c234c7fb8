// What this machine and this build are, what they can do, and whether a job is well placed on them.

import CZlib
import Collectives
import Diagnostics
import Foundation
import HDF5
import Kernels
import Machine
import Storage
import Tensors
import Training

/// What `mneme doctor` finds.
package struct DoctorReport: Encodable {
    package struct Library: Encodable {
        package var version: String
        package var instructionSet: String
    }

    /// A node of the job.
    package struct Node: Encodable {
        package var name: String
        package var ranks: Int
        package var cores: Int
        package var memoryBytes: Int
    }

    package var version = MnemeVersion.current
    package var processor = ProcessorMeasurement.processorName
    package var cores: Int
    package var usableCores: Int
    /// Those that any rank of this node may use.
    package var usableCoresOfNode: Int
    package var loadAverage = ProcessorMeasurement.loadAverage
    /// Of the node, or what a control group leaves of it.
    package var memoryBytes: Int
    package var instructionSet = Kernels.active.instructionSet
    package var availableInstructionSets = Kernels.available.map(\.instructionSet)
    package var blasCore = BLAS.coreName
    package var blasConfiguration = BLAS.configuration.trimmingCharacters(in: .whitespaces)
    package var hint: String?
    package var onednn: Library?
    /// Why there is no oneDNN.
    package var onednnProblem = OneDNN.problem
    /// Whether oneDNN multiplies bfloat16 by instructions of the processor; operands are converted to float32 otherwise.
    package var nativeBfloat16 = OneDNN.hasNativeBFloat16
    package var forcedMatrixBackend = MatrixProducts.forced?.rawValue
    /// The MPI library with its version, its file, and whose binary interface it is called by; in the place of the first why there is none.
    package var mpi: String
    package var mpiLibrary: String?
    package var mpiBinaryInterface: String?
    package var hdf5 = HDF5Library.version
    package var sentencePiece: String?
    package var zlib = String(cString: zlibVersion())
    package var ranks: Int
    package var nodes: [Node]
    /// Worker threads of this rank, and why so many.
    package var threads: Int
    package var threadAllotment: String
    /// Products of matrices in float32 and in bfloat16, GFLOP/s, of ranks that compute at the same time.
    package var float32GflopsPerSecond: Speeds
    package var bfloat16GflopsPerSecond: Speeds
    package var memoryGigabytesPerSecond: Speeds
    package var allReduce: AllReduceCurve?
    package var links: Links?
    package var directory: DirectoryFacts?
    /// What is well, and what is not.
    package var checks: [CheckResult]
    /// The paths of all shared libraries that are loaded, those included that were looked for while the program ran.
    package var sharedLibraries: [String] = []

    /// Measures. Collective.
    ///
    /// - Parameters:
    ///   - directory: where checkpoints shall lie; `nil` for that of the run, if there is one.
    ///   - need: of a run; `nil` where none is known.
    ///   - hint: a line about OpenBLAS's kernels.
    package init(
        _ communicator: any Communicator, directory: String? = nil, need: RunNeed? = nil, hint: String? = nil,
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws {
        self.hint = hint
        let allotment = try communicator.workerThreads(requested: nil)
        (threads, threadAllotment, ranks) = (allotment.threads, allotment.description, communicator.size)
        let seconds = 0.25
        let speeds = try Speeds.measured(
            communicator, threads: allotment.threads,
            [
                { try ProcessorMeasurement.sustainedMatrixMultiplyRate(seconds: seconds, together: $0) },
                { try ProcessorMeasurement.sustainedMatrixMultiplyRate(.bfloat16, seconds: seconds, together: $0) },
                { try ProcessorMeasurement.sustainedMemoryBandwidth(seconds: seconds, together: $0) },
            ])
        (float32GflopsPerSecond, bfloat16GflopsPerSecond, memoryGigabytesPerSecond) = (speeds[0], speeds[1], speeds[2])
        MemoryPool.shared.trim()

        let facts = try RankFacts.gathered(communicator, environment: environment, loadAverage: loadAverage)
        let own = facts[communicator.rank]
        (cores, usableCores) = (own.processors.online.count, own.processors.allowed.count)
        usableCoresOfNode = Set(facts.filter { $0.node == own.node }.flatMap(\.processors.allowed)).count
        memoryBytes = min(own.memory?.total ?? .max, own.memoryLimit.map { Int($0.amount) } ?? .max)
        nodes = facts.byNode.map { Node(name: $0.node, ranks: $0.ranks.count, cores: $0.ranks[0].processors.online.count, memoryBytes: $0.ranks[0].memory?.total ?? 0) }
        (mpi, mpiLibrary, mpiBinaryInterface, sharedLibraries) = (own.mpi, own.mpiLibrary, own.mpiBinaryInterface, own.libraries)
        sentencePiece = Self.installedVersion(ofPackage: "sentencepiece")
        if let version = OneDNN.version, let set = OneDNN.instructionSet { onednn = Library(version: version, instructionSet: set) }

        checks = try Self.checks(communicator, facts, need: need)
        if communicator.size > 1 {
            let curve = try AllReduceCurve.measured(communicator)
            (allReduce, links) = (curve, try Links.measured(communicator, nodes: facts.map(\.node)))
            checks += AllReduceCheck.results(curve, nodes: nodes.count)
        }
        if let path = directory ?? need?.directory {
            let found = try DirectoryCheck.measure(path, communicator, output: JobDeadline.output)
            self.directory = found
            checks += DirectoryCheck.results(found, need: need?.checkpoints)
        }
    }

    /// The checks that measure no speed. Collective.
    package static func checks(_ communicator: any Communicator, _ facts: [RankFacts], need: RunNeed?) throws -> [CheckResult] {
        let skews = try ClockCheck.measure(communicator, nodes: facts.map(\.node))
        return LikenessChecks.results(facts) + PlacementChecks.results(facts) + MemoryChecks.results(facts, need: need?.memory) + LimitChecks.results(facts)
            + ClockCheck.results(skews)
    }

    /// The checks of a node health check: they measure no speed, and take less than a second where nothing is wrong. Collective.
    package static func healthChecks(
        _ communicator: any Communicator, directory: String?, need: RunNeed?, environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws -> [CheckResult] {
        var results = try checks(communicator, RankFacts.gathered(communicator, environment: environment), need: need)
        if let path = directory ?? need?.directory {
            do {
                results += DirectoryCheck.results(
                    try DirectoryCheck.measure(path, communicator, bytesPerRank: 0, output: JobDeadline.output), need: need?.checkpoints)
            } catch let error as UserError {
                results.append(.fail("directory", "\(error.place ?? path): \(error.what)", error.advice ?? "mount it, or name another one"))
            }
        }
        return results
    }

    /// A table for people.
    package var text: String {
        var lines: [(String, String)] = [
            ("mneme", version),
            ("processor", "\(processor); \(cores) cores, \(usableCores) usable, load \(Self.number(loadAverage, 2))"),
            ("memory", "\(Self.number(Double(memoryBytes) / 1e9)) GB"),
            ("kernels", "\(instructionSet) (this processor can run \(availableInstructionSets.joined(separator: ", ")))"),
            ("BLAS", "\(blasCore) kernels of \(blasConfiguration)"),
        ]
        if let hint { lines.append(("", hint)) }
        if let onednn {
            lines.append(
                ("oneDNN", "\(onednn.version), \(onednn.instructionSet)\(nativeBfloat16 ? "" : "; bfloat16 is converted to float32 for OpenBLAS")"))
        } else {
            lines.append(("oneDNN", "not available: \(onednnProblem ?? "unknown"); bfloat16 is converted to float32 for OpenBLAS"))
        }
        if let forcedMatrixBackend { lines.append(("", "MNEME_MATRIX_BACKEND forces \(forcedMatrixBackend)")) }
        lines += [
            ("MPI", mpi + (mpiLibrary.map { ", called by the binary interface of \(mpiBinaryInterface ?? ""): \($0)" } ?? "")),
            ("libraries", "HDF5 \(hdf5), SentencePiece \(sentencePiece ?? "(version unknown)"), zlib \(zlib)"),
            ("ranks", "\(ranks) on \(nodes.count == 1 ? nodes[0].name : quantity(nodes.count, "node")); \(threadAllotment)"),
            ("float32", row(float32GflopsPerSecond, "GFLOP/s")),
            ("bfloat16", row(bfloat16GflopsPerSecond, "GFLOP/s")),
            ("memory speed", row(memoryGigabytesPerSecond, "GB/s")),
        ]
        for (index, point) in (allReduce?.calls ?? []).enumerated() { lines.append((index == 0 ? "all-reduce" : "", Self.row(point))) }
        if let links {
            for (name, link) in [("in a node", links.insideNode), ("between nodes", links.betweenNodes)] {
                if let link { lines.append((name, String(format: "%.1f us, %.2f GB/s each way", link.latencySeconds * 1e6, link.bytesPerSecond / 1e9))) }
            }
        }
        for (index, path) in sharedLibraries.enumerated() { lines.append((index == 0 ? "loaded" : "", path)) }
        return lines.map { $0.0.padding(toLength: 15, withPad: " ", startingAt: 0) + $0.1 + "\n" }.joined() + "\n" + Self.table(checks)
    }

    /// Checks for people, one a line, with what to do below it.
    package static func table(_ checks: [CheckResult]) -> String {
        checks.map { check in
            let line = "\(check.verdict.rawValue)  \(check.check.padding(toLength: 18, withPad: " ", startingAt: 0))\(check.finding)\n"
            return line + (check.advice.map { String(repeating: " ", count: 24) + "-> \($0)\n" } ?? "")
        }.joined()
    }

    private func row(_ speeds: Speeds, _ unit: String) -> String {
        func range(_ speed: Speed) -> String {
            let (low, high) = (Self.number(speed.minimum), Self.number(speed.maximum))
            return (low == high ? low : "\(low) to \(high)") + (ranks > 1 ? " (together \(Self.number(speed.total)))" : "")
        }
        let one = "\(range(speeds.oneThread)) \(unit) with 1 thread\(ranks > 1 ? " a rank" : "")"
        return threads > 1 ? one + ", \(range(speeds.allThreads)) with \(threads)" : one
    }

    private static func number(_ value: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f", value) }

    private static func row(_ point: AllReduceCurve.Point) -> String {
        let size = point.bytes >= 1 << 20 ? "\(point.bytes >> 20) MiB" : "\(point.bytes >> 10) KiB"
        let padded = String(repeating: " ", count: max(0, 8 - size.count)) + size
        return padded + String(format: "  %9.3f ms  %6.2f GB/s", point.seconds * 1e3, point.bytesPerSecond / 1e9)
    }

    /// The version of a library that does not tell its own, as pkg-config knows it; `nil` without pkg-config.
    private static func installedVersion(ofPackage name: String) -> String? {
        JobDeadline.output(["pkg-config", "--modversion", name])?.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}

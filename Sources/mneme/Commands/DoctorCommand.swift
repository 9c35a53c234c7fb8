// mneme doctor

import ArgumentParser
import CZlib
import Collectives
import Diagnostics
import Foundation
import HDF5
import Kernels
import Storage
import Tensors
import Training

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Say what this machine and this build are, and measure what they can do.",
        discussion: """
            Prints the processor, the kernels and libraries in use, and the measured speed of matrix products and of memory, with one thread a rank
            and with all that the rank may use. Under mpirun also the time of an all-reduce by size, and the size of gradient buckets to set as
            parallel.bucketBytes. Takes less than 15 seconds.

            With --tune it finds out which library multiplies which matrices faster here, and keeps that in the cache ($XDG_CACHE_HOME/mneme or
            ~/.cache/mneme), where every run finds it. A run measures what it does not find, so tuning only saves the first runs that time; what is
            in the cache already stays. It takes a few minutes, or as long as the classes named want: element type, whether A and B are transposed,
            and the extents M x N x K rounded up to powers of two, with "+" where the product is added to what is there.

            --failpoints lists where MNEME_FAILPOINT=name[:after]:kill|error|stall[@rank] lets a run fail, for tests of what runs survive.

            MNEME_INSTRUCTION_SET (sse2, avx2, avx512), MNEME_MATRIX_BACKEND (openblas, onednn) and MNEME_MPI (openmpi, mpich, standard, or the path
            of a library) force a choice, for any command.

            Examples:
              mneme doctor
              mpirun -n 2 mneme doctor --json
              mneme doctor --failpoints
              mneme doctor --tune
              mneme doctor --tune "float32 nt 1024x4096x1024" "float32 tn 4096x1024x1024 +"
            """)

    @Flag(help: "Print one JSON object.")
    var json = false

    @Flag(help: "Measure which library multiplies which matrices faster, and keep it for every run on this machine.")
    var tune = false

    @Flag(help: "List the places at which MNEME_FAILPOINT makes a run fail on purpose.")
    var failpoints = false

    @Flag(help: "List what to give which launcher for which MPI library, so that its processes become ranks of one job.")
    var launchers = false

    @Argument(help: "With --tune: the classes to measure; those of common layers by default.")
    var classes: [String] = []

    func validate() throws {
        if !tune, let first = classes.first { throw ValidationError("'\(first)' is a class of matrix products: give --tune as well") }
    }

    func run() throws {
        if failpoints {
            for point in Failpoint.allCases { try print("\(point.rawValue.padding(toLength: 32, withPad: " ", startingAt: 0))\(point.meaning)") }
            return
        }
        if launchers { return try print(LaunchTable.text, terminator: "") }
        ProgramStart.run { communicator in
            if tune {
                let tuning = try communicator.onEveryRank { try MatrixProductTuning(classes, on: communicator.rank == 0) }
                if communicator.rank == 0 { if json { try JSONOutput.print(tuning) } else { try print(tuning.text, terminator: "") } }
                return .finished
            }
            let report = try DoctorReport(communicator)
            if communicator.rank == 0 { if json { try JSONOutput.print(report) } else { try print(report.text, terminator: "") } }
            return .finished
        }
    }
}

/// What `mneme doctor` finds.
struct DoctorReport: Encodable {
    struct Extremes: Encodable {
        var minimum: Double
        var maximum: Double
    }

    /// What ranks reach at the same time, each with one thread and each with all of its own.
    struct Speeds: Encodable {
        var oneThread: Extremes
        var allThreads: Extremes
    }

    struct Library: Encodable {
        var version: String
        var instructionSet: String
    }

    var version = MnemeVersion.current
    var processor = ProcessorMeasurement.processorName
    var cores = ProcessInfo.processInfo.processorCount
    var usableCores: Int
    var loadAverage = ProcessorMeasurement.loadAverage
    var memoryBytes = Int(ProcessInfo.processInfo.physicalMemory)
    var instructionSet = Kernels.active.instructionSet
    var availableInstructionSets = Kernels.available.map(\.instructionSet)
    var blasCore = BLAS.coreName
    var blasConfiguration = BLAS.configuration.trimmingCharacters(in: .whitespaces)
    var hint: String?
    var onednn: Library?
    /// Why there is no oneDNN.
    var onednnProblem = OneDNN.problem
    /// Whether oneDNN multiplies bfloat16 by instructions of the processor; operands are converted to float32 otherwise.
    var nativeBfloat16 = OneDNN.hasNativeBFloat16
    var forcedMatrixBackend = MatrixProducts.forced?.rawValue
    /// The MPI library with its version, its file, and whose binary interface it is called by. A process without a launcher says which it would take.
    var mpi: String?
    var mpiLibrary: String?
    var mpiBinaryInterface: String?
    /// Why there is no MPI library.
    var mpiProblem: String?
    var hdf5 = HDF5Library.version
    var sentencePiece: String?
    var zlib = String(cString: zlibVersion())
    var ranks: Int
    /// Worker threads of this rank, and why so many.
    var threads: Int
    var threadAllotment: String
    /// Products of matrices in float32 and in bfloat16, GFLOP/s.
    var float32GflopsPerSecond: Speeds
    var bfloat16GflopsPerSecond: Speeds
    var memoryGigabytesPerSecond: Speeds
    var allReduce: AllReduceCurve?
    /// The paths of all shared libraries that are loaded, those included that were looked for while the program ran.
    var sharedLibraries: [String] = []

    /// Measures. Collective.
    init(_ communicator: any Communicator) throws {
        hint = ProgramStart.blasHint
        do {
            let library = try MPILibrary.load(environment: ProcessInfo.processInfo.environment)
            (mpi, mpiLibrary, mpiBinaryInterface) = (library.version, library.path, library.binaryInterface)
        } catch { mpiProblem = "\(error)" }
        sentencePiece = Self.installedVersion(ofPackage: "sentencepiece")
        ranks = communicator.size
        usableCores = ProcessInfo.processInfo.activeProcessorCount
        if let version = OneDNN.version, let set = OneDNN.instructionSet { onednn = Library(version: version, instructionSet: set) }
        let allotment = try communicator.workerThreads(requested: nil)
        (threads, threadAllotment) = (allotment.threads, allotment.description)
        func extremes(_ threads: Int, _ measure: () -> Double) throws -> Extremes {
            Workers.count = threads
            try communicator.barrier()
            let value = measure() / 1e9
            return Extremes(minimum: try communicator.allReduced(value, .minimum), maximum: try communicator.allReduced(value, .maximum))
        }
        let severalThreads = try communicator.allReduced(threads, .maximum) > 1
        func speeds(_ measure: () -> Double) throws -> Speeds {
            let one = try extremes(1, measure)
            return Speeds(oneThread: one, allThreads: severalThreads ? try extremes(allotment.threads, measure) : one)
        }
        float32GflopsPerSecond = try speeds { ProcessorMeasurement.matrixMultiplyRate() }
        bfloat16GflopsPerSecond = try speeds { ProcessorMeasurement.matrixMultiplyRate(.bfloat16) }
        memoryGigabytesPerSecond = try speeds { ProcessorMeasurement.memoryBandwidth() }
        MemoryPool.shared.trim()
        if communicator.size > 1 { allReduce = try AllReduceCurve.measured(communicator) }
        sharedLibraries = Self.loadedLibraries()
    }

    /// The files that the kernel has mapped for this process and that are named like shared libraries.
    private static func loadedLibraries() -> [String] {
        // Foundation reads one page of a file whose size the system does not tell.
        let maps = (try? DurableFile.read("/proc/self/maps")).map { String(decoding: $0, as: UTF8.self) } ?? ""
        let paths = maps.split(separator: "\n").compactMap { line in line.firstIndex(of: "/").map { String(line[$0...]) } }
        return Set(paths.filter { $0.contains(/\.so(\.[0-9.]+)?$/) }).sorted()
    }

    /// A table for people.
    var text: String {
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
        if let forcedMatrixBackend { lines.append(("", "\(ProgramStart.matrixBackendVariable) forces \(forcedMatrixBackend)")) }
        lines += [
            ("MPI", mpi.map { "\($0), called by the binary interface of \(mpiBinaryInterface ?? ""): \(mpiLibrary ?? "")" } ?? mpiProblem ?? ""),
            ("libraries", "HDF5 \(hdf5), SentencePiece \(sentencePiece ?? "(version unknown)"), zlib \(zlib)"),
            ("ranks", "\(ranks); \(threadAllotment)"),
            ("float32", row(float32GflopsPerSecond, "GFLOP/s")),
            ("bfloat16", row(bfloat16GflopsPerSecond, "GFLOP/s")),
            ("memory speed", row(memoryGigabytesPerSecond, "GB/s")),
        ]
        if let allReduce {
            for (index, point) in allReduce.calls.enumerated() { lines.append((index == 0 ? "all-reduce" : "", Self.row(point))) }
            for (index, point) in allReduce.buckets.enumerated() {
                let mark = point.bytes == allReduce.bestBucketBytes ? "  <- fastest: set parallel.bucketBytes to \(point.bytes)" : ""
                lines.append((index == 0 ? "in buckets of" : "", Self.row(point) + mark))
            }
        }
        for (index, path) in sharedLibraries.enumerated() { lines.append((index == 0 ? "loaded" : "", path)) }
        return lines.map { $0.0.padding(toLength: 15, withPad: " ", startingAt: 0) + $0.1 + "\n" }.joined()
    }

    private func row(_ speeds: Speeds, _ unit: String) -> String {
        let each = ranks > 1 ? " a rank" : ""
        let one = "\(Self.range(speeds.oneThread)) \(unit) with 1 thread\(each)"
        return threads > 1 ? one + ", \(Self.range(speeds.allThreads)) with \(threads)" : one
    }

    private static func number(_ value: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f", value) }

    private static func range(_ extremes: Extremes) -> String {
        let (low, high) = (number(extremes.minimum), number(extremes.maximum))
        return low == high ? low : "\(low) to \(high)"
    }

    private static func row(_ point: AllReduceCurve.Point) -> String {
        let size = point.bytes >= 1 << 20 ? "\(point.bytes >> 20) MiB" : "\(point.bytes >> 10) KiB"
        let padded = String(repeating: " ", count: max(0, 8 - size.count)) + size
        return padded + String(format: "  %9.3f ms  %6.2f GB/s", point.seconds * 1e3, point.bytesPerSecond / 1e9)
    }

    /// The version of a library that does not tell its own, as pkg-config knows it; `nil` without pkg-config.
    private static func installedVersion(ofPackage name: String) -> String? {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["pkg-config", "--modversion", name]
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return nil }
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return process.terminationStatus == 0 ? String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines) : nil
    }
}

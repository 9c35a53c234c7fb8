// mneme doctor

import ArgumentParser
import CZlib
import Collectives
import Diagnostics
import Foundation
import HDF5
import Kernels
import Tensors
import Training

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Say what this machine and this build are, and measure what they can do.",
        discussion: """
            Prints the processor, the kernels and libraries in use, and the measured speed of SGEMM and of memory with one thread a rank. Under mpirun also
            the time of an all-reduce by size, and the size of gradient buckets to set as parallel.bucketBytes. Takes less than 15 seconds.

            Examples:
              mneme doctor
              mpirun -n 2 mneme doctor --json
            """)

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        ProgramStart.run { communicator in
            let report = try DoctorReport(communicator)
            if communicator.rank == 0 { print(json ? try JSONLine.encode(report) + "\n" : report.text, terminator: "") }
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
    var mpi: String
    var hdf5 = HDF5Library.version
    var sentencePiece: String?
    var zlib = String(cString: zlibVersion())
    var ranks: Int
    var threads: String
    /// GFLOP/s of one thread of each rank, all at the same time.
    var sgemmGflopsPerSecond: Extremes
    /// GB/s of one thread of each rank, all at the same time.
    var memoryGigabytesPerSecond: Extremes
    var allReduce: AllReduceCurve?

    /// Measures. Collective.
    init(_ communicator: any Communicator) throws {
        hint = ProgramStart.blasHint
        mpi = communicator.size > 1 ? communicator.libraryDescription : try MPICommunicator.linkedLibrary()
        sentencePiece = Self.installedVersion(ofPackage: "sentencepiece")
        ranks = communicator.size
        usableCores = ProcessInfo.processInfo.activeProcessorCount
        threads = try communicator.workerThreads(requested: nil).description
        Workers.count = 1
        func extremes(_ measure: () -> Double) throws -> Extremes {
            try communicator.barrier()
            let value = measure() / 1e9
            return Extremes(minimum: try communicator.allReduced(value, .minimum), maximum: try communicator.allReduced(value, .maximum))
        }
        sgemmGflopsPerSecond = try extremes { ProcessorMeasurement.matrixMultiplyRate() }
        memoryGigabytesPerSecond = try extremes { ProcessorMeasurement.memoryBandwidth() }
        MemoryPool.shared.trim()
        if communicator.size > 1 { allReduce = try AllReduceCurve.measured(communicator) }
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
        lines += [
            ("libraries", "\(mpi), HDF5 \(hdf5), SentencePiece \(sentencePiece ?? "(version unknown)"), zlib \(zlib)"),
            ("ranks", "\(ranks); \(threads)"),
            ("SGEMM", "\(Self.range(sgemmGflopsPerSecond)) GFLOP/s with 1 thread\(ranks > 1 ? " a rank" : "")"),
            ("memory speed", "\(Self.range(memoryGigabytesPerSecond)) GB/s with 1 thread\(ranks > 1 ? " a rank" : "")"),
        ]
        if let allReduce {
            for (index, point) in allReduce.calls.enumerated() { lines.append((index == 0 ? "all-reduce" : "", Self.row(point))) }
            for (index, point) in allReduce.buckets.enumerated() {
                let mark = point.bytes == allReduce.bestBucketBytes ? "  <- fastest: set parallel.bucketBytes to \(point.bytes)" : ""
                lines.append((index == 0 ? "in buckets of" : "", Self.row(point) + mark))
            }
        }
        return lines.map { $0.0.padding(toLength: 15, withPad: " ", startingAt: 0) + $0.1 + "\n" }.joined()
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

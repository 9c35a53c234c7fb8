// Named checks that run under mpirun: `mpirun -n 2 distributed-checks reductions`. Without a launcher it is a world of one rank.

import Collectives
import Diagnostics
import Foundation
import TestSupport

@main
struct DistributedChecks {
    static let checks: [String: @Sendable (any Communicator) throws -> Void] = [
        "reductions": CollectiveChecks.reductions,
        "started-reductions": CollectiveChecks.startedReductions,
        "movement": CollectiveChecks.movement,
        "buckets": CollectiveChecks.buckets,
        "tree": CollectiveChecks.tree,
        "agreement": CollectiveChecks.agreement,
        "tree-bits": printTreeBits,
        "short-counts": checkShortCounts,
        "places": checkPlaces,
        "disagree": { communicator in
            try communicator.agree(on: [("configuration key model.width", communicator.rank == 1 ? "512" : "256")])
        },
        "truncated": { try exchangeOfUnequalLengths($0) },
        "truncated-before": { try exchangeOfUnequalLengths($0, delay: 500_000) },
        "abort": abortOnRankOne,
        "kill-while-blocked": { try killRankOne($0) { try sumForever($0) } },
        "kill-while-computing": { try killRankOne($0) { _ in computeForAMinute() } },
        "measure": measure,
        "bank-edits": editBankUntilKilled,
        "signals": SignalChecks.products,
    ]

    static func main() {
        let environment = ProcessInfo.processInfo.environment
        guard let name = CommandLine.arguments.dropFirst().first, let check = checks[name] else {
            FileHandle.standardError.write(Data("name one check: \(checks.keys.sorted().joined(separator: ", "))\n".utf8))
            exit(ExitCode.usage.rawValue)
        }
        do {
            let mpi = MPICommunicator.isLaunchedByMPI(environment: environment) ? try MPICommunicator.initialize(environment: environment) : nil
            let communicator: any Communicator = mpi ?? SingleProcess()
            do { try check(communicator) } catch {
                FileHandle.standardError.write(Data("rank \(communicator.rank): \(name): \(error)\n".utf8))
                communicator.abort((error as? UserError)?.exitCode.rawValue ?? ExitCode.software.rawValue)
            }
            try communicator.barrier()
            if communicator.rank == 0 { print("\(name): holds for \(communicator.size)") }
            try mpi?.finalize()
        } catch {
            FileHandle.standardError.write(Data("\(error)\n".utf8))
            exit((error as? UserError)?.exitCode.rawValue ?? ExitCode.software.rawValue)
        }
    }

    /// Prints a hash of the tree's sums: it must not depend on the number of ranks.
    static func printTreeBits(_ communicator: any Communicator) throws {
        let values = try CollectiveChecks.treeSum(communicator, groupCount: 8, length: 100_003, chunkBytes: 1 << 16)
        let hash = values.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1.bitPattern)) &* 0x100_0000_01b3 }
        if communicator.rank == 0 { print("bits \(String(hash, radix: 16))") }
    }

    /// Counts that the library cannot take in one call are cut; here the library takes seven elements.
    static func checkShortCounts(_ communicator: any Communicator) throws {
        guard let communicator = communicator as? MPICommunicator else { return }
        let limit = communicator.countLimit
        communicator.countLimit = 7
        defer { communicator.countLimit = limit }
        var values = (0..<100).map { Float($0 * (communicator.rank + 1)) }
        try values.withUnsafeMutableBufferPointer { buffer in
            try communicator.allReduce(UnsafeMutableBufferPointer(rebasing: buffer[..<50]), .sum)
            try communicator.startAllReduce(UnsafeMutableBufferPointer(rebasing: buffer[50...])).wait()
        }
        let factor = communicator.size * (communicator.size + 1) / 2
        try check(values == (0..<100).map { Float($0 * factor) }, "sums in pieces: \(values)")
        try CollectiveChecks.movement(communicator)
    }

    /// Ranks of one machine know their places on it; the library and its version are named.
    static func checkPlaces(_ communicator: any Communicator) throws {
        let places = try communicator.allGather(Array("\(communicator.localRank) \(communicator.localSize) \(communicator.nodeName)".utf8))
        let expected = (0..<communicator.size).map { Array("\($0) \(communicator.size) \(communicator.nodeName)".utf8) }
        try check(places == expected, "places on the node: \(places.map { String(decoding: $0, as: UTF8.self) })")
        try check(!communicator.nodeName.isEmpty && !communicator.libraryDescription.isEmpty, "no names")
        let threads = try communicator.workerThreads(requested: nil)
        try check(threads.threads >= 1, "\(threads)")
        if communicator.rank == 0 { print("\(communicator.libraryDescription); \(threads.description)") }
    }

    /// An error of the library: rank 0 expects less than rank 1 sends.
    ///
    /// - Parameter delay: microseconds after which rank 0 begins; what rank 1 sends is there before, and the receive fails at once.
    static func exchangeOfUnequalLengths(_ communicator: any Communicator, delay: UInt32 = 0) throws {
        let outgoing = [UInt8](repeating: 1, count: 64)
        var incoming = [UInt8](repeating: 0, count: communicator.rank == 0 ? 32 : 64)
        guard communicator.rank < 2 else { return }
        if communicator.rank == 0 { usleep(delay) }
        do {
            try outgoing.withUnsafeBytes { outgoing in
                try incoming.withUnsafeMutableBytes { try communicator.exchange(outgoing, $0, with: 1 - communicator.rank) }
            }
            try check(communicator.rank != 0, "a message longer than its buffer gave no error")
        } catch let error as UserError {
            try check(error.exitCode == .unavailable && error.description.hasPrefix("rank 0: MPI_Wait failed: "), "\(error)")
            try check(error.what.lowercased().contains("trunc"), "the library's text is missing: \(error)")
            // What becomes of the other message, nobody promises: the rank that sees the error ends all, as the program does.
            communicator.abort(ExitCode.unavailable.rawValue)
        }
    }

    static func abortOnRankOne(_ communicator: any Communicator) throws {
        try announce(communicator)
        if communicator.rank == 1 { communicator.abort(ExitCode.configuration.rawValue) }
        try sumForever(communicator)
    }

    static func killRankOne(_ communicator: any Communicator, _ others: (any Communicator) throws -> Void) throws {
        try announce(communicator)
        if communicator.rank == 1 { kill(getpid(), SIGKILL) }
        try others(communicator)
    }

    /// Every rank's process number, on rank 0's standard output.
    static func announce(_ communicator: any Communicator) throws {
        let processes = try communicator.allGather(Array("\(getpid())".utf8)).map { String(decoding: $0, as: UTF8.self) }
        if communicator.rank == 0 {
            FileHandle.standardOutput.write(Data("processes \(processes.joined(separator: " "))\n".utf8))
            // Hydra forgets what it has not read yet when a rank aborts.
            usleep(300_000)
        }
        try communicator.barrier()
    }

    static func sumForever(_ communicator: any Communicator) throws {
        while true { _ = try communicator.allReduced(1.0, .sum) }
    }

    /// Computes for a minute, longer than any test waits, without a call of the library.
    static func computeForAMinute() {
        let end = ContinuousClock.now + .seconds(60)
        var value = 1.0
        while ContinuousClock.now < end { value = (value + 2).squareRoot() }
        print(value)
    }

    /// A table of all-reduce times, as OSU's benchmarks print them. Further arguments are sizes in bytes.
    static func measure(_ communicator: any Communicator) throws {
        let sizes = CommandLine.arguments.dropFirst(2).compactMap { Int($0) }
        let bucketBytes = 4 << 20
        let modes: [AllReduceMode] = [
            .blocking, .started, .bucketed(bytes: bucketBytes, concurrency: 1), .bucketed(bytes: bucketBytes, concurrency: 4), .reproducible,
        ]
        for mode in modes where mode != .reproducible || communicator.size.nonzeroBitCount == 1 {
            let timings = try measureAllReduce(communicator: communicator, sizes: sizes.isEmpty ? [4096, 1 << 20] : sizes, mode: mode)
            guard communicator.rank == 0 else { continue }
            for timing in timings {
                let seconds = [timing.minimumSeconds, timing.medianSeconds, timing.averageSeconds, timing.maximumSeconds]
                let microseconds = seconds.map { String(format: "%.1f", $0 * 1e6) }.joined(separator: "/")
                let rate = String(format: "%.2f", timing.bytesPerSecond / 1e9)
                print("\(mode) \(timing.bytes) bytes: min/median/mean/max \(microseconds) us, \(rate) GB/s")
            }
        }
    }
}

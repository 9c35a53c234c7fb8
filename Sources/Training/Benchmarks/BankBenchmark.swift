// A bank's store and its searches: appends, commits, increments, reading back, and edits while it is searched.
//
// Legend: N records with keys of D numbers.

import Checkpoints
import Collectives
import Diagnostics
import Kernels
import MemoryBanks
import Storage
import Tensors
import VectorSearch

/// The figures of a bank. Times are of the slowest rank; rates are medians where something was done several times.
package struct BankFigures: BenchmarkReport, Codable {
    /// "bank".
    package var workload: String
    package var ranks: Int
    package var threads: Int
    /// N, D.
    package var records: Int
    package var dimension: Int
    /// Records of an append, each append a commit that is on the disk.
    package var appendBatch: Int
    package var appendsPerSecond: Double
    /// Of the appends alone, by the median batch.
    package var medianAppendsPerSecond: Double
    /// Bytes of the whole bank's segments after a compaction, how fast they were written and synced, and how fast as many bytes are written and synced
    /// as one plain file, in turns; and the quotient of both.
    package var bytes: Int
    package var commitMegabytesPerSecond: Double
    package var rawMegabytesPerSecond: Double
    package var percentOfRaw: Double
    /// Records that an increment changes, bytes of the segments that it writes, what those records hold, and how long it takes.
    package var touchedRecords: Int
    package var incrementBytes: Int
    package var touchedBytes: Int
    package var incrementSeconds: Double
    /// Reading everything back, with every segment and every block compared with its hash.
    package var restoreSeconds: Double
    package var restoreMegabytesPerSecond: Double
    /// Making the index, and reading it with the records that it is of.
    package var lists: Int
    package var indexSeconds: Double
    package var indexRestoreSeconds: Double
    /// Recall of the 10 nearest with `probes` lists before, and the lowest while records were deleted, updated and appended in ten commits.
    package var probes: Int
    package var recallBefore: Double
    package var lowestRecall: Double
    package var loadAverage: Double

    package var text: String {
        func whole(_ value: Double) -> String { decimal(value, 0) }
        func mega(_ bytes: Int) -> String { decimal(Double(bytes) / 1e6, 2) }
        return """
            \(workload): \(records) records with keys of \(dimension) numbers, \(ranks) x \(threads) threads
              append           \(whole(appendsPerSecond)) records/s over all, \(whole(medianAppendsPerSecond)) by the median commit of \(appendBatch)
              whole commit     \(mega(bytes)) MB at \(whole(commitMegabytesPerSecond)) MB/s, \(decimal(percentOfRaw)) % of a plain file's \(whole(rawMegabytesPerSecond))
              increment        \(touchedRecords) records of \(mega(touchedBytes)) MB: \(mega(incrementBytes)) MB written in \(decimal(incrementSeconds, 3)) s
              read back        \(decimal(restoreSeconds, 2)) s, \(whole(restoreMegabytesPerSecond)) MB/s, every block verified
              index            \(lists) lists, made in \(decimal(indexSeconds, 2)) s, read back in \(decimal(indexRestoreSeconds, 2)) s
              while edited     recall with \(probes) lists \(decimal(recallBefore, 4)) before, \(decimal(lowestRecall, 4)) at the lowest

            """
    }
}

/// Measures a bank in a directory of its own, which is gone afterwards.
package struct BankBenchmark {
    package static let name = "bank"
    package static let summary = "a bank of 1 M records: appends, commits, increments, reading back, edits while it is searched"

    private static let (dimension, limit, probes, touched, appendBatch) = (256, 10, 8, 1000, 50_000)

    private let settings: BenchmarkSettings
    private let communicator: any Communicator
    private let generator: ClusteredVectors
    private let rows: Int
    private let directory: String

    package init(communicator: any Communicator, settings: BenchmarkSettings) {
        (self.communicator, self.settings) = (communicator, settings)
        rows = settings.searchRows
        generator = ClusteredVectors(dimension: Self.dimension, clusters: max(1, rows / 500), seed: 1)
        directory = "\(settings.scratchDirectory)/mneme-bench-bank"
    }

    /// Measures. Collective.
    package func run() throws -> BankFigures {
        settings.applyThreads()
        try communicator.onEveryRank { if communicator.rank == 0 { try Directory.remove(directory) } }
        defer { if communicator.rank == 0 { try? Directory.remove(directory) } }
        let generation = BankGeneration(model: "benchmark", width: Self.dimension)
        try MemoryBank.create(
            directory, BankConfiguration(keyWidth: Self.dimension, value: .tokens, metric: .euclidean), generation: generation, communicator: communicator)
        let bank = try MemoryBank(directory, .editing(SessionIdentity(environment: [:])), communicator: communicator)
        defer { bank.close() }

        // Records come from each rank's own model: all are handed to every rank, as the bank wants it.
        var times: [Double] = []
        for first in stride(from: 0, to: rows, by: Self.appendBatch) {
            let batch = records(first..<min(rows, first + Self.appendBatch))
            times.append(try seconds { _ = try bank.append(batch, edit) })
        }
        let rates = times.map { Double(min(rows, Self.appendBatch)) / $0 }

        // Whole commits and plain files take turns.
        var (commits, raws): ([Double], [Double]) = ([], [])
        for round in 0..<max(3, settings.minimumSteps) {
            // A shard that is a base alone would be left as it is.
            _ = try bank.put(records(Array(0..<min(rows, 256)), keysFrom: (1 << 44) + 256 * round), edit)
            let compaction = try seconds { _ = try bank.compact(edit) }
            commits.append(Double(bank.byteCount) / compaction)
            raws.append(Double(bank.byteCount) / (try plainSeconds(bank.byteCount)))
        }
        let bytes = bank.byteCount

        // What an increment writes is what the folder holds then and did not hold before.
        var (increments, written): ([Double], [Double]) = ([], [])
        let touched = min(Self.touched, max(1, rows / 4))
        for round in 0..<max(3, settings.minimumSteps) {
            let changed = records(stride(from: round, to: rows, by: rows / touched).prefix(touched).map { $0 }, keysFrom: 1 << 41)
            let before = bank.byteCount
            increments.append(try seconds { _ = try bank.put(changed, edit) })
            written.append(Double(bank.byteCount - before))
        }
        let record = bytes / max(1, rows)

        let (restore, _) = try opened()
        let index = try seconds { try bank.makeIndex() }
        let (_, read) = try opened()
        let (before, lowest) = try recallWhileEdited(bank)
        return BankFigures(
            workload: Self.name, ranks: communicator.size, threads: settings.threads, records: rows, dimension: Self.dimension,
            appendBatch: min(rows, Self.appendBatch), appendsPerSecond: Double(rows) / times.reduce(0, +), medianAppendsPerSecond: median(rates), bytes: bytes,
            commitMegabytesPerSecond: median(commits) / 1e6, rawMegabytesPerSecond: median(raws) / 1e6,
            percentOfRaw: 100 * median(zip(commits, raws).map { $0 / $1 }), touchedRecords: touched, incrementBytes: Int(median(written)),
            touchedBytes: record * touched, incrementSeconds: median(increments), restoreSeconds: restore,
            restoreMegabytesPerSecond: Double(bytes) / restore / 1e6, lists: bank.indexLink?.lists ?? 0, indexSeconds: index, indexRestoreSeconds: read,
            probes: Self.probes, recallBefore: before, lowestRecall: lowest, loadAverage: ProcessorMeasurement.loadAverage)
    }

    private var edit: BankEdit { BankEdit(step: 0, time: 0, author: "mneme bench", reason: "") }

    /// Records by their numbers, with keys that are rows of the generator.
    private func records(_ range: Range<Int>) -> [BankRecord] { records(Array(range), keys: generator.rows(range)) }

    private func records(_ numbers: [Int], keysFrom first: Int) -> [BankRecord] {
        records(numbers, keys: generator.rows(first..<(first + numbers.count)))
    }

    private func records(_ numbers: [Int], keys: Tensor) -> [BankRecord] {
        numbers.enumerated().map { place, number in
            var record = BankRecord(id: "\(number)", namespace: "benchmark", value: .tokens([Int32(truncatingIfNeeded: number)]))
            record.key = Array(UnsafeBufferPointer(start: keys.floats + place * Self.dimension, count: Self.dimension))
            return record
        }
    }

    /// Seconds to write and sync a plain file of so many bytes, by rank 0.
    private func plainSeconds(_ count: Int) throws -> Double {
        // Not zeros, which a file system may leave out.
        let bytes = communicator.rank == 0 ? [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            for place in 0..<count { buffer[place] = UInt8(truncatingIfNeeded: place &* 0x9e37 >> 7) }
            initialized = count
        } : []
        let path = "\(settings.scratchDirectory)/mneme-bench-plain"
        defer { if communicator.rank == 0 { try? Directory.remove(path) } }
        return try seconds { try communicator.onEveryRank { if communicator.rank == 0 { try DurableFile.replace(path, by: bytes) } } }
    }

    /// Seconds to read and verify the bank, and to read its index where it has one.
    private func opened() throws -> (records: Double, index: Double) {
        var reader: MemoryBank?
        let records = try seconds { reader = try MemoryBank(directory, communicator: communicator) }
        let query = generator.rows(0..<1)
        let index = try seconds {
            if let reader, reader.indexLink != nil { _ = try reader.nearest(query, count: 1, in: BankFilter(.all), visiting: 1) }
        }
        return (records, index)
    }

    /// Recall before, and the lowest of any time: in each of ten commits a hundredth of the records is deleted, one gets other keys, and one is new.
    private func recallWhileEdited(_ bank: MemoryBank) throws -> (before: Double, lowest: Double) {
        let first = 1 << 40
        let queries = generator.rows(first..<(first + 256))
        func recall() throws -> Double {
            let exact = try bank.nearest(queries, count: Self.limit, in: BankFilter(.one("benchmark")))
            return try bank.nearest(queries, count: Self.limit, in: BankFilter(.one("benchmark")), visiting: Self.probes).recall(against: exact)
        }
        let before = try recall()
        var lowest = before
        let changed = max(1, rows / 100)
        for step in 0..<10 {
            let places = (0..<changed).map { ($0 * 100 + 3 * step) % rows }
            _ = try bank.delete(BankFilter(.one("benchmark"), ids: places.map { "\($0)" }), edit)
            lowest = min(lowest, try recall())
            _ = try bank.put(records(places.map { ($0 + 1) % rows }, keysFrom: (1 << 42) + step * changed), resurrecting: true, edit)
            _ = try bank.append(records(Array((rows + step * changed)..<(rows + (step + 1) * changed)), keysFrom: (1 << 43) + step * changed), edit)
            lowest = min(lowest, try recall())
        }
        return (before, lowest)
    }

    /// The seconds of the slowest rank, from a common start.
    private func seconds(_ body: () throws -> Void) throws -> Double {
        try communicator.barrier()
        let start = ContinuousClock.now
        try body()
        return try communicator.allReduced(start.duration(to: .now).seconds, .maximum)
    }

    private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
}

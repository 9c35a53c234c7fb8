// Search among many vectors: exact against matrix products alone, an inverted file against exact, and rows that come, go and change meanwhile.
//
// Legend: N rows of D numbers, Q queries at a time, k neighbours, C lists, p lists that a query visits.

import Collectives
import Diagnostics
import Kernels
import Tensors
import VectorSearch

/// The figures of searches. Times are medians over rounds, of the slowest rank.
package struct SearchFigures: BenchmarkReport, Codable {
    /// The inverted file with one number of lists that a query visits.
    package struct Probes: Codable, Sendable {
        package var probes: Int
        package var queriesPerSecond: Double
        /// The part of the k exact neighbours that is found.
        package var recall: Double
        /// Queries a second over those of exact search, both measured in turns.
        package var timesExact: Double
    }

    /// "search".
    package var workload: String
    package var ranks: Int
    package var threads: Int
    /// What products read.
    package var precision: String
    package var instructionSet: String
    /// N of all ranks, D, k.
    package var rows: Int
    package var dimension: Int
    package var neighbours: Int
    /// Q of exact search and of the inverted file, over all ranks.
    package var exactBatch: Int
    package var invertedBatch: Int
    package var rounds: Int
    package var exactQueriesPerSecond: Double
    /// 2 N D operations a query.
    package var exactGflopsPerSecond: Double
    /// What large matrix products alone reach on all ranks, measured in turns with exact search; and the median of the quotients.
    package var peakGflopsPerSecond: Double
    package var percentOfPeak: Double
    /// Rows of a query that exact search scored beside the products, on this rank.
    package var scoredRowsPerQuery: Double
    /// C, and how uneven they are (1: even).
    package var lists: Int
    package var imbalance: Double
    package var trainingSeconds: Double
    package var inverted: [Probes]
    /// Of a trained index, 10,000 rows at a time; a row that is updated is given another key. Over all ranks.
    package var appendsPerSecond: Double
    package var removalsPerSecond: Double
    package var updatesPerSecond: Double
    /// Recall with `churnProbes` lists before, and the lowest of any time, while a tenth of the rows was removed, updated and added in ten steps.
    package var churnProbes: Int
    package var recallBeforeChurn: Double
    package var lowestRecallDuringChurn: Double
    package var loadAverage: Double

    package var text: String {
        func whole(_ value: Double) -> String { decimal(value, 0) }
        var lines = [
            "\(workload): \(rows) rows of \(dimension) numbers, \(neighbours) neighbours, \(ranks) x \(threads) threads, products in \(precision), "
                + "\(instructionSet)",
            "  exact            \(whole(exactQueriesPerSecond)) queries/s in batches of \(exactBatch): \(decimal(exactGflopsPerSecond)) GFLOP/s, "
                + "\(decimal(percentOfPeak)) % of the matrix products' \(decimal(peakGflopsPerSecond)); "
                + "\(decimal(scoredRowsPerQuery)) rows a query scored beside",
            "  inverted file    \(lists) lists, imbalance \(decimal(imbalance, 2)), trained in \(decimal(trainingSeconds)) s; batches of \(invertedBatch)",
        ]
        for one in inverted {
            lines.append(
                "    \(one.probes) lists visited: \(whole(one.queriesPerSecond)) queries/s, \(decimal(one.timesExact)) times exact's, recall "
                    + decimal(one.recall, 4))
        }
        lines.append(
            "  rows a second    \(whole(appendsPerSecond)) appended, \(whole(removalsPerSecond)) removed, \(whole(updatesPerSecond)) updated")
        lines.append(
            "  while they change recall with \(churnProbes) lists \(decimal(recallBeforeChurn, 4)) before, \(decimal(lowestRecallDuringChurn, 4)) at the lowest")
        return lines.joined(separator: "\n") + "\n"
    }
}

/// Measures searches.
package struct SearchBenchmark {
    package static let name = "search"
    package static let summary = "exact search and an inverted file among 1 M vectors of 128 numbers: queries/s, recall, rows that come and go"

    private static let (dimension, limit, similarity) = (128, 10, Similarity.euclidean)
    private static let (exactBatch, invertedBatch, churnProbes) = (2048, 8192, 4)
    private static let probes = [1, 2, 4, 8, 16, 32]
    /// Rows of a block; blocks belong to virtual shards.
    private static let (blockRows, shards) = (1024, 64)
    /// Rows that are appended, removed or updated at a time.
    private static let changeBatch = 10_000

    private let settings: BenchmarkSettings
    private let communicator: any Communicator
    private let generator: ClusteredVectors
    /// N.
    private let rows: Int

    package init(communicator: any Communicator, settings: BenchmarkSettings) {
        (self.communicator, self.settings) = (communicator, settings)
        rows = settings.searchRows
        generator = ClusteredVectors(dimension: Self.dimension, clusters: max(1, rows / 500), seed: 1)
    }

    /// Measures for about the seconds asked for, half of them exact search. Collective.
    package func run() throws -> SearchFigures {
        settings.applyThreads()
        let precision: ProductPrecision = settings.precision == .bfloat16 ? .bfloat16 : .float32
        let exact = VectorRows(dimension: Self.dimension, similarity: Self.similarity, precision: precision)
        let index = InvertedFile(dimension: Self.dimension, similarity: Self.similarity, precision: precision)
        let shards = try VirtualShards(Self.shards)
        for block in 0..<(rows + Self.blockRows - 1) / Self.blockRows where shards.rank(ofBlock: block, of: communicator.size) == communicator.rank {
            let range = block * Self.blockRows..<min(rows, (block + 1) * Self.blockRows)
            let part = generator.rows(range)
            try exact.append(part, ids: Array(range))
            try index.append(part, ids: Array(range))
        }
        let training = try seconds { try index.train(communicator: communicator) }
        let (few, many) = (queries(Self.exactBatch), queries(Self.invertedBatch))

        // Products alone, exact search and the inverted file take turns.
        let peakType: DataType = precision.isRounded ? .bfloat16 : .float32
        var (exactSeconds, peaks, shares, scored): ([Double], [Double], [Double], Double) = ([], [], [], 0)
        var times = [[Double]](repeating: [], count: Self.probes.count)
        var ratios = times
        let start = ContinuousClock.now
        var round = 0
        while try round < settings.warmUpSteps + settings.minimumSteps || goesOn(start) {
            let peak = try peakRate(peakType)
            let exactTime = try seconds {
                let found = try RankSearch.nearest(few, limit: Self.limit, communicator: communicator) {
                    let (neighbors, rows) = try ExactSearch.search($0, among: exact.blocks, limit: Self.limit, filter: .everything)
                    scored = Double(rows) / Double(max(1, neighbors.count))
                    return neighbors
                }
                require(found.count == few.shape[0], "\(found.count) answers")
            }
            let exactRate = Double(Self.exactBatch) / exactTime
            let invertedTimes = try Self.probes.map { probes in try seconds { _ = try inverted(index, many, probes) } }
            round += 1
            if round <= settings.warmUpSteps { continue }
            exactSeconds.append(exactTime)
            peaks.append(peak)
            shares.append(exactRate * 2 * Double(rows * Self.dimension) / peak)
            for (place, time) in invertedTimes.enumerated() {
                times[place].append(time)
                ratios[place].append(Double(Self.invertedBatch) / time / exactRate)
            }
        }
        let recalls = try Self.probes.map { try recall(index, exact, few, probes: $0) }
        let sizes = try communicator.allReduced(index.listSizes.map(Int64.init), .sum).map { Int($0) }
        let changes = try changeRates(index)
        let churn = try churn(index, exact, few)
        let exactRate = Double(Self.exactBatch) / median(exactSeconds)
        return SearchFigures(
            workload: Self.name, ranks: communicator.size, threads: settings.threads, precision: precision.isRounded ? "bfloat16" : "float32",
            instructionSet: Kernels.active.instructionSet, rows: rows, dimension: Self.dimension, neighbours: Self.limit, exactBatch: Self.exactBatch,
            invertedBatch: Self.invertedBatch, rounds: exactSeconds.count, exactQueriesPerSecond: exactRate,
            exactGflopsPerSecond: exactRate * 2 * Double(rows * Self.dimension) / 1e9, peakGflopsPerSecond: median(peaks) / 1e9,
            percentOfPeak: 100 * median(shares), scoredRowsPerQuery: scored, lists: index.listCount, imbalance: InvertedFile.imbalance(sizes),
            trainingSeconds: training,
            inverted: Self.probes.indices.map {
                SearchFigures.Probes(
                    probes: Self.probes[$0], queriesPerSecond: Double(Self.invertedBatch) / median(times[$0]), recall: recalls[$0],
                    timesExact: median(ratios[$0]))
            },
            appendsPerSecond: changes.appends, removalsPerSecond: changes.removals, updatesPerSecond: changes.updates, churnProbes: Self.churnProbes,
            recallBeforeChurn: churn.before, lowestRecallDuringChurn: churn.lowest, loadAverage: ProcessorMeasurement.loadAverage)
    }

    /// This rank's share of so many queries, which are no rows.
    private func queries(_ count: Int) -> Tensor {
        let share = Workers.range(communicator.rank, of: communicator.size, count: count)
        let first = 1 << 40
        return generator.rows(first + share.lowerBound..<first + share.upperBound)
    }

    private func inverted(_ index: InvertedFile, _ queries: Tensor, _ probes: Int) throws -> Neighbors {
        try RankSearch.nearest(queries, limit: Self.limit, communicator: communicator) {
            try index.nearest($0, limit: Self.limit, probes: probes)
        }
    }

    /// Recall over the queries of all ranks.
    private func recall(_ index: InvertedFile, _ exact: VectorRows, _ queries: Tensor, probes: Int) throws -> Double {
        let wanted = try RankSearch.nearest(queries, limit: Self.limit, communicator: communicator) {
            try ExactSearch.nearest($0, among: exact.blocks, limit: Self.limit)
        }
        let found = try inverted(index, queries, probes)
        let weight = Double(wanted.count)
        let sums = try communicator.allReduced([found.recall(against: wanted) * weight, weight], .sum)
        return sums[0] / sums[1]
    }

    // MARK: rows that come and go

    /// A rank's number of the rows that all change together.
    private func share(_ count: Int) -> Range<Int> { Workers.range(communicator.rank, of: communicator.size, count: count) }

    /// Rows a second of all ranks that are appended, updated and removed again.
    private func changeRates(_ index: InvertedFile) throws -> (appends: Double, removals: Double, updates: Double) {
        let batch = min(Self.changeBatch, max(1, rows / 10))
        let mine = share(batch)
        var (appends, removals, updates): ([Double], [Double], [Double]) = ([], [], [])
        for round in 0..<max(3, settings.minimumSteps) {
            let first = (1 << 41) + 2 * round * batch
            let ids = mine.map { first + $0 }
            let keys = generator.rows(first + mine.lowerBound..<first + mine.upperBound)
            let others = generator.rows(first + batch + mine.lowerBound..<first + batch + mine.upperBound)
            appends.append(Double(batch) / (try seconds { try index.append(keys, ids: ids) }))
            updates.append(Double(batch) / (try seconds { try index.update(ids, to: others) }))
            removals.append(Double(batch) / (try seconds { index.remove(ids) }))
        }
        return (median(appends), median(removals), median(updates))
    }

    /// Recall while rows change: in each of ten steps a hundredth of the rows is removed, one gets other keys, and one is new.
    private func churn(_ index: InvertedFile, _ exact: VectorRows, _ queries: Tensor) throws -> (before: Double, lowest: Double) {
        let some = queries.rows(Array(0..<min(queries.shape[0], max(1, 256 / communicator.size))))
        let before = try recall(index, exact, some, probes: Self.churnProbes)
        var lowest = before
        let shards = try VirtualShards(Self.shards)
        for step in 0..<10 {
            let changed = max(1, rows / 100)
            // Every hundredth row goes, and the one after it changes; `place` numbers the hundreds.
            func mine(_ offset: Int) -> [(place: Int, id: Int)] {
                (0..<changed).map { ($0, ($0 * 100 + 2 * step + offset) % rows) }
                    .filter { shards.rank(ofBlock: $0.1 / Self.blockRows, of: communicator.size) == communicator.rank && exact.contains($0.1) }
            }
            let gone = mine(0).map(\.id)
            index.remove(gone)
            exact.remove(gone)
            let (others, first) = (mine(1), (1 << 42) + step * 2 * changed)
            let keys = generator.rows(first..<first + changed).rows(others.map(\.place))
            try index.update(others.map(\.id), to: keys)
            for (place, other) in others.enumerated() { try exact.update(other.id, to: keys.rows([place])) }
            let new = share(changed).map { first + changed + $0 }
            let added = generator.rows(first + changed..<first + 2 * changed).rows(Array(share(changed)))
            try index.append(added, ids: new)
            try exact.append(added, ids: new)
            lowest = min(lowest, try recall(index, exact, some, probes: Self.churnProbes))
        }
        return (before, lowest)
    }

    // MARK: time

    /// The seconds of the slowest rank, from a common start.
    private func seconds(_ body: () throws -> Void) throws -> Double {
        try communicator.barrier()
        let start = ContinuousClock.now
        try body()
        return try communicator.allReduced(start.duration(to: .now).seconds, .maximum)
    }

    /// Operations a second of matrix products alone, of all ranks.
    private func peakRate(_ type: DataType) throws -> Double {
        let rate = try ProcessorMeasurement.sustainedMatrixMultiplyRate(type, seconds: min(0.5, settings.seconds / 10)) { try communicator.barrier() }
        return try communicator.allReduced(rate, .sum)
    }

    /// Whether there is time for another round; the same on every rank.
    private func goesOn(_ start: ContinuousClock.Instant) throws -> Bool {
        try communicator.allReduced(start.duration(to: .now).seconds < settings.seconds ? 1 : 0, .minimum) == 1
    }

    private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
}

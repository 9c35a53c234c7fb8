// The figures that all benchmarks of a step have in common, and how they are written.

import Collectives
import Foundation
import Kernels
import Tensors

/// The common figures. Times are of the slowest rank of each step.
package struct StepFigures: Codable, Sendable {
    /// The benchmark's name.
    package var workload: String
    /// Ranks, and threads of each.
    package var ranks: Int
    package var threads: Int
    /// The arithmetic of activations and matrix products.
    package var precision: String
    /// The kernels in use.
    package var instructionSet: String
    /// Timed steps, after the warm-up.
    package var steps: Int
    /// The middle, shortest and longest timed step, in seconds.
    package var secondsMedian: Double
    package var secondsMinimum: Double
    package var secondsMaximum: Double
    /// The interquartile range of the times as part of the median.
    package var spread: Double
    /// Floating-point operations of a step over all ranks that the mathematics asks for, in GFLOP.
    package var gflopPerStep: Double
    /// The same a second, by the median.
    package var gflopsPerSecond: Double
    /// What large matrix products alone reach in this precision on all ranks at the same time with these threads, in GFLOP/s, measured before the
    /// steps.
    package var peakGflopsPerSecond: Double
    /// `gflopsPerSecond` as percent of `peakGflopsPerSecond`.
    package var percentOfPeak: Double
    /// The largest peak resident memory of a rank, in bytes.
    package var peakResidentBytes: Int
    /// Blocks that rank 0's tensor pool asked of the system in a timed step, on average.
    package var poolSystemAllocationsPerStep: Double
    /// Pages that the system brought for rank 0 in a timed step, on average.
    package var pageFaultsPerStep: Double
    /// Bytes that rank 0's tensor pool holds, and the most that were in use at once.
    package var poolReservedBytes: Int
    package var poolPeakUsedBytes: Int
    /// The load average of the last minute when the measurement ended.
    package var loadAverage: Double

    /// Gathers the figures of timed steps. Collective.
    ///
    /// - Parameters:
    ///   - gflop: of one step over all ranks.
    ///   - peak: operations a second over all ranks of matrix products alone.
    package init(
        workload: String, settings: BenchmarkSettings, communicator: any Communicator, timings: StepTimings, gflop: Double, peak: Double
    ) throws {
        self.workload = workload
        ranks = communicator.size
        threads = settings.threads
        precision = settings.precision.rawValue
        instructionSet = Kernels.active.instructionSet
        steps = timings.seconds.count
        secondsMedian = timings.quantile(0.5)
        secondsMinimum = timings.quantile(0)
        secondsMaximum = timings.quantile(1)
        spread = (timings.quantile(0.75) - timings.quantile(0.25)) / secondsMedian
        gflopPerStep = gflop
        gflopsPerSecond = gflop / secondsMedian
        peakGflopsPerSecond = peak / 1e9
        percentOfPeak = 100 * gflopsPerSecond / peakGflopsPerSecond
        peakResidentBytes = try communicator.allReduced(ProcessorMeasurement.peakResidentBytes, .maximum)
        poolSystemAllocationsPerStep = timings.systemAllocationsPerStep
        pageFaultsPerStep = timings.pageFaultsPerStep
        let pool = MemoryPool.shared.statistics
        poolReservedBytes = pool.reservedBytes
        poolPeakUsedBytes = pool.peakUsedBytes
        loadAverage = ProcessorMeasurement.loadAverage
    }
}

/// What one kind of benchmark reports beside the common figures.
package protocol BenchmarkDetails: Codable, Sendable {
    /// Behind the workload's name, such as the number of parameters.
    var heading: String { get }
    /// A label and a value for each line that stands before the common lines, and after them.
    var firstLines: [(label: String, value: String)] { get }
    var lastLines: [(label: String, value: String)] { get }
}

/// The common figures and those of one kind of benchmark; as JSON all of them are one flat object.
@dynamicMemberLookup
package struct BenchmarkResult<Details: BenchmarkDetails>: BenchmarkReport, Codable {
    package var figures: StepFigures
    package var details: Details

    package init(figures: StepFigures, details: Details) {
        self.figures = figures
        self.details = details
    }

    package init(from decoder: any Decoder) throws {
        figures = try StepFigures(from: decoder)
        details = try Details(from: decoder)
    }

    package func encode(to encoder: any Encoder) throws {
        try figures.encode(to: encoder)
        try details.encode(to: encoder)
    }

    package subscript<Value>(dynamicMember path: KeyPath<StepFigures, Value>) -> Value { figures[keyPath: path] }
    package subscript<Value>(dynamicMember path: KeyPath<Details, Value>) -> Value { details[keyPath: path] }

    package var text: String {
        let f = figures
        let title = "\(f.workload): \(details.heading), \(count(f.ranks, "rank")) x \(count(f.threads, "thread")), \(f.precision)"
        let common: [(label: String, value: String)] = [
            (
                "seconds a step",
                "\(decimal(f.secondsMedian, 4)) (median of \(f.steps); \(decimal(f.secondsMinimum, 4)) to \(decimal(f.secondsMaximum, 4)))"
            ),
            (
                "model GFLOP/s",
                "\(decimal(f.gflopsPerSecond)), \(decimal(f.percentOfPeak)) % of the matrix products' \(decimal(f.peakGflopsPerSecond))"
            ),
            (
                "peak memory",
                "\(megabytes(f.peakResidentBytes)) MB resident, tensors \(megabytes(f.poolPeakUsedBytes)) MB in use, "
                    + "\(megabytes(f.poolReservedBytes)) MB kept"
            ),
            ("a step asks for", "\(decimal(f.poolSystemAllocationsPerStep, 2)) blocks and \(decimal(f.pageFaultsPerStep, 2)) pages of the system"),
        ]
        let lines = details.firstLines + common + details.lastLines
        return ([title] + lines.map { "  " + $0.label.padding(toLength: 17, withPad: " ", startingAt: 0) + $0.value }).joined(separator: "\n") + "\n"
    }

    private func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
    private func megabytes(_ bytes: Int) -> String { decimal(Double(bytes) / 1e6, 0) }
}

/// A number with some digits after the point, for tables.
func decimal(_ value: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f", value) }

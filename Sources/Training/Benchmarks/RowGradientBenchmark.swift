// What a step of a large table costs whose gradient is dense, and whose gradient is rows.
//
// Legend: V rows of the table, D its width, n rows that a step reads.

import Collectives
import Models
import Optimizers
import Tensors

/// Times of a step that reads n rows of a table and updates it, in milliseconds: medians of steps in turn with either form of gradient.
package struct RowGradientFigures: BenchmarkReport, Codable {
    /// "row-gradients".
    package var workload: String
    /// The update rule.
    package var optimizer: String
    /// V, D and n.
    package var tableRows: Int
    package var width: Int
    package var rowsRead: Int
    package var denseMilliseconds: Double
    package var rowsMilliseconds: Double
    /// How many times faster rows are: the median over pairs of steps.
    package var ratio: Double

    package var text: String {
        "\(optimizer), \(rowsRead) rows of a table [\(tableRows), \(width)]: \(decimal(denseMilliseconds, 2)) ms with a dense gradient, "
            + "\(decimal(rowsMilliseconds, 2)) ms with one of rows, \(decimal(ratio, 1)) times faster\n"
    }
}

/// Measures both forms of gradient.
package struct RowGradientBenchmark {
    package static let name = "row-gradients"
    package static let summary = "steps that read 2,000 rows of a table of 200,000, with a dense gradient and with one of rows"

    private static let (tableRows, width, rowsRead) = (200_000, 64, 2_000)

    private let settings: BenchmarkSettings

    package init(settings: BenchmarkSettings) { self.settings = settings }

    /// Measures every update rule.
    package func run(_ report: (any BenchmarkReport) throws -> Void) throws {
        settings.applyThreads()
        for kind in OptimizerKind.allCases {
            let runners = try [GradientForm.dense, .rows].map { try Runner($0, kind) }
            var times: [[Double]] = [[], []]
            let start = ContinuousClock.now
            var number = 0
            while number < settings.warmUpSteps + settings.minimumSteps
                || start.duration(to: .now).seconds < settings.seconds / Double(OptimizerKind.allCases.count)
            {
                number += 1
                for (form, runner) in runners.enumerated() {
                    let begin = ContinuousClock.now
                    try runner.step(number)
                    if number > settings.warmUpSteps { times[form].append(begin.duration(to: .now).seconds * 1000) }
                }
            }
            func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
            try report(
                RowGradientFigures(
                    workload: Self.name, optimizer: kind.rawValue, tableRows: Self.tableRows, width: Self.width, rowsRead: Self.rowsRead,
                    denseMilliseconds: median(times[0]), rowsMilliseconds: median(times[1]), ratio: median(zip(times[0], times[1]).map { $0 / $1 })))
        }
    }

    /// A table that is trained.
    private final class Runner {
        private let store = ParameterStore()
        private let table: Parameter
        private let trainingStep: TrainingStep

        init(_ form: GradientForm, _ kind: OptimizerKind) throws {
            table = store.add("table", [tableRows, width], .normal(standardDeviation: 0.02), decays: false, gradient: form)
            store.allocate(seed: TrainingWorkload.seed)
            let optimizer = try makeOptimizer(OptimizerConfiguration(kind: kind, learningRate: 0.01), parameterCount: store.flatCount)
            trainingStep = TrainingStep(store: store, optimizer: optimizer, update: .init(clip: 1), communicator: SingleProcess())
        }

        /// Reads rows of a fixed order that looks random, others in each step.
        func step(_ number: Int) throws {
            let indices = (0..<rowsRead).map { Int32((UInt64($0 + number * rowsRead) &* 2_654_435_761 >> 7) % UInt64(tableRows)) }
            _ = try trainingStep.run(step: number, learningRate: 0.01) { _, tape in
                let read = embedding(tape.parameter(table), Tensor(indices, [rowsRead]))
                return SummedLoss(loss: (read * read).sum(), negativeLogLikelihood: 1, count: 1, perPosition: [])
            }
        }
    }
}

// Times the training step of a workload on all ranks.

import Collectives
import Diagnostics
import Foundation
import Kernels
import Models
import NeuralNetworks
import Optimizers
import Tensors

/// The figures of one workload. Times are of the slowest rank of each step.
package struct TrainingBenchmarkResult: Codable, Sendable {
    /// The workload's name.
    package var workload: String
    /// Ranks, and BLAS threads of each.
    package var ranks: Int
    package var threads: Int
    /// Trained parameters.
    package var parameters: Int
    /// Timed steps, after the warm-up.
    package var steps: Int
    /// The middle, shortest and longest timed step, in seconds.
    package var secondsMedian: Double
    package var secondsMinimum: Double
    package var secondsMaximum: Double
    /// Predicted tokens a second over all ranks, by the median.
    package var tokensPerSecond: Double
    /// Model floating-point operations of a step over all ranks, in GFLOP.
    package var gflopPerStep: Double
    /// Model GFLOP/s over all ranks, by the median.
    package var gflopsPerSecond: Double
    /// What SGEMM alone reaches on all ranks at the same time with these threads, in GFLOP/s.
    package var sgemmGflopsPerSecond: Double
    /// `gflopsPerSecond` as percent of `sgemmGflopsPerSecond`.
    package var percentOfSgemm: Double
    /// The largest peak resident memory of a rank, in bytes.
    package var peakResidentBytes: Int
    /// Blocks that rank 0's tensor pool asked of the system in a timed step, on average.
    package var poolSystemAllocationsPerStep: Double
    /// Bytes that rank 0's tensor pool holds, and the most that were in use at once.
    package var poolReservedBytes: Int
    package var poolPeakUsedBytes: Int
    /// The mean loss of each step from the first, warm-up included.
    package var losses: [Double]
}

/// Runs workloads.
package struct TrainingBenchmark {
    /// How long, and with what.
    package struct Settings: Sendable {
        /// BLAS threads of a rank.
        package var threads = 1
        /// Timed steps go on for so long; at least `minimumSteps` are made.
        package var seconds = 10.0
        package var warmUpSteps = 2
        package var minimumSteps = 5
        /// Replaces the workload's dropout rate.
        package var dropout: Float?

        package init() {}
    }

    private let communicator: any Communicator
    private let settings: Settings

    package init(communicator: any Communicator, settings: Settings) {
        self.communicator = communicator
        self.settings = settings
    }

    /// Times one workload. Collective.
    /// - Returns: the figures, the same on every rank (those of rank 0 where they differ).
    /// - Throws: `UserError` from the communicator.
    package func run(_ workload: TrainingWorkload) throws -> TrainingBenchmarkResult {
        var configuration = workload.model
        if let dropout = settings.dropout { configuration.dropout = dropout }
        Workers.count = settings.threads
        try communicator.barrier()
        let sgemm = try communicator.allReduced(ProcessorMeasurement.matrixMultiplyRate(), .sum)

        let model = makeModel(configuration, vocabularySize: workload.vocabularySize)
        model.store.allocate(seed: TrainingWorkload.seed)
        let optimizer = try makeOptimizer(workload.optimizer, parameterCount: model.store.flatCount)
        let trainingStep = TrainingStep(store: model.store, optimizer: optimizer, clip: workload.optimizer.clip, communicator: communicator)
        let lanes = Array(communicator.rank * workload.lanesPerRank..<(communicator.rank + 1) * workload.lanesPerRank)
        let batch = workload.batch(lanes: lanes)
        let backends = try BackendAgreement(communicator, directory: nil, step: 0, measures: true) { _ in }

        var (losses, seconds): ([Double], [Double]) = ([], [])
        var warmStatistics = MemoryPool.shared.statistics
        var isEnough = false
        while !isEnough {
            let step = losses.count + 1
            let start = ContinuousClock.now
            let outcome = try trainingStep.run(step: step, learningRate: workload.optimizer.learningRate) { _, tape in
                let dropout = configuration.dropout > 0 ? DropoutContext(seed: TrainingWorkload.seed, step: step, lanes: lanes) : nil
                return model.loss(batch, ForwardPass(tape: tape, dropout: dropout))
            }
            try backends.finishedStep(step) { _ in }
            losses.append(outcome.loss)
            if step > settings.warmUpSteps {
                seconds.append(start.duration(to: .now).seconds)
                let isLong = seconds.count >= settings.minimumSteps && seconds.reduce(0, +) >= settings.seconds
                isEnough = try communicator.allReduced(isLong ? 1 : 0, .maximum) == 1
            } else if step == settings.warmUpSteps {
                warmStatistics = MemoryPool.shared.statistics
                try communicator.barrier()
            }
        }
        let pool = MemoryPool.shared.statistics
        let slowest = try communicator.allReduced(seconds, .maximum).sorted()
        let median = slowest[slowest.count / 2]
        let allLanes = Double(workload.lanesPerRank * communicator.size)
        let gflop = allLanes * workload.modelFlopsPerLane / 1e9
        return TrainingBenchmarkResult(
            workload: workload.name, ranks: communicator.size, threads: settings.threads, parameters: model.store.parameterCount, steps: slowest.count,
            secondsMedian: median, secondsMinimum: slowest[0], secondsMaximum: slowest[slowest.count - 1],
            tokensPerSecond: allLanes * Double(workload.targetLength) / median, gflopPerStep: gflop, gflopsPerSecond: gflop / median,
            sgemmGflopsPerSecond: sgemm / 1e9, percentOfSgemm: 100 * gflop / median / (sgemm / 1e9),
            peakResidentBytes: try communicator.allReduced(ProcessorMeasurement.peakResidentBytes, .maximum),
            poolSystemAllocationsPerStep: Double(pool.systemAllocations - warmStatistics.systemAllocations) / Double(slowest.count),
            poolReservedBytes: pool.reservedBytes, poolPeakUsedBytes: pool.peakUsedBytes, losses: losses)
    }
}

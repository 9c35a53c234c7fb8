// Times the training step of a workload on all ranks.

import Collectives
import Models
import NeuralNetworks
import Optimizers
import Tensors

/// What a training benchmark reports beside the common figures.
package struct TrainingDetails: BenchmarkDetails {
    /// Trained parameters.
    package var parameters: Int
    /// Predicted tokens (time steps of a memory, questions) a second over all ranks, by the median.
    package var tokensPerSecond: Double
    /// Lanes a second over all ranks, by the median.
    package var sequencesPerSecond: Double
    /// Bytes over all ranks that a step has to move through memory because caches do not hold them, in GB; 0 where they do.
    package var gigabytesPerStep: Double
    /// The mean loss of each step from the first, warm-up included.
    package var losses: [Double]

    package var heading: String { "\(parameters) parameters" }
    package var firstLines: [(label: String, value: String)] { [("tokens/s", decimal(tokensPerSecond))] }
    package var lastLines: [(label: String, value: String)] {
        [("loss", "\(decimal(losses[0], 4)) at step 1, \(decimal(losses[losses.count - 1], 4)) at step \(losses.count)")]
    }
}

package typealias TrainingBenchmarkResult = BenchmarkResult<TrainingDetails>

/// Runs training workloads.
package struct TrainingBenchmark {
    private let communicator: any Communicator
    private let settings: BenchmarkSettings

    package init(communicator: any Communicator, settings: BenchmarkSettings) {
        self.communicator = communicator
        self.settings = settings
    }

    /// Times one workload. Collective.
    ///
    /// - Returns: the figures, the same on every rank (those of rank 0 where they differ).
    /// - Throws: `UserError` from the communicator.
    package func run(_ workload: any StepWorkload) throws -> TrainingBenchmarkResult {
        settings.applyThreads()
        try communicator.barrier()
        let peak = try communicator.allReduced(ProcessorMeasurement.matrixMultiplyRate(settings.precision.activations), .sum)

        let lanes = Array(communicator.rank * workload.lanesPerRank..<(communicator.rank + 1) * workload.lanesPerRank)
        let (model, batch) = workload.prepare(settings, lanes: lanes)
        settings.allocate(model.store, gradients: true)
        let optimizer = try makeOptimizer(workload.optimizer, parameterCount: model.store.flatCount)
        let trainingStep = TrainingStep(
            store: model.store, optimizer: optimizer, update: TrainingStep.Update(clip: workload.optimizer.clip), communicator: communicator)
        let hasDropout = workload.hasDropout(settings)
        let backends = try BackendAgreement(communicator, directory: nil, step: 0, measures: true) { _ in }

        var losses: [Double] = []
        let timings = try StepTimings.measured(settings, communicator) { step in
            let outcome = try trainingStep.run(step: step, learningRate: workload.optimizer.learningRate) { _, tape in
                let dropout = hasDropout ? DropoutContext(seed: TrainingWorkload.seed, step: step, lanes: lanes) : nil
                return batch.loss(ForwardPass(tape: tape, dropout: dropout))
            }
            try backends.finishedStep(step) { _ in }
            losses.append(outcome.loss)
        }
        let allLanes = Double(workload.lanesPerRank * communicator.size)
        let figures = try StepFigures(
            workload: workload.name, settings: settings, communicator: communicator, timings: timings,
            gflop: allLanes * workload.modelFlopsPerLane / 1e9, peak: peak)
        let details = TrainingDetails(
            parameters: model.store.parameterCount, tokensPerSecond: allLanes * Double(workload.unitsPerLane) / figures.secondsMedian,
            sequencesPerSecond: allLanes / figures.secondsMedian, gigabytesPerStep: allLanes * workload.modelBytesPerLane / 1e9, losses: losses)
        return TrainingBenchmarkResult(figures: figures, details: details)
    }
}

// Times the decoding of a batch of sources on all ranks.

import Collectives
import Evaluation
import Models

/// What a decoding benchmark reports beside the common figures. A step is the decoding of all sources.
package struct DecodingDetails: BenchmarkDetails {
    package var parameters: Int
    /// k; 1 is greedy decoding.
    package var beam: Int
    /// Sources over all ranks, their tokens, and those of each output.
    package var sentences: Int
    package var sourceLength: Int
    package var targetLength: Int
    /// Sources a second over all ranks, by the median.
    package var sentencesPerSecond: Double
    /// The best output of each of rank 0's sources, and the sum of its tokens' log probabilities.
    package var outputs: [[Int32]]
    package var logProbabilities: [Double]

    package var heading: String { "\(parameters) parameters" }
    package var firstLines: [(label: String, value: String)] { [("sentences/s", "\(decimal(sentencesPerSecond, 2)), \(targetLength) tokens each")] }
    package var lastLines: [(label: String, value: String)] {
        [("log probability", "\(decimal(logProbabilities[0], 3)) of the first sentence")]
    }
}

package typealias DecodingBenchmarkResult = BenchmarkResult<DecodingDetails>

/// Runs decoding workloads.
package struct DecodingBenchmark {
    private let communicator: any Communicator
    private let settings: BenchmarkSettings

    package init(communicator: any Communicator, settings: BenchmarkSettings) {
        self.communicator = communicator
        self.settings = settings
    }

    /// Times one workload. Collective.
    ///
    /// - Throws: `UserError` from the communicator.
    package func run(_ decoding: DecodingWorkload) throws -> DecodingBenchmarkResult {
        let workload = decoding.workload
        settings.applyThreads()
        try communicator.barrier()
        let peak = try communicator.allReduced(ProcessorMeasurement.matrixMultiplyRate(settings.precision.activations), .sum)
        let model = workload.model.configuration.makeModel(vocabularySize: workload.vocabularySize)
        settings.allocate(model.store, gradients: false)
        let lanes = Array(communicator.rank * workload.lanesPerRank..<(communicator.rank + 1) * workload.lanesPerRank)
        let sources = decoding.sources(lanes: lanes)
        let generator = Generator(model: model, endToken: nil, startToken: DecodingWorkload.startToken)
        var best: [GeneratedSequence] = []
        let timings = try StepTimings.measured(settings, communicator) { _ in
            best = try generator.generate(prompts: sources, settings: decoding.generation).compactMap(\.first)
        }
        let sentences = workload.lanesPerRank * communicator.size
        let figures = try StepFigures(
            workload: decoding.name, settings: settings, communicator: communicator, timings: timings,
            gflop: Double(sentences) * decoding.flopsPerSource / 1e9, peak: peak)
        let details = DecodingDetails(
            parameters: model.store.parameterCount, beam: decoding.beam, sentences: sentences, sourceLength: workload.sourceLength,
            targetLength: workload.targetLength, sentencesPerSecond: Double(sentences) / figures.secondsMedian, outputs: best.map(\.tokens),
            logProbabilities: best.map(\.logProbability))
        return DecodingBenchmarkResult(figures: figures, details: details)
    }
}

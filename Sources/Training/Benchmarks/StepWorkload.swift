// What a training benchmark needs to know of a model and its batch.

import Models
import Optimizers

/// A training step of fixed size on random numbers that follow from `TrainingWorkload.seed` alone, so that another program can start from the same.
package protocol StepWorkload: Sendable {
    /// The name on the command line.
    var name: String { get }
    /// What it is, in one line.
    var summary: String { get }
    /// Sequences, pairs or questions a rank and step.
    var lanesPerRank: Int { get }
    /// What is counted a lane and step: predicted tokens, time steps, or one question.
    var unitsPerLane: Int { get }
    /// The update rule, with its largest gradient norm.
    var optimizer: OptimizerConfiguration { get }
    /// Floating-point operations of one lane's forward and backward pass that the mathematics asks for.
    var modelFlopsPerLane: Double { get }
    /// Bytes of one lane's forward and backward pass that have to move through memory because they are more than caches hold; 0 where all is small.
    var modelBytesPerLane: Double { get }
    /// Whether dropout masks are drawn.
    func hasDropout(_ settings: BenchmarkSettings) -> Bool
    /// The model, its parameters declared, with the batch of some lanes, the same at every step.
    func prepare(_ settings: BenchmarkSettings, lanes: [Int]) -> (model: any TrainableModel, batch: PreparedBatch)
}

extension TrainingWorkload: StepWorkload {
    package var unitsPerLane: Int { targetLength }
    package var modelBytesPerLane: Double { 0 }

    package func hasDropout(_ settings: BenchmarkSettings) -> Bool { (settings.dropout ?? model.dropout) > 0 }

    package func prepare(_ settings: BenchmarkSettings, lanes: [Int]) -> (model: any TrainableModel, batch: PreparedBatch) {
        var configured = model
        if let dropout = settings.dropout { configured.dropout = dropout }
        let model = configured.configuration.makeModel(vocabularySize: vocabularySize)
        return (model, model.prepared(text: { tokenBatch(lanes: lanes) }, pairs: { pairBatch(lanes: lanes) }))
    }
}

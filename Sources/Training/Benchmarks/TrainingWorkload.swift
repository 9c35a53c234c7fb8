// What the training benchmarks compute: models and batches that are fixed once, so that figures of different days and programs compare.
//
// Legend: D width, F inner width, V vocabulary, S source positions, T (target) positions a lane.

import Models
import Optimizers
import Tensors

/// A model, the size of its batch, and random tokens for it.
///
/// Parameters and tokens follow from `seed` alone (`ParameterStore`, `RandomStream`), so that another program can start from the same numbers.
package struct TrainingWorkload: Sendable {
    /// The name on the command line.
    package let name: String
    /// What it is, in one line.
    package let summary: String
    /// The model; its context is the batch's length.
    package var model: ModelConfiguration
    /// V.
    package let vocabularySize: Int
    /// Sequences or pairs a rank and step.
    package let lanesPerRank: Int
    /// S; 0 for a decoder-only model.
    package let sourceLength: Int
    /// T.
    package let targetLength: Int
    /// The update rule.
    package let optimizer: OptimizerConfiguration

    /// What parameters and tokens are a function of.
    package static let seed: UInt64 = 1

    /// Every workload, by rising cost.
    package static let all: [TrainingWorkload] = [
        TrainingWorkload(
            name: "story-pairs",
            summary: "encoder-decoder of the quickstart: 2 + 2 layers, d 64, 4 heads, V 448, 64 pairs of 60 + 60 positions, dropout 0.1",
            model: ModelConfiguration(
                kind: .encoderDecoder, layers: 2, width: 64, heads: 4, feedForward: 256, dropout: 0.1, context: 64, preNorm: true),
            vocabularySize: 448,
            lanesPerRank: 64, sourceLength: 60, targetLength: 60, optimizer: OptimizerConfiguration(learningRate: 1e-3, clip: 1)),
        TrainingWorkload(
            name: "gpt-small", summary: "GPT-2's layout: 6 layers, d 384, 6 heads, V 8192, 8 sequences of 256 positions",
            model: ModelConfiguration(layers: 6, width: 384, heads: 6, context: 256), vocabularySize: 8192, lanesPerRank: 8, sourceLength: 0,
            targetLength: 256, optimizer: gptOptimizer),
        TrainingWorkload(
            name: "gpt2-124m", summary: "GPT-2 124M: 12 layers, d 768, 12 heads, V 50257, 2 sequences of 512 positions",
            model: ModelConfiguration(layers: 12, width: 768, heads: 12, context: 512), vocabularySize: 50257, lanesPerRank: 2, sourceLength: 0,
            targetLength: 512, optimizer: gptOptimizer),
        TrainingWorkload(
            name: "encoder-decoder",
            summary: "Transformer base: 6 + 6 layers, d 512, 8 heads, V 32000, 64 pairs of 32 + 32 positions, dropout 0.1, label smoothing 0.1",
            model: ModelConfiguration(
                kind: .encoderDecoder, layers: 6, width: 512, heads: 8, feedForward: 2048, dropout: 0.1, context: 512, labelSmoothing: 0.1),
            vocabularySize: 32000, lanesPerRank: 64, sourceLength: 32, targetLength: 32,
            optimizer: OptimizerConfiguration(learningRate: 5e-4, betas: [0.9, 0.98], clip: 1)),
        TrainingWorkload(
            name: "lstm", summary: "Zaremba's medium LSTM: 2 layers, d 650, V 10000, 20 sequences of 35 positions, dropout 0.5, SGD",
            model: ModelConfiguration(kind: .lstm, layers: 2, width: 650, heads: 1, dropout: 0.5), vocabularySize: 10000, lanesPerRank: 20,
            sourceLength: 0, targetLength: 35, optimizer: OptimizerConfiguration(kind: .sgd, learningRate: 1, clip: 5)),
    ]

    private static let gptOptimizer = OptimizerConfiguration(learningRate: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1, clip: 1)

    /// The workload of that name.
    package static func named(_ name: String) -> TrainingWorkload? { all.first { $0.name == name } }

    /// The batch of some lanes: tokens drawn for each lane by itself, source first, the same at every step.
    package func batch(lanes: [Int]) -> ModelBatch {
        var (sources, inputs, targets): ([Int32], [Int32], [Int32]) = ([], [], [])
        for lane in lanes {
            var random = RandomStream(key: mixKeys(Self.seed, UInt64(lane)))
            let tokens = (0..<sourceLength + targetLength + 1).map { _ in Int32(random.next() % UInt64(vocabularySize)) }
            sources += tokens[..<sourceLength]
            inputs += tokens[sourceLength..<sourceLength + targetLength]
            targets += tokens[(sourceLength + 1)...]
        }
        let inputTensor = Tensor(inputs, [lanes.count, targetLength])
        let targetTensor = Tensor(targets, [lanes.count, targetLength])
        guard sourceLength > 0 else { return .tokens(TokenBatch(lanes: lanes, inputs: inputTensor, targets: targetTensor)) }
        return .pairs(
            SequencePairBatch(
                lanes: lanes, sources: Tensor(sources, [lanes.count, sourceLength]),
                sourceLengths: [Int](repeating: sourceLength, count: lanes.count), targetInputs: inputTensor, targetOutputs: targetTensor))
    }

    /// Floating-point operations of one lane's forward and backward pass that the model's mathematics asks for: 6 for each weight of a matrix
    /// product and position, and the attention scores, causal ones counted once. Recomputation, elementwise work and the update are not counted.
    package var modelFlopsPerLane: Double {
        let (d, f, layers) = (Double(model.width), Double(model.feedForward), Double(model.layers))
        let (s, t) = (Double(sourceLength), Double(targetLength))
        let projections = 4 * d * d
        let inner = 2 * d * f
        let output = d * Double(vocabularySize)
        if let cell = model.kind.recurrentCell {
            let inputs = Double(model.embedding ?? model.width) + (layers - 1) * d
            return 6 * t * (Double(cell.gatesPerUnit) * d * (inputs + layers * d) + output)
        }
        /// Scores and weighted sums of T queries over S keys.
        func attention(_ queries: Double, _ keys: Double, isCausal: Bool) -> Double { 12 * queries * keys * d * (isCausal ? 0.5 : 1) }
        let decoder = layers * (6 * t * (projections + inner) + attention(t, t, isCausal: true)) + 6 * t * output
        guard sourceLength > 0 else { return decoder }
        let encoder = layers * (6 * s * (projections + inner) + attention(s, s, isCausal: false))
        let cross = layers * (6 * t * 2 * d * d + 6 * s * 2 * d * d + attention(t, s, isCausal: false))
        return encoder + decoder + cross
    }
}

// What the training benchmarks compute: models and batches that are fixed once, so that figures of different days and programs compare.
//
// Legend: D width, F inner width, V vocabulary, S source positions, T (target) positions a lane.

import Models
import NeuralNetworks
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
    /// What is trained.
    package enum Model: Sendable {
        case transformer(TransformerConfiguration)
        /// Recurrent layers as a language model.
        case layers(RecurrentLayersConfiguration)

        /// The rate of all dropouts.
        package var dropout: Float {
            get {
                switch self {
                case .transformer(let model): model.dropout
                case .layers(let layers): layers.options.dropout
                }
            }
            set {
                switch self {
                case .transformer(var model):
                    model.dropout = newValue
                    self = .transformer(model)
                case .layers(var layers):
                    layers.options.dropout = newValue
                    self = .layers(layers)
                }
            }
        }

        /// What makes the model.
        package var configuration: any ModelConfiguration {
            switch self {
            case .transformer(let model): model
            case .layers(let layers): RecurrentLanguageModel.Configuration(layers)
            }
        }
    }

    /// The model.
    package var model: Model
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
            model: transformer(.encoderDecoder(preNorm: true), layers: 2, width: 64, heads: 4, dropout: 0.1, context: 64),
            vocabularySize: 448, lanesPerRank: 64, sourceLength: 60, targetLength: 60, optimizer: OptimizerConfiguration(learningRate: 1e-3, clip: 1)),
        TrainingWorkload(
            name: "gpt-small", summary: "GPT-2's layout: 6 layers, d 384, 6 heads, V 8192, 8 sequences of 256 positions",
            model: transformer(.decoderOnly, layers: 6, width: 384, heads: 6, context: 256), vocabularySize: 8192, lanesPerRank: 8, sourceLength: 0,
            targetLength: 256, optimizer: gptOptimizer),
        TrainingWorkload(
            name: "gpt2-124m", summary: "GPT-2 124M: 12 layers, d 768, 12 heads, V 50257, 2 sequences of 512 positions",
            model: transformer(.decoderOnly, layers: 12, width: 768, heads: 12, context: 512), vocabularySize: 50257, lanesPerRank: 2, sourceLength: 0,
            targetLength: 512, optimizer: gptOptimizer),
        TrainingWorkload(
            name: "encoder-decoder",
            summary: "Transformer base: 6 + 6 layers, d 512, 8 heads, V 32000, 64 pairs of 32 + 32 positions, dropout 0.1, label smoothing 0.1",
            model: transformer(
                .encoderDecoder(preNorm: false), layers: 6, width: 512, heads: 8, dropout: 0.1, context: 512, labelSmoothing: 0.1),
            vocabularySize: 32000, lanesPerRank: 64, sourceLength: 32, targetLength: 32,
            optimizer: OptimizerConfiguration(learningRate: 5e-4, betas: [0.9, 0.98], clip: 1)),
        TrainingWorkload(
            name: "lstm", summary: "Zaremba's medium LSTM: 2 layers, d 650, V 10000, 20 sequences of 35 positions, dropout 0.5, SGD",
            model: .layers(RecurrentLayersConfiguration(.lstm, layers: 2, units: 650, RecurrentOptions(dropout: 0.5))), vocabularySize: 10000, lanesPerRank: 20,
            sourceLength: 0, targetLength: 35, optimizer: OptimizerConfiguration(kind: .sgd, learningRate: 1, clip: 5)),
    ]

    /// A Transformer whose feed-forward blocks are 4 D wide.
    private static func transformer(
        _ layout: TransformerConfiguration.Layout, layers: Int, width: Int, heads: Int, dropout: Float = 0, context: Int, labelSmoothing: Float = 0
    ) -> Model {
        var model = TransformerConfiguration(layout, layers: layers, width: width, heads: heads)
        (model.dropout, model.context, model.labelSmoothing) = (dropout, context, labelSmoothing)
        return .transformer(model)
    }

    private static let gptOptimizer = OptimizerConfiguration(learningRate: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1, clip: 1)

    /// The workload of that name.
    package static func named(_ name: String) -> TrainingWorkload? { all.first { $0.name == name } }

    /// Tokens drawn for each lane by itself, source first, the same at every step.
    private func tokens(lanes: [Int]) -> (sources: [Int32], inputs: Tensor, targets: Tensor) {
        var (sources, inputs, targets): ([Int32], [Int32], [Int32]) = ([], [], [])
        for lane in lanes {
            var random = RandomStream(key: mixKeys(Self.seed, UInt64(lane)))
            let tokens = (0..<sourceLength + targetLength + 1).map { _ in Int32(random.next() % UInt64(vocabularySize)) }
            sources += tokens[..<sourceLength]
            inputs += tokens[sourceLength..<sourceLength + targetLength]
            targets += tokens[(sourceLength + 1)...]
        }
        return (sources, Tensor(inputs, [lanes.count, targetLength]), Tensor(targets, [lanes.count, targetLength]))
    }

    /// The batch of some lanes of a model of text.
    package func tokenBatch(lanes: [Int]) -> TokenBatch {
        let (_, inputs, targets) = tokens(lanes: lanes)
        return TokenBatch(lanes: lanes, inputs: inputs, targets: targets)
    }

    /// The batch of some lanes of a model of pairs.
    package func pairBatch(lanes: [Int]) -> SequencePairBatch {
        let (sources, inputs, targets) = tokens(lanes: lanes)
        return SequencePairBatch(
            lanes: lanes, sources: Tensor(sources, [lanes.count, sourceLength]),
            sourceLengths: [Int](repeating: sourceLength, count: lanes.count), targetInputs: inputs, targetOutputs: targets)
    }

    /// Floating-point operations of one lane's forward and backward pass that the model's mathematics asks for: 6 for each weight of a matrix
    /// product and position, and the attention scores, causal ones counted once. Recomputation, elementwise work and the update are not counted.
    package var modelFlopsPerLane: Double {
        let (s, t) = (Double(sourceLength), Double(targetLength))
        let model: TransformerConfiguration
        switch self.model {
        case .transformer(let transformer): model = transformer
        case .layers(let layers):
            let d = Double(layers.units)
            let products = Double(layers.cell.gatesPerUnit) * d * 2 * Double(layers.layers) * d
            return 6 * t * (products + d * Double(vocabularySize))
        }
        let (d, f, layers) = (Double(model.width), Double(model.feedForward), Double(model.layers))
        let projections = 4 * d * d
        let inner = 2 * d * f
        let output = d * Double(vocabularySize)
        /// Scores and weighted sums of T queries over S keys.
        func attention(_ queries: Double, _ keys: Double, isCausal: Bool) -> Double { 12 * queries * keys * d * (isCausal ? 0.5 : 1) }
        let decoder = layers * (6 * t * (projections + inner) + attention(t, t, isCausal: true)) + 6 * t * output
        guard sourceLength > 0 else { return decoder }
        let encoder = layers * (6 * s * (projections + inner) + attention(s, s, isCausal: false))
        let cross = layers * (6 * t * 2 * d * d + 6 * s * 2 * d * d + attention(t, s, isCausal: false))
        return encoder + decoder + cross
    }
}

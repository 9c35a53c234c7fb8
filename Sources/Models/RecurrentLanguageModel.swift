// Language models that read one position after the other: embedding, a core that remembers, output layer. With LSTM layers as core it is the model of
// Zaremba et al. 2014 ("Recurrent neural network regularization").
//
// Legend: B sequences, T positions, D units of the recurrent layers or of the controller, F width of the core's outputs, V vocabulary.

import Configuration
import Diagnostics
import NeuralNetworks
import Tensors

/// A language model that reads left to right and remembers in the state of its core: recurrent layers, or a controller with a memory.
///
/// Each batch starts from the initial memory, or, where the configuration says `carry`, from what its lanes remember:
/// truncated back-propagation through time, no gradient flowing from one batch to the one before.
public final class RecurrentLanguageModel: RememberingLanguageModel {
    /// The section `model` of a run over a corpus whose kind is a core's.
    public struct Configuration: ModelConfiguration {
        /// What reads the positions.
        public var core: any SequenceCoreConfiguration
        /// The rate of dropout on embeddings and on the core's outputs.
        public var dropout: Float = 0
        /// The probability that is spread over the whole vocabulary in the training loss.
        public var labelSmoothing: Float = 0
        /// The width of the embeddings; `nil` is D.
        public var embedding: Int?
        /// Whether lanes go on from what their earlier batch left.
        public var carriesMemory = false

        /// A core with the dropout of its layers around it too.
        public init(_ core: any SequenceCoreConfiguration) {
            self.core = core
            dropout = core.layerDropout ?? dropout
        }

        /// Reads the core's keys, `dropout`, `labelSmoothing`, `embedding` and `carry`.
        public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
            core = try readCore(kind, section)
            labelSmoothing = try section.labelSmoothing(default: labelSmoothing)
            embedding = try section.optionalInt(
                "embedding", "The width of the embeddings of tokens.", defaultText: "as wide as the core", in: SizeLimits.width)
            carriesMemory = try section.carry(default: carriesMemory)
            dropout =
                try core.layerDropout
                ?? section.rate("dropout", "The rate of dropout on embeddings and on the core's outputs.", default: dropout)
            if carriesMemory, let key = core.learnedStart {
                throw section.error(
                    key, "does not go with carry: a lane starts only once, and nothing would be learned", advice: "leave one of them out")
            }
        }

        public var kind: ModelKind { core.kind }
        public var maximumLength: Int? { nil }
        public func makeModel(vocabularySize: Int) -> any LanguageModel { RecurrentLanguageModel(self, vocabularySize: vocabularySize) }
    }

    public let configuration: Configuration
    public let vocabularySize: Int
    public let store = ParameterStore()
    public let maximumLength: Int? = nil
    public var memory: [MemoryDeclaration] { core.memory }
    /// What the output layer reads: the core's outputs.
    public var contextVectors: ContextVectors? {
        ContextVectors(layer: configuration.core.layers - 1, width: core.outputWidth)
    }

    private let tokenEmbedding: Embedding
    private let core: any SequenceCore
    let output: OutputProjection
    let learnsFromState = true
    var carriesMemory: Bool { configuration.carriesMemory }
    var labelSmoothing: Float { configuration.labelSmoothing }

    /// Declares `tokenEmbedding`, the core (`layers` for recurrent layers, `core` for others) and `output`. Embeddings are uniform on
    /// -1 / sqrt(D) ... 1 / sqrt(D), the output layer's weights on -1 / sqrt(F) ... 1 / sqrt(F), or, as all weights of recurrent layers, on the bound
    /// that the options give; the output layer's bias starts at zero unless they give one. A core that ties its embeddings has N(0, 0.02) of them,
    /// and no `output`. The caller allocates.
    public init(_ configuration: Configuration, vocabularySize: Int) {
        self.configuration = configuration
        self.vocabularySize = vocabularySize
        let (units, options) = (configuration.core.units, configuration.core.layerOptions)
        let embeddingWidth = configuration.embedding ?? units
        func uniform(_ width: Int) -> Initializer { .uniform(bound: options?.initialBound ?? 1 / Float(width).squareRoot()) }
        let isTied = configuration.core.tiesEmbedding && embeddingWidth == units
        tokenEmbedding = Embedding(
            store, "tokenEmbedding", rows: vocabularySize, width: embeddingWidth,
            initializer: isTied ? .normal(standardDeviation: 0.02) : uniform(units), gradient: isTied ? .dense : nil)
        core = configuration.core.makeCore(
            store, options == nil ? "core" : "layers", inputs: embeddingWidth, lifetime: configuration.carriesMemory ? .lane : .sequence)
        if isTied {
            output = OutputProjection(tokenEmbedding.weight)
            return
        }
        let start = uniform(core.outputWidth)
        let layer = Linear(
            store, "output", inputs: core.outputWidth, outputs: vocabularySize, initializer: start,
            biasInitializer: options?.initialBound == nil ? .zeros : start)
        output = OutputProjection(layer.weight, bias: layer.bias)
    }

    /// The core's outputs before the output layer: int32 [B, T] to [B, T, F], dropout applied, and the state after the last position.
    public func hidden(_ inputs: Tensor, from state: MemoryState? = nil, _ pass: ForwardPass) -> (hidden: Tensor, state: MemoryState) {
        let x = dropout(tokenEmbedding(inputs, pass), rate: configuration.dropout, pass.dropout)
        let (outputs, next) = core(convert(x, to: store.activationType), from: state, pass)
        let dropped = dropout(outputs, rate: configuration.dropout, pass.dropout)
        return (variationalDropout(dropped, rate: configuration.core.layerOptions?.inputDropout ?? 0, pass.dropout), next)
    }

    public func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder { rememberingDecoder(prompts) }
}

// What a model is made of, as the run file's section `model` says it.

import Configuration
import Diagnostics
import NeuralNetworks

/// The kinds of models.
public enum ModelKind: String, Sendable, CaseIterable {
    /// GPT-2's layout.
    case decoderOnly = "decoder-only"
    /// The WMT base recipe's layout.
    case encoderDecoder = "encoder-decoder"
    /// The recurrent language model with Elman's simple recurrent layers.
    case elman
    /// Zaremba's LSTM language model.
    case lstm
    /// The same with gated recurrent units, the reset gate behind the product.
    case gru
    /// The same with gated recurrent units, the reset gate before the product.
    case gruResetBefore = "gru-reset-before"
    /// The end-to-end memory network over the latest words.
    case memoryNetwork = "memory-network"
    /// A language model over a Neural Turing Machine.
    case turingMachine = "ntm"
    /// A language model over a Differentiable Neural Computer.
    case neuralComputer = "dnc"
    /// A language model over the erase/add memory.
    case eraseAdd = "erase-add"

    /// The cells of a model of recurrent layers; `nil` for others.
    public var recurrentCell: RecurrentCell? { RecurrentCell(rawValue: rawValue) }
    /// True for models that read one position after the other: recurrent layers, or a controller with a memory.
    public var isRecurrent: Bool { SequenceCoreConfiguration.kinds.contains(rawValue) }
}

/// The section `model` of a run file.
public struct ModelConfiguration: Sendable, Equatable {
    /// Which model.
    public var kind: ModelKind
    /// Blocks; for an encoder-decoder, of each side; for a memory with a controller, layers of the controller.
    public var layers: Int
    /// D; for a memory with a controller, the controller's units.
    public var width: Int
    /// H, a divisor of D. Recurrent models have none: 1.
    public var heads: Int
    /// The inner width of the feed-forward blocks.
    public var feedForward: Int
    /// The rate of all dropouts.
    public var dropout: Float
    /// The most positions (learned positions of a decoder-only model; the longest sequence of an encoder-decoder).
    public var context: Int
    /// The probability that is spread over the whole vocabulary in the training loss.
    public var labelSmoothing: Float
    /// Encoder-decoder: normalise before each sublayer instead of after it.
    public var preNorm: Bool
    /// Compute each layer's activations again in the backward pass instead of keeping them. Changes no result.
    public var recompute = false
    /// Recurrent models: the width of the embeddings; `nil` is D.
    public var embedding: Int?
    /// Models of recurrent layers: what their layers have beside cells; `dropout` above takes the place of its own.
    public var recurrent = RecurrentOptions()
    /// Models with a memory that a controller reads and writes: both of them; `nil` is a memory as the run file's keys default, with a controller of
    /// `layers` layers of D units.
    public var memoryCore: SequenceCoreConfiguration?
    /// Models that read one position after the other, and memory networks: go on from what a lane's earlier batch left, instead of starting each
    /// batch anew.
    public var carry = false
    /// Memory networks: what they have beside `width`, `dropout` and `carry`.
    public var memoryNetwork = MemoryNetworkLanguageOptions()

    /// A decoder-only model as GPT-2 small is made.
    public init(
        kind: ModelKind = .decoderOnly, layers: Int = 12, width: Int = 768, heads: Int = 12, feedForward: Int? = nil, dropout: Float = 0,
        context: Int = 1024, labelSmoothing: Float = 0, preNorm: Bool? = nil
    ) {
        self.kind = kind
        self.layers = layers
        self.width = width
        self.heads = heads
        self.feedForward = feedForward ?? 4 * width
        self.dropout = dropout
        self.context = context
        self.labelSmoothing = labelSmoothing
        self.preNorm = preNorm ?? (kind == .decoderOnly)
    }
}

// What the two Transformers are made of.

import Configuration
import NeuralNetworks

/// The section `model` of `kind: decoder-only` and `kind: encoder-decoder`.
public struct TransformerConfiguration: ModelConfiguration, Equatable {
    /// Which of the two.
    public enum Layout: Sendable, Equatable {
        /// GPT-2's.
        case decoderOnly
        /// Vaswani's. `preNorm`: normalise before each sublayer instead of after it.
        case encoderDecoder(preNorm: Bool)
    }

    /// Which Transformer.
    public var layout: Layout
    /// Blocks; for an encoder-decoder, of each side.
    public var layers: Int
    /// D.
    public var width: Int
    /// H, a divisor of D.
    public var heads: Int
    /// The inner width of the feed-forward blocks.
    public var feedForward: Int
    /// Between the halves of the feed-forward blocks: what the layout's paper has, until another is asked for.
    public var activation: Activation
    /// The rate of all dropouts.
    public var dropout: Float = 0
    /// The most positions: those that a decoder-only model learns, the longest sequence of an encoder-decoder.
    public var context = 1024
    /// The probability that is spread over the whole vocabulary in the training loss.
    public var labelSmoothing: Float = 0
    /// Compute each layer's activations again in the backward pass instead of keeping them. Changes no result.
    public var recompute = false
    /// The layer that attends to what was read before the segment; `nil` where none does. Only decoder-only.
    public var memorizing: MemorizingConfiguration?
    /// The table of n-grams' rows that layers read; `nil` where none does. Only decoder-only.
    public var engram: EngramConfiguration?

    /// A Transformer of some size; without dropout and label smoothing, for 1024 positions. `feedForward` is 4 D where it is not given.
    public init(_ layout: Layout = .decoderOnly, layers: Int, width: Int, heads: Int, feedForward: Int? = nil) {
        (self.layout, self.layers, self.width, self.heads) = (layout, layers, width, heads)
        self.feedForward = feedForward ?? 4 * width
        activation = Self.standardActivation(isDecoderOnly: layout == .decoderOnly)
    }

    /// What the layouts have as published.
    private static func standardActivation(isDecoderOnly: Bool) -> Activation { isDecoderOnly ? .gelu : .relu }

    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        let width = try section.int("width", "The width of embeddings and of every block.", in: SizeLimits.width)
        let heads = try section.int("heads", "Attention heads of a block, a divisor of model.width.", in: SizeLimits.width)
        guard width % heads == 0 else { throw section.error("heads", "is \(heads), which does not divide model.width, \(width)") }
        self.init(
            layers: try section.int("layers", "Blocks; of an encoder-decoder, blocks of each side.", in: SizeLimits.layers), width: width, heads: heads)
        feedForward = try section.int(
            "feedForward", "The inner width of the feed-forward blocks.", default: feedForward, defaultText: "4 times model.width",
            in: SizeLimits.positions)
        activation = try section.choice(
            "activation", "The non-linearity of the feed-forward blocks.", default: Self.standardActivation(isDecoderOnly: kind == .decoderOnly))
        dropout = try section.rate("dropout", "The rate of all dropouts.", default: dropout)
        context = try section.int("context", "The most positions that a sequence may have.", default: context, in: SizeLimits.positions)
        labelSmoothing = try section.labelSmoothing(default: labelSmoothing)
        if kind == .encoderDecoder {
            layout = .encoderDecoder(
                preNorm: try section.bool("preNorm", "Normalise before each sublayer instead of after it.", default: false))
        }
        recompute = try section.recompute(default: recompute)
        if kind == .decoderOnly {
            memorizing = try section.memorizing(layers: layers)
            engram = try section.engram(layers: layers, width: width)
        }
    }

    public var kind: ModelKind { layout == .decoderOnly ? .decoderOnly : .encoderDecoder }
    public var maximumLength: Int? { context }
    public var carriesMemory: Bool { memorizing != nil }
    public var carryKey: String { "memorizing" }

    public func makeModel(vocabularySize: Int) -> any LanguageModel {
        switch layout {
        case .decoderOnly: DecoderOnlyTransformer(self, vocabularySize: vocabularySize)
        case .encoderDecoder(let preNorm): EncoderDecoderTransformer(self, preNorm: preNorm, vocabularySize: vocabularySize)
        }
    }
}

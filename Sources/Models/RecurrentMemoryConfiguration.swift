// The keys of the recurrent memory transformer.

import Configuration
import Memory
import NeuralNetworks
import Tensors

extension RecurrentMemoryConfiguration: SequenceCoreConfiguration {
    /// Reads `layers`, `width`, `heads`, `segment`, `memoryTokens`, `associative`, `keyWidth`, `feedForward` and `dropout`.
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        let (width, heads) = try section.widthAndHeads()
        self.init(
            layers: try section.int("layers", "Layers, each attention within a segment and a feed-forward block.", in: SizeLimits.layers),
            width: width, heads: heads, segment: try section.segment(default: 64))
        memoryTokens = try section.int(
            "memoryTokens", "Tokens at a segment's end that take along what is remembered of it.", default: memoryTokens,
            in: SizeLimits.memoryHeads)
        isAssociative = try section.bool(
            "associative",
            "Each layer has an associative memory that the tokens write to. Without it the tokens themselves stand before the next segment.",
            default: isAssociative)
        keyWidth = try section.int(
            "keyWidth", "With associative: the width of the keys that are written to and read by.", default: keyWidth,
            in: 2...SizeLimits.width.upperBound)
        feedForward = try section.int(
            "feedForward", "The inner width of the feed-forward blocks.", default: feedForward, defaultText: "4 times model.width",
            in: SizeLimits.positions)
        dropout = try section.rate("dropout", "The rate of all dropouts.", default: dropout)
    }

    public var kind: ModelKind { .recurrentMemory }
    public var units: Int { width }
    public var layerDropout: Float? { dropout }
    public var tiesEmbedding: Bool { true }

    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore {
        RecurrentMemoryTransformer(store, path, inputs: inputs, self, lifetime: lifetime)
    }
}

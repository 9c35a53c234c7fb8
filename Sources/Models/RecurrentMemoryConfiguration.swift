// The keys of the recurrent memory transformer.

import Configuration
import Memory
import NeuralNetworks
import Tensors

extension RecurrentMemoryConfiguration: SequenceCoreConfiguration {
    /// Reads `layers`, `width`, `heads`, `segment`, `memoryTokens`, `associative`, `keyWidth`, `feedForward` and `dropout`.
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        let width = try section.int("width", "The width of embeddings and of every layer.", in: SizeLimits.width)
        let heads = try section.int("heads", "Attention heads of a layer, a divisor of model.width.", in: SizeLimits.width)
        guard width % heads == 0 else { throw section.error("heads", "is \(heads), which does not divide model.width, \(width)") }
        self.init(
            layers: try section.int("layers", "Layers, each attention within a segment and a feed-forward block.", in: SizeLimits.layers),
            width: width, heads: heads,
            segment: try section.int(
                "segment",
                "Positions of a segment. A gradient reaches what a memory took along from one segment to the next only where sequences, or batch.length, "
                    + "are longer than one.", default: 64, in: 2...SizeLimits.positions.upperBound))
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

// The keys of the Memformer.

import Configuration
import Memory
import NeuralNetworks
import Tensors

extension MemformerConfiguration: SequenceCoreConfiguration {
    /// Reads `layers`, `width`, `heads`, `segment`, `slots`, `temperature`, `recompute`, `feedForward` and `dropout`.
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        let (width, heads) = try section.widthAndHeads()
        self.init(
            layers: try section.int(
                "layers", "Layers, each attention within a segment, attention to the slots, and a feed-forward block.", in: SizeLimits.layers),
            width: width, heads: heads, segment: try section.segment(default: 64))
        slots = try section.int("slots", "Vectors of model.width that are remembered.", default: slots, in: SizeLimits.width)
        temperature = try section.float(
            "temperature", "What the scores are divided by with which slots attend to a segment: below 1 they take up fewer positions.",
            default: temperature, in: Double.leastNonzeroMagnitude...)
        recompute = try section.recompute(default: recompute)
        feedForward = try section.int(
            "feedForward", "The inner width of the feed-forward blocks.", default: feedForward, defaultText: "4 times model.width",
            in: SizeLimits.positions)
        dropout = try section.rate("dropout", "The rate of all dropouts.", default: dropout)
    }

    public var kind: ModelKind { .memformer }
    public var units: Int { width }
    public var layerDropout: Float? { dropout }
    public var tiesEmbedding: Bool { true }

    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore {
        Memformer(store, path, inputs: inputs, self, lifetime: lifetime)
    }
}

/// Keys that cores of segments have in common.
extension ConfigurationSection {
    /// The keys `width` and `heads`.
    func widthAndHeads() throws -> (width: Int, heads: Int) {
        let width = try int("width", "The width of embeddings and of every layer.", in: SizeLimits.width)
        let heads = try int("heads", "Attention heads of a layer, a divisor of model.width.", in: SizeLimits.width)
        guard width % heads == 0 else { throw error("heads", "is \(heads), which does not divide model.width, \(width)") }
        return (width, heads)
    }

    /// The key `segment`.
    func segment(default defaultValue: Int) throws -> Int {
        try int(
            "segment",
            "Positions of a segment. A gradient reaches what a memory took along from one segment to the next only where sequences, or batch.length, "
                + "are longer than one.", default: defaultValue, in: 2...SizeLimits.positions.upperBound)
    }
}

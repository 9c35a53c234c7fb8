// The keys of Gated DeltaNet.

import Configuration
import Memory
import NeuralNetworks
import Tensors

extension GatedDeltaNetConfiguration: SequenceCoreConfiguration {
    /// Reads `layers`, `width`, `heads`, `keyWidth`, `valueWidth`, `convolution`, `delta`, `feedForward` and `dropout`.
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        self.init(
            layers: try section.mixerLayers(), width: try section.mixerWidth(),
            heads: try section.int("heads", "Matrices that a layer remembers in.", in: SizeLimits.memoryHeads))
        let meaning = "model.width divided by model.heads"
        keyWidth = try section.int(
            "keyWidth", "The rows of a matrix: elements of a key.", default: keyWidth, defaultText: meaning, in: SizeLimits.width)
        valueWidth = try section.int(
            "valueWidth", "The columns of a matrix: elements of a value.", default: valueWidth, defaultText: meaning, in: SizeLimits.width)
        convolution = try section.mixerConvolution(default: convolution)
        erases = try section.bool(
            "delta", "A write takes away what was stored under its key. Without it values add up: gated linear attention.", default: erases)
        feedForward = try section.mixerFeedForward(default: feedForward)
        dropout = try section.rate("dropout", "The rate of all dropouts.", default: dropout)
    }

    public var kind: ModelKind { .gatedDeltaNet }
    public var units: Int { width }
    public var layerDropout: Float? { dropout }
    public var tiesEmbedding: Bool { true }

    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore {
        GatedDeltaNet(store, path, inputs: inputs, self, lifetime: lifetime)
    }
}

/// Keys of layers with a token mixer.
extension ConfigurationSection {
    func mixerLayers() throws -> Int { try int("layers", "Layers, each a token mixer and a feed-forward block.", in: SizeLimits.layers) }
    func mixerWidth() throws -> Int { try int("width", "The width of embeddings and of every layer.", in: SizeLimits.width) }

    func mixerConvolution(default value: Int) throws -> Int {
        try int("convolution", "Positions, its own the last, that a position's queries, keys and values are made of.", default: value, in: 2...64)
    }

    func mixerFeedForward(default value: Int) throws -> Int {
        try int(
            "feedForward", "The inner width of the feed-forward blocks.", default: value, defaultText: "4 times model.width",
            in: SizeLimits.positions)
    }
}

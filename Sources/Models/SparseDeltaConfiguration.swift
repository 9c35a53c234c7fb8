// The keys of Sparse Delta Memory.

import Configuration
import Memory
import NeuralNetworks
import Tensors

extension SparseDeltaConfiguration: SequenceCoreConfiguration {
    /// Reads `layers`, `width`, `heads`, `rows`, `writes`, `reads`, `keyWidth`, `valueWidth`, `convolution`, `start`, `resetAtDocuments`,
    /// `feedForward` and `dropout`.
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        self.init(
            layers: try section.mixerLayers(), width: try section.mixerWidth(),
            heads: try section.int("heads", "Memories of a layer.", in: SizeLimits.memoryHeads))
        rows = try section.int("rows", "Rows of a head's memory, the square of a whole number.", default: rows, in: SizeLimits.width)
        guard side * side == rows else {
            throw section.error("rows", "is \(rows), no square", advice: "\(side * side) and \((side + 1) * (side + 1)) are near it")
        }
        writes = try chosen("writes", "Rows that a position writes to.", default: writes, section)
        reads = try chosen("reads", "Rows that a position reads.", default: reads, section)
        keyWidth = try section.int(
            "keyWidth", "Elements of a key, an even number: rows have product keys, of halves.", default: keyWidth,
            defaultText: "model.width divided by model.heads, or one less", in: SizeLimits.width)
        guard keyWidth % 2 == 0 else { throw section.error("keyWidth", "is \(keyWidth), an odd number") }
        valueWidth = try section.int(
            "valueWidth", "Elements of a row.", default: valueWidth, defaultText: "model.width divided by model.heads", in: SizeLimits.width)
        convolution = try section.mixerConvolution(default: convolution)
        start = try section.choice(
            "start", "What a memory starts with: zeros, a parameter of its shape, or the sum of a number for each row and one for each column.",
            default: start)
        resetsAtDocuments = try section.bool(
            "resetAtDocuments", "A lane forgets what it remembers where a document begins.", default: resetsAtDocuments)
        feedForward = try section.mixerFeedForward(default: feedForward)
        dropout = try section.rate("dropout", "The rate of all dropouts.", default: dropout)
    }

    private func chosen(_ key: String, _ meaning: String, default value: Int, _ section: ConfigurationSection) throws -> Int {
        let count = try section.int(
            key, meaning, default: min(value, rows), defaultText: "\(value), or model.rows where that is less", in: SizeLimits.width)
        if count > rows { throw section.error(key, "is \(count), more than the \(rows) rows that there are") }
        return count
    }

    public var kind: ModelKind { .sparseDelta }
    public var units: Int { width }
    public var layerDropout: Float? { dropout }
    public var tiesEmbedding: Bool { true }
    /// Lanes that begin anew at documents teach the start.
    public var learnedStart: String? { start == .zero || resetsAtDocuments ? nil : "start" }

    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore {
        SparseDeltaNet(store, path, inputs: inputs, self, lifetime: lifetime)
    }
}

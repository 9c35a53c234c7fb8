// A Transformer some of whose layers read rows of a table by the n-grams that end at a position: which layers, and what tables.

import Configuration
import Memory
import NeuralNetworks
import Tensors

/// The section `model.engram`.
public struct EngramConfiguration: Sendable, Equatable {
    /// The layers that read a table of their own, from 0.
    public var layers: [Int]
    /// N, the longest n-gram.
    public var order: Int
    /// K, rows that each order reads.
    public var heads: Int
    /// About how many rows each head of each order has: the next prime that no other head has.
    public var rows: Int
    /// w, the width of a row.
    public var rowWidth: Int
    /// How the hidden state chooses.
    public var gate: EngramGate
    /// Of the hash.
    public var seed: UInt64

    /// Tables for some layers.
    public init(layers: [Int], order: Int = 3, heads: Int = 4, rows: Int = 65_536, rowWidth: Int, gate: EngramGate = .root, seed: UInt64 = 0) {
        (self.layers, self.order, self.heads, self.rows, self.rowWidth, self.gate, self.seed) = (layers, order, heads, rows, rowWidth, gate, seed)
    }

    /// Reads the section.
    /// - Parameters:
    ///   - count: the layers of the model.
    ///   - width: D.
    /// - Throws: `UserError` (.configuration) that names the key.
    init(_ section: ConfigurationSection, layers count: Int, width: Int) throws {
        let order = try section.int("order", "The longest n-grams that own rows: 3 for pairs and triples of tokens.", default: 3, in: 2...8)
        let heads = try section.int("heads", "Rows that each order reads at a position, each from a part of the table of its own.", default: 4, in: 1...64)
        self.init(
            layers: try section.ints(
                "layers", "The layers that read a table, counted from 0. Each has a table of its own.", default: [min(1, count - 1)],
                defaultText: "1, the second", in: 0...Int.max),
            order: order, heads: heads,
            rows: try section.int(
                "rows", "About how many rows each head of each order has: the next prime number is taken that no other head has.", default: 65_536,
                in: 2...(1 << 30)),
            rowWidth: try section.int(
                "rowWidth", "The width of a row.", default: max(1, width / (heads * (order - 1))), defaultText: "model.width over the rows that a position reads",
                in: SizeLimits.width),
            gate: try section.choice(
                "gate", "How the product s of hidden state and row becomes a gate: sigmoid of s, or of its root with its sign.", default: EngramGate.root),
            seed: UInt64(try section.int("seed", "Chooses which n-grams share a row.", default: 0, in: 0...Int.max)))
        guard !section.fillsIn else { return }
        if let layer = layers.first(where: { $0 >= count }) { throw section.error("layers", "names layer \(layer), and the last of model.layers is \(count - 1)") }
        guard !layers.isEmpty, Set(layers).count == layers.count else { throw section.error("layers", "is \(layers): each layer is named once") }
        // Rows are numbered by int32.
        let total = 2 * Double(rows) * Double(heads * (order - 1))
        guard total < Double(Int32.max) else {
            throw section.error("rows", "is \(rows), which makes more rows than can be numbered", advice: "choose fewer rows, heads or orders")
        }
    }

    /// Declares the layers' tables and projections, by layer.
    func makeLayers(
        _ store: ParameterStore, path: (Int) -> String, width: Int, vocabularySize: Int, initializer: Initializer, outputInitializer: Initializer
    ) -> [Int: EngramLayer] {
        var taken = Set<Int>()
        var made: [Int: EngramLayer] = [:]
        for layer in layers.sorted() {
            let addresses = NGramAddresses(
                classes: Array(0..<Int32(vocabularySize)), padding: Int32(vocabularySize), order: order, heads: heads, rows: rows, seed: seed, layer: layer,
                taken: &taken)
            made[layer] = EngramLayer(
                store, path(layer), addresses, rowWidth: rowWidth, width: width, gate: gate, initializer: initializer, outputInitializer: outputInitializer)
        }
        return made
    }
}

extension ConfigurationSection {
    /// The section `engram` of a model of so many layers of that width; `nil` where it is not there.
    /// - Throws: `UserError` (.configuration) that names the key.
    func engram(layers: Int, width: Int) throws -> EngramConfiguration? {
        let part = try section("engram")
        guard part.isPresent || part.fillsIn else { return nil }
        let read = try EngramConfiguration(part, layers: layers, width: width)
        return part.fillsIn ? nil : read
    }
}

// A Transformer that attends to what it has read before its segment: which layer does, and to what.

import Configuration
import NeuralNetworks

/// The section `model.memorizing`.
public struct MemorizingConfiguration: Sendable, Equatable {
    /// The layer that attends to stored pairs, from 0.
    public var layer: Int
    /// Pairs that a query finds.
    public var nearest: Int
    /// Pairs that are kept; a new one takes the place of the oldest.
    public var capacity: Int
    /// Which pairs a query finds.
    public var scope: PairScope
    /// Lists of an inverted file; 0 where every pair is looked at.
    public var lists: Int
    /// Of those the ones that a query visits.
    public var probes: Int

    /// The pairs of all lanes, looked at one and all.
    public init(layer: Int, nearest: Int = 32, capacity: Int = 8192, scope: PairScope = .shared, lists: Int = 0, probes: Int = 8) {
        (self.layer, self.nearest, self.capacity, self.scope, self.lists, self.probes) = (layer, nearest, capacity, scope, lists, probes)
    }

    /// Reads the section.
    /// - Parameter layers: the layers of the model.
    /// - Throws: `UserError` (.configuration) that names the key.
    init(_ section: ConfigurationSection, layers: Int) throws {
        self.init(
            layer: try section.int(
                "layer", "The layer that attends to stored keys and values, counted from 0.", default: max(0, layers - 2),
                defaultText: "the last but one", in: 0...Int.max),
            nearest: try section.int("nearest", "Stored keys that each query and head attends to, the nearest ones.", default: 32, in: SizeLimits.positions),
            capacity: try section.int(
                "capacity", "Positions whose keys and values are kept; a new one takes the place of the oldest.", default: 8192, in: 1...(1 << 30)),
            scope: try section.choice(
                "scope", "Whether a query finds what all lanes have read, or what its own lane has.", default: PairScope.shared),
            lists: try section.int(
                "lists", "Lists of keys near each other, of which a query visits a few: for large capacities. 0 looks at every key.", default: 0,
                in: 0...(1 << 20)),
            probes: try section.int("probes", "With lists: how many of them a query visits.", default: 8, in: 1...(1 << 20)))
        guard !section.fillsIn else { return }
        guard layer < layers else {
            throw section.error("layer", "is \(layer), and the last of model.layers is \(layers - 1)")
        }
        guard lists == 0 || scope == .shared else {
            throw section.error("lists", "is \(lists): the keys of one lane are few enough to look at all", advice: "leave it out, or set scope to shared")
        }
        guard lists == 0 || 32 * lists <= capacity else {
            throw section.error("lists", "is \(lists), too many for a capacity of \(capacity)", advice: "choose at most \(capacity / 32)")
        }
    }
}

extension ConfigurationSection {
    /// The section `memorizing` of a model of so many layers; `nil` where it is not there.
    /// - Throws: `UserError` (.configuration) that names the key.
    func memorizing(layers: Int) throws -> MemorizingConfiguration? {
        let part = try section("memorizing")
        guard part.isPresent || part.fillsIn else { return nil }
        let read = try MemorizingConfiguration(part, layers: layers)
        return part.fillsIn ? nil : read
    }
}

/// A language model one of whose layers may attend to the keys and values of earlier segments.
public protocol MemorizingModel: TextLanguageModel {
    /// `nil` for a model that sees its segment alone.
    var memorizing: MemorizingConfiguration? { get }
    /// H and D of the layer.
    var pairHeads: Int { get }
    var pairWidth: Int { get }
    /// The stored pairs that a pass reads to which nobody gave others; `nil` for none.
    var pairs: (any PairStore)? { get set }
}

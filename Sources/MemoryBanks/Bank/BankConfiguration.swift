// What a bank keeps, and by which rules.

import Diagnostics
import VectorSearch

/// Which encoder made the keys of a bank. Vectors of two encoders have nothing to do with each other, so keys of another generation are
/// refused.
public struct BankGeneration: Sendable, Hashable, Codable, CustomStringConvertible {
    /// A digest or a name of the model.
    public var model: String
    /// The layer whose output the keys are; -1 where the model has none.
    public var layer: Int
    /// How keys are scaled: `none`, or `l2` for vectors of length 1.
    public var normalization: String
    /// Elements of a key.
    public var width: Int

    /// A generation.
    public init(model: String, layer: Int = -1, normalization: String = "none", width: Int) {
        (self.model, self.layer, self.normalization, self.width) = (model, layer, normalization, width)
    }

    public var description: String {
        "\(model)\(layer < 0 ? "" : ", layer \(layer)"), normalization \(normalization), width \(width)"
    }
}

/// The rules of a bank, fixed when it is made.
public struct BankConfiguration: Sendable, Hashable, Codable {
    /// What a record's value is.
    public enum ValueKind: String, Sendable, Codable, CaseIterable {
        case text, tokens, vector
    }

    /// Which records go when a bank is full.
    public enum Eviction: String, Sendable, Codable, CaseIterable {
        /// None: what does not fit is refused.
        case none
        /// Those that were written first.
        case oldest
        /// Those that were used least often, and of these the ones whose last use is longest ago.
        case leastUsed = "least-used"
        /// Those whose key is shortest.
        case lowestNorm = "lowest-norm"
    }

    /// Elements of a key; 0 for a bank that is only looked up by id.
    public var keyWidth: Int
    /// What values are.
    public var value: ValueKind
    /// Elements of a value that is a vector; 0 otherwise.
    public var valueWidth: Int
    /// Records at most, over all namespaces; `nil` without a limit.
    public var capacity: Int?
    /// Which records make room.
    public var eviction: Eviction
    /// How often a record must be appended before it is admitted; 1 admits at once.
    public var admission: Int
    /// How keys are compared.
    public var metric: Similarity
    /// An encoder of the program's that makes keys from texts; `nil` where keys come with the records.
    public var encoder: String?
    /// Rows of a block.
    public var blockRows: Int
    /// Virtual shards, a power of two: the largest number of ranks that share the bank.
    public var shards: Int
    /// Commits that can be reverted, at most.
    public var history: Int

    /// The rules; those that are not given are the usual ones.
    public init(
        keyWidth: Int = 0, value: ValueKind = .text, valueWidth: Int = 0, capacity: Int? = nil, eviction: Eviction = .none,
        admission: Int = 1,
        metric: Similarity = .dot, encoder: String? = nil, blockRows: Int = 1024, shards: Int = 8, history: Int = 1000
    ) {
        (self.keyWidth, self.value, self.valueWidth, self.capacity, self.eviction) = (keyWidth, value, valueWidth, capacity, eviction)
        (self.admission, self.metric, self.encoder, self.blockRows, self.shards, self.history) = (
            admission, metric, encoder, blockRows, shards, history
        )
    }

    /// Makes sure that the rules can be followed.
    /// - Throws: `UserError` (.configuration).
    public func validate() throws {
        func refuse(_ what: String, _ advice: String) throws { throw UserError(.configuration, what, advice: advice) }
        if !(0...65_536).contains(keyWidth) { try refuse("a key of \(keyWidth) elements", "give 0 to 65,536") }
        if value == .vector, !(1...65_536).contains(valueWidth) { try refuse("a value of \(valueWidth) elements", "give 1 to 65,536") }
        if value != .vector, valueWidth != 0 { try refuse("a width of values that are \(value.rawValue)", "leave it out") }
        if let capacity, capacity < 1 { try refuse("a capacity of \(capacity)", "give at least 1") }
        if eviction != .none, capacity == nil { try refuse("eviction without a capacity", "give a capacity") }
        if eviction == .lowestNorm, keyWidth == 0 {
            try refuse("eviction by the norm of keys in a bank without keys", "choose another order")
        }
        if admission < 1 { try refuse("admission after \(admission) sightings", "give at least 1") }
        if blockRows < 1 || blockRows > 1 << 20 { try refuse("blocks of \(blockRows) rows", "give 1 to 1,048,576") }
        if shards < 1 || shards > 4096 || shards & (shards - 1) != 0 {
            try refuse("\(shards) virtual shards", "give a power of two up to 4,096")
        }
        if history < 0 { try refuse("a history of \(history) commits", "give 0 or more") }
        if let encoder, keyWidth == 0 || encoder != TextEncoders.run && TextEncoders.named(encoder, width: keyWidth) == nil {
            try refuse(
                "the encoder '\(encoder)' of keys of \(keyWidth) elements",
                "choose \(TextEncoders.names.joined(separator: ", ")) and a key width")
        }
    }
}

// Pairs of keys and values of earlier segments, as a layer that attends to them sees them.
//
// Legend: B sequences, T positions, H heads, K head size, D = H K width, N queries, k pairs of a query.

import Diagnostics
import Tensors

/// Which pairs a query finds.
public enum PairScope: String, Sendable, CaseIterable {
    /// Those of all lanes.
    case shared
    /// Those of its own lane.
    case lane
}

/// Pairs of a key and a value for each head, in which a query finds those whose keys are nearest to it.
public protocol PairStore: AnyObject {
    /// D.
    var width: Int { get }
    /// Pairs that can be found.
    var count: Int { get }

    /// The pairs of the largest products of a query and a key, for the queries of one head.
    ///
    /// - Parameters:
    ///   - queries: float32 [N, K], the sequences one after the other.
    ///   - lanes: of each sequence, [B]; empty where nobody knows.
    ///   - limit: k.
    func nearest(_ queries: Tensor, head: Int, lanes: [Int], limit: Int) -> FoundPairs
    /// A pair, [2 D]: the keys of all heads, then their values. Valid until other pairs are added.
    func pair(_ slot: Int) -> UnsafePointer<Float>
    /// How many segments ago a pair was stored; 1 for the newest.
    func age(_ slot: Int) -> Int
}

/// The pairs that were found for N queries, those of a query by falling score.
public struct FoundPairs {
    /// k, places of a query.
    public let limit: Int
    /// The pairs of each query, [N].
    public var counts: [Int]
    /// Where they are and what the product of key and query is, [N, k].
    public var slots: [Int32]
    public var scores: [Float]

    /// Nothing found.
    public init(queries: Int, limit: Int) {
        self.limit = limit
        counts = [Int](repeating: 0, count: queries)
        slots = [Int32](repeating: 0, count: queries * limit)
        scores = [Float](repeating: 0, count: queries * limit)
    }
}

/// What a pass has read of stored pairs, summed over queries and heads.
public struct PairStatistics: Sendable, Equatable {
    /// Queries of all heads that found a pair.
    public var queries = 0.0
    /// Of those, the ones that gave one pair more than half of their attention to stored pairs.
    public var hits = 0.0
    /// The entropy of that attention, nats.
    public var entropy = 0.0
    /// The age of the pairs by that attention, segments.
    public var age = 0.0
    /// The gate: the part of the stored pairs in what the head gives.
    public var gate = 0.0

    /// Nothing read.
    public init() {}

    /// The five sums, for exchange between ranks.
    public var values: [Double] {
        get { [queries, hits, entropy, age, gate] }
        set {
            require(newValue.count == 5, "\(newValue.count) sums")
            (queries, hits, entropy, age, gate) = (newValue[0], newValue[1], newValue[2], newValue[3], newValue[4])
        }
    }

    /// Adds the sums of another pass.
    public static func += (a: inout PairStatistics, b: PairStatistics) { a.values = zip(a.values, b.values).map { $0 + $1 } }
}

/// The pairs that one pass reads, and those that its segment leaves.
public final class PairReading {
    /// Where pairs are looked for. Of equal scores the one of the earlier store comes first.
    public let stores: [any PairStore]
    /// Whether the segment's own pairs are wanted.
    private let collects: Bool
    /// The lane of each sequence, [B], as the batch says it; empty where nobody knows.
    public var lanes: [Int] = []
    /// The pairs of the pass's segment, float32 [B, T, 2 D], off any tape: the keys of all heads of a position, then their values.
    public private(set) var segment: Tensor?
    /// What was read.
    public internal(set) var statistics = PairStatistics()

    /// - Parameter collects: whether the segment's own pairs are wanted.
    public init(_ stores: [any PairStore], collects: Bool = false) { (self.stores, self.collects) = (stores, collects) }

    /// The same pairs for a part of the pass that is computed again, which leaves nothing.
    var again: PairReading {
        let reading = PairReading(stores)
        reading.lanes = lanes
        return reading
    }

    /// Whether there is a pair to be found.
    public var isEmpty: Bool { stores.allSatisfy { $0.count == 0 } }

    /// Leaves the keys and values of the segment, float32 [B, T, D] each.
    public func keep(keys: Tensor, values: Tensor) {
        if collects { segment = concatenate([keys.stopGradient(), values.stopGradient()], axis: 2) }
    }

    /// Counts what a layer has read.
    public func count(_ read: PairStatistics) { statistics += read }
}

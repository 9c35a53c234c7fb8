// How many records cleaning kept and dropped. Counts of several shards add up to the counts of the corpus.

/// Counts of one cleaning, by reason.
///
/// As JSON: `{"kept": n, "dropped": {"empty-source": n, ...}}` with every reason present.
public struct CleaningCounts: Sendable, Hashable, Codable {
    /// Records kept.
    public private(set) var kept = 0
    /// Counts in the order of `DropReason.allCases`.
    private var counts = [Int](repeating: 0, count: DropReason.allCases.count)

    /// Nothing counted yet.
    public init() {}

    /// Records dropped for all reasons together.
    public var droppedTotal: Int { counts.reduce(0, +) }

    /// Every reason with its count, in a fixed order.
    public var dropped: [(reason: DropReason, count: Int)] { Array(zip(DropReason.allCases, counts)).map { (reason: $0, count: $1) } }

    /// The number of records dropped for `reason`.
    public subscript(reason: DropReason) -> Int { counts[Self.index(of: reason)] }

    /// Counts one record: kept, or dropped for a reason.
    public mutating func count(_ reason: DropReason?) {
        if let reason {
            counts[Self.index(of: reason)] += 1
        } else {
            kept += 1
        }
    }

    /// Adds the counts of another part of the same corpus.
    public mutating func add(_ other: CleaningCounts) {
        kept += other.kept
        for i in counts.indices { counts[i] += other.counts[i] }
    }

    private static func index(of reason: DropReason) -> Int {
        switch reason {
        case .emptySource: 0
        case .emptyTarget: 1
        case .tooShort: 2
        case .tooLong: 3
        case .lengthRatio: 4
        case .identicalPair: 5
        }
    }

    private enum CodingKeys: String, CodingKey {
        case kept, dropped
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        kept = try container.decode(Int.self, forKey: .kept)
        let dropped = try container.decode([String: Int].self, forKey: .dropped)
        for reason in DropReason.allCases { counts[Self.index(of: reason)] = dropped[reason.rawValue] ?? 0 }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(kept, forKey: .kept)
        let pairs = DropReason.allCases.map { ($0.rawValue, self[$0]) }
        try container.encode(Dictionary(uniqueKeysWithValues: pairs), forKey: .dropped)
    }
}

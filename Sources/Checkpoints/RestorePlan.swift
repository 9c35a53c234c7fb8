// What a resume on another number of ranks moves where, said before it moves.

import Collectives
import Diagnostics
import Foundation

/// Which rank takes which lanes of a checkpoint, and how much each reads.
public struct RestorePlan: Sendable, Equatable {
    /// The number of shards that the checkpoint consists of.
    public let shards: Int
    /// Bytes of all its items.
    public let byteCount: Int
    /// The lanes of each rank.
    public let lanes: [[Range<Int>]]
    /// The bytes that each rank reads; what all ranks hold is read by one of them and broadcast.
    public let bytesRead: [Int]

    /// Gathers the plan. Collective.
    /// - Parameter lanes: those of this rank.
    public init(_ registry: RunStateRegistry, _ reader: CheckpointReader, lanes: [Int], _ communicator: any Communicator) throws {
        let own = [Int64(registry.bytesRead(from: reader, by: communicator.rank, of: communicator.size))] + lanes.sorted().map { Int64($0) }
        let all = try communicator.allGather(own.withUnsafeBytes { Array($0) }).map { bytes in
            bytes.withUnsafeBytes { Array($0.bindMemory(to: Int64.self)).map { Int($0) } }
        }
        self.init(
            shards: reader.worldSize, byteCount: reader.items.reduce(0) { $0 + $1.byteCount }, lanes: all.map { Self.ranges(of: $0.dropFirst()) },
            bytesRead: all.map { $0[0] })
    }

    package init(shards: Int, byteCount: Int, lanes: [[Range<Int>]], bytesRead: [Int]) {
        (self.shards, self.byteCount, self.lanes, self.bytesRead) = (shards, byteCount, lanes, bytesRead)
    }

    /// Two lines for the user, however many ranks there are.
    public var lines: [String] {
        let ranks = lanes.count
        let named = ranks <= 4 ? Array(0..<ranks) : [0, 1, 2, ranks - 1]
        var moves = named.map { "\(Self.text(of: lanes[$0])) -> rank \($0)" }
        if ranks > 4 { moves.insert("...", at: 3) }
        return [
            "resuming on \(quantity(ranks, "rank")) from \(quantity(shards, "shard")): lanes \(moves.joined(separator: "; "))",
            "each rank reads at most \(Self.size(bytesRead.max() ?? 0)) of the \(Self.size(byteCount)); what all ranks hold is handed on to the others",
        ]
    }

    private static func ranges(of lanes: some Collection<Int>) -> [Range<Int>] {
        lanes.reduce(into: []) { ranges, lane in
            if let last = ranges.last, last.upperBound == lane { ranges[ranges.count - 1] = last.lowerBound..<lane + 1 } else { ranges.append(lane..<lane + 1) }
        }
    }

    private static func text(of ranges: [Range<Int>]) -> String {
        if ranges.isEmpty { return "none" }
        let texts = ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound - 1)" }
        return texts.count <= 4 ? texts.joined(separator: ", ") : texts.prefix(3).joined(separator: ", ") + ", ..., " + texts[texts.count - 1]
    }

    private static func size(_ byteCount: Int) -> String {
        byteCount < 1_000_000 ? String(format: "%.1f kB", Double(byteCount) / 1e3) : String(format: "%.1f MB", Double(byteCount) / 1e6)
    }
}

// A search over ranks that each hold some of the rows.
//
// Legend: P ranks, S virtual shards, k neighbours.

import Collectives
import Diagnostics
import Kernels
import Tensors

/// Who holds which rows: blocks of rows belong to virtual shards, whose number does not depend on that of the ranks.
public struct VirtualShards: Equatable, Sendable {
    /// S, a power of two.
    public let count: Int

    /// - Throws: `UserError` (configuration) where S is no power of two.
    public init(_ count: Int) throws {
        guard count > 0, count.nonzeroBitCount == 1 else {
            throw UserError(.configuration, "\(count) virtual shards are not a power of two", advice: "choose 1, 2, 4, 8, ...")
        }
        self.count = count
    }

    /// The shard of a block of rows.
    public func shard(ofBlock block: Int) -> Int { block & (count - 1) }

    /// The rank that holds a block: shards whose low bits are the rank's number, where ranks are a power of two; shards in turn elsewhere.
    public func rank(ofBlock block: Int, of size: Int) -> Int { shard(ofBlock: block) % size }
}

/// One answer out of those of all ranks.
public enum RankSearch {
    /// The k nearest rows of all ranks for each query of this rank. Collective.
    ///
    /// Every rank searches its own rows for the queries of all, and each gets the answers to its own queries, merged by score and identifier: what one
    /// rank with all rows would find, bit for bit, whatever P is.
    ///
    /// - Parameters:
    ///   - queries: [Q, D] of this rank; Q may differ from rank to rank, and may be 0.
    ///   - limit: k, the same on every rank.
    ///   - local: searches this rank's rows, exactly or by an inverted file whose centroids are the same on every rank.
    /// - Throws: what `local` throws, on every rank; `UserError` where ranks ask in different dimensions.
    /// - Complexity: every rank receives the queries of all, and P k rows for each of its own.
    public static func nearest(
        _ queries: Tensor, limit: Int, communicator: any Communicator, local: (_ queries: Tensor) throws -> Neighbors
    ) throws -> Neighbors {
        if communicator.size == 1 { return try local(queries) }
        require(queries.shape.rank == 2 && queries.dataType == .float32, "queries are a float32 matrix, not \(queries.dataType) \(queries.shape)")
        let dimension = queries.shape[1]
        let largest = try communicator.allReduced([Int64(dimension), -Int64(dimension)], .maximum)
        guard largest[0] == -largest[1] else {
            throw UserError(.badData, "ranks ask by vectors of \(-largest[1]) to \(largest[0]) numbers", advice: "ask by vectors of one model").shared
        }
        let everyRank = try communicator.allGather(Array(UnsafeRawBufferPointer(start: queries.bytes, count: queries.count * 4)))
        let counts = everyRank.map { $0.count / 4 / max(dimension, 1) }
        let all = Tensor(uninitialized: [counts.reduce(0, +), dimension])
        var place = 0
        for bytes in everyRank {
            bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(start: all.bytes + place, count: $0.count).copyMemory(from: $0) }
            place += bytes.count
        }
        let found = try communicator.onEveryRank { try local(all) }
        return try exchanged(found, counts, limit, communicator)
    }

    /// Gives each rank what all have found for its queries.
    private static func exchanged(_ found: Neighbors, _ counts: [Int], _ limit: Int, _ communicator: any Communicator) throws -> Neighbors {
        // Of each query the number of rows, then of each row its identifier and score.
        var first = 0
        let outgoing = counts.map { count -> [UInt8] in
            var words: [UInt64] = []
            for rows in found.rows[first..<(first + count)] {
                words.append(UInt64(rows.count))
                for row in rows { words += [UInt64(bitPattern: Int64(row.id)), UInt64(row.score.bitPattern)] }
            }
            first += count
            return words.withUnsafeBytes { Array($0) }
        }
        var rows = [[Neighbor]](repeating: [], count: counts[communicator.rank])
        for bytes in try communicator.allToAll(outgoing) {
            bytes.withUnsafeBytes { bytes in
                var place = 0
                func next() -> UInt64 {
                    place += 8
                    return bytes.loadUnaligned(fromByteOffset: place - 8, as: UInt64.self)
                }
                for query in rows.indices {
                    for _ in 0..<next() {
                        let id = Int(Int64(bitPattern: next()))
                        rows[query].append(Neighbor(id: id, score: Float(bitPattern: UInt32(next()))))
                    }
                }
            }
        }
        return Neighbors(limit: limit, rows: rows.map { merged($0, limit) })
    }

    /// The nearest of some rows.
    private static func merged(_ rows: [Neighbor], _ limit: Int) -> [Neighbor] {
        Array(rows.sorted { $0.score > $1.score || $0.score == $1.score && $0.id < $1.id }.prefix(limit))
    }
}

// Whether all ranks hold the same replicated state: compared before every publication.

import Collectives
import Diagnostics
import Foundation
import Storage

/// The hash of a replicated item.
public struct StateDigest: Sendable {
    /// The item.
    public let name: String
    /// XXH64 of its bytes.
    public let hash: UInt64

    /// The hashes of all replicated items, in their order.
    /// - Complexity: reads every byte once, on all cores; several GB/s a core.
    public static func all(of items: [CheckpointItem]) -> [StateDigest] {
        let replicated = items.filter { $0.placement == .replicated }
        var hashes = [UInt64](repeating: 0, count: replicated.count)
        hashes.withUnsafeMutableBufferPointer { hashes in
            nonisolated(unsafe) let (hashes, replicated) = (hashes, replicated)
            DispatchQueue.concurrentPerform(iterations: replicated.count) { index in
                var hash = XXHash64()
                replicated[index].withBytes { hash.update($0) }
                hashes[index] = hash.finalized()
            }
        }
        return zip(replicated, hashes).map { StateDigest(name: $0.name, hash: $1) }
    }

    /// Makes sure that all ranks have the same digests. Collective; one reduction of two integers where they have.
    ///
    /// - Throws: on every rank the same `UserError` (.unavailable) that names the first item that differs, and the ranks: those that are not with
    ///   the majority, or with rank 0 where there is none.
    public static func requireEqual(_ digests: [StateDigest], step: Int, _ communicator: any Communicator) throws {
        guard communicator.size > 1 else { return }
        var whole = XXHash64()
        digests.map(\.hash).withUnsafeBytes { whole.update($0) }
        let hash = Int64(bitPattern: whole.finalized())
        // The maximum of the complement is the complement of the minimum.
        let ends = try communicator.allReduced([hash, ~hash], .maximum)
        if ends[0] == ~ends[1] { return }
        let everyRank = try communicator.allGather(digests.map(\.hash).withUnsafeBytes { Array($0) }).map { bytes in
            bytes.withUnsafeBytes { Array($0.bindMemory(to: UInt64.self)) }
        }
        var counts: [[UInt64]: Int] = [:]
        for hashes in everyRank { counts[hashes, default: 0] += 1 }
        let most = counts.values.max() ?? 0
        let reference = counts[everyRank[0]] == most ? everyRank[0] : counts.first { $0.value == most }?.key ?? everyRank[0]
        let outliers = everyRank.indices.filter { everyRank[$0] != reference }
        let item = digests.indices.first { index in
            outliers.contains { !everyRank[$0].indices.contains(index) || everyRank[$0][index] != reference[index] }
        }
        let who = outliers.count == 1 ? "rank \(outliers[0]) has" : "ranks \(outliers.map(String.init).joined(separator: ", ")) have"
        throw UserError(
            .unavailable,
            "\(who) drifted from the others: '\(item.map { digests[$0].name } ?? "the list of items")' is not the same; the checkpoint is not published",
            at: "step \(step)", advice: "check the memory and the libraries of that machine; started again, the run goes on from its last checkpoint"
        ).shared
    }
}

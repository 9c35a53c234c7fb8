// The shards of a corpus that are mapped into memory.

import Foundation

/// Shards by number: one is checked whole when it is first needed, and the latest used stay mapped, up to a limit.
///
/// May be used from several threads: one that needs a shard that another is opening waits for it, and for no other.
final class MappedShards: @unchecked Sendable {
    private struct Slot {
        var shard: CorpusShard?
        /// Known once the shard was checked: then it is only mapped again.
        var places: ShardPlaces?
        var isOpening = false
        var lastUse = 0
    }

    private let limit: Int
    private let open: @Sendable (_ index: Int, _ places: ShardPlaces?) throws -> CorpusShard
    private let condition = NSCondition()
    private var slots: [Slot]
    /// The numbers of those that are mapped, at most `limit`.
    private var mapped: [Int] = []
    private var uses = 0

    /// - Parameters:
    ///   - limit: the most that stay mapped.
    ///   - open: maps a shard, and checks it whole unless its places are known.
    init(count: Int, limit: Int, open: @escaping @Sendable (_ index: Int, _ places: ShardPlaces?) throws -> CorpusShard) {
        self.limit = limit
        self.open = open
        slots = Array(repeating: Slot(), count: count)
    }

    /// How many are mapped now.
    var mappedCount: Int { condition.withLock { mapped.count } }

    /// Lends a shard.
    /// - Throws: what opening it throws, each time it is asked for.
    func with<Result>(_ index: Int, _ body: (CorpusShard) throws -> Result) throws -> Result {
        let shard = try shard(index)
        return try withExtendedLifetime(shard) { try body(shard) }
    }

    private func shard(_ index: Int) throws -> CorpusShard {
        condition.lock()
        defer { condition.unlock() }
        while slots[index].isOpening { condition.wait() }
        uses += 1
        slots[index].lastUse = uses
        if let shard = slots[index].shard { return shard }
        slots[index].isOpening = true
        let places = slots[index].places
        condition.unlock()
        let opened = Swift.Result { try open(index, places) }
        condition.lock()
        slots[index].isOpening = false
        condition.broadcast()
        let shard = try opened.get()
        slots[index].places = shard.places
        slots[index].shard = shard
        mapped.append(index)
        if mapped.count > limit, let oldest = mapped.indices.min(by: { slots[mapped[$0]].lastUse < slots[mapped[$1]].lastUse }) {
            // Whoever still reads it keeps it mapped until done.
            slots[mapped.remove(at: oldest)].shard = nil
        }
        return shard
    }
}

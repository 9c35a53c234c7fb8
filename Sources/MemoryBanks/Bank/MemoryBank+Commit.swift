// How an edit becomes a commit: planned on every rank, announced, written, published.

import Checkpoints
import Collectives
import Diagnostics
import Storage

/// What an edit will do to the records of this rank.
struct BankPlan {
    /// Records to write, with their versions.
    var writes: [BankRecord] = []
    /// Rows to remove.
    var removals: [Int] = []
    /// The records that are deleted for good: hash and version.
    var tombstones: [(hash: UInt64, version: Int)] = []
    /// Of what is written and deleted.
    var digest = RecordSetDigest()
    /// Records that are admitted by it, less those that go.
    var growth = 0
    /// Records that begin to wait for their admission, less those that are admitted.
    var waitingGrowth = 0
    /// Numbers for the receipt, in the order of `Count`.
    var counts = [Int64](repeating: 0, count: Count.allCases.count)

    enum Count: Int, CaseIterable { case created, changed, unchanged, deleted, evicted, waiting, refusedDeleted, refusedRecall }

    mutating func count(_ what: Count, _ number: Int = 1) { counts[what.rawValue] += Int64(number) }
    var isEmpty: Bool { writes.isEmpty && removals.isEmpty }
}

extension MemoryBank {
    /// The number of the next commit: one that was announced and never happened is not used again.
    var nextCommit: Int { max(manifest.commit, audit.lastCommit) + 1 }

    /// Sums the plans of all ranks into a receipt. Collective.
    func receipt(_ action: BankReceipt.Action, _ filter: String, _ plan: BankPlan, _ edit: BankEdit) throws -> BankReceipt {
        let counts = try communicator.allReduced(plan.counts, .sum).map { Int($0) }
        var digest = RecordSetDigest()
        for bytes in try communicator.allGather(plan.digest.bytes) { digest.add(RecordSetDigest(bytes)) }
        var receipt = BankReceipt(action, commit: nextCommit, filter: filter, records: digest.count, digest: digest.text, edit)
        func number(_ what: BankPlan.Count) -> Int { counts[what.rawValue] }
        (receipt.created, receipt.changed, receipt.unchanged) = (number(.created), number(.changed), number(.unchanged))
        (receipt.deleted, receipt.evicted, receipt.waiting) = (number(.deleted), number(.evicted), number(.waiting))
        (receipt.refusedDeleted, receipt.refusedRecall) = (number(.refusedDeleted), number(.refusedRecall))
        return receipt
    }

    /// Makes room for a plan: adds the removals of the records that go by the bank's order, and of those that have waited longest for their
    /// admission, since no more may wait than the bank has room for. Collective.
    /// - Throws: `UserError` (.configuration) where there is no room and none may be made.
    func makeRoom(for plan: inout BankPlan) throws {
        guard let capacity = configuration.capacity else { return }
        let growth = try communicator.allReduced([Int64(plan.growth), Int64(plan.waitingGrowth), Int64(index.waitingCount)], .sum).map {
            Int($0)
        }
        let waiting = growth[1] + growth[2] - capacity
        if growth[1] > 0, waiting > 0 { plan.removals += try victims(waiting, sparing: plan, areWaiting: true).map(\.row) }
        let excess = try recordCount() + growth[0] - capacity
        guard excess > 0, growth[0] > 0 else { return }
        guard configuration.eviction != .none else {
            throw UserError(
                .configuration, "the bank is full: it has room for \(quantity(capacity, "record")), and \(excess) too many came",
                at: directory,
                advice: "delete some, or make a bank with an order of eviction")
        }
        let victims = try victims(excess, sparing: plan, areWaiting: false)
        guard try communicator.allReduced(victims.count, .sum) == excess else {
            throw UserError(
                .configuration, "more records came at once than the bank has room for, \(capacity)", at: directory,
                advice: "append fewer at a time")
        }
        plan.removals += victims.map(\.row)
        plan.growth -= victims.count
        plan.count(.evicted, victims.count)
    }

    /// Those of this rank's records that are among the first `count` of all ranks to go. Collective.
    /// - Parameter areWaiting: whether they are records that wait for their admission, or ones that the bank has.
    private func victims(_ count: Int, sparing plan: BankPlan, areWaiting: Bool) throws -> [Victim] {
        let (written, removed) = (Set(plan.writes.map(\.hash)), Set(plan.removals))
        var candidates: [Victim] = []
        func keepFirst() {
            candidates.sort()
            candidates.removeLast(max(0, candidates.count - count))
        }
        for (hash, row) in index.rowsByHash where !written.contains(hash) && !removed.contains(row) {
            guard let (block, slot) = table.location(row), (columns.small(.sightings, block, slot) > 0) == areWaiting else { continue }
            candidates.append(victim(block, slot, row, hash, areWaiting ? .oldest : configuration.eviction))
            if candidates.count >= 2 * count + 4096 { keepFirst() }
        }
        keepFirst()
        guard communicator.size > 1 else { return candidates }
        let chosen = Set(try communicator.allGather(candidates.flatMap(\.bytes)).flatMap(Victim.list).sorted().prefix(count).map(\.name))
        return candidates.filter { chosen.contains($0.name) }
    }

    /// A record that may make room; the smallest goes first.
    private struct Victim: Comparable {
        let first: Double
        let second: Int
        /// Hash of namespace and id.
        let name: UInt64
        var row = -1

        static func < (one: Victim, other: Victim) -> Bool { (one.first, one.second, one.name) < (other.first, other.second, other.name) }

        var bytes: [UInt8] { [first.bitPattern, UInt64(bitPattern: Int64(second)), name].withUnsafeBytes { Array($0) } }
        static func list(_ bytes: [UInt8]) -> [Victim] {
            bytes.withUnsafeBytes { bytes in
                stride(from: 0, to: bytes.count, by: 24).map {
                    Victim(
                        first: Double(bitPattern: bytes.loadUnaligned(fromByteOffset: $0, as: UInt64.self)),
                        second: Int(bytes.loadUnaligned(fromByteOffset: $0 + 8, as: Int64.self)),
                        name: bytes.loadUnaligned(fromByteOffset: $0 + 16, as: UInt64.self))
                }
            }
        }
    }

    private func victim(_ block: RowBlock, _ slot: Int, _ row: Int, _ name: UInt64, _ order: BankConfiguration.Eviction) -> Victim {
        let commit = columns.number(.commit, block, slot)
        switch order {
        case .none, .oldest: return Victim(first: Double(columns.number(.writtenStep, block, slot)), second: commit, name: name, row: row)
        case .leastUsed:
            return Victim(
                first: Double(columns.number(.useCount, block, slot)), second: columns.number(.lastUsedStep, block, slot), name: name,
                row: row)
        case .lowestNorm:
            let norm = columns.key(block, slot).reduce(0.0) { $0 + Double($1) * Double($1) }
            return Victim(first: norm, second: commit, name: name, row: row)
        }
    }

    /// Does what was planned. Collective.
    ///
    /// - Parameters:
    ///   - keepsUndo: whether the edit can be reverted.
    ///   - compacting: whether all that was ever replaced or deleted leaves the files.
    ///   - adjusting: what else is to change in the manifest.
    /// - Returns: the receipt.
    /// - Throws: `UserError` (.inputOutput, .unavailable); the bank is then as it was, or the deletion holds, and this object is of no more
    ///   use.
    @discardableResult
    func perform(
        _ receipt: BankReceipt, _ plan: BankPlan, keepsUndo: Bool = true, compacting: Bool = false,
        adjusting: (inout BankManifest) -> Void = { _ in }
    ) throws -> BankReceipt {
        isBroken = true
        // Log and ledger first: what is about to happen is known, and a deletion cannot be forgotten.
        var tombstones = plan.tombstones
        if communicator.size > 1 {
            let all = try communicator.allGather(plan.tombstones.flatMap { [$0.hash, UInt64($0.version)].withUnsafeBytes { Array($0) } })
            tombstones = all.flatMap { bytes in
                bytes.withUnsafeBytes { bytes in
                    stride(from: 0, to: bytes.count, by: 16).map {
                        (
                            bytes.loadUnaligned(fromByteOffset: $0, as: UInt64.self),
                            Int(bytes.loadUnaligned(fromByteOffset: $0 + 8, as: UInt64.self))
                        )
                    }
                }
            }
        }
        tombstones.sort { $0.hash < $1.hash }
        try communicator.onEveryRank {
            if communicator.rank == 0 { try audit.append(receipt) } else { audit.note(receipt) }
            try ledger.add(tombstones, commit: receipt.commit, isWriter: communicator.rank == 0)
        }
        // Rows that go are not given to new records within one commit, so that its undo tells both.
        for record in plan.writes { write(record) }
        for row in plan.removals { remove(row) }
        try publish(receipt.commit, keepsUndo: keepsUndo, compacting: compacting, adjusting: adjusting)
        return receipt
    }

    /// Commits what is in memory and replaces the manifest. Collective.
    func publish(_ commit: Int, keepsUndo: Bool, compacting: Bool, adjusting: (inout BankManifest) -> Void = { _ in }) throws {
        isBroken = true
        let undo = try table.commit(commit, keepingUndo: keepsUndo, rebasing: compacting, to: segments, communicator)
        index.releaseEmpty(table)
        keyBlocks = keyBlocks.filter { table.blocks[$0.key] != nil }
        let before = Set(manifest.segments)
        var next = manifest
        (next.commit, next.parent, next.content) = (commit, manifestDigest, table.digest)
        next.records = try recordCount()
        next.chains = table.chains
        adjusting(&next)
        if compacting { (next.history, next.purgedThrough) = ([], commit) }
        if !undo.isEmpty { next.history.append(.init(commit: commit, segments: undo)) }
        if next.history.count > configuration.history { next.history.removeFirst(next.history.count - configuration.history) }
        let bytes = try next.bytes()
        try communicator.onEveryRank {
            guard communicator.rank == 0 else { return }
            try Failpoint.bankCommit.pass(directory)
            try DurableFile.replace(Directory.path(of: BankManifest.fileName, in: directory), by: bytes)
        }
        (manifest, manifestDigest) = (next, BankManifest.digest(bytes))
        isBroken = false
        // The commit is done; what it replaced goes, now or at the next opening.
        if compacting || !before.isSubset(of: manifest.segments) {
            try communicator.onEveryRank { if communicator.rank == 0 { notes += try sweep() } }
        }
    }
}

// Deleting for good, taking edits back, and the new keys of another encoder.

import Checkpoints
import Collectives
import Diagnostics
import Storage

/// What a deletion would do.
public struct DeletionPreview: Sendable, Codable, Equatable {
    /// Which records, in words.
    public let filter: String
    /// Records that would be deleted, children included.
    public let records: Int
    /// Their digest, to be given when it is to happen.
    public let digest: String
    /// The records among them that the filter does not mean, but that were derived from such as it means: namespace and id, sorted.
    public let children: [Child]

    /// A record that was derived from a deleted one.
    public struct Child: Sendable, Codable, Hashable {
        public let namespace: String
        public let id: String
    }
}

extension MemoryBank {
    /// What becomes of records that were derived from deleted ones.
    public enum Children: String, Sendable, CaseIterable {
        /// Where there are any, nothing is deleted.
        case refuse
        /// They are deleted too, and theirs.
        case cascade
    }

    /// What a deletion would do; nothing is changed. Collective.
    /// - Throws: `UserError` (.missingInput) where there is no such namespace or record.
    public func deletion(of filter: BankFilter) throws -> DeletionPreview { try planDeletion(filter).preview }

    /// Deletes records. Collective. The ledger keeps them from coming back; the bytes leave the files with ``compact(_:)``.
    ///
    /// - Parameters:
    ///   - children: what becomes of records that were derived from them.
    ///   - expected: the version that each record that the filter means must have; `nil` where that does not matter.
    ///   - digest: the digest of the preview: needed where the filter does not name records by id.
    /// - Throws: `UserError`: (.missingInput) where there is no such namespace or record, (.badData) where there are children, the version
    ///   has moved on or the digest is another, (.usage) where one is needed.
    public func delete(
        _ filter: BankFilter, children: Children = .refuse, expecting expected: Int? = nil, confirming digest: String? = nil,
        _ edit: BankEdit
    ) throws -> BankReceipt {
        try requireEditor()
        let (plan, preview, own) = try planDeletion(filter)
        if children == .refuse, let child = preview.children.first {
            throw UserError(
                .badData,
                "\(quantity(preview.children.count, "record")) \(preview.children.count == 1 ? "was" : "were") derived from what is to be deleted, such as '\(child.id)'",
                at: directory, advice: "see --dry-run; --children cascade deletes them too")
        }
        try communicator.onEveryRank {
            for record in own where expected != nil && record.version != expected {
                throw UserError(
                    .badData, "the record '\(record.id)' has version \(record.version), not \(expected ?? 0): it has moved on",
                    advice: "read it again and decide anew")
            }
        }
        guard digest != nil || filter.namesRecords else {
            throw UserError(
                .usage, "the filter means \(quantity(preview.records, "record"))", at: directory,
                advice: "confirm with --confirm \(preview.digest)")
        }
        if let digest, digest != preview.digest {
            throw UserError(
                .badData, "the digest \(digest) was of other records: now \(quantity(preview.records, "record")) would go", at: directory,
                advice: "look again with --dry-run")
        }
        return try perform(try receipt(.delete, filter.description, plan, edit), plan)
    }

    /// The plan, the preview and the records of this rank that the filter means.
    private func planDeletion(_ filter: BankFilter) throws -> (plan: BankPlan, preview: DeletionPreview, own: [BankRecord]) {
        try requireScope(filter.scope, waiting: true)
        let rows = localRows(filter, waiting: true)
        let own = rows.compactMap { table.location($0).map { columns.record($0.block, $0.slot) } }
        try requireFound(own, filter)
        // Parents name records of their namespace: rounds, until nobody finds another child.
        var (chosen, front) = (Set(rows), own.map { DeletionPreview.Child(namespace: $0.namespace, id: $0.id) })
        var children: [DeletionPreview.Child] = []
        let parents = parentIndex()
        while true {
            let all = try gathered(front)
            if all.isEmpty { break }
            front = []
            for parent in all {
                for row in parents[parent] ?? [] where chosen.insert(row).inserted {
                    guard let (block, slot) = table.location(row) else { continue }
                    front.append(.init(namespace: columns.text(.namespace, block, slot), id: columns.text(.id, block, slot)))
                }
            }
            children += front
        }
        var plan = BankPlan()
        for row in chosen.sorted() {
            guard let (block, slot) = table.location(row) else { continue }
            let record = columns.record(block, slot)
            plan.removals.append(row)
            plan.tombstones.append((record.hash, record.version))
            plan.digest.add(record.namespace, record.id, version: record.version)
            plan.count(.deleted)
            if record.sightings == 0 { plan.growth -= 1 }
        }
        var digest = RecordSetDigest()
        for bytes in try communicator.allGather(plan.digest.bytes) { digest.add(RecordSetDigest(bytes)) }
        let list = try gathered(children).sorted { ($0.namespace, $0.id) < ($1.namespace, $1.id) }
        return (plan, DeletionPreview(filter: filter.description, records: digest.count, digest: digest.text, children: list), own)
    }

    /// Rows of this rank by the records that they were derived from.
    private func parentIndex() -> [DeletionPreview.Child: [Int]] {
        var parents: [DeletionPreview.Child: [Int]] = [:]
        for row in index.all {
            guard let (block, slot) = table.location(row), !block.variableBytes(BankColumns.Text.parents.rawValue, slot).isEmpty else {
                continue
            }
            let record = columns.record(block, slot)
            for parent in record.parents { parents[.init(namespace: record.namespace, id: parent), default: []].append(row) }
        }
        return parents
    }

    private func gathered(_ own: [DeletionPreview.Child]) throws -> [DeletionPreview.Child] {
        guard communicator.size > 1 else { return own }
        return try communicator.allGather(Array(try JSONText.line(own).utf8)).flatMap {
            try BankJSON.decoder.decode([DeletionPreview.Child].self, from: .init($0))
        }
    }

    // MARK: Purging

    /// Writes new bases of what is there and removes every segment that holds anything else: what was deleted or replaced is then in no
    /// file of the bank, and cannot be reverted. An index is made again. Collective.
    public func compact(_ edit: BankEdit) throws -> BankReceipt {
        try requireEditor()
        let receipt = try receipt(.compact, "all namespaces", BankPlan(), edit)
        // A centroid may be the key of a record that was alone in its list: the index is made of what is left.
        let made = try manifest.index.flatMap { try trainedIndex(lists: $0.lists, commit: receipt.commit) }
        try perform(receipt, BankPlan(), keepsUndo: false, compacting: true) { $0.index = made?.link }
        following = made
        return receipt
    }

    // MARK: Taking back

    /// Undoes a commit by another one: what it made goes, what it changed or deleted is as it was, as a later version. Collective.
    ///
    /// - Throws: `UserError`: (.usage) for a commit that is none or changed nothing, (.badData) where it was purged, or where a record has
    ///   been changed since, (.configuration) where there is no room any more.
    public func revert(_ commit: Int, _ edit: BankEdit) throws -> BankReceipt {
        try requireEditor()
        guard let place = manifest.history.firstIndex(where: { $0.commit == commit }) else {
            if (1...max(1, manifest.commit)).contains(commit),
                commit <= manifest.purgedThrough || audit.receipts.contains(where: { $0.commit == commit && $0.action != .abandoned })
            {
                throw UserError(
                    .badData,
                    "what commit \(commit) replaced was purged\(commit <= manifest.purgedThrough ? " by the compaction in commit \(manifest.purgedThrough)" : "")",
                    at: directory, advice: "put the records anew")
            }
            throw UserError(.usage, "there is no commit \(commit) that can be reverted", at: directory, advice: "see mneme memory audit")
        }
        if let rekey = audit.receipts.last(where: { $0.action == .rekey && $0.commit > commit && $0.commit <= manifest.commit }) {
            throw UserError(
                .badData, "all records got new keys since, in commit \(rekey.commit)", at: directory,
                advice: "put the records anew: their old keys are of another generation")
        }
        let plan = try communicator.onEveryRank { try planRevert(place, edit) }
        if let capacity = configuration.capacity {
            let records = try recordCount() + communicator.allReduced(plan.growth, .sum)
            guard records <= capacity else {
                throw UserError(
                    .configuration, "the bank is full: it has room for \(quantity(capacity, "record")), not \(records)", at: directory,
                    advice: "delete some first")
            }
        }
        var receipt = try receipt(.revert, "commit \(commit)", plan, edit)
        receipt.reverts = commit
        return try perform(receipt, plan)
    }

    private func planRevert(_ place: Int, _ edit: BankEdit) throws -> BankPlan {
        let commit = manifest.history[place].commit
        let own = try ownUndo(manifest.history[place])
        // What a later commit changed or deleted, by record and by row; of several commits on a row the first one.
        var later: [UInt64: Int] = [:]
        var laterRows: [Int: (id: String, commit: Int)] = [:]
        for entry in manifest.history.dropFirst(place + 1) {
            for segment in try ownUndo(entry) {
                for (index, row) in segment.rows.enumerated() {
                    let record = columns.record(segment.image(index, columns.layout))
                    later[record.hash] = entry.commit
                    if laterRows[row] == nil { laterRows[row] = (record.id, entry.commit) }
                }
            }
        }
        func conflict(_ id: String, _ commit: Int) -> UserError {
            UserError(
                .badData, "the record '\(id)' has been changed since, in commit \(commit)", at: directory,
                advice: "revert that commit first, or put the record")
        }
        var plan = BankPlan()
        for segment in own {
            for row in segment.removed {
                if let since = laterRows[row] { throw conflict(since.id, since.commit) }
                guard let (block, slot) = table.location(row) else { continue }
                let record = columns.record(block, slot)
                plan.removals.append(row)
                plan.digest.add(record.namespace, record.id, version: record.version)
                plan.count(.deleted)
                if record.sightings == 0 { plan.growth -= 1 }
            }
            for index in segment.rows.indices {
                var record = columns.record(segment.image(index, columns.layout))
                let hash = record.hash
                let current = self.index.row(hash).flatMap { table.location($0) }.map { columns.record($0.block, $0.slot) }
                if let since = current.flatMap({ $0.commit > commit ? $0.commit : nil }) ?? later[hash] { throw conflict(record.id, since) }
                if record.sightings == 0, current == nil || current?.sightings != 0 { plan.growth += 1 }
                record.version = max(record.version, current?.version ?? 0, ledger.deadVersion(hash)) + 1
                (record.commit, (record.writtenStep, record.writtenTime)) = (nextCommit, edit.recordStamp)
                plan.writes.append(record)
                plan.digest.add(record.namespace, record.id, version: record.version)
                plan.count(current == nil ? .created : .changed)
            }
        }
        return plan
    }

    /// The undo segments of a commit that are of this rank's shards.
    func ownUndo(_ entry: BankManifest.Undo) throws -> [RowSegment] {
        try entry.segments.compactMap { name -> RowSegment? in
            guard let reference = SegmentReference(name: name) else {
                throw UserError(.badData, "'\(name)' names no segment", at: directory, advice: "restore the manifest from a copy")
            }
            let segment = try RowSegment(reference, in: segments, columns.layout)
            return table.owns(shard: segment.shard) ? segment : nil
        }
    }

    // MARK: Another encoder

    /// Gives every record a new key, made from its text or what else it holds. Collective; one commit, and another for the index where there is one.
    ///
    /// - Parameters:
    ///   - generation: the new encoder; keys stay as wide as the bank's.
    ///   - encode: the keys of records, many at a time; `nil` for one that cannot have one.
    /// - Throws: `UserError` (.configuration) for another width, (.badData) where a record gets no key, and what `encode` throws.
    public func rekey(_ generation: BankGeneration, _ edit: BankEdit, _ encode: ([BankRecord]) throws -> [[Float]?]) throws -> BankReceipt {
        try requireEditor()
        guard configuration.keyWidth > 0 else {
            throw UserError(.configuration, "the bank has no keys", at: directory, advice: "make a bank with keys")
        }
        guard generation.width == configuration.keyWidth else {
            throw UserError(
                .configuration, "keys of \(generation.width) elements for a bank of \(configuration.keyWidth)", at: directory,
                advice: "export the records and import them into a bank of that width")
        }
        var plan = BankPlan()
        let rows = index.all.sorted()
        try communicator.onEveryRank {
            for start in stride(from: 0, to: rows.count, by: 4096) {
                let records = rows[start..<min(start + 4096, rows.count)].compactMap { table.location($0).map { columns.record($0.block, $0.slot) } }
                for (before, key) in zip(records, try encode(records)) {
                    var record = before
                    guard let key else {
                        throw UserError(
                            .badData, "the record '\(record.id)' gets no key", at: directory,
                            advice: "give each record a text for its key, or a key in the file")
                    }
                    record.key = key
                    try record.validate(configuration)
                    (record.version, record.commit, record.generation) = (record.version + 1, nextCommit, manifest.generations.count)
                    plan.writes.append(record)
                    plan.digest.add(record.namespace, record.id, version: record.version)
                    plan.count(.changed)
                }
            }
        }
        let receipt = try receipt(.rekey, generation.description, plan, edit)
        let lists = manifest.index?.lists
        try perform(receipt, plan, keepsUndo: false) {
            $0.generations.append(generation)
            $0.index = nil
        }
        following = nil
        if let lists { try makeIndex(lists: lists) }
        return receipt
    }
}

// A bank: records that are written, found, changed and deleted, and outlive a run.
//
// P ranks, S virtual shards. A record belongs to the shard that the hash of its namespace and id names, so every rank knows without asking
// whose it is.

import Checkpoints
import Collectives
import Diagnostics
import Storage

/// Records in partitions, kept in a directory and committed by increments.
///
/// On several ranks each holds the records of its virtual shards. Every member marked *collective* is called by all ranks with the same
/// arguments, and gives all of them the same answer; what the bank's files hold does not depend on the number of ranks.
///
/// An edit writes its line of the audit log first, then (for deletions) the ledger, then the segments, then the manifest; until that is
/// replaced the bank is as it was. One editor at a time holds the bank's lock. Readers need none.
public final class MemoryBank {
    /// How a bank is opened.
    public enum Access: Sendable {
        case reading
        /// For the session that will hold the lock.
        case editing(SessionIdentity)
    }

    /// Where its manifest, logs and lock are.
    public let directory: String
    /// The ranks that share it.
    public let communicator: any Communicator
    /// Its rules.
    public var configuration: BankConfiguration { manifest.configuration }
    /// What was passed over or put right when it was opened.
    public internal(set) var notes: [String] = []

    let segments: SegmentStore
    let columns: BankColumns
    var manifest: BankManifest
    var manifestDigest: String
    var table: RowTable { didSet { keyBlocks = [:] } }
    /// The keys of blocks as searches read them, by the blocks' numbers.
    var keyBlocks: [Int: SearchedBlock] = [:]
    /// The index, once it was needed.
    var following: FollowingIndex?
    var ledger: TombstoneLedger
    var audit: BankAuditLog
    var index = BankIndex()
    private let lock: DirectoryLock?
    private let isEditor: Bool
    /// Whether an edit failed half way: what is in memory is then not what is on the disk.
    var isBroken = false
    private var loadedEncoder: (any TextEncoder)?

    /// The lock's file name.
    static let lockName = "bank.lock"

    // MARK: Making and opening

    /// Makes an empty bank in a directory that does not exist yet or is empty. Collective.
    /// - Parameter generation: the encoder of the keys; `nil` for a bank without keys, and for one with an encoder of the program's.
    /// - Throws: `UserError` (.configuration, .inputOutput).
    public static func create(
        _ directory: String, _ configuration: BankConfiguration, generation: BankGeneration? = nil,
        communicator: any Communicator = SingleProcess()
    ) throws {
        try communicator.onEveryRank {
            try configuration.validate()
            let encoder = configuration.encoder.flatMap { TextEncoders.named($0, width: configuration.keyWidth) }
            let generation = encoder?.generation ?? generation
            guard configuration.keyWidth == 0 || generation != nil else {
                throw UserError(
                    .configuration, "the bank has keys, and nothing says what made them", at: directory,
                    advice: "name the model, or choose an encoder")
            }
            guard generation.map({ $0.width == configuration.keyWidth }) ?? true else {
                throw UserError(
                    .configuration, "keys of \(configuration.keyWidth) elements from an encoder of \(generation?.width ?? 0)",
                    at: directory, advice: "give both one width")
            }
            guard communicator.rank == 0 else { return }
            if try !Directory.names(in: directory).isEmpty {
                throw UserError(.configuration, "is not empty", at: directory, advice: "choose another directory for the new bank")
            }
            try Directory.make(directory)
            var manifest = BankManifest(configuration)
            manifest.generations = generation.map { [$0] } ?? []
            try DurableFile.replace(Directory.path(of: BankManifest.fileName, in: directory), by: try manifest.bytes())
        }
    }

    /// Opens a bank to be edited; where there is none it is made first. Collective.
    ///
    /// - Parameters:
    ///   - configuration: the rules of a new bank; one that is there keeps its own.
    ///   - generation: of a new bank's keys.
    ///   - identity: of the session that will hold the lock.
    /// - Throws: as ``create(_:_:generation:communicator:)`` and ``init(_:_:communicator:)``.
    public static func openedOrMade(
        _ directory: String, _ configuration: BankConfiguration, generation: BankGeneration?, _ identity: SessionIdentity,
        communicator: any Communicator
    ) throws -> MemoryBank {
        // Whether there is a bank is rank 0's to say: another rank might look when it is there already.
        if try communicator.agreeOnFlag(communicator.rank == 0 && !exists(directory) ? 1 : 0) > 0 {
            try create(directory, configuration, generation: generation, communicator: communicator)
        }
        try communicator.barrier()
        return try MemoryBank(directory, .editing(identity), communicator: communicator)
    }

    /// Whether a directory is a bank's.
    public static func exists(_ directory: String) -> Bool {
        Directory.exists(Directory.path(of: BankManifest.fileName, in: directory)) == .file
    }

    /// Opens a bank and reads the records of this rank. Collective.
    ///
    /// A record that the ledger has as deleted is dropped, however it came back into the files.
    /// - Throws: `UserError`: (.missingInput) where there is none, (.badData) where a file of it is damaged, (.unavailable) where another
    ///   session edits it.
    public init(_ directory: String, _ access: Access = .reading, communicator: any Communicator = SingleProcess()) throws {
        self.directory = directory
        self.communicator = communicator
        segments = SegmentStore(run: directory)
        switch access {
        case .reading: (lock, isEditor) = (nil, false)
        case .editing(let identity):
            isEditor = true
            lock = try communicator.onEveryRank { communicator.rank == 0 ? try Self.locked(directory, identity) : nil }
        }
        var attempt = 0
        while true {
            attempt += 1
            let bytes = try Self.manifestBytes(directory, communicator)
            let manifest = try communicator.onEveryRank {
                try BankManifest(bytes, at: Directory.path(of: BankManifest.fileName, in: directory))
            }
            let columns = BankColumns(manifest.configuration)
            do {
                let table = try communicator.onEveryRank {
                    try RowTable(
                        columns.layout, manifest.chains, in: SegmentStore(run: directory), rank: communicator.rank,
                        worldSize: communicator.size)
                }
                (self.manifest, manifestDigest, self.columns, self.table) = (manifest, BankManifest.digest(bytes), columns, table)
                break
            } catch {
                // An editor may have replaced the manifest, and removed what it listed, since it was read.
                guard attempt < 5, try Self.manifestBytes(directory, communicator) != bytes else { throw error }
            }
        }
        (ledger, audit) = try communicator.onEveryRank { (try TombstoneLedger(directory), try BankAuditLog(directory)) }
        index = try communicator.onEveryRank { try BankIndex(table, columns, of: directory) }
        try dropDeleted()
        if isEditor { try settle() }
    }

    private static func locked(_ directory: String, _ identity: SessionIdentity) throws -> DirectoryLock {
        guard exists(directory) else { throw noBank(directory) }
        do { return try DirectoryLock(directory: directory, name: lockName, identity: identity) } catch let error as UserError {
            throw UserError(
                error.exitCode, error.what.replacing("session has this run directory", with: "session edits this bank"), at: error.place,
                advice: error.advice)
        }
    }

    private static func noBank(_ directory: String) -> UserError {
        UserError(
            .missingInput, Directory.exists(directory) == nil ? "no such directory" : "is no bank", at: directory,
            advice: "name the directory of a bank; mneme memory create makes one")
    }

    /// The manifest as rank 0 reads it.
    private static func manifestBytes(_ directory: String, _ communicator: any Communicator) throws -> [UInt8] {
        let own = try communicator.onEveryRank { () -> [UInt8] in
            guard communicator.rank == 0 else { return [] }
            guard exists(directory) else { throw noBank(directory) }
            return try DurableFile.read(Directory.path(of: BankManifest.fileName, in: directory))
        }
        return communicator.size == 1 ? own : try communicator.broadcasted(own, root: 0)
    }

    /// Gives the lock back.
    public func close() { lock?.release() }

    /// Drops records that the ledger has as deleted. They leave the files with the next commit.
    func dropDeleted() throws {
        var count = 0
        for (hash, entry) in ledger.entries {
            guard let row = index.row(hash), let (block, slot) = table.location(row), columns.number(.version, block, slot) <= entry.version
            else { continue }
            remove(row, isUndoable: false)
            count += 1
        }
        let all = try communicator.allReduced(count, .sum)
        if all > 0 { notes.append("\(directory): \(quantity(all, "record")) of its files had been deleted and stay so") }
    }

    /// Commits that were interrupted, or that a run went back behind, as the log says.
    var settledCommits: Set<Int> { Set(audit.receipts.filter { [.abandoned, .finished].contains($0.action) }.map(\.commit)) }

    /// Says in the log what became of an edit that a crash interrupted, and removes what it left.
    func settle() throws {
        try communicator.onEveryRank {
            guard communicator.rank == 0 else { return }
            let settled = settledCommits
            for receipt in audit.receipts where receipt.commit > manifest.commit && !settled.contains(receipt.commit) {
                let isDeleted = ledger.entries.values.contains { $0.commit == receipt.commit }
                let edit = BankEdit(step: receipt.step, time: receipt.time, author: receipt.author, reason: "interrupted")
                var line = BankReceipt(isDeleted ? .finished : .abandoned, commit: receipt.commit, filter: receipt.filter, edit)
                if isDeleted { (line.records, line.digest, line.deleted) = (receipt.records, receipt.digest, receipt.deleted) }
                try audit.append(line)
                notes.append(
                    "\(directory): commit \(receipt.commit) (\(receipt.action.rawValue)) was interrupted: it \(isDeleted ? "holds" : "did not happen")"
                )
            }
            for name in try Directory.names(in: directory) where DurableFile.isPartial(name) {
                try Directory.remove(Directory.path(of: name, in: directory))
            }
            notes += try sweep()
        }
        try communicator.barrier()
        if communicator.size > 1 { audit = try communicator.onEveryRank { communicator.rank == 0 ? audit : try BankAuditLog(directory) } }
    }

    /// Removes segments that the manifest does not list.
    func sweep() throws -> [String] {
        try Failpoint.bankSweep.pass(segments.directory)
        return try segments.sweep(keeping: Set(manifest.segments.compactMap { SegmentReference(name: $0) }))
    }

    /// Makes sure that this object may edit.
    func requireEditor() throws {
        guard !isBroken else {
            throw UserError(
                .inputOutput, "an edit of this bank failed half way", at: directory,
                advice: "open it again: it is as it was before, or the deletion holds")
        }
        require(isEditor, "a bank that was opened for reading is not edited")
        try communicator.onEveryRank { try lock?.requireHeld() }
    }

    // MARK: Following another's edits

    /// Whether the files hold a later commit. Collective.
    public func isOutdated() throws -> Bool { BankManifest.digest(try Self.manifestBytes(directory, communicator)) != manifestDigest }

    /// Takes over what another session has committed since; reads only what is new. Collective.
    /// - Returns: whether there was anything.
    /// - Throws: as ``init(_:_:communicator:)``.
    public func refresh() throws -> Bool {
        require(!isEditor, "an editor's bank changes by its own edits only")
        guard try isOutdated() else { return false }
        let (before, chains, index) = (manifest.commit, table.chains, manifest.index)
        var attempt = 0
        while true {
            attempt += 1
            let bytes = try Self.manifestBytes(directory, communicator)
            do {
                try communicator.onEveryRank {
                    let newer = try BankManifest(bytes, at: Directory.path(of: BankManifest.fileName, in: directory))
                    guard newer.configuration == configuration else {
                        throw UserError(.configuration, "another bank took the place of this one", at: directory, advice: "open it again")
                    }
                    // Dropped records would be missing where a delta removes them.
                    if table.hasChanges {
                        table = try RowTable(
                            columns.layout, newer.chains, in: segments, rank: communicator.rank, worldSize: communicator.size)
                    } else {
                        _ = try table.advance(to: newer.chains, from: segments)
                    }
                    (manifest, manifestDigest) = (newer, BankManifest.digest(bytes))
                    (ledger, audit) = (try TombstoneLedger(directory), try BankAuditLog(directory))
                }
                break
            } catch {
                table = RowTable(columns.layout, rank: communicator.rank, worldSize: communicator.size)
                guard attempt < 5, try Self.manifestBytes(directory, communicator) != bytes else { throw error }
            }
        }
        self.index = try communicator.onEveryRank { try BankIndex(table, columns, of: directory) }
        if manifest.index != index { following = nil }
        followEdits(after: before, replaced: Set(chains.indices.filter { !table.chains[$0].links.starts(with: chains[$0].links) }))
        try dropDeleted()
        return true
    }

    // MARK: Reading

    /// The last commit.
    public var commit: Int { manifest.commit }
    /// The digest of all records, the same on any number of ranks.
    public var contentDigest: String { manifest.content }
    /// What made the keys.
    public var generation: BankGeneration? { manifest.generations.last }
    /// Makes keys where the bank's encoder is the model of its run; called once, when a key is wanted.
    public var runEncoder: (() throws -> any TextEncoder)?

    /// What makes keys from texts; `nil` where keys come with the records.
    /// - Throws: what ``runEncoder`` throws; `UserError` (.configuration) where the bank needs a run's model and has none.
    public func encoder() throws -> (any TextEncoder)? {
        if let loadedEncoder { return loadedEncoder }
        guard let name = configuration.encoder else { return nil }
        if name == TextEncoders.run, runEncoder == nil {
            throw UserError(
                .configuration, "its keys come from the model of a run", at: directory, advice: "keep the bank in the directory banks of its run")
        }
        loadedEncoder = name == TextEncoders.run ? try runEncoder?() : TextEncoders.named(name, width: configuration.keyWidth)
        return loadedEncoder
    }

    /// The keys of texts by the bank's own encoder, to search with; `nil` where it has none.
    /// - Throws: as ``encoder()``, and where the encoder is of another generation than the bank's keys.
    public func queries(_ texts: [String]) throws -> [[Float]]? {
        guard let encoder = try encoder() else { return nil }
        try requireGeneration(encoder.generation)
        return try encoder.keys(texts)
    }
    /// The commits that can be reverted.
    public var revertibleCommits: [Int] { manifest.history.map(\.commit) }
    /// The receipts of all edits.
    public var receipts: [BankReceipt] { audit.receipts }
    /// Bytes of its segments.
    public var byteCount: Int { Set(manifest.segments).reduce(0) { $0 + (SegmentReference(name: $1)?.byteCount ?? 0) } }

    /// Records, without those that wait for their admission. Collective.
    public func recordCount() throws -> Int { try communicator.allReduced(index.admittedCount, .sum) }

    /// The namespaces with their records, sorted by name. Collective.
    public func namespaces() throws -> [(name: String, records: Int)] {
        var counts: [String: Int] = [:]
        for (name, count) in index.counts where count > 0 { counts[name] = count }
        if communicator.size > 1 {
            let packed = Array(
                try JSONText.line(counts.sorted { $0.key < $1.key }.map { NamespaceCount(name: $0.key, records: $0.value) }).utf8)
            counts = [:]
            for bytes in try communicator.allGather(packed) {
                for entry in try BankJSON.decoder.decode([NamespaceCount].self, from: .init(bytes)) {
                    counts[entry.name, default: 0] += entry.records
                }
            }
        }
        return counts.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { ($0.key, $0.value) }
    }

    private struct NamespaceCount: Codable { let name: String; let records: Int }

    /// Makes sure that a namespace has records. Collective.
    /// - Parameter waiting: whether records count that wait for their admission.
    /// - Throws: `UserError` (.missingInput).
    func requireScope(_ scope: NamespaceScope, waiting: Bool = false) throws {
        guard case .one(let name) = scope else { return }
        let own = waiting ? index.blocks(in: scope).count : index.counts[name] ?? 0
        guard try communicator.allReduced(own, .sum) > 0 else {
            throw UserError(.missingInput, "has no namespace '\(name)'", at: directory, advice: "see mneme memory list --namespaces")
        }
    }

    /// The record of an id; `nil` where this rank has none.
    public func localRecord(_ id: String, namespace: String) -> BankRecord? {
        guard let row = index.row(BankRecord.hash(namespace, id)), let (block, slot) = table.location(row),
            columns.text(.id, block, slot) == id,
            columns.text(.namespace, block, slot) == namespace
        else { return nil }
        let record = columns.record(block, slot)
        return record.sightings == 0 ? record : nil
    }

    /// This rank's records that meet a filter, sorted by namespace and id.
    /// - Complexity: O(ids) where the filter names ids in one namespace, else O(rows).
    public func localRecords(_ filter: BankFilter) -> [BankRecord] {
        localRows(filter, waiting: false).compactMap { table.location($0).map { columns.record($0.block, $0.slot) } }.sorted(
            by: Self.precedes)
    }

    static func precedes(_ one: BankRecord, _ other: BankRecord) -> Bool {
        one.namespace == other.namespace
            ? one.id.utf8.lexicographicallyPrecedes(other.id.utf8) : one.namespace.utf8.lexicographicallyPrecedes(other.namespace.utf8)
    }

    /// The rows of this rank that a filter means.
    /// - Parameter waiting: whether rows count that wait for their admission.
    func localRows(_ filter: BankFilter, waiting: Bool) -> [Int] {
        func isMeant(_ row: Int) -> Bool {
            guard let (block, slot) = table.location(row) else { return false }
            return (waiting || columns.small(.sightings, block, slot) == 0) && filter.matches(columns, block, slot)
        }
        if let ids = filter.ids, case .one(let namespace) = filter.scope {
            return Set(ids).compactMap { id in
                guard let row = index.row(BankRecord.hash(namespace, id)), let (block, slot) = table.location(row),
                    columns.text(.id, block, slot) == id
                else { return nil }
                return isMeant(row) ? row : nil
            }.sorted()
        }
        let ids = filter.ids.map(Set.init)
        var rows: [Int] = []
        for block in index.blocks(in: filter.scope) {
            for place in table.blocks[block]?.occupied ?? [] {
                let row = block * columns.layout.blockRows + place
                guard isMeant(row) else { continue }
                if let ids, let (block, slot) = table.location(row), !ids.contains(columns.text(.id, block, slot)) { continue }
                rows.append(row)
            }
        }
        return rows
    }

    // MARK: Rows and their index

    /// Removes a row and what is known of it.
    func remove(_ row: Int, isUndoable: Bool = true) {
        guard let (block, slot) = table.location(row) else { return }
        index.remove(
            row, hash: BankRecord.hash(columns.text(.namespace, block, slot), columns.text(.id, block, slot)),
            namespace: columns.text(.namespace, block, slot),
            isAdmitted: columns.small(.sightings, block, slot) == 0, layout: columns.layout)
        table.remove(row, isUndoable: isUndoable)
        following?.note(row)
    }

    /// Writes a record into its row, or into a new one.
    func write(_ record: BankRecord) {
        let hash = record.hash
        if let row = index.row(hash), let (block, slot) = table.location(row) {
            index.count(record.namespace, (record.sightings == 0 ? 1 : 0) - (columns.small(.sightings, block, slot) == 0 ? 1 : 0))
            table.set(row, columns.image(record))
            following?.note(row)
            return
        }
        let row = index.allocate(shard: Int(hash % UInt64(columns.layout.shards)), record.namespace, table)
        index.insert(row, hash: hash, namespace: record.namespace, isAdmitted: record.sightings == 0)
        table.set(row, columns.image(record))
        following?.note(row)
    }

    /// Where a row of this rank's lies that holds a record which does not wait for its admission.
    func admitted(_ row: Int) -> (block: RowBlock, slot: Int)? {
        guard row >= 0, let (block, slot) = table.location(row), columns.small(.sightings, block, slot) == 0 else { return nil }
        return (block, slot)
    }

    /// Whether this rank holds the record of a hash.
    func owns(_ hash: UInt64) -> Bool { table.owns(shard: Int(hash % UInt64(columns.layout.shards))) }
}

// What was done to a bank, and what must not come back.

import Diagnostics
import Storage

/// Who changes a bank, and when.
public struct BankEdit: Sendable {
    /// The training step; 0 outside of a training run.
    public var step: Int
    /// Seconds since 1970.
    public var time: Int
    /// Who does it.
    public var author: String
    /// Why; may be empty.
    public var reason: String
    /// Whether a run writes what its data say. Its records bear neither step nor time: a bank that a run keeps is a function of its run file and data,
    /// the same bits whenever it runs and whenever it saves.
    public var isOfRun = false

    /// What records that the edit writes bear.
    var recordStamp: (step: Int, time: Int) { isOfRun ? (0, 0) : (step, time) }

    /// An edit by `author`.
    public init(step: Int = 0, time: Int, author: String, reason: String = "") {
        (self.step, self.time, self.author, self.reason) = (step, time, author, reason)
    }
}

/// What an edit did: the receipt that its caller gets, and the line of the audit log.
public struct BankReceipt: Codable, Sendable, Equatable {
    /// Kinds of edits.
    public enum Action: String, Codable, Sendable, CaseIterable {
        case put, append, update, delete, `import`, rekey, compact, revert
        /// What a crash kept from happening: the commit of this number was announced and is no part of the bank.
        case abandoned
        /// A deletion that a crash interrupted after it was in the ledger: it holds.
        case finished
    }

    /// The commit.
    public internal(set) var commit: Int
    /// What was done.
    public let action: Action
    /// To which records, in words.
    public let filter: String
    /// Records that were written or deleted.
    public internal(set) var records: Int
    /// Their digest: of namespaces, ids and versions.
    public internal(set) var digest: String
    /// Records that are new.
    public internal(set) var created = 0
    /// Records that got another content.
    public internal(set) var changed = 0
    /// Records that were there already, with the same content.
    public internal(set) var unchanged = 0
    /// Records that were deleted.
    public internal(set) var deleted = 0
    /// Records that made room.
    public internal(set) var evicted = 0
    /// Records that wait for more sightings.
    public internal(set) var waiting = 0
    /// Records that were passed over because they had been deleted.
    public internal(set) var refusedDeleted = 0
    /// Records that were passed over because they had been read from a bank.
    public internal(set) var refusedRecall = 0
    /// The commit that was reverted.
    public internal(set) var reverts: Int?
    /// The training step.
    public let step: Int
    /// Seconds since 1970.
    public let time: Int
    /// Who did it.
    public let author: String
    /// Why.
    public let reason: String

    /// Whether everything was there already, so that no commit was made.
    public var changesNothing: Bool {
        [.put, .append, .update, .import].contains(action) && created + changed + deleted + evicted + waiting == 0
    }

    init(_ action: Action, commit: Int, filter: String, records: Int = 0, digest: String = RecordSetDigest().text, _ edit: BankEdit) {
        (self.action, self.commit, self.filter, self.records, self.digest) = (action, commit, filter, records, digest)
        (step, time, author, reason) = (edit.step, edit.time, edit.author, edit.reason)
    }
}

/// A commit's deletions, as the ledger keeps them: one line, so that all of them are there or none.
private struct Tombstones: Codable {
    let commit: Int
    /// Of each record the hash of namespace and id, sixteen hexadecimal digits, a colon and the version that was deleted: it and all before
    /// it are dead.
    let records: [String]
}

/// What was deleted. It only grows, and whatever brings records in asks it: a restored file, an import, an append.
struct TombstoneLedger {
    static let fileName = "deleted.jsonl"

    private var log: ChainedLog
    private(set) var entries: [UInt64: (version: Int, commit: Int)] = [:]

    init(_ directory: String) throws {
        var entries: [UInt64: (version: Int, commit: Int)] = [:]
        let path = Directory.path(of: Self.fileName, in: directory)
        log = try ChainedLog(path) { json, line in
            func refused() -> UserError {
                UserError(.badData, "is no entry of a ledger of deletions", at: "\(path):\(line)", advice: "restore the file from a copy")
            }
            guard let tombstones = try? BankJSON.decoder.decode(Tombstones.self, from: .init(json)) else { throw refused() }
            for record in tombstones.records {
                let fields = record.split(separator: ":")
                guard fields.count == 2, let hash = UInt64(fields[0], radix: 16), let version = Int(fields[1]) else { throw refused() }
                if entries[hash].map({ $0.version < version }) ?? true { entries[hash] = (version, tombstones.commit) }
            }
        }
        self.entries = entries
    }

    /// The highest version that is dead; 0 where none is.
    func deadVersion(_ hash: UInt64) -> Int { entries[hash]?.version ?? 0 }

    /// - Parameter isWriter: whether this rank writes the file.
    mutating func add(_ tombstones: [(hash: UInt64, version: Int)], commit: Int, isWriter: Bool) throws {
        if isWriter, !tombstones.isEmpty {
            try log.append([Tombstones(commit: commit, records: tombstones.map { "\(hexadecimal($0.hash)):\($0.version)" })])
        }
        for tombstone in tombstones where deadVersion(tombstone.hash) < tombstone.version {
            entries[tombstone.hash] = (tombstone.version, commit)
        }
    }
}

/// The log of receipts.
struct BankAuditLog {
    static let fileName = "audit.jsonl"

    private var log: ChainedLog
    private(set) var receipts: [BankReceipt] = []

    init(_ directory: String) throws {
        var receipts: [BankReceipt] = []
        let path = Directory.path(of: Self.fileName, in: directory)
        log = try ChainedLog(path) { json, line in
            do { receipts.append(try BankJSON.decoder.decode(BankReceipt.self, from: .init(json))) } catch {
                throw UserError(
                    .badData, "is no line of an audit log: \(BankJSON.reason(error))", at: "\(path):\(line)",
                    advice: "restore the file from a copy")
            }
        }
        self.receipts = receipts
    }

    /// The highest commit that was announced.
    var lastCommit: Int { receipts.map(\.commit).max() ?? 0 }

    /// Remembers a receipt that another rank writes.
    mutating func note(_ receipt: BankReceipt) { receipts.append(receipt) }

    mutating func append(_ receipt: BankReceipt) throws {
        try log.append([receipt])
        receipts.append(receipt)
    }
}

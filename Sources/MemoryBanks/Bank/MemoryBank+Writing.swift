// Putting, appending and updating records.

import Collectives
import Diagnostics
import Storage

/// What an update changes in records; `nil` leaves as it is.
public struct BankPatch: Sendable {
    public var key: [Float]?
    public var keyText: String?
    public var value: BankValue?
    public var source: String?
    public var parents: [String]?
    public var validFrom: Int?
    public var validTo: Int?

    /// A patch that changes nothing yet.
    public init() {}

    fileprivate func applied(to record: BankRecord) -> BankRecord {
        var record = record
        if let keyText { record.keyText = keyText }
        if let key { record.key = key }
        if let value { record.value = value }
        if let source { record.source = source }
        if let parents { record.parents = parents }
        if let validFrom { record.validFrom = validFrom }
        if let validTo { record.validTo = validTo }
        return record
    }
}

extension MemoryBank {
    /// Writes records, each in the place of the one that has its id. Collective.
    ///
    /// - Parameters:
    ///   - expected: the version that each of them must have before, 0 for none at all; `nil` where that does not matter.
    ///   - generation: what made the keys; must be the bank's.
    ///   - resurrecting: whether records that were deleted may come back, as later versions.
    /// - Returns: the receipt; no commit is made, and its number is the bank's, where everything is there already.
    /// - Throws: `UserError`: (.badData) for a record that cannot be, that has moved on or was deleted, (.configuration) for a key or
    ///   generation of another encoder and where the bank is full, (.unavailable) where the lock was lost, (.inputOutput). Nothing is
    ///   written then.
    public func put(
        _ records: [BankRecord], expecting expected: Int? = nil, generation: BankGeneration? = nil, resurrecting: Bool = false,
        _ edit: BankEdit
    ) throws -> BankReceipt {
        try requireGeneration(generation)
        var plan = try plan(records, edit) { record, current in
            guard record.origin != .recall else {
                throw UserError(.badData, "the record '\(record.id)' was read from a bank", advice: "what was recalled is not stored again")
            }
            try requireVersion(expected, of: record.id, current)
            if current == nil, !resurrecting { try requireAlive(record) }
            return .write
        }
        return try finish(.put, quantity(records.count, "record"), &plan, edit)
    }

    /// Adds records, as a training run does: one that is there with the same content is left alone, one that was deleted or that was read
    /// from a bank is passed over, and one that was appended too seldom waits. Collective.
    ///
    /// - Returns: the receipt, which counts them.
    /// - Throws: as ``put(_:expecting:generation:resurrecting:_:)``; also (.badData) where an id is taken by another content.
    public func append(_ records: [BankRecord], generation: BankGeneration? = nil, _ edit: BankEdit) throws -> BankReceipt {
        try requireGeneration(generation)
        var plan = try plan(records, edit) { record, current in
            if record.origin == .recall { return .refuseRecall }
            guard let current else {
                return ledger.deadVersion(record.hash) > 0 ? .refuseDeleted : configuration.admission > 1 ? .wait(1) : .write
            }
            guard current.holdsSame(as: record) else {
                // What only waits is not there yet: the new content waits in its place.
                if current.sightings > 0 { return .wait(1) }
                throw UserError(
                    .badData, "the record '\(record.id)' is there with another content", advice: "put it instead, or give it another id")
            }
            guard current.sightings > 0 else { return .leave }
            return current.sightings + 1 >= configuration.admission ? .write : .wait(current.sightings + 1)
        }
        return try finish(.append, quantity(records.count, "record"), &plan, edit)
    }

    /// Writes the records of a file of exchange: as ``put(_:expecting:generation:resurrecting:_:)`` in one commit.
    func importing(_ records: [BankRecord], resurrecting: Bool, source: String, _ edit: BankEdit) throws -> BankReceipt {
        var plan = try plan(records, edit) { record, current in
            if current == nil, !resurrecting { try requireAlive(record) }
            if let current, current.sightings == 0, (1..<current.version).contains(record.version), !current.holdsSame(as: record) {
                throw UserError(
                    .badData, "the record '\(record.id)' has version \(current.version) here and \(record.version) there: it has moved on",
                    at: directory, advice: "leave the line out, or its version; nothing was imported")
            }
            return .write
        }
        return try finish(.import, source, &plan, edit)
    }

    /// Changes parts of records. Collective.
    ///
    /// - Parameters:
    ///   - others: ids of further records of the scope, in whose place the changed ones stand: they go in the same commit. That is no deletion: the
    ///     ledger does not have them, and they may come back.
    ///   - expected: the version that each of all these must have; `nil` where that does not matter.
    /// - Throws: as ``put(_:expecting:generation:resurrecting:_:)``; (.missingInput) where the filter finds nothing.
    public func update(
        _ filter: BankFilter, _ patch: BankPatch, replacing others: [String] = [], expecting expected: Int? = nil, _ edit: BankEdit
    ) throws -> BankReceipt {
        try requireEditor()
        try requireScope(filter.scope)
        let own = localRecords(filter)
        try requireFound(own, filter)
        var plan = BankPlan()
        try communicator.onEveryRank {
            for before in own {
                try requireVersion(expected, of: before.id, before)
                var record = patch.applied(to: before)
                if patch.keyText != nil, patch.key == nil {
                    record.key = []
                    record = try addingKey(record)
                    if record.key.isEmpty { record.key = before.key }
                }
                try record.validate(configuration)
                add(record, before, .write, edit, to: &plan)
            }
            for row in others.isEmpty ? [] : localRows(BankFilter(filter.scope, ids: others), waiting: false) {
                guard let (block, slot) = table.location(row) else { continue }
                let record = columns.record(block, slot)
                try requireVersion(expected, of: record.id, record)
                plan.removals.append(row)
                plan.digest.add(record.namespace, record.id, version: record.version)
                plan.count(.deleted)
                plan.growth -= 1
            }
        }
        return try finish(.update, filter.description, &plan, edit)
    }

    /// Counts a use of records at a training step. It is committed with the next edit or ``commitUses()``, and is no edit: there is no
    /// receipt. Collective.
    public func recordUse(_ filter: BankFilter, step: Int) throws {
        try requireEditor()
        for row in localRows(filter, waiting: false) {
            guard let (block, slot) = table.location(row) else { continue }
            let count = columns.number(.useCount, block, slot)
            func bytes(_ value: Int) -> [UInt8] { withUnsafeBytes(of: Int64(value).littleEndian) { Array($0) } }
            table.setFixed(row, column: columns.column(.useCount), bytes(count == Int.max ? count : count + 1))
            table.setFixed(row, column: columns.column(.lastUsedStep), bytes(max(step, columns.number(.lastUsedStep, block, slot))))
        }
    }

    /// Commits counted uses. Collective.
    public func commitUses() throws {
        try requireEditor()
        guard try communicator.agreeOnFlag(table.hasChanges ? 1 : 0) > 0 else { return }
        try publish(nextCommit, keepsUndo: false, compacting: false)
    }

    // MARK: Checks

    /// Whether this rank has a record of an id.
    /// - Parameter orHadDeleted: whether one counts that was deleted.
    package func has(_ id: String, namespace: String, orHadDeleted: Bool) -> Bool {
        let hash = BankRecord.hash(namespace, id)
        return index.row(hash) != nil || orHadDeleted && ledger.deadVersion(hash) > 0
    }

    /// Makes sure that keys are of the bank's generation.
    /// - Throws: `UserError` (.configuration).
    public func requireGeneration(_ generation: BankGeneration?) throws {
        guard let generation, generation != self.generation else { return }
        throw UserError(
            .configuration, "its keys are of another generation: \(self.generation?.description ?? "it has none"), not \(generation)",
            at: directory,
            advice: "use that encoder, or give the bank new keys with mneme memory rekey")
    }

    private func requireVersion(_ expected: Int?, of id: String, _ current: BankRecord?) throws {
        let version = current.map { $0.sightings > 0 ? 0 : $0.version } ?? 0
        guard let expected, expected != version else { return }
        throw UserError(
            .badData, "the record '\(id)' has \(version == 0 ? "no version" : "version \(version)"), not \(expected): it has moved on",
            advice: "read it again and decide anew")
    }

    private func requireAlive(_ record: BankRecord) throws {
        let dead = ledger.deadVersion(record.hash)
        guard dead > 0, record.version <= dead else { return }
        throw UserError(
            .badData, "the record '\(record.id)' was deleted in commit \(ledger.entries[record.hash]?.commit ?? 0)",
            advice: "leave it out; --resurrect brings it back")
    }

    /// - Throws: `UserError` (.missingInput) where no rank has found a record. Collective.
    func requireFound(_ own: [BankRecord], _ filter: BankFilter) throws {
        guard try communicator.allReduced(own.count, .sum) == 0 else { return }
        throw UserError(.missingInput, "has no such record: \(filter.description)", at: directory, advice: "see mneme memory list")
    }

    // MARK: Keys

    /// Texts that an encoder gets at a time.
    private static let textsAtOnce = 4096

    /// Gives records that bring a text for their key, and no key, the bank's encoder's.
    /// - Throws: what the encoder throws; `UserError` (.configuration) where it is of another generation than the bank's keys.
    func addKeys(_ records: inout [BankRecord]) throws {
        let places = records.indices.filter { records[$0].key.isEmpty && !records[$0].keyText.isEmpty }
        for start in stride(from: 0, to: places.count, by: Self.textsAtOnce) {
            let part = places[start..<min(start + Self.textsAtOnce, places.count)]
            guard let keys = try queries(part.map { records[$0].keyText }) else { return }
            for (place, key) in zip(part, keys) { records[place].key = key }
        }
    }

    /// The same for one record.
    func addingKey(_ record: BankRecord) throws -> BankRecord {
        var records = [record]
        try addKeys(&records)
        return records[0]
    }

    // MARK: Plans

    private enum Decision {
        case write, leave, refuseDeleted, refuseRecall
        /// It waits, after so many sightings.
        case wait(Int)
    }

    /// Plans the writing of a batch: each rank what is its own. Collective.
    private func plan(_ records: [BankRecord], _ edit: BankEdit, _ decide: (BankRecord, BankRecord?) throws -> Decision) throws -> BankPlan
    {
        try requireEditor()
        var plan = BankPlan()
        try communicator.onEveryRank {
            var seen: Set<UInt64> = []
            // The id of a record that has none is made from its text, or else from its key: nothing that the encoder adds.
            var own = records.compactMap { record in
                var record = record
                if record.id.isEmpty { record.id = record.idOfContent }
                return owns(record.hash) ? record : nil
            }
            try addKeys(&own)
            for record in own {
                let hash = record.hash
                try record.validate(configuration)
                guard seen.insert(hash).inserted else {
                    throw UserError(.badData, "the record '\(record.id)' comes twice", at: directory, advice: "give each record once")
                }
                let current = index.row(hash).flatMap { table.location($0) }.map { columns.record($0.block, $0.slot) }
                if let current, current.id != record.id || current.namespace != record.namespace {
                    throw UserError(
                        .badData, "the hash of the id '\(record.id)' is that of '\(current.id)'", at: directory,
                        advice: "give it another id")
                }
                add(record, current, try decide(record, current), edit, to: &plan)
            }
        }
        return plan
    }

    /// Adds one valid record to a plan.
    private func add(_ record: BankRecord, _ current: BankRecord?, _ decision: Decision, _ edit: BankEdit, to plan: inout BankPlan) {
        let admitted = current.flatMap { $0.sightings == 0 ? $0 : nil }
        var record = record
        record.sightings = 0
        switch decision {
        case .leave: return plan.count(.unchanged)
        case .refuseDeleted: return plan.count(.refusedDeleted)
        case .refuseRecall: return plan.count(.refusedRecall)
        case .wait(let sightings):
            record.sightings = sightings
            plan.count(.waiting)
            if current == nil { plan.waitingGrowth += 1 }
        case .write:
            if let admitted, admitted.holdsSame(as: record) { return plan.count(.unchanged) }
            plan.count(admitted == nil ? .created : .changed)
            if admitted == nil { plan.growth += 1 }
            if admitted == nil, current != nil { plan.waitingGrowth -= 1 }
        }
        // A record that comes from another bank, or was read here, brings its version.
        record.version = max(admitted?.version ?? 0, ledger.deadVersion(record.hash), record.version - 1) + 1
        (record.commit, (record.writtenStep, record.writtenTime)) = (nextCommit, edit.recordStamp)
        (record.lastUsedStep, record.useCount) = (admitted?.lastUsedStep ?? -1, admitted?.useCount ?? 0)
        record.generation = configuration.keyWidth == 0 ? -1 : manifest.generations.count - 1
        if record.sightings == 0 { plan.digest.add(record.namespace, record.id, version: record.version) }
        plan.writes.append(record)
    }

    /// Makes room, and does what was planned where that is anything.
    private func finish(_ action: BankReceipt.Action, _ filter: String, _ plan: inout BankPlan, _ edit: BankEdit) throws -> BankReceipt {
        try makeRoom(for: &plan)
        var receipt = try receipt(action, filter, plan, edit)
        guard try communicator.agreeOnFlag(plan.isEmpty ? 0 : 1) > 0 else {
            receipt.commit = commit
            return receipt
        }
        return try perform(receipt, plan)
    }
}

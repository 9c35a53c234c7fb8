// Sizes, ages and uses of a bank, and what looks wrong in it.

import Checkpoints
import Collectives
import Diagnostics
import HDF5
import Storage

/// What `inspect` tells of a bank.
public struct BankStatistics: Codable, Sendable {
    /// Records of a namespace.
    public struct Namespace: Codable, Sendable {
        public let name: String
        public let records: Int
    }
    /// The smallest, the mean and the largest of something.
    public struct Range: Codable, Sendable {
        public let minimum: Double
        public let mean: Double
        public let maximum: Double

        init?(_ values: [Double]) {
            guard let minimum = values.min(), let maximum = values.max() else { return nil }
            (self.minimum, mean, self.maximum) = (minimum, values.reduce(0, +) / Double(values.count), maximum)
        }
    }

    public let directory: String
    public let commit: Int
    public let contentDigest: String
    public let configuration: BankConfiguration
    public let generation: BankGeneration?
    public let records: Int
    public let waiting: Int
    public let namespaces: [Namespace]
    public let segments: Int
    public let bytes: Int
    public let revertibleCommits: Int
    /// The index; `nil` where the bank has none.
    public let index: BankIndexLink?
    /// Records that were written since the index was made.
    public let changedSinceIndex: Int
    /// Records that were deleted and are kept from coming back.
    public let deleted: Int
    /// Training steps since records were written, counted back from the last one at which any was written or used.
    public let age: Range?
    /// Uses of a record.
    public let uses: Range?
    /// Lengths of keys.
    public let norm: Range?
    /// Records that were never used.
    public let neverUsed: Int
    /// Records whose namespace, key and value another one has too, less one of each kind.
    public let duplicates: Int
}

/// Something that looks wrong in a bank.
public struct BankFinding: Codable, Sendable, Equatable {
    /// Kinds of findings.
    public enum Kind: String, Codable, Sendable, CaseIterable {
        case notFinite = "not-finite"
        case duplicate, orphan
        case normOutlier = "norm-outlier"
        case neverUsed = "never-used"
        case outOfTime = "out-of-time"
    }
    public let kind: Kind
    public let namespace: String
    public let id: String
    /// A sentence.
    public let text: String
}

extension MemoryBank {
    /// What the bank holds, of this process alone.
    /// - Precondition: one rank.
    /// - Throws: `UserError` (.missingInput) for a namespace that does not exist.
    /// - Complexity: O(bytes of the records).
    public func statistics(_ scope: NamespaceScope) throws -> BankStatistics {
        require(communicator.size == 1, "statistics are of one rank")
        if recordCountIsZero, scope == .all {} else { try requireScope(scope) }
        let records = localRecords(BankFilter(scope))
        let last = records.map { max($0.writtenStep, $0.lastUsedStep) }.max() ?? 0
        var kinds: Set<Content> = []
        let duplicates = records.count { !kinds.insert(Content($0)).inserted }
        return BankStatistics(
            directory: directory, commit: commit, contentDigest: contentDigest, configuration: configuration, generation: generation,
            records: records.count,
            waiting: index.waitingCount,
            namespaces: try namespaces().filter { scope.contains($0.name) }.map { .init(name: $0.name, records: $0.records) },
            segments: Set(manifest.segments).count, bytes: byteCount, revertibleCommits: manifest.history.count,
            index: manifest.index, changedSinceIndex: records.count { $0.commit > manifest.index?.commit ?? Int.max }, deleted: ledger.entries.count,
            age: .init(records.map { Double(last - $0.writtenStep) }), uses: .init(records.map { Double($0.useCount) }),
            norm: configuration.keyWidth == 0 ? nil : .init(records.map(Self.norm)), neverUsed: records.count { $0.useCount == 0 },
            duplicates: duplicates)
    }

    private var recordCountIsZero: Bool { index.admittedCount == 0 }

    /// What makes two records say the same.
    private struct Content: Hashable {
        let namespace: String, key: [Float], keyText: String, value: BankValue
        init(_ record: BankRecord) { (namespace, key, keyText, value) = (record.namespace, record.key, record.keyText, record.value) }
    }

    private static func norm(_ record: BankRecord) -> Double { record.key.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot() }

    /// What looks wrong: values that are not finite, duplicates, records whose parents are gone, keys whose length is more than six median
    /// deviations from the median, records never used, records whose time has passed. Also reads every segment that the manifest lists. Of
    /// one rank.
    ///
    /// - Parameter time: now, seconds since 1970.
    /// - Throws: `UserError` (.badData) where a segment is damaged.
    public func findings(_ scope: NamespaceScope, time: Int) throws -> [BankFinding] {
        require(communicator.size == 1, "findings are of one rank")
        for name in Set(manifest.segments) { if let segment = SegmentReference(name: name) { try segments.verify(segment) } }
        if !recordCountIsZero || scope != .all { try requireScope(scope) }
        let records = localRecords(BankFilter(scope))
        var findings: [BankFinding] = []
        func found(_ kind: BankFinding.Kind, _ record: BankRecord, _ text: String) {
            findings.append(BankFinding(kind: kind, namespace: record.namespace, id: record.id, text: text))
        }
        let norms = records.map(Self.norm)
        let median = Self.median(norms)
        let deviation = Self.median(norms.map { abs($0 - median) })
        var first: [Content: String] = [:]
        for (record, norm) in zip(records, norms) {
            var vectors = [record.key]
            if case .vector(let value) = record.value { vectors.append(value) }
            if vectors.contains(where: { $0.contains { !$0.isFinite } }) { found(.notFinite, record, "its key or value is not finite") }
            if let other = first[Content(record)] {
                found(.duplicate, record, "it says what '\(other)' says")
            } else {
                first[Content(record)] = record.id
            }
            for parent in record.parents where localRecord(parent, namespace: record.namespace) == nil {
                found(.orphan, record, "its parent '\(parent)' is not there")
            }
            if configuration.keyWidth > 0, deviation > 0, abs(norm - median) > 6 * deviation {
                found(.normOutlier, record, "its key has length \(Float(norm)), and the median is \(Float(median))")
            }
            if record.useCount == 0 { found(.neverUsed, record, "it was never used") }
            if let end = record.validTo, end < time { found(.outOfTime, record, "it has not been true since \(end)") }
        }
        return findings
    }

    private static func median(_ values: [Double]) -> Double { values.isEmpty ? 0 : values.sorted()[values.count / 2] }

    /// Writes all records of a scope as one HDF5 file, a dataset for each column as segments have them, in order of namespace and id. Of
    /// one rank.
    /// - Throws: `UserError` (.inputOutput); a file that is there is replaced only by a whole one.
    public func writeJoined(_ path: String, _ scope: NamespaceScope) throws {
        require(communicator.size == 1, "the joined file is of one rank")
        try requireScope(scope)
        let layout = columns.layout
        var segment = RowSegment(.base, commit: commit, link: 0, shard: 0, parent: "", layout)
        let rows = localRows(BankFilter(scope), waiting: false).compactMap { row in
            table.location(row).map { (row, columns.record($0.block, $0.slot)) }
        }
        for (row, _) in rows.sorted(by: { Self.precedes($0.1, $1.1) }) {
            if let (block, slot) = table.location(row) { segment.append(row, of: block, slot: slot) }
        }
        let unfinished = Directory.path(of: ".\(Directory.lastName(of: path)).partial-hdf5", in: Directory.parent(of: path))
        try Directory.remove(unfinished)
        do {
            let file = try HDF5File.create(unfinished)
            for (name, value) in [
                ("format", HDF5AttributeValue.string("mneme-bank-table")), ("format_version", .integer(1)),
                ("commit", .integer(Int64(commit))),
                ("content_digest", .string(contentDigest)), ("generation", .string(generation?.description ?? "")),
                ("metric", .string(configuration.metric.rawValue))
            ] { try file.setAttribute(name, value) }
            try RowDatasets.write(fixed: segment.fixed, variable: segment.variable, rows: segment.rows.count, layout, under: "", file)
            try file.close(synchronizing: true)
            try Directory.rename(unfinished, to: path)
            try Directory.synchronize(Directory.parent(of: path))
        } catch {
            try? Directory.remove(unfinished)
            throw error
        }
    }
}

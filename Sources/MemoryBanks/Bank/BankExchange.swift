// Records as JSON lines, with all that is known of them.

import Collectives
import Diagnostics
import Storage

/// A record as a line of JSON. What a bank counts itself (version, times, uses) is written and read; of it only the version means something
/// to an import, which refuses what was deleted in that version or a later one.
public struct BankRecordLine: Codable, Sendable {
    public var id: String?
    public var namespace: String?
    public var keyText: String?
    public var key: [Float]?
    public var text: String?
    public var tokens: [Int32]?
    public var vector: [Float]?
    public var source: String?
    public var parents: [String]?
    public var origin: String?
    public var validFrom: Int?
    public var validTo: Int?
    public var version: Int?
    public var commit: Int?
    public var writtenStep: Int?
    public var writtenTime: Int?
    public var lastUsedStep: Int?
    public var useCount: Int?
    public var generation: Int?

    /// The line of a record; what is empty or unknown is left out.
    /// - Parameter withKey: whether its key is a part.
    public init(_ record: BankRecord, withKey: Bool = true) {
        (id, namespace) = (record.id, record.namespace)
        keyText = record.keyText.isEmpty ? nil : record.keyText
        key = record.key.isEmpty || !withKey ? nil : record.key
        switch record.value {
        case .text(let value): text = value
        case .tokens(let value): tokens = value
        case .vector(let value): vector = value
        }
        source = record.source.isEmpty ? nil : record.source
        parents = record.parents.isEmpty ? nil : record.parents
        origin = record.origin.name
        (validFrom, validTo) = (record.validFrom, record.validTo)
        (version, commit, writtenStep, writtenTime) = (record.version, record.commit, record.writtenStep, record.writtenTime)
        lastUsedStep = record.lastUsedStep < 0 ? nil : record.lastUsedStep
        useCount = record.useCount
        generation = record.generation < 0 ? nil : record.generation
    }

    /// The record.
    /// - Parameter namespace: of a line that names none; `nil` where each must.
    /// - Throws: `UserError` (.badData) without a place.
    func record(namespace fallback: String?) throws -> BankRecord {
        func refused(_ what: String) -> UserError { UserError(.badData, what) }
        guard let namespace = namespace ?? fallback else { throw refused("it names no namespace") }
        if let fallback, fallback != namespace { throw refused("it is of the namespace '\(namespace)'") }
        var record = BankRecord(id: id ?? "", namespace: namespace, value: .text(""))
        switch (text, tokens, vector) {
        case (let text?, nil, nil): record.value = .text(text)
        case (nil, let tokens?, nil): record.value = .tokens(tokens)
        case (nil, nil, let vector?): record.value = .vector(vector)
        default: throw refused("it needs one of 'text', 'tokens' and 'vector'")
        }
        guard let origin = BankOrigin(name: origin ?? BankOrigin.data.name) else {
            throw refused("its origin '\(origin ?? "")' is none of \(BankOrigin.allCases.map(\.name).joined(separator: ", "))")
        }
        if origin == .recall { throw refused("it was read from a bank: what was recalled is not stored again") }
        (record.key, record.keyText, record.source) = (key ?? [], keyText ?? "", source ?? "")
        (record.parents, record.origin, record.validFrom, record.validTo) = (parents ?? [], origin, validFrom, validTo)
        record.version = version ?? 0
        return record
    }

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case id, namespace, keyText, key, text, tokens, vector, source, parents, origin, validFrom, validTo, version, commit, writtenStep,
            writtenTime
        case lastUsedStep, useCount, generation
    }
    /// The names that a line may have.
    static let names = Set(CodingKeys.allCases.map(\.stringValue))
}

/// A member of any name.
private struct AnyName: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}

/// A line with the names of its members, so that a misspelled one is not passed over.
private struct CheckedLine: Decodable {
    let line: BankRecordLine

    init(from decoder: any Decoder) throws {
        for name in try decoder.container(keyedBy: AnyName.self).allKeys where !BankRecordLine.names.contains(name.stringValue) {
            throw UserError(.badData, "it has a member '\(name.stringValue)', which no record has")
        }
        line = try BankRecordLine(from: decoder)
    }
}

extension MemoryBank {
    /// Reads lines of JSON and writes their records in one commit: all of them, or none. Collective.
    ///
    /// - Parameters:
    ///   - lines: the text of each line, in order; empty ones are passed over.
    ///   - name: of the file, for messages and the receipt.
    ///   - namespace: of lines that name none; a line of another one is refused. `nil` where each line names its own.
    ///   - resurrecting: whether records that were deleted may come back.
    /// - Throws: `UserError` (.badData) with the number of the first line that cannot be, or whose record was deleted; else as
    ///   ``put(_:expecting:generation:resurrecting:_:)``.
    public func importLines(
        _ lines: [ArraySlice<UInt8>], named name: String, namespace: String?, generation: BankGeneration? = nil, resurrecting: Bool = false,
        _ edit: BankEdit
    ) throws -> BankReceipt {
        try requireEditor()
        try requireGeneration(generation)
        var records: [BankRecord] = []
        try communicator.onEveryRank {
            var seen: [UInt64: Int] = [:]
            for (number, record) in try keyed(parsed(lines, named: name, namespace: namespace), named: name) {
                try Self.refusing(number, of: name) {
                    var record = record
                    if record.id.isEmpty { record.id = record.idOfContent }
                    try record.validate(configuration)
                    if let first = seen.updateValue(number, forKey: record.hash) {
                        throw UserError(.badData, "the record '\(record.id)' comes twice, in line \(first) too")
                    }
                    let dead = ledger.deadVersion(record.hash)
                    if !resurrecting, dead > 0, record.version <= dead {
                        throw UserError(
                            .badData, "the record '\(record.id)' was deleted in commit \(ledger.entries[record.hash]?.commit ?? 0)",
                            at: "\(name):\(number)", advice: "leave the line out, or bring it back with --resurrect; nothing was imported")
                    }
                    records.append(record)
                }
            }
        }
        return try importing(records, resurrecting: resurrecting, source: "\(name): \(quantity(records.count, "record"))", edit)
    }

    /// Reads a line; what is wrong with it is said with its number.
    private static func refusing<Result>(_ number: Int, of name: String, _ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let error as UserError {
            guard error.place == nil else { throw error }
            throw UserError(error.exitCode, error.what, at: "\(name):\(number)", advice: "correct the line; nothing was imported")
        } catch {
            throw UserError(
                .badData, "is no record: \(BankJSON.reason(error))", at: "\(name):\(number)", advice: "correct the line; nothing was imported")
        }
    }

    /// The records of lines that are not blank, with the lines' numbers.
    private func parsed(_ lines: [ArraySlice<UInt8>], named name: String, namespace: String?) throws -> [(number: Int, record: BankRecord)] {
        let decoder = BankJSON.decoder
        return try lines.enumerated().compactMap { index, line in
            guard !line.allSatisfy({ $0 == 0x20 || $0 == 0x0d || $0 == 0x09 }) else { return nil }
            return try Self.refusing(index + 1, of: name) {
                (index + 1, try decoder.decode(CheckedLine.self, from: .init(line)).line.record(namespace: namespace))
            }
        }
    }

    /// The records with keys by the bank's encoder, where they bring a text for one.
    private func keyed(_ lines: [(number: Int, record: BankRecord)], named name: String) throws -> [(number: Int, record: BankRecord)] {
        var records = lines.map(\.record)
        do { try addKeys(&records) } catch let error as UserError {
            // One of the texts has no key: which one?
            for (number, record) in lines { try Self.refusing(number, of: name) { _ = try addingKey(record) } }
            throw error
        }
        return zip(lines, records).map { ($0.number, $1) }
    }
}

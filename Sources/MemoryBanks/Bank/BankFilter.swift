// Which records a command means.

import Diagnostics
import Storage

/// The part of a bank that a request may see. There is no default: whoever means all namespaces says so.
public enum NamespaceScope: Sendable, Hashable, Codable, CustomStringConvertible {
    case one(String)
    case all

    func contains(_ namespace: String) -> Bool {
        switch self {
        case .one(let name): name == namespace
        case .all: true
        }
    }

    public var description: String {
        switch self {
        case .one(let name): "namespace \(name)"
        case .all: "all namespaces"
        }
    }

    /// The scope of two options of which one is given.
    /// - Throws: `UserError` (.usage) where none or both are.
    public init(namespace: String?, all: Bool) throws {
        switch (namespace, all) {
        case (let name?, false): self = .one(name)
        case (nil, true): self = .all
        default:
            throw UserError(
                .usage, namespace == nil ? "no namespace is given" : "a namespace and all of them are asked for",
                advice: "give --namespace NAME, or --all")
        }
    }
}

/// Conditions that a record meets, all of them.
public struct BankFilter: Sendable, Hashable {
    /// The partition.
    public var scope: NamespaceScope
    /// One of these ids.
    public var ids: [String]?
    /// Taken from this source.
    public var source: String?
    /// Of this origin.
    public var origin: BankOrigin?
    /// Written before this training step.
    public var writtenBefore: Int?
    /// Not used at this training step or later.
    public var unusedSince: Int?
    /// True at this time, seconds since 1970: a record without times always is.
    public var validAt: Int?

    /// All records of a scope.
    public init(_ scope: NamespaceScope, ids: [String]? = nil) { (self.scope, self.ids) = (scope, ids) }

    /// The filter in words. Ids are counted, not named: an audit log must not keep what was deleted.
    public var description: String {
        var parts = [scope.description]
        if let ids { parts.append(quantity(ids.count, "id")) }
        if let source { parts.append("source \(source)") }
        if let origin { parts.append("origin \(origin.name)") }
        if let writtenBefore { parts.append("written before step \(writtenBefore)") }
        if let unusedSince { parts.append("unused since step \(unusedSince)") }
        if let validAt { parts.append("true at \(validAt)") }
        return parts.joined(separator: ", ")
    }

    /// Whether it names records one by one.
    var namesRecords: Bool { ids != nil }
    /// Whether it lets through less than a whole scope.
    var isNarrowed: Bool { self != BankFilter(scope) }

    func matches(_ columns: BankColumns, _ block: RowBlock, _ slot: Int) -> Bool {
        func holds(_ column: BankColumns.Text, _ text: String) -> Bool { block.variableBytes(column.rawValue, slot).elementsEqual(text.utf8) }
        if case .one(let name) = scope, !holds(.namespace, name) { return false }
        if let source, !holds(.source, source) { return false }
        if let origin, columns.small(.origin, block, slot) != Int(origin.rawValue) { return false }
        if let writtenBefore, columns.number(.writtenStep, block, slot) >= writtenBefore { return false }
        if let unusedSince, columns.number(.lastUsedStep, block, slot) >= unusedSince { return false }
        if let validAt, columns.number(.validFrom, block, slot) > validAt || columns.number(.validTo, block, slot) < validAt {
            return false
        }
        return true
    }
}

/// How many records, and which: the same for the same records and versions in any order.
struct RecordSetDigest {
    private(set) var count = 0
    private var sum: UInt64 = 0

    mutating func add(_ namespace: String, _ id: String, version: Int) {
        var hash = XXHash64()
        hash.update(BankRecord.hash(namespace, id))
        hash.update(version)
        count += 1
        sum &+= hash.finalized()
    }

    mutating func add(_ other: RecordSetDigest) {
        count += other.count
        sum &+= other.sum
    }

    /// Sixteen hexadecimal digits.
    var text: String {
        var hash = XXHash64()
        hash.update(count)
        hash.update(sum)
        return hexadecimal(hash.finalized())
    }

    /// For other ranks.
    var bytes: [UInt8] { [UInt64(count), sum].withUnsafeBytes { Array($0) } }
    init() {}
    init(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes {
            (count, sum) = (Int($0.loadUnaligned(as: UInt64.self)), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
    }
}

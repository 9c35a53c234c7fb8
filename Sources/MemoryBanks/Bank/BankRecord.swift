// A record of a bank, and the columns that it becomes.

import Diagnostics
import Storage

/// What a record holds.
public enum BankValue: Sendable, Hashable {
    case text(String)
    case tokens([Int32])
    case vector([Float])
}

/// Where a record comes from.
public enum BankOrigin: Int32, Sendable, CaseIterable {
    /// A corpus or a person.
    case data
    /// A model's output.
    case model
    /// What was read from a bank: it is never written into one.
    case recall

    /// Its name in files of exchange and on the command line.
    public var name: String { "\(self)" }
    /// The origin of a name.
    public init?(name: String) {
        guard let origin = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = origin
    }
}

/// A record.
public struct BankRecord: Sendable, Hashable {
    /// What it is called, once in its namespace. Of a new record that has none it is made from what the record holds.
    public var id: String
    /// The partition that it belongs to.
    public var namespace: String
    /// Its key; empty in a bank without keys, and where the bank's encoder makes it.
    public var key: [Float] = []
    /// The text that the key was made from, so that another encoder can make it again; may be empty.
    public var keyText = ""
    /// What it holds.
    public var value: BankValue
    /// Where it was taken from, such as a file and a line; may be empty.
    public var source = ""
    /// Records of the namespace that it was derived from.
    public var parents: [String] = []
    /// Where it comes from.
    public var origin = BankOrigin.data
    /// In the source's own time, seconds since 1970: when it began to be true; `nil` where that is not known.
    public var validFrom: Int?
    /// When it stopped being true; `nil` where it is true still.
    public var validTo: Int?

    /// Counts its writes: 1 for a new record.
    public var version = 0
    /// The commit that wrote it.
    public var commit = 0
    /// The training step at which it was written.
    public var writtenStep = 0
    /// When it was written, seconds since 1970.
    public var writtenTime = 0
    /// The training step at which it was used last; -1 for never.
    public var lastUsedStep = -1
    /// How often it was used.
    public var useCount = 0
    /// The place of its key's generation in the bank's list; -1 without a key.
    public var generation = -1
    /// How often it was appended without being admitted yet; 0 for a record that the bank has.
    var sightings = 0

    /// A record as it is handed to a bank.
    public init(id: String = "", namespace: String, value: BankValue) { (self.id, self.namespace, self.value) = (id, namespace, value) }

    /// Whether both hold the same, whatever was counted since.
    func holdsSame(as other: BankRecord) -> Bool {
        key == other.key && keyText == other.keyText && value == other.value && source == other.source && parents == other.parents
            && origin == other.origin
            && validFrom == other.validFrom && validTo == other.validTo
    }

    /// The hash by which a record is found, and by which it gets its virtual shard.
    static func hash(_ namespace: String, _ id: String) -> UInt64 {
        var hash = XXHash64()
        var (namespace, id) = (namespace, id)
        namespace.withUTF8 { hash.update(UnsafeRawBufferPointer($0)) }
        withUnsafeBytes(of: UInt8(0)) { hash.update($0) }
        id.withUTF8 { hash.update(UnsafeRawBufferPointer($0)) }
        return hash.finalized()
    }
    var hash: UInt64 { Self.hash(namespace, id) }

    /// An id made from what the record holds: appending the same again is the same record.
    var idOfContent: String {
        var bytes = Array(source.utf8) + [0] + Array(keyText.utf8) + [0]
        switch value {
        case .text(let text): bytes += Array(text.utf8)
        case .tokens(let tokens): tokens.withUnsafeBytes { bytes += $0 }
        case .vector(let vector): vector.withUnsafeBytes { bytes += $0 }
        }
        if keyText.isEmpty { key.withUnsafeBytes { bytes += [0] + $0 } }
        return hexadecimal(XXHash64.of(bytes))
    }

    /// Makes sure that a bank can take it.
    /// - Throws: `UserError` (.badData, .configuration) that names the record.
    func validate(_ configuration: BankConfiguration) throws {
        func refused(_ code: ExitCode = .badData, _ what: String, _ advice: String) -> UserError {
            UserError(code, "the record '\(id)' \(what)", advice: advice)
        }
        for (what, name) in [("namespace", namespace), ("id", id)] + parents.map({ ("parent", $0) }) {
            guard !name.isEmpty, name.utf8.count <= 512, !name.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7f })
            else {
                throw refused(
                    .badData, "has \(name.isEmpty ? "no" : "an impossible") \(what)", "give 1 to 512 bytes without control characters")
            }
        }
        guard !parents.contains(id), Set(parents).count == parents.count else {
            throw refused(.badData, "names itself or one parent twice", "correct its parents")
        }
        guard key.count == configuration.keyWidth else {
            throw refused(
                .configuration, "has a key of \(quantity(key.count, "element")); the bank's have \(configuration.keyWidth)",
                "use the bank's encoder")
        }
        // No sum of squares of finite numbers is too large for float64.
        let square = key.reduce(0) { $0 + Double($1) * Double($1) }
        guard square.isFinite else { throw refused(.badData, "has a key that is not finite", "leave it out or make its key again") }
        guard square <= 0x1p120 else {
            throw refused(.badData, "has a key longer than 2^60: its products may not be finite", "scale what makes the keys")
        }
        switch (value, configuration.value) {
        case (.text, .text), (.tokens, .tokens): break
        case (.vector(let vector), .vector):
            guard vector.count == configuration.valueWidth else {
                throw refused(
                    .configuration, "has a value of \(quantity(vector.count, "element")); the bank's have \(configuration.valueWidth)",
                    "give a vector of that width")
            }
            guard vector.allSatisfy(\.isFinite) else { throw refused(.badData, "has a value that is not finite", "leave it out") }
        default:
            throw refused(
                .configuration, "has a value of another kind than the bank's, \(configuration.value.rawValue)", "give such a value")
        }
        if let validFrom, let validTo, validTo < validFrom {
            throw refused(.badData, "stops being true before it begins", "correct its times")
        }
    }
}

/// Reads and writes the columns of records.
struct BankColumns: Sendable {
    /// Columns of 8 bytes.
    enum Number: Int, CaseIterable {
        case version, commit, writtenStep, writtenTime, validFrom, validTo, lastUsedStep, useCount
        var name: String {
            ["version", "commit", "written_step", "written_time", "valid_from", "valid_to", "last_used_step", "use_count"][rawValue]
        }
    }
    /// Columns of 4 bytes.
    enum Small: Int, CaseIterable { case generation, origin, sightings }
    /// Columns of any length.
    enum Text: Int, CaseIterable { case id, namespace, keyText, source, parents }

    let configuration: BankConfiguration
    let layout: RowLayout
    /// Columns before the numbers: the key, and a value that is a vector.
    private let vectors: Int

    init(_ configuration: BankConfiguration) {
        self.configuration = configuration
        var columns: [RowColumn] = []
        if configuration.keyWidth > 0 { columns.append(RowColumn("key", .float32, width: configuration.keyWidth)) }
        if configuration.value == .vector { columns.append(RowColumn("value", .float32, width: configuration.valueWidth)) }
        vectors = columns.count
        columns +=
            Number.allCases.map { RowColumn($0.name, .int64, width: 1) } + Small.allCases.map { RowColumn("\($0)", .int32, width: 1) }
        columns += Text.allCases.map { RowColumn($0 == .keyText ? "key_text" : "\($0)", .uint8, width: nil) }
        if configuration.value != .vector { columns.append(RowColumn("value", configuration.value == .text ? .uint8 : .int32, width: nil)) }
        layout = RowLayout(columns: columns, blockRows: configuration.blockRows, shards: configuration.shards)
    }

    /// The place of a number among the columns of fixed width.
    func column(_ number: Number) -> Int { vectors + number.rawValue }
    func column(_ small: Small) -> Int { vectors + Number.allCases.count + small.rawValue }

    func number(_ number: Number, _ block: RowBlock, _ slot: Int) -> Int {
        Int(block.fixedBytes(column(number), slot).loadUnaligned(as: Int64.self))
    }

    func small(_ small: Small, _ block: RowBlock, _ slot: Int) -> Int {
        Int(block.fixedBytes(column(small), slot).loadUnaligned(as: Int32.self))
    }

    func text(_ text: Text, _ block: RowBlock, _ slot: Int) -> String {
        String(decoding: block.variableBytes(text.rawValue, slot), as: UTF8.self)
    }

    func key(_ block: RowBlock, _ slot: Int) -> [Float] {
        configuration.keyWidth == 0 ? [] : Self.elements(block.fixedBytes(0, slot), Float.self)
    }

    private static func elements<Element: BitwiseCopyable>(_ bytes: UnsafeRawBufferPointer, _ type: Element.Type) -> [Element] {
        let size = MemoryLayout<Element>.size
        return (0..<(bytes.count / size)).map { bytes.loadUnaligned(fromByteOffset: $0 * size, as: type) }
    }

    /// The tokens of a slot, in a bank of tokens.
    func tokens(_ block: RowBlock, _ slot: Int) -> [Int32] {
        block.variableBytes(Text.allCases.count, slot).withUnsafeBytes { Self.elements($0, Int32.self) }
    }

    private static let never = (from: Int(Int64.min), to: Int(Int64.max))

    /// The record of a slot.
    func record(_ block: RowBlock, _ slot: Int) -> BankRecord {
        let value: BankValue =
            switch configuration.value {
            case .vector: .vector(Self.elements(block.fixedBytes(vectors - 1, slot), Float.self))
            case .text: .text(String(decoding: block.variableBytes(Text.allCases.count, slot), as: UTF8.self))
            case .tokens: .tokens(tokens(block, slot))
            }
        var record = BankRecord(id: text(.id, block, slot), namespace: text(.namespace, block, slot), value: value)
        record.key = key(block, slot)
        record.keyText = text(.keyText, block, slot)
        record.source = text(.source, block, slot)
        record.parents = text(.parents, block, slot).split(separator: "\n").map(String.init)
        record.origin = BankOrigin(rawValue: Int32(small(.origin, block, slot))) ?? .data
        let (from, to) = (number(.validFrom, block, slot), number(.validTo, block, slot))
        record.validFrom = from == Self.never.from ? nil : from
        record.validTo = to == Self.never.to ? nil : to
        record.version = number(.version, block, slot)
        record.commit = number(.commit, block, slot)
        record.writtenStep = number(.writtenStep, block, slot)
        record.writtenTime = number(.writtenTime, block, slot)
        record.lastUsedStep = number(.lastUsedStep, block, slot)
        record.useCount = number(.useCount, block, slot)
        record.generation = small(.generation, block, slot)
        record.sightings = small(.sightings, block, slot)
        return record
    }

    /// The row of a record.
    func image(_ record: BankRecord) -> RowImage {
        var fixed: [UInt8] = []
        record.key.withUnsafeBytes { fixed += $0 }
        if case .vector(let vector) = record.value { vector.withUnsafeBytes { fixed += $0 } }
        let numbers = [
            record.version, record.commit, record.writtenStep, record.writtenTime, record.validFrom ?? Self.never.from,
            record.validTo ?? Self.never.to,
            record.lastUsedStep, record.useCount
        ]
        numbers.map(Int64.init).withUnsafeBytes { fixed += $0 }
        [Int32(record.generation), record.origin.rawValue, Int32(record.sightings)].withUnsafeBytes { fixed += $0 }
        var variable = [record.id, record.namespace, record.keyText, record.source, record.parents.joined(separator: "\n")].map {
            Array($0.utf8)
        }
        switch record.value {
        case .text(let text): variable.append(Array(text.utf8))
        case .tokens(let tokens): variable.append(tokens.withUnsafeBytes { Array($0) })
        case .vector: break
        }
        return RowImage(fixed: fixed, variable: variable)
    }

    /// The record of an image, by way of a block of its own.
    func record(_ image: RowImage) -> BankRecord {
        let block = RowBlock(0, RowLayout(columns: layout.columns, blockRows: 1, shards: 1))
        block.set(0, image)
        return record(block, 0)
    }
}

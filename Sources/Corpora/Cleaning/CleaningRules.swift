// Which records of a corpus are left out for their length, and how many were.

/// Why cleaning dropped a record.
public enum DropReason: String, Sendable, CaseIterable, Codable, Hashable {
    case emptySource = "empty-source"
    case emptyTarget = "empty-target"
    case tooShort = "too-short"
    case tooLong = "too-long"
    case lengthRatio = "length-ratio"
    case identicalPair = "identical-pair"
}

/// Rules by which records are kept or dropped. They work on bytes; a word is a run of bytes that are not white space.
public struct CleaningRules: Sendable, Hashable, Codable {
    /// What lengths are counted in.
    public enum Unit: String, Sendable, CaseIterable, Codable {
        case words
        case bytes
    }

    /// The unit of the lengths below.
    public var unit: Unit = .words
    /// Each side must be at least this long.
    public var minimumLength: Int = 0
    /// Each side may be at most this long; `nil` for no limit.
    public var maximumLength: Int?
    /// The longer side of a pair may be at most this many times the shorter one; `nil` for no limit.
    public var maximumRatio: Double?
    /// Drops a record with a side of nothing but white space.
    public var dropsEmpty: Bool = true
    /// Drops a pair whose sides are equal.
    public var dropsIdenticalPairs: Bool = false
    /// Makes each run of white space one space, and removes it at both ends, before anything is counted.
    public var normalizesWhitespace: Bool = false
    /// What white space is. Rules that were recorded without it are of `ascii`.
    public var whiteSpace = WhiteSpace.unicode

    /// Drops empty sides and nothing else.
    public init() {}

    /// Reads rules that were recorded: by this version, or by one of before `whiteSpace` was a rule.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        unit = try container.decode(Unit.self, forKey: .unit)
        minimumLength = try container.decode(Int.self, forKey: .minimumLength)
        maximumLength = try container.decodeIfPresent(Int.self, forKey: .maximumLength)
        maximumRatio = try container.decodeIfPresent(Double.self, forKey: .maximumRatio)
        dropsEmpty = try container.decode(Bool.self, forKey: .dropsEmpty)
        dropsIdenticalPairs = try container.decode(Bool.self, forKey: .dropsIdenticalPairs)
        normalizesWhitespace = try container.decode(Bool.self, forKey: .normalizesWhitespace)
        whiteSpace = try container.decodeIfPresent(WhiteSpace.self, forKey: .whiteSpace) ?? .ascii
    }

    /// What these rules make of a text, whatever its length: for the text that a trained model is given.
    public func cleaned(_ text: [UInt8]) -> [UInt8] {
        guard normalizesWhitespace else { return text }
        var text = text
        normalizeWhitespace(&text, whiteSpace)
        return text
    }

    /// Whether a text holds nothing but white space.
    public func isBlank(_ text: [UInt8]) -> Bool { text.withUnsafeBufferPointer(whiteSpace.isBlank) }

    /// Applies the rules to one record: normalises it if they say so, and tells whether it must go.
    ///
    /// A record that continues a document is never dropped: a document is kept or left out as a whole, by its first piece.
    /// - Returns: the reason to drop it; `nil` to keep it.
    /// - Complexity: one pass over each side.
    public func apply(to record: inout CorpusRecord) -> DropReason? {
        var source = WhitespaceScan(record.source, whiteSpace)
        if normalizesWhitespace, !source.isNormal {
            normalizeWhitespace(&record.source, whiteSpace)
            source.bytes = record.source.count
        }
        var target = record.target.map { WhitespaceScan($0, whiteSpace) }
        if normalizesWhitespace, let scan = target, !scan.isNormal, var text = record.target {
            record.target = nil
            normalizeWhitespace(&text, whiteSpace)
            target?.bytes = text.count
            record.target = text
        }
        guard record.startsDocument else { return nil }
        if dropsEmpty {
            if source.words == 0 { return .emptySource }
            if let target, target.words == 0 { return .emptyTarget }
        }
        let sourceLength = length(of: source)
        let targetLength = target.map(length(of:))
        if sourceLength < minimumLength || (targetLength ?? .max) < minimumLength { return .tooShort }
        if let maximumLength, sourceLength > maximumLength || (targetLength ?? 0) > maximumLength { return .tooLong }
        if let maximumRatio, let targetLength {
            let longer = Double(max(sourceLength, targetLength))
            let shorter = Double(min(sourceLength, targetLength))
            if longer > maximumRatio * shorter { return .lengthRatio }
        }
        if dropsIdenticalPairs, let other = record.target, other == record.source { return .identicalPair }
        return nil
    }

    private func length(of scan: WhitespaceScan) -> Int { unit == .words ? scan.words : scan.bytes }
}

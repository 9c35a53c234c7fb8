// What a reader hands to the sharder: one record of a corpus, as bytes, with the place it came from.

/// Where a record was read.
public struct RecordPlace: Sendable, Hashable {
    /// The file's path, as the user gave it (a member of a directory with the directory's path before it).
    public var file: String
    /// 1-based line of the record's first line, in the uncompressed text.
    public var line: Int
    /// 0-based byte of the record's first byte, in the uncompressed text.
    public var byte: Int

    /// A place in a file: `line` from 1, `byte` from 0.
    public init(file: String, line: Int, byte: Int) {
        self.file = file
        self.line = line
        self.byte = byte
    }
}

/// One record of a corpus: a document, a sentence pair, an article with its summary, a question with its answer.
///
/// Text is UTF-8 bytes, checked by the reader; no `String` is made on the way from file to shard.
public struct CorpusRecord: Sendable {
    /// The text; for a pair its source side.
    public var source: [UInt8]
    /// The target side of a pair: translation, summary or answer. `nil` for plain text.
    public var target: [UInt8]?
    /// An index into the reader's `labels` (bAbI: the task), or -1.
    public var label: Int32
    /// False when this record continues the document of the record before it (a large file is read in pieces).
    public var startsDocument: Bool
    /// Where it was read.
    public var place: RecordPlace

    /// A record of UTF-8 text; without a target, plain text.
    public init(source: [UInt8], target: [UInt8]? = nil, label: Int32 = -1, startsDocument: Bool = true, place: RecordPlace) {
        self.source = source
        self.target = target
        self.label = label
        self.startsDocument = startsDocument
        self.place = place
    }
}

/// A stream of records in a fixed order. Memory is bounded by the largest record, whatever the corpus size.
public protocol CorpusReader: AnyObject {
    /// True when records have a target side.
    var isPaired: Bool { get }
    /// Names for `CorpusRecord.label`, e.g. "qa1_single-supporting-fact"; empty when records have no label.
    var labels: [String] { get }
    /// The next record, or `nil` at the end.
    /// - Throws: `UserError` for input that cannot be read at all. A record that is wrong by itself (not UTF-8, malformed) throws
    ///   `RecordError`; the caller counts it and may go on calling `next()`.
    func next() throws -> CorpusRecord?
}

/// One record that is wrong, while the rest of the input may be right.
public struct RecordError: Error, Sendable {
    /// What is wrong with it.
    public var what: String
    /// Where it is.
    public var place: RecordPlace

    /// - Parameter what: what is wrong, as a message says it behind the place.
    public init(_ what: String, at place: RecordPlace) {
        self.what = what
        self.place = place
    }
}

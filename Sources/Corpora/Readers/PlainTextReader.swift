// Plain text: what counts as a document, and how a long one is cut.

import Diagnostics
import Glibc
import Inputs

/// What one document of plain text is.
public enum DocumentPolicy: String, Sendable, CaseIterable, Codable {
    /// Every line, without its end. An empty line is an empty record; cleaning drops and counts it.
    case line
    /// Lines between blank lines, joined by line feeds. A line of only white space counts as blank.
    case paragraph
    /// A whole file, with its line feeds.
    case file
}

extension CorpusProfile {
    /// Plain text, in any files.
    static let text = CorpusProfile(
        readerOptions: [.document], list: { inputs, _ in try InputFiles.list(inputs, wanted: "file") },
        makeReader: { PlainTextReader(files: $0, documents: $1.documents, maximumLineBytes: $1.maximumLineBytes) })
}

/// Documents of plain text files, in the order of the files.
///
/// A long document comes in pieces of at most 64 KiB, cut after a line feed, else after a space, else between two characters; the pieces
/// after the first have `startsDocument == false`, and all together they are the text. Every end of a line reads as LF.
public final class PlainTextReader: CorpusReader {
    public let isPaired = false
    public let labels: [String] = []

    /// The largest piece of a document in bytes.
    package static let pieceBytes = 64 << 10

    private let files: [String]
    private let documents: DocumentPolicy
    private let maximumLineBytes: Int
    private var fileIndex = 0
    private var current: (any CorpusReader)?

    /// - Parameters:
    ///   - files: paths, as `ByteSource` takes them.
    ///   - documents: what a document is.
    ///   - maximumLineBytes: a longer line is a wrong record, where documents are lines or paragraphs.
    public init(files: [String], documents: DocumentPolicy, maximumLineBytes: Int = ReaderOptions.defaultMaximumLineBytes) {
        self.files = files
        self.documents = documents
        self.maximumLineBytes = maximumLineBytes
    }

    public func next() throws -> CorpusRecord? {
        while true {
            if let record = try current?.next() { return record }
            current = nil
            if fileIndex == files.count { return nil }
            let path = files[fileIndex]
            fileIndex += 1
            switch documents {
            case .line: current = try LineDocuments(path: path, maximumLineBytes: maximumLineBytes)
            case .paragraph: current = try ParagraphDocuments(path: path, maximumLineBytes: maximumLineBytes)
            case .file: current = try FileDocument(path: path)
            }
        }
    }
}

/// Every line of one file.
private final class LineDocuments: CorpusReader {
    let isPaired = false
    let labels: [String] = []
    private let lines: LineReader

    init(path: String, maximumLineBytes: Int) throws {
        lines = try LineReader(path: path, maximumLineBytes: maximumLineBytes)
    }

    func next() throws -> CorpusRecord? {
        guard try lines.advance() else { return nil }
        return CorpusRecord(source: Array(try lines.checkedLine()), place: lines.place)
    }
}

/// The paragraphs of one file.
private final class ParagraphDocuments: CorpusReader {
    let isPaired = false
    let labels: [String] = []
    private let lines: LineReader
    private var text: [UInt8] = []
    private var place: RecordPlace?
    private var continues = false
    /// A line that did not fit into the piece before it waits in `lines.line`.
    private var lineWaits = false

    init(path: String, maximumLineBytes: Int) throws {
        lines = try LineReader(path: path, maximumLineBytes: maximumLineBytes)
    }

    func next() throws -> CorpusRecord? {
        while true {
            if !lineWaits {
                guard try lines.advance() else { return flush(documentEnds: true) }
            }
            lineWaits = false
            if let fault = lines.fault {
                // The paragraph is broken off here; what follows is a document of its own.
                text.removeAll(keepingCapacity: true)
                place = nil
                continues = false
                throw fault
            }
            let line = lines.line
            if line.trimmed.isEmpty {
                if let record = flush(documentEnds: true) { return record }
                continue
            }
            if place == nil {
                place = lines.place
            } else if text.count + line.count + 1 > PlainTextReader.pieceBytes {
                text.append(0x0a)
                lineWaits = true
                return flush(documentEnds: false)
            } else if !text.isEmpty {
                text.append(0x0a)
            }
            text.append(contentsOf: line)
        }
    }

    private func flush(documentEnds: Bool) -> CorpusRecord? {
        guard let start = place else {
            continues = false
            return nil
        }
        let record = CorpusRecord(source: text, startsDocument: !continues, place: start)
        text.removeAll(keepingCapacity: true)
        place = nil
        continues = !documentEnds
        return record
    }
}

/// One file as one document.
private final class FileDocument: CorpusReader {
    let isPaired = false
    let labels: [String] = []
    private let source: ByteSource
    private let buffer: UnsafeMutableRawBufferPointer
    private var filled = 0
    private var atEnd = false
    private var line = 1
    private var byte = 0
    /// Set once a piece with text was handed out: white space before it belongs to no document that cleaning would keep.
    private var continues = false

    init(path: String) throws {
        source = try ByteSource(path: path)
        buffer = .allocate(byteCount: PlainTextReader.pieceBytes, alignment: 64)
    }

    deinit {
        buffer.deallocate()
    }

    func next() throws -> CorpusRecord? {
        while filled < buffer.count, !atEnd {
            let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
            if count == 0 { atEnd = true }
            filled += count
        }
        guard filled > 0 else { return nil }
        let bytes = UnsafeBufferPointer(buffer.bindMemory(to: UInt8.self))
        let cut = atEnd ? filled : Self.cut(UnsafeBufferPointer(rebasing: bytes[..<filled]))
        var piece = UnsafeBufferPointer(rebasing: bytes[..<cut])
        var place = RecordPlace(file: source.path, line: line, byte: byte)
        let wrong = firstByteOfNoText(piece)
        let invalid = wrong?.offset
        var lineOfInvalid = line
        for i in 0..<cut where bytes[i] == 0x0a {
            line += 1
            if let invalid, i < invalid { lineOfInvalid = line }
        }
        defer {
            memmove(buffer.baseAddress!, buffer.baseAddress! + cut, filled - cut)
            filled -= cut
            byte += cut
        }
        if let wrong {
            continues = false
            throw RecordError(
                "\(wrong.what) at byte \(byte + wrong.offset)\(wrong.question); \(cut) bytes left out",
                at: RecordPlace(file: source.path, line: lineOfInvalid, byte: byte + wrong.offset))
        }
        if byte == 0, cut >= 3, piece[0] == 0xef, piece[1] == 0xbb, piece[2] == 0xbf {
            piece = UnsafeBufferPointer(rebasing: piece[3...])
            place.byte = 3
        }
        let record = CorpusRecord(source: Self.withoutCarriageReturns(piece), startsDocument: !continues, place: place)
        if !continues { continues = !WhiteSpace.unicode.isBlank(piece) }
        return record
    }

    /// Where to cut a full buffer: after its last line feed, else after its last space, else between two characters.
    private static func cut(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        if let newline = bytes.lastIndex(of: 0x0a) { return newline + 1 }
        if let space = bytes.lastIndex(of: 0x20) { return space + 1 }
        var cut = bytes.count
        // A character has at most four bytes; a longer run of continuation bytes is not UTF-8 and is reported as such.
        for back in 1...4 where bytes[bytes.count - back] & 0xc0 != 0x80 {
            if bytes[bytes.count - back] >= 0xc0 { cut = bytes.count - back }
            break
        }
        return cut
    }

    /// The bytes without carriage returns: those that are left stand before a line feed.
    private static func withoutCarriageReturns(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        guard let base = bytes.baseAddress, memchr(base, 0x0d, bytes.count) != nil else { return Array(bytes) }
        return [UInt8](unsafeUninitializedCapacity: bytes.count) { output, count in
            for i in bytes.indices where bytes[i] != 0x0d {
                output[count] = bytes[i]
                count += 1
            }
        }
    }
}

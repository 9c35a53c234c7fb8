// CoNLL-U: the Universal Dependencies treebanks, one word a line, of which the text is read.

import Diagnostics
import Inputs

extension CorpusProfile {
    /// Sentences of treebanks as running text.
    static let conllu = CorpusProfile(
        list: { inputs, _ in
            try InputFiles.list(inputs, wanted: ".conllu file") { InputFiles.formatExtension(of: $0) == "conllu" }
        },
        makeReader: { CoNLLUReader(files: $0, maximumLineBytes: $1.maximumLineBytes) })
}

/// The text of CoNLL-U files, one sentence a line.
///
/// A sentence is what its comment `# text =` says; without one, its forms with a space between them but where MISC says `SpaceAfter=No`: those of
/// multiword tokens instead of their words', and none of empty nodes. A document begins at `# newdoc` and at the beginning of a file; a long one comes
/// in pieces, the later ones with `startsDocument == false`, which all together are the text. A sentence that is wrong is left out of its document.
/// - Source: https://universaldependencies.org/format.html
public final class CoNLLUReader: CorpusReader {
    public let isPaired = false
    public let labels: [String] = []

    private let files: [String]
    private let maximumLineBytes: Int
    private var fileIndex = 0
    private var lines: LineReader?
    private var documentBegins = true
    /// The piece in the making.
    private var text: [UInt8] = []
    private var place: RecordPlace?
    private var continues = false
    /// A sentence that belongs to the next piece.
    private var waiting: Sentence?

    private struct Sentence {
        var text: [UInt8]
        var place: RecordPlace
        var startsDocument: Bool
    }

    /// - Parameters:
    ///   - files: paths of plain or gzip files.
    ///   - maximumLineBytes: a longer line makes its sentence a wrong record.
    public init(files: [String], maximumLineBytes: Int = ReaderOptions.defaultMaximumLineBytes) {
        self.files = files
        self.maximumLineBytes = maximumLineBytes
    }

    /// - Throws: `RecordError` for a sentence with a line that is not UTF-8 or not of ten columns, or whose words are not numbered one after another.
    public func next() throws -> CorpusRecord? {
        while true {
            guard let sentence = try waiting ?? nextSentence() else { return flush(documentEnds: true) }
            waiting = nil
            if place != nil, sentence.startsDocument {
                waiting = sentence
                return flush(documentEnds: true)
            }
            if place != nil, text.count + 1 + sentence.text.count > PlainTextReader.pieceBytes {
                text.append(0x0a)
                waiting = sentence
                return flush(documentEnds: false)
            }
            if place == nil {
                place = sentence.place
                if sentence.startsDocument { continues = false }
            } else {
                text.append(0x0a)
            }
            text += sentence.text
        }
    }

    private func flush(documentEnds: Bool) -> CorpusRecord? {
        guard let start = place else { return nil }
        let record = CorpusRecord(source: text, startsDocument: !continues, place: start)
        text.removeAll(keepingCapacity: true)
        place = nil
        continues = !documentEnds
        return record
    }

    /// The next sentence of all files; `nil` behind the last.
    private func nextSentence() throws -> Sentence? {
        while true {
            if let reader = lines {
                if let sentence = try sentence(from: reader) { return sentence }
                lines = nil
            }
            guard fileIndex < files.count else { return nil }
            lines = try LineReader(path: files[fileIndex], maximumLineBytes: maximumLineBytes)
            fileIndex += 1
            documentBegins = true
        }
    }

    /// The next sentence of a file; `nil` at its end.
    private func sentence(from reader: LineReader) throws -> Sentence? {
        var words = Words()
        var said: [UInt8]?
        var fault: RecordError?
        var start: RecordPlace?
        while try reader.advance() {
            let line = reader.line
            if line.allSatisfy(\.isASCIIWhitespace), reader.fault == nil {
                if start == nil { continue }
                break
            }
            start = start ?? reader.place
            if let wrong = reader.fault {
                fault = fault ?? wrong
            } else if line[0] == UInt8(ascii: "#") {
                let (key, value) = Self.comment(line)
                if key == "text" { said = Array(value) }
                if key == "newdoc" || key == "newdoc id" { documentBegins = true }
            } else {
                do { try words.add(line, at: reader.place) } catch { fault = fault ?? error }
            }
        }
        guard let start else { return nil }
        if let fault { throw fault }
        // Comments alone are no sentence, but what they say of documents counts.
        guard !words.isEmpty else { return try sentence(from: reader) }
        defer { documentBegins = false }
        return Sentence(text: said ?? words.text, place: start, startsDocument: documentBegins)
    }

    /// Key and value of `# key = value`.
    private static func comment(_ line: UnsafeBufferPointer<UInt8>) -> (key: String, value: UnsafeBufferPointer<UInt8>) {
        let content = UnsafeBufferPointer(rebasing: line[1...])
        guard let equals = content.firstIndex(of: UInt8(ascii: "=")) else {
            return (String(decoding: content.trimmed, as: UTF8.self), UnsafeBufferPointer(rebasing: content[content.endIndex...]))
        }
        return (
            String(decoding: UnsafeBufferPointer(rebasing: content[..<equals]).trimmed, as: UTF8.self),
            UnsafeBufferPointer(rebasing: content[(equals + 1)...]).trimmed
        )
    }
}

/// The words of one sentence, joined as they stand in the text.
private struct Words {
    private(set) var text: [UInt8] = []
    private var last = 0
    /// The last word of the multiword token that was read.
    private var coveredUpTo = 0
    private var spaceIsDue = false

    var isEmpty: Bool { last == 0 }

    mutating func add(_ line: UnsafeBufferPointer<UInt8>, at place: RecordPlace) throws(RecordError) {
        let columns = line.split(separator: 0x09, omittingEmptySubsequences: false)
        guard columns.count == 10 else { throw RecordError("\(columns.count) columns where a word of CoNLL-U has 10", at: place) }
        let identifier = String(decoding: columns[0], as: UTF8.self)
        // 8.1 is an empty node: something that the analysis adds to the text.
        let isEmptyNode = identifier.contains(".")
        let numbers = identifier.split(separator: isEmptyNode ? "." : "-", omittingEmptySubsequences: false).map { Int($0) }
        guard numbers.count <= 2, let first = numbers[0], let end = numbers[numbers.count - 1] else {
            throw RecordError("'\(identifier)' is no number of a word", at: place)
        }
        if isEmptyNode { return }
        guard first == last + 1, numbers.count == 1 || end > first && first > coveredUpTo else {
            throw RecordError("word \(identifier) where \(last + 1) was expected", at: place)
        }
        if numbers.count == 2 {
            coveredUpTo = end
        } else {
            last = first
            if first <= coveredUpTo { return }
        }
        if spaceIsDue { text.append(0x20) }
        text += columns[1]
        spaceIsDue = !columns[9].split(separator: UInt8(ascii: "|")).contains { $0.elementsEqual("SpaceAfter=No".utf8) }
    }
}

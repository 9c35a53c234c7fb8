// CNN/DailyMail 3.0.0 as tables: CSV with a header, and JSON lines. Fields: article, highlights (sentences on lines of their own), id.

import Diagnostics

/// Articles with their highlights from a CSV file, whose header names the columns `article`, `highlights` and, if it has one, `id`.
public final class ArticleCSVReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let records: CommaSeparatedRecords
    private let selection: ArticleSelection?
    private var columns: (article: Int, highlights: Int, identifier: Int?, count: Int)?

    /// - Parameter selection: the articles to read, by their `id`; `nil` for all.
    /// - Throws: `UserError(.missingInput)` when the file cannot be opened.
    package init(path: String, selection: ArticleSelection? = nil, maximumRecordBytes: Int = ReaderOptions.defaultMaximumLineBytes) throws {
        records = try CommaSeparatedRecords(path: path, maximumRecordBytes: maximumRecordBytes)
        self.selection = selection
    }

    /// - Throws: `UserError(.badData)` for a header without the columns, or a quote that is not closed; `RecordError` for a record with a
    ///   wrong number of fields, or a field that is not UTF-8.
    public func next() throws -> CorpusRecord? {
        if columns == nil {
            guard try records.advance() else { return nil }
            try readHeader()
        }
        guard let columns else { return nil }
        while try records.advance() {
            if let fault = records.fault { throw fault }
            let fields = records.fields
            guard fields.count == columns.count else {
                throw RecordError("\(fields.count) fields where the header has \(columns.count)", at: records.place)
            }
            if let selection, let identifier = columns.identifier,
                !selection.contains(identifier: String(decoding: fields[identifier], as: UTF8.self))
            {
                continue
            }
            for column in [columns.article, columns.highlights] {
                if let wrong = fields[column].withUnsafeBufferPointer(firstByteOfNoText) {
                    throw RecordError("\(wrong.what) in field \(column + 1)\(wrong.question)", at: records.place)
                }
            }
            return CorpusRecord(
                source: TextLines.unified(fields[columns.article]), target: TextLines.unified(fields[columns.highlights]), place: records.place)
        }
        return nil
    }

    private func readHeader() throws {
        let names = records.fields.map { String(decoding: $0, as: UTF8.self) }
        let identifier = names.firstIndex(of: "id")
        for name in ["article", "highlights", "id"] where names.count(where: { $0 == name }) > 1 {
            throw UserError(.badData, "the header names \(name) twice", at: "\(records.path):1", advice: "rename one of the columns")
        }
        guard let article = names.firstIndex(of: "article"), let highlights = names.firstIndex(of: "highlights") else {
            throw UserError(
                .badData, "the header names \(names.prefix(8).map { $0.prefix(40) }.joined(separator: ", ")), not article and highlights",
                at: "\(records.path):1",
                advice: "give a CSV file with a header line article,highlights,id")
        }
        if selection != nil, identifier == nil {
            throw UserError(
                .badData, "the header names no id, by which articles are selected", at: "\(records.path):1", advice: "leave out the URL list")
        }
        columns = (article, highlights, identifier, names.count)
    }
}

/// Articles with their highlights from JSON lines: one object a line with string members `article`, `highlights` and, if it has one, `id`. Of a member
/// that occurs twice the last counts, as for Python's json. Line ends inside of the members, CR LF or CR, read as LF.
public final class ArticleJSONReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let lines: LineReader
    private let selection: ArticleSelection?

    /// - Parameter selection: the articles to read, by their `id`; `nil` for all.
    /// - Throws: `UserError(.missingInput)` when the file cannot be opened.
    package init(path: String, selection: ArticleSelection? = nil, maximumLineBytes: Int = ReaderOptions.defaultMaximumLineBytes) throws {
        lines = try LineReader(path: path, maximumLineBytes: maximumLineBytes)
        self.selection = selection
    }

    /// - Throws: `RecordError` for a line that is no JSON object with the members. Blank lines are passed over.
    public func next() throws -> CorpusRecord? {
        while try lines.advance() {
            let line = try lines.checkedLine()
            if line.trimmed.isEmpty { continue }
            let members: [[UInt8]?]
            do {
                members = try JSONMembers.strings(named: ["article", "highlights", "id"], in: line)
            } catch {
                throw RecordError("\(error.what) at byte \(lines.lineByte + error.offset)", at: lines.place)
            }
            if let selection {
                guard let identifier = members[2] else { throw RecordError("no string member \"id\"", at: lines.place) }
                if !selection.contains(identifier: String(decoding: identifier, as: UTF8.self)) { continue }
            }
            guard let article = members[0] else { throw RecordError("no string member \"article\"", at: lines.place) }
            guard let highlights = members[1] else { throw RecordError("no string member \"highlights\"", at: lines.place) }
            return CorpusRecord(source: TextLines.unified(article), target: TextLines.unified(highlights), place: lines.place)
        }
        return nil
    }
}

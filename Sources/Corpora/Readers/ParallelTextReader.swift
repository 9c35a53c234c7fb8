// WMT's two plain forms: two line-aligned files, and a file with source and target on one line, a tab between them.

import Diagnostics
import Inputs

/// Sentence pairs from two files whose lines correspond.
public final class ParallelTextReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let source: LineReader
    private let target: LineReader

    /// - Throws: `UserError(.missingInput)` when a file cannot be opened.
    public init(source: String, target: String, maximumLineBytes: Int = ReaderOptions.defaultMaximumLineBytes) throws {
        self.source = try LineReader(path: source, lineEnds: .aligned, maximumLineBytes: maximumLineBytes)
        self.target = try LineReader(path: target, lineEnds: .aligned, maximumLineBytes: maximumLineBytes)
    }

    /// - Throws: `UserError(.badData)` at the end when one file has more lines than the other, with both counts; `RecordError` for a
    ///   pair with a wrong line on either side (both lines are passed over).
    public func next() throws -> CorpusRecord? {
        let hasSource = try source.advance()
        let hasTarget = try target.advance()
        guard hasSource == hasTarget else { throw try unequal() }
        guard hasSource else { return nil }
        let sourceLine = try source.checkedLine()
        let targetLine = try target.checkedLine()
        return CorpusRecord(source: Array(sourceLine), target: Array(targetLine), place: source.place)
    }

    private func unequal() throws -> UserError {
        while try source.advance() {}
        while try target.advance() {}
        return UserError(
            .badData, "\(source.lineNumber) lines, but \(target.path) has \(target.lineNumber)", at: source.path,
            advice: "line-aligned files need the same number of lines; look for a truncated copy")
    }
}

/// Sentence pairs from the first two columns of a tab-separated file, without quoting or escapes. More columns are passed over.
public final class TabSeparatedReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let lines: LineReader

    /// - Throws: `UserError(.missingInput)` when the file cannot be opened.
    public init(path: String, maximumLineBytes: Int = ReaderOptions.defaultMaximumLineBytes) throws {
        lines = try LineReader(path: path, lineEnds: .aligned, maximumLineBytes: maximumLineBytes)
    }

    /// - Throws: `RecordError` for a line without a tab, or not UTF-8.
    public func next() throws -> CorpusRecord? {
        guard try lines.advance() else { return nil }
        let line = try lines.checkedLine()
        guard let tab = line.firstIndex(of: 0x09) else {
            throw RecordError("one column where source, tab, target was expected", at: lines.place)
        }
        let rest = UnsafeBufferPointer(rebasing: line[(tab + 1)...])
        let target = rest.firstIndex(of: 0x09).map { UnsafeBufferPointer(rebasing: rest[..<$0]) } ?? rest
        return CorpusRecord(source: Array(line[..<tab]), target: Array(target), place: lines.place)
    }
}

// Line-aligned text files: a segment a line, the same line number in every file.

import Diagnostics
import Inputs

/// Reads files of segments and checks that they belong together.
public enum AlignedText {
    /// The lines of a file.
    ///
    /// Line feeds alone end lines, so that a file that other tools count as aligned stays aligned; the last one may lack it. Carriage returns before
    /// them are part of the end. A file is opened as ``TextFile`` opens it: compressed files and UTF-16 are read too.
    /// - Parameter path: a file, or `-` for standard input.
    /// - Throws: `UserError`: `missingInput` when there is no such file, `inputOutput` when it cannot be read, `badData` with the line and byte where
    ///   it is not UTF-8.
    public static func lines(ofFile path: String) throws -> [String] {
        let bytes = try TextFile.bytes(path, lineEnds: .aligned)
        var lines: [String] = []
        var start = 0
        for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            if start == bytes.count, line.isEmpty { break }
            let end = line.lastIndex { $0 != 0x0d }.map { $0 + 1 } ?? line.startIndex
            guard let text = String(validating: line[..<end], as: UTF8.self) else {
                throw UserError(
                    .badData, "not UTF-8", at: "\(ByteSource.shownName(path)):\(lines.count + 1) (in the line that begins at byte \(start))",
                    advice: "convert the file to UTF-8")
            }
            lines.append(text)
            start += line.count + 1
        }
        return lines
    }

    /// Hypotheses with their references.
    ///
    /// - Throws: `UserError` as `lines(ofFile:)` does, and `badData` with both counts when the files do not have equally many lines, or have none.
    public static func read(hypotheses: String, references: [String]) throws -> (hypotheses: [String], references: [[String]]) {
        let hypothesisLines = try lines(ofFile: hypotheses)
        let referenceLines = try references.map { path in
            let lines = try lines(ofFile: path)
            guard lines.count == hypothesisLines.count else {
                throw UserError(
                    .badData, "\(lines.count) lines, but \(hypotheses) has \(hypothesisLines.count)", at: path,
                    advice: "give files that are aligned line by line")
            }
            return lines
        }
        guard !hypothesisLines.isEmpty else { throw UserError(.badData, "there are no segments to score", at: hypotheses) }
        return (hypothesisLines, referenceLines)
    }
}

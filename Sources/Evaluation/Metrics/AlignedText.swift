// Line-aligned text files: a segment a line, the same line number in every file.

import Diagnostics
import Foundation

/// Reads files of segments and checks that they belong together.
public enum AlignedText {
    /// The lines of a file.
    ///
    /// Only a line feed ends a line, so that a file that other tools count as aligned stays aligned; the last one may lack it.
    /// - Parameter path: a file, or `-` for standard input.
    /// - Throws: `UserError`: `missingInput` when there is no such file, `inputOutput` when it cannot be read, `badData` with the line and byte where
    ///   it is not UTF-8.
    public static func lines(ofFile path: String) throws -> [String] {
        let bytes = try bytes(ofFile: path)
        var lines: [String] = []
        var start = 0
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            if index > 0, start == bytes.count, line.isEmpty { break }
            guard let text = String(validating: line, as: UTF8.self) else {
                throw UserError(
                    .badData, "not UTF-8", at: "\(path == "-" ? "standard input" : path):\(index + 1) (in the line that begins at byte \(start))",
                    advice: "convert the file to UTF-8")
            }
            lines.append(text)
            start += line.count + 1
        }
        return bytes.isEmpty ? [] : lines
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

    /// The bytes of a file, or of standard input for `-`.
    static func bytes(ofFile path: String) throws -> Data {
        if path == "-" { return FileHandle.standardInput.readDataToEndOfFile() }
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
            throw UserError(.missingInput, "there is no such file", at: path)
        }
        guard !isDirectory.boolValue else { throw UserError(.missingInput, "a file is expected here, found a directory", at: path) }
        // A file handle reads pipes too, as shells make of <(command).
        guard let handle = FileHandle(forReadingAtPath: path), let bytes = try? handle.readToEnd() ?? Data() else {
            throw UserError(.inputOutput, "the file cannot be read", at: path, advice: "check its permissions")
        }
        return bytes
    }
}

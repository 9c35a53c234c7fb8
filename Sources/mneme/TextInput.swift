// Lines and documents for commands that generate: from files, or from standard input.

import Corpora
import Diagnostics
import Foundation
import Inputs

enum TextInput {
    /// The lines of the inputs in order; of standard input for none or "-".
    /// - Throws: `UserError` as ``documents(_:)``.
    static func lines(_ inputs: [String]) throws -> [String] {
        try opened(inputs).flatMap { path -> [String] in
            let reader = try LineReader(path: path, lineEnds: .aligned, maximumLineBytes: .max)
            var lines: [String] = []
            while try reader.advance() { lines.append(try text(reader.line, path, reader)) }
            return lines
        }
    }

    /// Each input's whole text, lines ending in a line feed alone, without a byte order mark.
    /// - Throws: `UserError`: `missingInput` for what does not exist or cannot be read, `badData` for what is no UTF-8 text.
    static func documents(_ inputs: [String]) throws -> [String] {
        try opened(inputs).map { path in
            let bytes = try TextFile.bytes(path, lineEnds: .universal).filter { $0 != 0x0d }
            return try bytes.withUnsafeBufferPointer { try text($0, path) }
        }
    }

    /// Notes on a terminal that it is waited for: nothing else tells.
    static func promptIfTerminal() {
        if isatty(STDIN_FILENO) == 1 { CommandLineOutput.note("reading standard input; Ctrl-D on a line of its own ends it") }
    }

    private static func opened(_ inputs: [String]) -> [String] {
        let paths = inputs.isEmpty ? [ByteSource.standardInput] : inputs
        if paths.contains(ByteSource.standardInput) { promptIfTerminal() }
        return paths
    }

    private static func text(_ bytes: UnsafeBufferPointer<UInt8>, _ path: String, _ reader: LineReader? = nil) throws -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            let place = ByteSource.shownName(path) + (reader.map { ":\($0.lineNumber)" } ?? "")
            throw UserError(.badData, "is not UTF-8 text", at: place, advice: "convert it, e.g. with iconv")
        }
        return text
    }
}

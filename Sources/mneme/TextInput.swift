// Lines and documents for commands that generate: from files, or from standard input.

import Diagnostics
import Foundation

enum TextInput {
    /// The lines of the inputs in order; of standard input for none or "-". A carriage return at a line's end is dropped.
    static func lines(_ inputs: [String]) throws -> [String] {
        try documents(inputs).flatMap { text -> [String] in
            var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { $0.hasSuffix("\r") ? String($0.dropLast()) : String($0) }
            if lines.last == "" { lines.removeLast() }
            return lines
        }
    }

    /// Each input's whole text.
    static func documents(_ inputs: [String]) throws -> [String] {
        try (inputs.isEmpty ? ["-"] : inputs).map { path in
            let data: Data
            if path == "-" {
                data = FileHandle.standardInput.readDataToEndOfFile()
            } else {
                guard let contents = FileManager.default.contents(atPath: path) else {
                    throw UserError(.missingInput, "does not exist or cannot be read", at: path, advice: "name a text file, or - for standard input")
                }
                data = contents
            }
            guard let text = String(validating: data, as: UTF8.self) else {
                throw UserError(.badData, "is not UTF-8 text", at: path == "-" ? "standard input" : path, advice: "convert it, e.g. with iconv")
            }
            return text
        }
    }
}

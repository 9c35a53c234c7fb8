// Lines and documents for commands that generate: from files, or from standard input.

import Diagnostics
import Foundation

enum TextInput {
    /// The lines of the inputs in order; of standard input for none or "-".
    static func lines(_ inputs: [String]) throws -> [String] {
        try documents(inputs).flatMap { text -> [String] in
            var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            if lines.last == "" { lines.removeLast() }
            return lines
        }
    }

    /// Each input's whole text, lines ending in a line feed alone, without a byte order mark.
    static func documents(_ inputs: [String]) throws -> [String] {
        try (inputs.isEmpty ? ["-"] : inputs).map { path in
            let data: Data
            if path == "-" {
                data = FileHandle.standardInput.readDataToEndOfFile()
            } else {
                guard let contents = FileManager.default.contents(atPath: path) else {
                    var isDirectory: ObjCBool = false
                    let isThere = FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory)
                    let what = !isThere ? "does not exist" : isDirectory.boolValue ? "is a directory" : "cannot be read"
                    throw UserError(.missingInput, what, at: path, advice: "name a text file, or - for standard input")
                }
                data = contents
            }
            guard let text = String(validating: data, as: UTF8.self) else {
                throw UserError(.badData, "is not UTF-8 text", at: path == "-" ? "standard input" : path, advice: "convert it, e.g. with iconv")
            }
            return (text.hasPrefix("\u{feff}") ? String(text.unicodeScalars.dropFirst()) : text).replacing("\r\n", with: "\n")
        }
    }
}

// Lines and documents for commands that generate: from files, or from standard input.

import Corpora
import Diagnostics
import Foundation

enum TextInput {
    /// The lines of the inputs in order; of standard input for none or "-".
    static func lines(_ inputs: [String]) throws -> [String] {
        try texts(inputs).flatMap { text in TextLines.split(text).map { String(decoding: $0, as: UTF8.self) } }
    }

    /// Each input's whole text, lines ending in a line feed alone, without a byte order mark.
    static func documents(_ inputs: [String]) throws -> [String] {
        try texts(inputs).map { String(decoding: TextLines.unified($0), as: UTF8.self) }
    }

    /// Each input's whole text, without a byte order mark.
    private static func texts(_ inputs: [String]) throws -> [[UInt8]] {
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
            let bytes = Array(text.utf8)
            return bytes.starts(with: [0xef, 0xbb, 0xbf]) ? Array(bytes[3...]) : bytes
        }
    }
}

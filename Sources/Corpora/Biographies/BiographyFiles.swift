// Writing made-up people as files: their facts as records of a bank, and biographies in sentences.

import Diagnostics
import Foundation

extension Biographies {
    /// What was written.
    public struct Summary: Sendable, Hashable, Codable {
        /// The directory that was written.
        public var directory: String
        /// What the people are a function of.
        public var seed: UInt64
        public var people: Int
        public var facts: Int
    }

    /// A line of `records.jsonl`.
    private struct Line: Encodable {
        let id: String
        let namespace: String
        let key_text: String
        let text: String
        let source: String
    }

    /// Writes `records.jsonl`, a fact a line as `mneme memory import` takes it, and `biographies.txt`, a person a line, into `directory`: both of them or
    /// neither.
    /// - Parameters:
    ///   - people: which people, by number.
    ///   - replacing: whether files of these names are replaced in a directory that is not empty.
    /// - Throws: `UserError(.usage)` when the directory holds files and `replacing` is false; `UserError(.inputOutput)` when writing fails.
    public func write(_ people: Range<Int>, to directory: String, replacing: Bool = false) throws -> Summary {
        let names: Set<String> = ["records.jsonl", "biographies.txt"]
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try SimulatedFiles.write(to: directory, replacing: replacing ? { names.contains($0) } : nil) { folder in
            _ = try SimulatedFiles.write(
                people.lazy.flatMap { person in
                    let name = nameText(of: person)
                    return BiographyAttribute.allCases.map { attribute in
                        let key = keyText(attribute, of: person)
                        let line = Line(
                            id: key, namespace: Self.namespace, key_text: key, text: Self.text(value(of: attribute, person)), source: name)
                        return ((try? encoder.encode(line)).map { String(decoding: $0, as: UTF8.self) } ?? "") + "\n"
                    }
                }, to: "\(folder)/records.jsonl")
            _ = try SimulatedFiles.write(
                people.lazy.map { person in
                    var choices = SeededChoices(seed: seed, path: [4, UInt64(person)])
                    let biography = biography(of: person, &choices)
                    return Self.text(biography.symbols.dropFirst().dropLast()) + "\n"
                }, to: "\(folder)/biographies.txt")
            return names.sorted()
        }
        return Summary(directory: directory, seed: seed, people: people.count, facts: people.count * BiographyAttribute.allCases.count)
    }

    /// The partition of a bank that people's facts belong to.
    public static let namespace = "people"
}

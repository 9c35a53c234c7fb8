// The symbols of a knowledge run: what its parameters belong to.

import Corpora
import Diagnostics
import Foundation
import Storage

/// The symbols of a run and what weights them: the file `knowledge.json`.
package struct KnowledgeFile: Codable {
    package static let name = "knowledge.json"

    var format = "mneme-knowledge"
    var version = 1
    var vocabulary: SymbolVocabulary
    var frequencies: SymbolFrequencies
    var rules: MemoryRules

    package init(_ vocabulary: SymbolVocabulary, _ frequencies: SymbolFrequencies, _ rules: MemoryRules) {
        (self.vocabulary, self.frequencies, self.rules) = (vocabulary, frequencies, rules)
    }

    /// - Throws: `UserError` where the file is missing or not what it should be.
    package init(runDirectory: String) throws {
        let path = "\(runDirectory)/\(Self.name)"
        guard Directory.exists(path) != nil else {
            throw UserError(.missingInput, "does not exist or cannot be read", at: path, advice: "restore the file: the run was saved with it")
        }
        let data = Data(try DurableFile.read(path))
        do { self = try JSONDecoder().decode(Self.self, from: data) } catch {
            throw UserError(.badData, "is not the symbols of a knowledge run", at: path, advice: "restore the file from a copy")
        }
        guard format == "mneme-knowledge", version == 1 else {
            throw UserError(.badData, "has format \(format), version \(version)", at: path, advice: "use the program that wrote it")
        }
    }

    /// The same bytes for the same content.
    package func bytes() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }
}

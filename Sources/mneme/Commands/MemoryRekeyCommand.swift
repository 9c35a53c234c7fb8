// `mneme memory rekey`

import ArgumentParser
import Diagnostics
import Foundation
import Inputs
import MemoryBanks

struct MemoryRekeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rekey",
        abstract: "Give all records of a bank new keys, made by another encoder.",
        discussion: """
            All records get theirs in one commit, which is not reverted but followed by another rekey. Keys come from a file with a line
            {"namespace": ..., "id": ..., "key": [...]} for each record, or, in a bank with an encoder, from the records' key texts.

            Examples:
              mneme memory rekey banks/states --keys keys.jsonl --model 88ab02 --layer 4
              mneme memory rekey banks/facts
            """)

    @Argument(help: "The bank.")
    var bank: String

    @Option(help: ArgumentHelp("A file with each record's new key.", valueName: "file"))
    var keys: String?

    @OptionGroup var generation: BankGenerationOptions
    @OptionGroup var editing: BankEditOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    private struct Name: Hashable { let namespace: String, id: String }
    private struct Line: Decodable {
        let namespace: String
        let id: String
        let key: [Float]
    }

    func run() throws {
        var vectors: [Name: [Float]] = [:]
        if let keys {
            for (index, text) in try TextInput.lines([keys]).enumerated() where !text.allSatisfy(\.isWhitespace) {
                guard let line = try? JSONDecoder().decode(Line.self, from: Data(text.utf8)) else {
                    throw UserError(.badData, "is no key of a record", at: "\(keys):\(index + 1)", advice: "write namespace, id and key")
                }
                vectors[Name(namespace: line.namespace, id: line.id)] = line.key
            }
        }
        let receipt = try MemoryBank.edit(bank, editing) { bank, edit in
            if keys != nil {
                guard let generation = try generation.generation(width: bank.configuration.keyWidth) else {
                    throw UserError(.usage, "nothing says what made the keys", advice: "name the model with --model")
                }
                return try bank.rekey(generation, edit) { $0.map { vectors[Name(namespace: $0.namespace, id: $0.id)] } }
            }
            guard let encoder = try bank.encoder() else {
                throw UserError(
                    .configuration, "has no encoder that makes keys", at: self.bank,
                    advice: "give the keys in a file, with --keys and --model")
            }
            return try bank.rekey(encoder.generation, edit) { records in
                guard let empty = records.first(where: \.keyText.isEmpty) else { return try encoder.keys(records.map(\.keyText)) }
                throw UserError(
                    .badData, "the record '\(empty.id)' has no text for its key", at: self.bank, advice: "give it one, or the keys in a file")
            }
        }
        try BankText.print(receipt, json: json)
    }
}

// `mneme memory`: what runs remember, and what its commands about facts share.

import ArgumentParser
import Corpora
import MemoryBanks
import Training

struct MemoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "memory",
        abstract: "Show and change what runs remember.",
        discussion: """
            A bank is a directory of records with ids, versions and namespaces, found by id or by the likeness of keys; every edit of it leaves a
            receipt and can be reverted until it is purged.

            A run of a knowledge task keeps its facts in the bank banks/facts of its directory. Its commands list, get, put and delete also take the run
            and subject, relation and object; all others take the bank. Answers follow an edit, and nothing is trained again.

            Examples:
              mneme memory create banks/facts --encoder hashed-ngrams --key-width 512
              mneme memory search banks/facts --namespace films --text 'Kismet year'
              mneme memory show checkpoints/copy-ntm
              mneme memory list checkpoints/knowledge-synthetic --subject 'Silver Harbour'
            """,
        subcommands: [
            MemoryShowCommand.self, MemoryInspectCommand.self, MemoryListCommand.self, MemoryGetCommand.self, MemoryPutCommand.self,
            MemoryDeleteCommand.self, MemoryForgetCommand.self, MemoryCreateCommand.self, MemoryUpdateCommand.self, MemorySearchCommand.self, MemoryRekeyCommand.self, MemoryBuildCommand.self,
            MemoryDoctorCommand.self, MemoryIndexCommand.self, MemoryCompactCommand.self, MemoryAuditCommand.self, MemoryRevertCommand.self,
            MemoryExportCommand.self, MemoryImportCommand.self,
        ])
}

/// A fact in JSON.
struct FactOutput: Encodable {
    let subject: String
    let relation: String?
    let object: String
    /// The record of the bank that says it, and its version; 0 in a file of an earlier version.
    let id: String?
    let version: Int?

    init(_ fact: KnowledgeFact, _ record: BankRecord? = nil) {
        (subject, relation, object) = (fact.subject, fact.relation, fact.object)
        (id, version) = (record?.id, record?.version)
    }

    /// `subject | relation | object`.
    static func line(_ fact: KnowledgeFact) -> String { [fact.subject, fact.relation, fact.object].compactMap { $0 }.joined(separator: " | ") }

    /// Prints facts, one a line or as one JSON array.
    static func print(_ entries: [KnowledgeBank.Entry], json: Bool) throws {
        if json { return try JSONOutput.print(entries.map { FactOutput($0.fact, $0.record) }) }
        for entry in entries { try StandardOutput.print(line(entry.fact)) }
    }
}

extension KnowledgeBank {
    /// The facts of a run directory, to be read; what was noticed is said on standard error.
    static func read(_ runDirectory: String) throws -> KnowledgeBank {
        let bank = try KnowledgeBank(runDirectory: runDirectory)
        bank.notes.forEach { CommandLineOutput.note($0) }
        return bank
    }

    /// Opens the facts of a run directory, edits them and gives the bank's lock back.
    static func edit<Result>(_ runDirectory: String, _ options: BankEditOptions, _ body: (KnowledgeBank, BankEdit) throws -> Result) throws -> Result {
        let identity = try MemoryBank.editor()
        let bank = try KnowledgeBank(runDirectory: runDirectory, editing: identity)
        defer { bank.close() }
        bank.notes.forEach { CommandLineOutput.note($0) }
        return try body(bank, options.edit(identity))
    }
}

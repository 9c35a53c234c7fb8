// `mneme memory`: what runs remember, and what its commands about facts share.

import ArgumentParser
import Corpora
import Training

struct MemoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "memory",
        abstract: "Show and change what runs remember.",
        discussion: """
            A bank is a directory of records with ids, versions and namespaces, found by id or by the likeness of keys; every edit of it leaves a
            receipt and can be reverted until it is purged.

            A run of a knowledge task keeps its facts in its directory (facts.memory; checkpoints/FORMAT.md describes the file). They may be changed
            at any time: the answers follow, and nothing is trained again.

            Examples:
              mneme memory create banks/facts --encoder hashed-ngrams --key-width 512
              mneme memory search banks/facts --namespace films --text 'Kismet year'
              mneme memory show checkpoints/copy-ntm
              mneme memory list checkpoints/knowledge-synthetic --subject 'Silver Harbour'
            """,
        subcommands: [
            MemoryShowCommand.self, MemoryInspectCommand.self, MemoryListCommand.self, MemoryGetCommand.self, MemoryPutCommand.self,
            MemoryDeleteCommand.self, MemoryCreateCommand.self, MemoryUpdateCommand.self, MemorySearchCommand.self, MemoryRekeyCommand.self, MemoryBuildCommand.self,
            MemoryDoctorCommand.self, MemoryIndexCommand.self, MemoryCompactCommand.self, MemoryAuditCommand.self, MemoryRevertCommand.self,
            MemoryExportCommand.self, MemoryImportCommand.self,
        ])
}

/// A fact in JSON.
struct FactOutput: Encodable {
    let subject: String
    let relation: String?
    let object: String

    init(_ fact: KnowledgeFact) { (subject, relation, object) = (fact.subject, fact.relation, fact.object) }

    /// `subject | relation | object`.
    static func line(_ fact: KnowledgeFact) -> String { [fact.subject, fact.relation, fact.object].compactMap { $0 }.joined(separator: " | ") }

    /// Prints facts, one a line or as one JSON array.
    static func print(_ facts: [KnowledgeFact], json: Bool) throws {
        if json { try JSONOutput.print(facts.map(FactOutput.init)) } else { try facts.forEach { try StandardOutput.print(line($0)) } }
    }
}

extension KnowledgeBank {
    /// The facts of a run directory; what a crash has cut off is said on standard error.
    static func opened(_ runDirectory: String) throws -> KnowledgeBank {
        let bank = try KnowledgeBank(runDirectory: runDirectory)
        if let repair = bank.repair { CommandLineOutput.note("\(runDirectory)/\(fileName): \(repair)") }
        return bank
    }
}

// `mneme memory list`

import ArgumentParser
import Diagnostics
import MemoryBanks
import Training

struct MemoryListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List the records of a bank, or the facts of a run.",
        discussion: """
            Examples:
              mneme memory list banks/facts --namespaces
              mneme memory list banks/facts --namespace films --source wiki:Kismet --json
              mneme memory list checkpoints/metaqa --relation 'directed by' --first 10
              mneme memory list checkpoints/metaqa --subject Kismet --json
            """)

    @Argument(help: ArgumentHelp("The bank, or the run directory.", valueName: "bank|run-dir"))
    var directory: String

    @OptionGroup var filter: BankFilterOptions

    @Flag(help: "The namespaces of the bank and how many records they have.")
    var namespaces = false

    @Option(help: "Facts about this entity only.")
    var subject: String?

    @Option(help: "Facts of this relation only.")
    var relation: String?

    @Option(help: ArgumentHelp("The first so many.", valueName: "count"))
    var first: Int?

    @Flag(help: "Print one JSON array.")
    var json = false

    func validate() throws {
        guard first ?? 1 >= 1 else { throw ValidationError("--first must be at least 1.") }
    }

    private struct NamespaceOutput: Encodable {
        let name: String
        let records: Int
    }

    func run() throws {
        guard MemoryBank.exists(directory) else { return try listFacts() }
        try MemoryBank.requireBank(subject != nil, directory, "--subject")
        try MemoryBank.requireBank(relation != nil, directory, "--relation")
        let bank = try MemoryBank.read(directory)
        let all = try bank.namespaces()
        if namespaces {
            if json { return try JSONOutput.print(all.map { NamespaceOutput(name: $0.name, records: $0.records) }) }
            return try all.forEach { try print("\($0.name): \(quantity($0.records, "record"))") }
        }
        let filter = try filter.filter(ids: [])
        if case .one(let name) = filter.scope, !all.contains(where: { $0.name == name }) {
            throw UserError(.missingInput, "has no namespace '\(name)'", at: directory, advice: "see mneme memory list --namespaces")
        }
        let records = bank.localRecords(filter)
        if records.isEmpty { CommandLineOutput.note("no such record") }
        try BankText.print(first.map { Array(records.prefix($0)) } ?? records, json: json, withKey: false)
    }

    private func listFacts() throws {
        try MemoryBank.requireNone(filter.isGiven || namespaces, directory)
        let facts = try KnowledgeBank.read(directory).entries(subject: subject, relation: relation)
        if facts.isEmpty { CommandLineOutput.note("no such fact") }
        try FactOutput.print(first.map { Array(facts.prefix($0)) } ?? facts, json: json)
    }
}

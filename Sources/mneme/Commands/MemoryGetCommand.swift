// `mneme memory get`

import ArgumentParser
import Diagnostics
import MemoryBanks
import Training

struct MemoryGetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get",
        abstract: "Look records of a bank up by id, or a run's facts by subject and relation.",
        discussion: """
            Exact: nothing that is merely similar is found. Names in facts are compared by the run's case rule.

            Examples:
              mneme memory get banks/facts kismet-director --namespace films
              mneme memory get banks/facts kismet-year --namespace films --count-use
              mneme memory get checkpoints/metaqa Kismet 'directed by'
            """)

    @Argument(help: ArgumentHelp("The bank, or the run directory.", valueName: "bank|run-dir"))
    var directory: String

    @Argument(help: ArgumentHelp("Ids; or a fact's subject and, unless all are meant, its relation.", valueName: "names"))
    var names: [String]

    @OptionGroup var scope: BankScopeOptions

    @Flag(help: "Count this as a use of the records.")
    var countUse = false

    @OptionGroup var editing: BankEditOptions

    @Flag(help: "Print one JSON array.")
    var json = false

    func run() throws {
        guard MemoryBank.exists(directory) else { return try getFacts() }
        let filter = BankFilter(try scope.scope(), ids: names)
        func found(_ bank: MemoryBank) throws -> [BankRecord] {
            if case .one(let name) = filter.scope, !(try bank.namespaces().contains { $0.name == name }) {
                throw UserError(.missingInput, "has no namespace '\(name)'", at: directory, advice: "see mneme memory list --namespaces")
            }
            let records = bank.localRecords(filter)
            for id in names where !records.contains(where: { $0.id == id }) {
                throw UserError(.missingInput, "has no record '\(id)' in \(filter.scope)", at: directory, advice: "see mneme memory list")
            }
            return records
        }
        let records =
            try countUse
            ? MemoryBank.edit(directory, editing) { bank, edit in
                let records = try found(bank)
                try bank.recordUse(filter, step: edit.step)
                try bank.commitUses()
                return records
            } : found(try MemoryBank.read(directory))
        try BankText.print(records, json: json, withKey: true)
    }

    private func getFacts() throws {
        try MemoryBank.requireNone(scope.isGiven || countUse || editing.isGiven, directory)
        guard names.count <= 2 else {
            throw UserError(.usage, "a fact is looked up by subject and relation", advice: "see mneme memory get --help")
        }
        let (subject, relation) = (names[0], names.count > 1 ? names[1] : nil)
        let facts = try KnowledgeBank.read(directory).entries(subject: subject, relation: relation)
        guard !facts.isEmpty else {
            throw UserError(
                .missingInput, "there is no such fact: \([subject, relation].compactMap { $0 }.joined(separator: " | "))", at: directory,
                advice: "see mneme memory list")
        }
        if json { return try FactOutput.print(facts, json: true) }
        for entry in facts { try print(relation == nil ? FactOutput.line(entry.fact) : entry.fact.object) }
    }
}

// `mneme memory put`

import ArgumentParser
import Corpora
import Diagnostics
import MemoryBanks
import Training

struct MemoryPutCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put",
        abstract: "Put a record into a bank, or a fact into a run's memory.",
        discussion: """
            What is put is on disk when the command ends. In a bank it takes the place of the record that has its id; without an id it gets one made
            from what it holds.

            A fact of a run of a knowledge task is named by subject, relation and object: '-' as the relation for a sentence of a document. It is
            checked against what the run was trained with. An entity that was not there takes one of the places that task.spareSymbols keeps.

            Examples:
              mneme memory put banks/facts kismet-director --namespace films \\
                --key-text 'Kismet directed by' --text 'William Dieterle' --taken-from wiki
              mneme memory put banks/facts kismet-year --namespace films \\
                --key-text 'Kismet release year' --text 1944 --expect-version 1
              mneme memory put checkpoints/metaqa Kismet 'starred actors' 'Ronald Colman'
              mneme memory put checkpoints/metaqa Kismet 'release year' 1944 --replace
            """)

    @Argument(help: ArgumentHelp("The bank, or the run directory.", valueName: "bank|run-dir"))
    var directory: String

    @Argument(help: ArgumentHelp("The record's id; or subject, relation and object of a fact.", valueName: "names"))
    var names: [String] = []

    @OptionGroup var scope: BankScopeOptions
    @OptionGroup var content: BankContentOptions
    @OptionGroup var editing: BankEditOptions
    @OptionGroup var generation: BankGenerationOptions

    @Option(help: ArgumentHelp("Where the record comes from: data or model.", valueName: "origin"))
    var origin: String?

    @Option(help: ArgumentHelp("The version it must have before; 0: it must be new.", valueName: "version"))
    var expectVersion: Int?

    @Flag(help: "Let a record come back that was deleted.")
    var resurrect = false

    @Flag(help: "A fact: put it in the place of all objects that its subject and relation have.")
    var replace = false

    @Flag(help: "Print one JSON object.")
    var json = false

    private struct Outcome: Encodable {
        let fact: FactOutput
        let changed: Bool
        let replaced: [String]
        let newEntities: [String]
        let commit: Int
    }

    func run() throws {
        guard MemoryBank.exists(directory) else { return try putFact() }
        try MemoryBank.requireBank(replace, directory, "--replace")
        guard names.count <= 1 else {
            throw UserError(.usage, "a record has one id, not \(names.count)", advice: "quote an id that has blanks")
        }
        guard let value = try content.value() else {
            throw UserError(.usage, "the record has no value", advice: "give --text, --tokens or --vector-file")
        }
        var record = BankRecord(id: names.first ?? "", namespace: try scope.required(), value: value)
        let patch = try content.patch()
        (record.key, record.keyText, record.source) = (patch.key ?? [], patch.keyText ?? "", patch.source ?? "")
        (record.parents, record.validFrom, record.validTo) = (patch.parents ?? [], patch.validFrom, patch.validTo)
        record.origin = try origin.map(BankText.origin) ?? .data
        let receipt = try MemoryBank.edit(directory, editing) { bank, edit in
            try bank.put(
                [record], expecting: expectVersion, generation: try generation.generation(width: record.key.count), resurrecting: resurrect,
                edit)
        }
        try BankText.print(receipt, json: json)
    }

    private func putFact() throws {
        try MemoryBank.requireNone(
            scope.isGiven || content.isGiven || origin != nil || resurrect || generation.model != nil, directory)
        guard names.count == 3 else {
            throw UserError(.usage, "a fact has a subject, a relation and an object", advice: "see mneme memory put --help")
        }
        let fact = KnowledgeFact(names[0], names[1] == "-" ? nil : names[1], names[2])
        let (before, receipt, new) = try KnowledgeBank.edit(directory, editing) { bank, edit in
            let before = replace ? bank.held(fact.subject, fact.relation).map(\.fact.object) : []
            let receipt = try replace ? bank.replace(by: fact, expecting: expectVersion, edit) : bank.put(fact, expecting: expectVersion, edit)
            return (before, receipt, (fact.relation == nil ? [fact.subject] : [fact.subject, fact.object]).filter { !bank.isTrained($0) })
        }
        let changed = !receipt.changesNothing
        if json {
            return try JSONOutput.print(
                Outcome(fact: FactOutput(fact), changed: changed, replaced: before, newEntities: new, commit: receipt.commit))
        }
        try print(
            changed
                ? (before.isEmpty ? "put: " : "replaced \(before.joined(separator: ", ")): ") + FactOutput.line(fact)
                : "known already: \(FactOutput.line(fact))")
        for name in new {
            CommandLineOutput.note("'\(name)' was not there when the run was trained: it has a symbol that nothing was learned about")
        }
    }
}

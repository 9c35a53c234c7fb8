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

            In the memory of a run of a knowledge task, name subject, relation and object: '-' as the relation for a sentence of a document. An
            entity that the run was not trained with takes one of the places that task.spareSymbols keeps.

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
            scope.isGiven || content.isGiven || editing.isGiven || origin != nil || expectVersion != nil || resurrect
                || generation.model != nil, directory)
        guard names.count == 3 else {
            throw UserError(.usage, "a fact has a subject, a relation and an object", advice: "see mneme memory put --help")
        }
        let (subject, relation, object) = (names[0], names[1], names[2])
        let bank = try KnowledgeBank.opened(directory)
        let fact = KnowledgeFact(subject, relation == "-" ? nil : relation, object)
        let before = bank.facts(subject: subject, relation: fact.relation).filter { $0.relation == fact.relation }.map(\.object)
        let isReplacing = replace && !before.isEmpty
        let changed = isReplacing ? try before == [object] ? false : bank.update(fact) : try bank.put(fact)
        let new = (fact.relation == nil ? [subject] : [subject, object]).filter { !bank.isTrained($0) }
        if json {
            return try JSONOutput.print(
                Outcome(fact: FactOutput(fact), changed: changed, replaced: isReplacing ? before : [], newEntities: new))
        }
        try print(
            changed
                ? (isReplacing ? "replaced \(before.joined(separator: ", ")): " : "put: ") + FactOutput.line(fact)
                : "known already: \(FactOutput.line(fact))")
        for name in new {
            CommandLineOutput.note("'\(name)' was not there when the run was trained: it has a symbol that nothing was learned about")
        }
    }
}

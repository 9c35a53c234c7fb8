// `mneme memory put`

import ArgumentParser
import Corpora
import Diagnostics
import Training

struct MemoryPutCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put",
        abstract: "Put a fact into a run's memory, or another object in the place of the old one.",
        discussion: """
            The fact is on disk when the command ends. An entity that the run was not trained with takes one of the places that task.spareSymbols
            keeps.

            Examples:
              mneme memory put checkpoints/metaqa Kismet 'starred actors' 'Ronald Colman'
              mneme memory put checkpoints/metaqa Kismet 'release year' 1944 --replace
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Argument(help: "The entity that the fact is about, or the title of a document.")
    var subject: String

    @Argument(help: "The relation, one that the run knows; '-' for a sentence of a document.")
    var relation: String

    @Argument(help: "The other entity, or the sentence.")
    var object: String

    @Flag(help: "Put it in the place of all objects that the subject and relation have.")
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
        let bank = try KnowledgeBank.opened(runDirectory)
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
        for name in new { CommandLineOutput.note("'\(name)' was not there when the run was trained: it has a symbol that nothing was learned about") }
    }
}

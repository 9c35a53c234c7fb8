// `mneme memory get`

import ArgumentParser
import Diagnostics
import Training

struct MemoryGetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get",
        abstract: "Look facts up exactly: the objects of a subject and a relation.",
        discussion: """
            Names are compared by the run's case rule. This is the exact dictionary: no fact that is merely similar is found.

            Examples:
              mneme memory get checkpoints/metaqa Kismet 'directed by'
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Argument(help: "The entity that the fact is about, or the title of a document.")
    var subject: String

    @Argument(help: "The relation; without it all facts about the subject.")
    var relation: String?

    @Flag(help: "Print one JSON array.")
    var json = false

    func run() throws {
        let facts = try KnowledgeBank.opened(runDirectory).facts(subject: subject, relation: relation)
        guard !facts.isEmpty else {
            throw UserError(
                .missingInput, "there is no such fact: \([subject, relation].compactMap { $0 }.joined(separator: " | "))", at: runDirectory,
                advice: "see mneme memory list")
        }
        if json { return try FactOutput.print(facts, json: true) }
        for fact in facts { try print(relation == nil ? FactOutput.line(fact) : fact.object) }
    }
}

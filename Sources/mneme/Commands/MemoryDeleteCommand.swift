// `mneme memory delete`

import ArgumentParser
import Diagnostics
import Training

struct MemoryDeleteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Delete facts from a run's memory.",
        discussion: """
            Examples:
              mneme memory delete checkpoints/metaqa Kismet 'release year' 1944
              mneme memory delete checkpoints/metaqa Kismet 'has tags'
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Argument(help: "The entity that the fact is about, or the title of a document.")
    var subject: String

    @Argument(help: "The relation; '-' for the sentences of a document.")
    var relation: String

    @Argument(help: "The object; without it every object of the subject and relation.")
    var object: String?

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let bank = try KnowledgeBank.opened(runDirectory)
        let count = try bank.delete(subject: subject, relation: relation == "-" ? nil : relation, object: object)
        guard count > 0 else {
            let fact = [subject, relation, object].compactMap { $0 }.joined(separator: " | ")
            throw UserError(.missingInput, "there is no such fact: \(fact)", at: runDirectory, advice: "see mneme memory list")
        }
        if json { try JSONOutput.print(["deleted": count]) } else { try print("deleted \(quantity(count, "fact"))") }
    }
}

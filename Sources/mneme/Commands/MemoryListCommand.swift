// `mneme memory list`

import ArgumentParser
import Training

struct MemoryListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List the facts of a run.",
        discussion: """
            Examples:
              mneme memory list checkpoints/metaqa --relation 'directed by' --first 10
              mneme memory list checkpoints/metaqa --subject Kismet --json
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

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

    func run() throws {
        let facts = try KnowledgeBank.opened(runDirectory).facts(subject: subject, relation: relation)
        if facts.isEmpty { CommandLineOutput.note("no such fact") }
        try FactOutput.print(first.map { Array(facts.prefix($0)) } ?? facts, json: json)
    }
}

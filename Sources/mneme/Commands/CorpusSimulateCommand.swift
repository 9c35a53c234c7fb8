// `mneme corpus simulate`: corpora that need no download.

import ArgumentParser

struct CorpusSimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Write a corpus from a simulated world.",
        discussion: """
            Examples:
              mneme corpus simulate babi --stories 1000 --seed 1 --output stories
              mneme corpus simulate knowledge --films 300 --output films
            """,
        subcommands: [CorpusSimulateBabiCommand.self, CorpusSimulateKnowledgeCommand.self, CorpusSimulateBiographiesCommand.self])
}

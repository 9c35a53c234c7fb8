// `mneme corpus`: what is done with corpora.

import ArgumentParser

struct CorpusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "corpus",
        abstract: "Makes corpora and looks into them.",
        discussion: "Example: mneme corpus simulate babi --stories 1000 --seed 1 --output stories",
        subcommands: [CorpusSimulateCommand.self])
}

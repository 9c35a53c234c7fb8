// mneme corpus: everything about corpora.

import ArgumentParser

/// The noun `corpus`.
struct CorpusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "corpus",
        abstract: "Simulate, shard, inspect and repair corpora.",
        discussion: """
            Examples:
              mneme corpus inspect corpora/wmt-en-de
            """,
        subcommands: [CorpusSimulateCommand.self, CorpusShardCommand.self, CorpusInspectCommand.self, CorpusRepairCommand.self])
}

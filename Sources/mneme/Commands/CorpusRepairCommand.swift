// mneme corpus repair: damaged shards made again.

import ArgumentParser
import Diagnostics
import Sharding

struct CorpusRepairCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair",
        abstract: "Make shards that are missing or damaged again from the inputs.",
        discussion: """
            corpus.json records inputs, options and tokenizer. Where the inputs still are what they were, the shards come back bit for bit; \
            where they have changed, nothing is touched. Start it where 'mneme corpus shard' was started if the inputs were named relatively.

            Examples:
              mneme corpus repair corpora/wmt-en-de
            """)

    @Flag(help: "Only say what is damaged; exit code 65 where something is.")
    var dryRun = false
    @Argument(help: "Corpus directory.")
    var directory: String

    func run() throws {
        CommandLineOutput.outliveReader()
        ProgramStart.run(allocatesManySmallBlocks: true) { communicator in
            let repair = try communicator.onEveryRank { try CorpusRepair(examining: directory) }
            let shown = PathText.shown(directory)
            if communicator.rank == 0 { for damage in repair.damage { try print("\(shown)/\(damage.file): \(damage.what)") } }
            if repair.damage.isEmpty {
                if communicator.rank == 0 { try print("\(shown): \(quantity(repair.manifest.shards.count, "shard")), none is damaged") }
                return .finished
            }
            if dryRun { return .badData }
            let line = ProgressLine()
            try repair.restore(communicator: communicator) { progress in
                line.show("making shards again: \(progress.records) records, \(progress.shards) shards")
            }
            line.clear()
            if communicator.rank == 0 { try print("\(shown): \(quantity(repair.damage.count, "shard")) made again, as before") }
            return .finished
        }
    }
}

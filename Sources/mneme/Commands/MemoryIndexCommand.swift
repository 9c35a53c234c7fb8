// `mneme memory index`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemoryIndexCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "index",
        abstract: "Make a bank's index, or make it again: lists of keys that lie near each other.",
        discussion: """
            A search that visits a few of the lists is many times faster than one through all records, and may miss some. The index follows every
            edit; make it again when most records have changed, as mneme memory inspect says. Compaction makes it again by itself.

            Examples:
              mneme memory index banks/states
              mneme memory search banks/states --all --vector query.json --probe 8 --recall
              mneme memory index banks/states --drop
            """)

    @Argument(help: "The bank.")
    var bank: String

    @Option(help: ArgumentHelp("So many lists; near the root of the number of records unless given.", valueName: "count"))
    var lists: Int?

    @Flag(help: "Remove the index.")
    var drop = false

    @Flag(help: "Print one JSON object.")
    var json = false

    func validate() throws {
        guard lists ?? 1 >= 1 else { throw ValidationError("--lists must be at least 1.") }
        guard lists == nil || !drop else { throw ValidationError("Give --lists or --drop.") }
    }

    private struct Outcome: Encodable {
        let commit: Int
        let lists: Int
        let records: Int
    }

    func run() throws {
        let outcome = try MemoryBank.change(bank) { bank, _ in
            if drop { try bank.dropIndex() } else { try bank.makeIndex(lists: lists) }
            return Outcome(commit: bank.commit, lists: bank.indexLink?.lists ?? 0, records: bank.indexLink?.records ?? 0)
        }
        if json { return try JSONOutput.print(outcome) }
        try print(
            "commit \(outcome.commit) index: "
                + (drop ? "dropped" : "\(quantity(outcome.lists, "list")) of \(quantity(outcome.records, "record"))"))
    }
}

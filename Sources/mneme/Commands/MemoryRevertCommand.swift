// `mneme memory revert`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemoryRevertCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revert",
        abstract: "Undo an edit of a bank by another one.",
        discussion: """
            What the commit made goes; what it changed or deleted is as it was, as a later version. A commit is refused where a record of it has been
            changed since, and where a compaction has purged what it replaced.

            Examples:
              mneme memory revert banks/facts 7 --reason 'the wrong film'
            """)

    @Argument(help: "The bank.")
    var bank: String

    @Argument(help: "The commit, as mneme memory audit lists it.")
    var commit: Int

    @OptionGroup var editing: BankEditOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        try BankText.print(try MemoryBank.edit(bank, editing) { try $0.revert(commit, $1) }, json: json)
    }
}

// `mneme memory compact`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemoryCompactCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compact",
        abstract: "Take what was deleted or replaced out of a bank's files, for good.",
        discussion: """
            Writes what is there anew and removes every other segment. Commits up to this one cannot be reverted any more. Copies elsewhere, such as a
            run's earlier checkpoints, are not reached.

            Examples:
              mneme memory compact banks/facts --reason 'user-7 asked to be forgotten'
            """)

    @Argument(help: "The bank.")
    var bank: String

    @OptionGroup var editing: BankEditOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    private struct Outcome: Encodable {
        let receipt: BankReceipt
        let bytesBefore: Int
        let bytesAfter: Int
    }

    func run() throws {
        let outcome = try MemoryBank.edit(bank, editing) { bank, edit in
            let before = bank.byteCount
            let receipt = try bank.compact(edit)
            return Outcome(receipt: receipt, bytesBefore: before, bytesAfter: bank.byteCount)
        }
        if json { return try JSONOutput.print(outcome) }
        try print("commit \(outcome.receipt.commit) compact: \(outcome.bytesBefore) bytes became \(outcome.bytesAfter)")
    }
}

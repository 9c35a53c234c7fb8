// `mneme memory audit`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemoryAuditCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit",
        abstract: "List what was done to a bank: every edit with its receipt.",
        discussion: """
            Examples:
              mneme memory audit banks/facts
              mneme memory audit banks/facts --last 5 --json
            """)

    @Argument(help: "The bank.")
    var bank: String

    @Option(help: ArgumentHelp("The last so many.", valueName: "count"))
    var last: Int?

    @Flag(help: "Print one JSON array.")
    var json = false

    func validate() throws {
        guard last ?? 1 >= 1 else { throw ValidationError("--last must be at least 1.") }
    }

    func run() throws {
        let bank = try MemoryBank.read(bank)
        let receipts = last.map { Array(bank.receipts.suffix($0)) } ?? bank.receipts
        if json { return try JSONOutput.print(receipts) }
        let revertible = Set(bank.revertibleCommits)
        for receipt in receipts { try print(BankText.line(receipt) + (revertible.contains(receipt.commit) ? "; can be reverted" : "")) }
    }
}

// `mneme memory update`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemoryUpdateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "update",
        abstract: "Change parts of a bank's records; what is not given stays.",
        discussion: """
            Examples:
              mneme memory update banks/facts kismet-year --namespace films --text 1944
              mneme memory update banks/facts kismet-year --namespace films \\
                --valid-to 2026-11-28 --expect-version 2
            """)

    @Argument(help: "The bank.")
    var bank: String

    @Argument(help: "The records' ids.")
    var ids: [String]

    @OptionGroup var scope: BankScopeOptions
    @OptionGroup var content: BankContentOptions

    @Option(help: ArgumentHelp("The version that each must have.", valueName: "version"))
    var expectVersion: Int?

    @OptionGroup var editing: BankEditOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        guard content.isGiven else {
            throw UserError(.usage, "nothing is to be changed", advice: "give what the records get, such as --text")
        }
        let (filter, patch) = (BankFilter(try scope.scope(), ids: ids), try content.patch())
        let receipt = try MemoryBank.edit(bank, editing) { try $0.update(filter, patch, expecting: expectVersion, $1) }
        try BankText.print(receipt, json: json)
    }
}

// `mneme memory forget`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemoryForgetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget",
        abstract: "Delete all records of a namespace from a bank, purge them, and prove it.",
        discussion: """
            The records of the namespace go, with all that was derived from them, and cannot be reverted; what others have replaced or deleted before is
            purged too. Then every file of the bank is read, and what the records and their earlier versions held is looked for: where it is found, the
            command fails and names the file. Copies elsewhere are not reached: exports, backups, a run's earlier checkpoints until they go.

            Without --confirm it says what would go, and the digest to confirm with.

            Examples:
              mneme memory forget banks/people --namespace user-7
              mneme memory forget banks/people --namespace user-7 --confirm 0f9b6c0e12d7aa31
            """)

    @Argument(help: "The bank.")
    var bank: String

    @OptionGroup var scope: BankScopeOptions

    @Option(help: ArgumentHelp("The digest that the command printed without it.", valueName: "digest"))
    var confirm: String?

    @OptionGroup var editing: BankEditOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        guard case .one(let namespace) = try scope.scope() else {
            throw UserError(.usage, "one namespace is forgotten at a time", at: "--all", advice: "give --namespace NAME")
        }
        guard let confirm else {
            let preview = try MemoryBank.read(bank).deletion(of: BankFilter(.one(namespace)))
            if json { return try JSONOutput.print(preview) }
            return try print("\(preview.filter): \(quantity(preview.records, "record")) would be forgotten, digest \(preview.digest)")
        }
        let forgotten = try MemoryBank.edit(bank, editing) { bank, edit in
            try bank.forget(namespace: namespace, confirming: confirm, edit)
        }
        if json { return try JSONOutput.print(forgotten) }
        try print(BankText.line(forgotten.deletion))
        try print(BankText.line(forgotten.purge))
        try print(
            "proved: none of \(quantity(forgotten.sought, "text or key", "texts and keys")) is in the \(quantity(forgotten.files, "file")) of the bank, "
                + "\(forgotten.bytes) bytes; \(forgotten.notSought) too short, or in records that stay")
    }
}

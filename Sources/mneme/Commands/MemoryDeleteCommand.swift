// `mneme memory delete`

import ArgumentParser
import Diagnostics
import MemoryBanks
import Training

struct MemoryDeleteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Delete records from a bank, or facts from a run's memory.",
        discussion: """
            A bank's ledger keeps what was deleted from coming back by an import, a restored file or a second put; mneme memory compact then takes the
            bytes out of the files. Records that a filter means, rather than ids, go only with the digest that --dry-run prints.

            A fact of a run is named by subject, relation and object; without an object all that the two have go. A fact that is put again is a new
            record.

            Examples:
              mneme memory delete banks/facts kismet-year --namespace films
              mneme memory delete banks/facts --namespace user-7 --dry-run
              mneme memory delete banks/facts --namespace user-7 --confirm 0f9b6c0e12d7aa31
              mneme memory delete checkpoints/metaqa Kismet 'release year' 1944
            """)

    @Argument(help: ArgumentHelp("The bank, or the run directory.", valueName: "bank|run-dir"))
    var directory: String

    @Argument(help: ArgumentHelp("Ids; or a fact's subject, relation and, unless all are meant, object.", valueName: "names"))
    var names: [String] = []

    @OptionGroup var filter: BankFilterOptions

    @Flag(help: "Say what would go, and its digest.")
    var dryRun = false

    @Option(help: ArgumentHelp("The digest that --dry-run printed.", valueName: "digest"))
    var confirm: String?

    @Option(help: ArgumentHelp("Records derived from these: refuse, or cascade.", valueName: "policy"))
    var children = "refuse"

    @Option(help: ArgumentHelp("The version that each must have.", valueName: "version"))
    var expectVersion: Int?

    @OptionGroup var editing: BankEditOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        guard let policy = MemoryBank.Children(rawValue: children) else {
            throw UserError(.usage, "'\(children)' is no policy", at: "--children", advice: "give refuse or cascade")
        }
        guard MemoryBank.exists(directory) else { return try deleteFacts(policy) }
        let filter = try filter.filter(ids: names)
        if dryRun {
            let preview = try MemoryBank.read(directory).deletion(of: filter)
            if json { return try JSONOutput.print(preview) }
            try print("\(preview.filter): \(quantity(preview.records, "record")) would go, digest \(preview.digest)")
            for child in preview.children { try print("derived from these: \(child.namespace)/\(child.id)") }
            return
        }
        let receipt = try MemoryBank.edit(directory, editing) { bank, edit in
            try bank.delete(filter, children: policy, expecting: expectVersion, confirming: confirm, edit)
        }
        try BankText.print(receipt, json: json)
    }

    private func deleteFacts(_ policy: MemoryBank.Children) throws {
        try MemoryBank.requireNone(filter.isGiven || dryRun || confirm != nil, directory)
        guard names.count == 2 || names.count == 3 else {
            throw UserError(
                .usage, "a fact is deleted by subject and relation, or these and an object", advice: "see mneme memory delete --help")
        }
        let (subject, relation, object) = (names[0], names[1], names.count > 2 ? names[2] : nil)
        let receipt = try KnowledgeBank.edit(directory, editing) { bank, edit in
            try bank.delete(
                subject: subject, relation: relation == "-" ? nil : relation, object: object, children: policy, expecting: expectVersion, edit)
        }
        guard let receipt else {
            let fact = [subject, relation, object].compactMap { $0 }.joined(separator: " | ")
            throw UserError(.missingInput, "there is no such fact: \(fact)", at: directory, advice: "see mneme memory list")
        }
        if json { return try JSONOutput.print(["deleted": receipt.deleted, "commit": receipt.commit]) }
        try print("deleted \(quantity(receipt.deleted, "fact"))")
    }
}

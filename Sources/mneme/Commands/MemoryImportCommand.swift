// `mneme memory import`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemoryImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Put the records of lines of JSON into a bank, all in one commit or none.",
        discussion: """
            A line is an object with namespace (unless --namespace gives it), one of text, tokens and vector, and, as wanted: id, key or key_text,
            source, parents, origin, valid_from, valid_to. What mneme memory export prints is read. A line that cannot be, or whose record was deleted
            here, is named by its number, and nothing is imported.

            Examples:
              mneme memory import banks/facts facts.jsonl
              mneme memory import banks/facts films.jsonl --namespace films
            """)

    @Argument(help: "The bank.")
    var bank: String

    @Argument(help: "The file; - for standard input.")
    var file: String

    @Option(help: ArgumentHelp("The namespace of lines that name none.", valueName: "name"))
    var namespace: String?

    @OptionGroup var generation: BankGenerationOptions

    @Flag(help: "Let records come back that were deleted.")
    var resurrect = false

    @OptionGroup var editing: BankEditOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let lines = try TextInput.lines([file]).map { Array($0.utf8)[...] }
        let receipt = try MemoryBank.edit(bank, editing) { bank, edit in
            try bank.importLines(
                lines, named: file == "-" ? "standard input" : file, namespace: namespace,
                generation: try generation.generation(width: bank.configuration.keyWidth), resurrecting: resurrect, edit)
        }
        try BankText.print(receipt, json: json)
    }
}

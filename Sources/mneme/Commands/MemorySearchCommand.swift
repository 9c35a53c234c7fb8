// `mneme memory search`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemorySearchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "search",
        abstract: "Find the records of a bank whose keys are most like a vector or a text.",
        discussion: """
            A namespace must be given, or --all. A text needs a bank with an encoder.

            Examples:
              mneme memory search banks/facts --namespace films --text 'Kismet year'
              mneme memory search banks/states --all --vector query.json --count 3 --json
            """)

    @Argument(help: "The bank.")
    var bank: String

    @OptionGroup var filter: BankFilterOptions

    @Option(help: ArgumentHelp("Find keys that are like this text's.", valueName: "text"))
    var text: String?

    @Option(help: ArgumentHelp("Find keys that are like this vector: a JSON array.", valueName: "file"))
    var vector: String?

    @OptionGroup var generation: BankGenerationOptions

    @Option(help: ArgumentHelp("At most so many.", valueName: "count"))
    var count = 10

    @Flag(help: "Count this as a use of what is found.")
    var countUse = false

    @OptionGroup var editing: BankEditOptions

    @Flag(help: "Print one JSON array.")
    var json = false

    func validate() throws {
        guard count >= 1 else { throw ValidationError("--count must be at least 1.") }
        guard (text == nil) != (vector == nil) else { throw ValidationError("Give --text or --vector.") }
    }

    private struct Hit: Encodable {
        let score: Float
        let record: BankRecordLine
    }

    func run() throws {
        let filter = try filter.filter(ids: [])
        func found(_ bank: MemoryBank) throws -> [BankHit] {
            let query: [Float]
            if let text {
                guard let key = try bank.queries([text])?.first else {
                    throw UserError(
                        .configuration, "has no encoder of texts: its keys are of \(bank.generation?.description ?? "no model")",
                        at: self.bank,
                        advice: "search by --vector")
                }
                query = key
            } else {
                query = try BankText.vector(vector ?? "")
            }
            return try bank.search(query, count: count, in: filter, generation: try generation.generation(width: query.count))
        }
        let hits =
            try countUse
            ? MemoryBank.edit(bank, editing) { bank, edit in
                let hits = try found(bank)
                for hit in hits { try bank.recordUse(BankFilter(.one(hit.record.namespace), ids: [hit.record.id]), step: edit.step) }
                try bank.commitUses()
                return hits
            } : found(try MemoryBank.read(bank))
        if json { return try JSONOutput.print(hits.map { Hit(score: $0.score, record: BankRecordLine($0.record, withKey: false)) }) }
        for hit in hits { try print("\(hit.score)  \(BankText.line(hit.record))") }
    }
}

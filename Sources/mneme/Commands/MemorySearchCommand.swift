// `mneme memory search`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemorySearchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "search",
        abstract: "Find the records of a bank whose keys are most like a vector or a text.",
        discussion: """
            A namespace must be given, or --all. A text needs a bank with an encoder. All records of the scope are compared unless --probe is given:
            then only those in so many lists of the bank's index, the ones nearest to the query.

            Examples:
              mneme memory search banks/facts --namespace films --text 'Kismet year'
              mneme memory search banks/states --all --vector query.json --count 3 --json
              mneme memory search banks/states --all --vector query.json --probe 8 --recall
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

    @Option(help: ArgumentHelp("Visit so many lists of the bank's index.", valueName: "lists"))
    var probe: Int?

    @Flag(help: "Compare all records, as is done without --probe.")
    var exact = false

    @Flag(help: "Also print which part of the nearest records of all was found: 1 is all of them.")
    var recall = false

    @Flag(help: "Count this as a use of what is found.")
    var countUse = false

    @OptionGroup var editing: BankEditOptions

    @Flag(help: "Print one JSON array.")
    var json = false

    func validate() throws {
        guard count >= 1 else { throw ValidationError("--count must be at least 1.") }
        guard (text == nil) != (vector == nil) else { throw ValidationError("Give --text or --vector.") }
        guard probe ?? 1 >= 1 else { throw ValidationError("--probe must be at least 1.") }
        guard probe == nil || !exact else { throw ValidationError("Give --probe or --exact.") }
    }

    private struct Hit: Encodable {
        let score: Float
        let record: BankRecordLine
    }

    private struct Found: Encodable {
        let recall: Double
        let hits: [Hit]
    }

    func run() throws {
        let filter = try filter.filter(ids: [])
        func found(_ bank: MemoryBank) throws -> (hits: [BankHit], recall: Double) {
            let query = try query(bank)
            let generation = try generation.generation(width: query.count)
            let hits = try bank.search(query, count: count, in: filter, generation: generation, visiting: probe)
            if probe != nil, try bank.indexNeedsTraining() {
                CommandLineOutput.note("\(self.bank): the index is uneven or most records have changed since: make it again with mneme memory index")
            }
            guard recall else { return (hits, 1) }
            func names(_ hits: [BankHit]) -> Set<[String]> { Set(hits.map { [$0.record.namespace, $0.record.id] }) }
            let wanted = names(try bank.search(query, count: count, in: filter, generation: generation))
            return (hits, wanted.isEmpty ? 1 : Double(names(hits).intersection(wanted).count) / Double(wanted.count))
        }
        let (hits, share) =
            try countUse
            ? MemoryBank.edit(bank, editing) { bank, edit -> (hits: [BankHit], recall: Double) in
                let found = try found(bank)
                for hit in found.hits { try bank.recordUse(BankFilter(.one(hit.record.namespace), ids: [hit.record.id]), step: edit.step) }
                try bank.commitUses()
                return found
            } : found(try MemoryBank.read(bank))
        if json {
            let lines = hits.map { Hit(score: $0.score, record: BankRecordLine($0.record, withKey: false)) }
            return try recall ? JSONOutput.print(Found(recall: share, hits: lines)) : JSONOutput.print(lines)
        }
        for hit in hits { try print("\(hit.score)  \(BankText.line(hit.record))") }
        if recall { try print("recall \(share)") }
    }

    private func query(_ bank: MemoryBank) throws -> [Float] {
        guard let text else { return try BankText.vector(vector ?? "") }
        guard bank.configuration.keyWidth > 0 else {
            throw UserError(.configuration, "has no keys to search by", at: self.bank, advice: "look records up by id")
        }
        guard let key = try bank.queries([text])?.first else {
            throw UserError(
                .configuration, "has no encoder of texts: its keys are of \(bank.generation?.description ?? "no model")", at: self.bank,
                advice: "search by --vector")
        }
        return key
    }
}

// `mneme memory create`

import ArgumentParser
import Diagnostics
import MemoryBanks
import Training
import VectorSearch

struct MemoryCreateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Make an empty bank.",
        discussion: """
            A bank is a directory of records: each has an id, a namespace, a value and, where the bank has keys, a vector by which it is found. The
            rules given here are fixed for its life. The encoder run is the model of the run in whose directory banks the bank lies; mneme memory build makes
            such a bank.

            Examples:
              mneme memory create banks/facts --encoder hashed-ngrams --key-width 512
              mneme memory create banks/states --key-width 256 --value tokens \\
                --model 3f09c1 --layer 4
              mneme memory create banks/recent --capacity 10000 --eviction least-used
            """)

    @Argument(help: ArgumentHelp("The directory of the new bank.", valueName: "bank"))
    var bank: String

    @Option(help: ArgumentHelp("Elements of a key; 0: records are found by id only.", valueName: "width"))
    var keyWidth = 0

    @Option(help: ArgumentHelp("What makes keys from texts: hashed-ngrams, or run, the model of the bank's run.", valueName: "name"))
    var encoder: String?

    @OptionGroup var generation: BankGenerationOptions

    @Option(help: ArgumentHelp("What values are: text, tokens or vector.", valueName: "kind"))
    var value = "text"

    @Option(help: ArgumentHelp("Elements of a value that is a vector.", valueName: "width"))
    var valueWidth = 0

    @Option(help: ArgumentHelp("How keys are compared: cosine, dot or euclidean.", valueName: "metric"))
    var metric = "cosine"

    @Option(help: ArgumentHelp("Records at most, over all namespaces.", valueName: "count"))
    var capacity: Int?

    @Option(help: ArgumentHelp("Who makes room: none, oldest, least-used, lowest-norm.", valueName: "order"))
    var eviction = "none"

    @Option(help: ArgumentHelp("Appends of a record before it is admitted.", valueName: "count"))
    var admission = 1

    @Option(help: ArgumentHelp("Virtual shards, a power of two: the most ranks.", valueName: "count"))
    var shards = 8

    @Option(help: ArgumentHelp("Rows of a block.", valueName: "rows"))
    var blockRows = 1024

    @Option(help: ArgumentHelp("Commits that can be reverted, at most.", valueName: "count"))
    var history = 1000

    func run() throws {
        func choice<Value: RawRepresentable & CaseIterable>(_ text: String, _ option: String, _: Value.Type) throws -> Value
        where Value.RawValue == String {
            guard let value = Value(rawValue: text) else {
                throw UserError(
                    .usage, "'\(text)' is none of \(Value.allCases.map(\.rawValue).joined(separator: ", "))", at: option,
                    advice: "give one of these")
            }
            return value
        }
        let rules = BankConfiguration(
            keyWidth: keyWidth, value: try choice(value, "--value", BankConfiguration.ValueKind.self), valueWidth: valueWidth,
            capacity: capacity,
            eviction: try choice(eviction, "--eviction", BankConfiguration.Eviction.self), admission: admission,
            metric: try choice(metric, "--metric", Similarity.self), encoder: encoder, blockRows: blockRows, shards: shards,
            history: history)
        var generation = try generation.generation(width: keyWidth)
        if encoder == TextEncoders.run { generation = try FactBank.encoder(ofBank: bank).generation }
        try MemoryBank.create(bank, rules, generation: generation)
        try print("made \(bank)")
    }
}

// mneme corpus shard: from input files to a corpus directory.

import ArgumentParser
import Collectives
import Configuration
import Corpora
import Diagnostics
import Foundation
import Sharding

extension CorpusFormat: ExpressibleByArgument {}
extension DocumentPolicy: ExpressibleByArgument {}
extension CleaningRules.Unit: ExpressibleByArgument {}

/// Cleans, tokenises and shards a corpus.
struct CorpusShardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shard",
        abstract: "Clean, tokenise and shard input files into a corpus directory.",
        discussion: """
            Runs alone or under mpirun; the output is the same, byte for byte, on any number of ranks. A run that was interrupted goes on where it \
            stopped when the same command is given again.

            Examples:
              mneme corpus shard --format wmt --languages en-de --tokenizer ende.model \\
                  --output corpora/wmt-en-de train
              mpirun -n 4 mneme corpus shard --format text --document paragraph \\
                  --tokenizer en.model --output corpora/books books/
              mneme corpus shard --format cnn-dailymail --tokenizer cnn.model \\
                  --output corpora/cnn --maximum-length 800 cnn/stories
            """)

    @Option(help: ArgumentHelp("Format of the inputs: \(CorpusFormat.allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "format"))
    var format: CorpusFormat
    @Option(help: ArgumentHelp("Tokenizer that `mneme tokenizer train` wrote.", valueName: "file.model"))
    var tokenizer: String
    @Option(help: ArgumentHelp("Corpus directory to write.", valueName: "directory"))
    var output: String
    @OptionGroup var reading: CorpusReadingOptions
    @Flag(help: "wmt, cnn-dailymail: exchange source and target.")
    var swap = false
    @Option(help: ArgumentHelp("Text before cleaning, in bytes, after which a new shard begins.", valueName: "bytes"))
    var shardSize = 16 << 20
    @Option(help: ArgumentHelp("Wrong records to pass over before one ends the run.", valueName: "count"))
    var badRecords = 0
    @OptionGroup(title: "Cleaning") var cleaning: CleaningOptions
    @Flag(help: "Print the result as JSON.")
    var json = false
    @Argument(help: "Input files, directories, archives, or prefixes of line-aligned files with --languages.")
    var inputs: [String]

    func validate() throws {
        guard !inputs.isEmpty else { throw ValidationError("Give at least one input.") }
        try requireRange("--shard-size", shardSize, 1024...SizeLimits.bytes.upperBound)
        guard badRecords >= 0 else { throw ValidationError("--bad-records must not be negative.") }
        try reading.validate(for: format, swap ? [.swap] : [])
        try cleaning.validate()
    }

    func run() throws {
        CommandLineOutput.outliveReader()
        ProgramStart.run(allocatesManySmallBlocks: true) { communicator in
            let line = ProgressLine()
            let plan = try communicator.onEveryRank {
                var options = try reading.options()
                options.swapsSides = swap
                return try ShardingPlan(
                    reading: format, inputs: inputs, options: options, rules: cleaning.rules(for: format),
                    tokenizer: SentencePieceTokenizer(path: tokenizer), output: output, shardSize: shardSize, badRecordLimit: badRecords)
            }
            let sharder = CorpusSharder(plan, communicator: communicator) { progress in
                let megabytes = Double(progress.bytes) / 1e6
                let rate = progress.seconds > 0 ? megabytes / progress.seconds : 0
                line.show("sharding: \(progress.records) records, \(rounded(megabytes)) MB, \(progress.shards) shards, \(rounded(rate)) MB/s")
            }
            let outcome = try sharder.run()
            line.clear()
            if communicator.rank == 0 { try report(outcome) }
            return .finished
        }
    }

    private func report(_ outcome: ShardingOutcome) throws {
        let manifest = outcome.manifest
        var report = CorpusReport(manifest, directory: output)
        report.passedOver = outcome.passedOver
        if json { return try JSONOutput.print(report) }
        if outcome.wasComplete {
            try print("\(PathText.shown(output)) already holds this corpus; nothing to do.")
        } else if outcome.shardsKept > 0 {
            try print("Went on with \(outcome.shardsKept) shards of an interrupted run.")
        }
        try print(report.text, terminator: "")
    }
}

/// A number with one digit after the point.
private func rounded(_ value: Double) -> String {
    String(format: "%.1f", value)
}

/// How the inputs of a corpus are read.
struct CorpusReadingOptions: ParsableArguments {
    @Option(help: ArgumentHelp("text: what a document is: \(DocumentPolicy.allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "unit"))
    var document: DocumentPolicy?
    @Option(help: ArgumentHelp("wmt: source and target language; an input PREFIX then means PREFIX.en and PREFIX.de.", valueName: "en-de"))
    var languages: String?
    @Option(help: ArgumentHelp("wmt: the translator whose reference is read from XML or SGM files.", valueName: "name"))
    var translator: String?
    @Option(help: ArgumentHelp("babi: which files of a directory are read: train, valid, test.", valueName: "split"))
    var split: String?
    @Option(help: ArgumentHelp("cnn-dailymail: file of the URLs whose articles are read.", valueName: "file"))
    var urlList: String?
    @Option(help: ArgumentHelp("Longest line in bytes; a longer one is a wrong record.", valueName: "bytes"))
    var maximumLineBytes = 16 << 20

    /// - Parameter others: options given besides these.
    /// - Throws: a usage error for an option that the format's reader does not take.
    func validate(for format: CorpusFormat, _ others: [ReaderOption] = []) throws {
        let given: [(ReaderOption, Bool)] = [
            (.document, document != nil), (.languages, languages != nil), (.translator, translator != nil), (.split, split != nil),
            (.urlList, urlList != nil),
        ]
        for option in given.filter(\.1).map(\.0) + others where !format.profile.readerOptions.contains(option) {
            let formats = CorpusFormat.allCases.filter { $0.profile.readerOptions.contains(option) }.map(\.rawValue).joined(separator: " or ")
            throw ValidationError("--\(option.rawValue) goes with --format \(formats), not \(format.rawValue).")
        }
        try requireRange("--maximum-line-bytes", maximumLineBytes, SizeLimits.bytes)
    }

    func options() throws -> ReaderOptions {
        var options = ReaderOptions()
        if let document { options.documents = document }
        if let split { options.split = split }
        options.languages = try languages.map { try LanguagePair($0) }
        options.translator = translator
        options.urlList = urlList
        options.maximumLineBytes = maximumLineBytes
        return options
    }
}

/// Which records are left out.
struct CleaningOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Unit of the lengths below: words or bytes (default: words).", valueName: "unit"))
    var lengthUnit: CleaningRules.Unit?
    @Option(help: ArgumentHelp("Shortest side that is kept (default: wmt 1, others 0).", valueName: "length"))
    var minimumLength: Int?
    @Option(help: ArgumentHelp("Longest side that is kept; 0 for no limit (default: wmt 250, others none).", valueName: "length"))
    var maximumLength: Int?
    @Option(help: ArgumentHelp("Largest ratio of the sides' lengths; 0 for no limit (default: wmt 9, others none).", valueName: "ratio"))
    var maximumRatio: Double?
    @Flag(help: "Drop pairs whose sides are equal.")
    var dropIdentical = false
    @Flag(help: "Keep records with a side of nothing but white space.")
    var keepEmpty = false
    @Flag(inversion: .prefixedNo, help: "Make each run of white space one space (default: for wmt).")
    var normalizeWhitespace: Bool?

    func validate() throws {
        guard minimumLength ?? 0 >= 0, maximumLength ?? 0 >= 0 else { throw ValidationError("Lengths must not be negative.") }
        if let maximumRatio, maximumRatio != 0, !(maximumRatio >= 1) { throw ValidationError("--maximum-ratio must be 1 or more, or 0 for no limit.") }
    }

    func rules(for format: CorpusFormat) -> CleaningRules {
        var rules = format.profile.cleaning
        if let lengthUnit { rules.unit = lengthUnit }
        if let minimumLength { rules.minimumLength = minimumLength }
        if let maximumLength { rules.maximumLength = maximumLength == 0 ? nil : maximumLength }
        if let maximumRatio { rules.maximumRatio = maximumRatio == 0 ? nil : maximumRatio }
        if dropIdentical { rules.dropsIdenticalPairs = true }
        if keepEmpty {
            rules.dropsEmpty = false
            if minimumLength == nil { rules.minimumLength = 0 }
        }
        if let normalizeWhitespace { rules.normalizesWhitespace = normalizeWhitespace }
        return rules
    }
}

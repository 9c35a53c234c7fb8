// What a corpus is made from, and how.

import Diagnostics
import Foundation

/// What is made into a corpus, and how.
public struct ShardingPlan {
    /// The format of the inputs, as recorded in corpus.json.
    public var format: CorpusFormat
    /// The files and directories that are read, by which a changed input is told.
    public var inputs: [String]
    /// Opens the inputs from their beginning. Called once on each rank; every rank gets the same records.
    public var makeReader: () throws -> any CorpusReader
    /// Options that decide what the reader gives, by name; recorded in corpus.json.
    public var readerOptions: [String: String]
    /// What is left out.
    public var rules: CleaningRules
    /// Makes tokens of text; its model is copied into the directory.
    public var tokenizer: SentencePieceTokenizer
    /// The corpus directory to write.
    public var output: String
    /// Bytes of text, before cleaning, after which a new shard begins.
    public var shardSize: Int
    /// How many wrong records are passed over before one becomes an error.
    public var badRecordLimit: Int

    /// - Parameter shardSize: bytes; 16 MiB unless given.
    public init(
        format: CorpusFormat, inputs: [String], readerOptions: [String: String] = [:], rules: CleaningRules, tokenizer: SentencePieceTokenizer,
        output: String, shardSize: Int = 16 << 20, badRecordLimit: Int = 0, makeReader: @escaping () throws -> any CorpusReader
    ) {
        self.format = format
        self.inputs = inputs
        self.readerOptions = readerOptions
        self.rules = rules
        self.tokenizer = tokenizer
        self.output = output
        self.shardSize = shardSize
        self.badRecordLimit = badRecordLimit
        self.makeReader = makeReader
    }

    /// A plan that reads files of one of the known formats.
    /// - Parameters:
    ///   - inputs: files, directories or prefixes, as `CorpusFormat.makeReader` takes them.
    ///   - options: what the reader is told.
    ///   - swapsSides: whether target sides become sources and sources targets.
    /// - Throws: `UserError(.missingInput)` for a prefix without its files.
    public init(
        reading format: CorpusFormat, inputs: [String], options: ReaderOptions, swapsSides: Bool = false, rules: CleaningRules,
        tokenizer: SentencePieceTokenizer, output: String, shardSize: Int = 16 << 20, badRecordLimit: Int = 0
    ) throws {
        var recorded = ["maximum-line-bytes": "\(options.maximumLineBytes)"]
        switch format {
        case .text: recorded["document"] = options.documents.rawValue
        case .wmt:
            recorded["swap"] = "\(swapsSides)"
            recorded["languages"] = options.languages.map { "\($0.source)-\($0.target)" }
            recorded["translator"] = options.translator
        case .cnnDailyMail:
            recorded["swap"] = "\(swapsSides)"
            recorded["url-list"] = options.urlList
        case .babi: recorded["split"] = options.split
        }
        let paths = try inputs.flatMap { try Self.paths(of: $0, format, options) } + (options.urlList.map { [$0] } ?? [])
        self.init(
            format: format, inputs: paths, readerOptions: recorded, rules: rules, tokenizer: tokenizer, output: output, shardSize: shardSize,
            badRecordLimit: badRecordLimit
        ) {
            let reader = try format.makeReader(inputs: inputs, options: options)
            return swapsSides ? SwappedReader(reader) : reader
        }
    }

    /// The files that an input stands for: itself, or both sides of a prefix.
    private static func paths(of input: String, _ format: CorpusFormat, _ options: ReaderOptions) throws -> [String] {
        guard format == .wmt, let languages = options.languages, access(input, F_OK) != 0 else { return [input] }
        return try [languages.source, languages.target].map { language in
            let path = "\(input).\(language)"
            for candidate in [path, path + ".gz"] where access(candidate, F_OK) == 0 { return candidate }
            throw UserError(.missingInput, "no such file, plain or .gz", at: path, advice: "check the prefix and --languages")
        }
    }
}

/// A reader whose pairs have their sides exchanged.
private final class SwappedReader: CorpusReader {
    private let reader: any CorpusReader

    init(_ reader: any CorpusReader) {
        self.reader = reader
    }

    var isPaired: Bool { reader.isPaired }
    var labels: [String] { reader.labels }

    func next() throws -> CorpusRecord? {
        guard var record = try reader.next() else { return nil }
        if let target = record.target {
            record.target = record.source
            record.source = target
        }
        return record
    }
}

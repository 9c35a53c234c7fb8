// What a corpus is made from, and how.

import Corpora
import Diagnostics
import Foundation
import Inputs

/// What is made into a corpus, and how.
public struct ShardingPlan {
    /// The format of the inputs, as recorded in corpus.json.
    public var format: CorpusFormat
    /// Lists the files that are read, by which a changed input is told. Called on one rank; all read what that one found.
    public var listInputs: () throws -> [CorpusInput]
    /// Opens the inputs from their beginning. Called once on each rank; every rank gets the same records.
    public var makeReader: (_ inputs: [CorpusInput]) throws -> any CorpusReader
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

    /// A plan whose records come from anywhere.
    /// - Parameter shardSize: bytes; 16 MiB unless given.
    public init(
        format: CorpusFormat, readerOptions: [String: String] = [:], rules: CleaningRules, tokenizer: SentencePieceTokenizer,
        output: String, shardSize: Int = 16 << 20, badRecordLimit: Int = 0, listInputs: @escaping () throws -> [CorpusInput] = { [] },
        makeReader: @escaping (_ inputs: [CorpusInput]) throws -> any CorpusReader
    ) {
        self.format = format
        self.listInputs = listInputs
        self.makeReader = makeReader
        self.readerOptions = readerOptions
        self.rules = rules
        self.tokenizer = tokenizer
        self.output = output
        self.shardSize = shardSize
        self.badRecordLimit = badRecordLimit
    }

    /// A plan that reads files of one of the known formats.
    /// - Parameters:
    ///   - inputs: files, directories or prefixes, as `CorpusFormat.files` takes them.
    ///   - options: what the reader is told.
    public init(
        reading format: CorpusFormat, inputs: [String], options: ReaderOptions, rules: CleaningRules, tokenizer: SentencePieceTokenizer,
        output: String, shardSize: Int = 16 << 20, badRecordLimit: Int = 0
    ) {
        var recorded = ["maximum-line-bytes": "\(options.maximumLineBytes)"]
        for option in format.profile.readerOptions { recorded[option.rawValue] = options.recorded(option) }
        self.init(
            format: format, readerOptions: recorded, rules: rules, tokenizer: tokenizer, output: output, shardSize: shardSize,
            badRecordLimit: badRecordLimit, listInputs: { try format.files(of: inputs, options: options) },
            makeReader: { try format.makeReader(of: $0, options: options) })
    }
}

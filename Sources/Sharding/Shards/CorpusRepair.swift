// Shards of a corpus that are missing or damaged, made again from the inputs by the recorded recipe.

import Collectives
import Corpora
import Diagnostics
import Storage

/// What is damaged in a corpus, and the way back: a shard is a function of inputs, options and tokenizer, which corpus.json records.
public struct CorpusRepair {
    /// The corpus directory.
    public let directory: String
    /// What corpus.json says.
    public let manifest: CorpusManifest
    /// The shards that are missing or damaged, with what is wrong.
    public let damage: [(file: String, what: String)]

    /// Looks at every shard.
    /// - Throws: `UserError`: (.missingInput), (.badData) where corpus.json is missing or damaged; (.inputOutput).
    public init(examining directory: String) throws {
        self.directory = directory
        let manifest = try CorpusManifest.read(directory: directory)
        self.manifest = manifest
        damage = try manifest.shards.indices.compactMap { index in
            do {
                let (shard, path) = (manifest.shards[index], Directory.path(of: manifest.shards[index].file, in: directory))
                try CorpusShard.requireSize(DurableFile.size(of: path), of: path, expecting: shard.bytes)
                _ = try Corpus.open(index, of: manifest, in: directory, places: nil)
                return nil
            } catch let error as UserError where error.exitCode == .badData || error.exitCode == .missingInput {
                return (manifest.shards[index].file, error.exitCode == .missingInput ? "missing" : error.what)
            }
        }
    }

    /// Makes the damaged shards again, bit for bit. Collective; all inputs are read twice, for their hashes and for their text.
    ///
    /// Inputs that were named relatively are looked for from the directory that the process is in.
    /// - Throws: on every rank the same `UserError`: (.badData) where an input has changed, or the tokenizer is not the corpus's; (.missingInput) where one is
    ///   gone. Shards that are whole stay as they are.
    public func restore(communicator: any Communicator, progress: @escaping (ShardingProgress) -> Void = { _ in }) throws {
        let plan = try communicator.onEveryRank {
            let path = CorpusManifest.path(in: directory)
            let tokenizer = try SentencePieceTokenizer(path: Directory.path(of: manifest.tokenizer.file, in: directory))
            guard tokenizer.fingerprint == manifest.tokenizer.sha256 else {
                throw UserError(
                    .badData, "is not the tokenizer this corpus was made with", at: Directory.path(of: manifest.tokenizer.file, in: directory),
                    advice: "put the right model file there")
            }
            let options = try ReaderOptions(recorded: manifest.options, at: path)
            // A list of what is read stands last among the inputs, and is named by its option.
            let inputs = manifest.inputs.map(\.path).dropLast(options.urlList == nil ? 0 : 1)
            return ShardingPlan(
                reading: manifest.sourceFormat, inputs: Array(inputs), options: options, rules: try manifest.cleaningRules(at: path),
                tokenizer: tokenizer, output: directory, shardSize: manifest.options["shard-size"].flatMap { Int($0) } ?? 16 << 20,
                badRecordLimit: manifest.options["bad-records"].flatMap { Int($0) } ?? 0)
        }
        _ = try CorpusSharder(plan, repairing: manifest, communicator: communicator, progress: progress).run()
    }
}

extension ReaderOptions {
    /// The options that corpus.json records.
    /// - Throws: `UserError(.badData)` where one has a value that it cannot have.
    init(recorded options: [String: String], at path: String) throws {
        self.init()
        func value<Value>(_ name: String, _ parse: (String) throws -> Value?) throws -> Value? {
            guard let text = options[name] else { return nil }
            guard let value = try? parse(text) else {
                throw UserError(.badData, "is damaged: its option \(name) is '\(text)'", at: path, advice: "shard the corpus again")
            }
            return value
        }
        documents = try value(ReaderOption.document.rawValue) { DocumentPolicy(rawValue: $0) } ?? documents
        languages = try value(ReaderOption.languages.rawValue) { try LanguagePair($0) }
        translator = options[ReaderOption.translator.rawValue]
        split = options[ReaderOption.split.rawValue] ?? split
        swapsSides = options[ReaderOption.swap.rawValue] == "true"
        urlList = options[ReaderOption.urlList.rawValue]
        maximumLineBytes = try value("maximum-line-bytes") { Int($0) } ?? maximumLineBytes
    }
}

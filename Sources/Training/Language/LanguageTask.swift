// Language modelling and sequence pairs over a sharded corpus, as a task.

import Checkpoints
import Collectives
import Corpora
import Diagnostics
import Evaluation
import Foundation
import Models
import Sharding
import Storage

/// A language model, or an encoder-decoder, on a corpus directory.
public final class LanguageTask: GeneratingTask {
    public let languageModel: any LanguageModel
    public let tokenizer: SentencePieceTokenizer
    /// What the texts of the training corpus were cleaned by; `nil` for a run of before this was kept.
    public let cleaning: CleaningRules?

    let configuration: RunConfiguration
    let settings: LanguageTaskSettings
    private let corpus: Corpus?
    private let validation: Corpus?
    private let directory: String?

    /// - Throws: `UserError` where a corpus or the tokenizer cannot be read, or corpus, validation corpus and model do not go together.
    init(_ configuration: RunConfiguration, _ settings: LanguageTaskSettings, savedIn directory: String?) throws {
        self.configuration = configuration
        self.settings = settings
        self.directory = directory
        if let directory {
            (corpus, validation) = (nil, nil)
            cleaning = try CleaningRules(runDirectory: directory)
            tokenizer = try SentencePieceTokenizer(path: "\(directory)/tokenizer.model")
        } else {
            let corpus = try Corpus(directory: settings.corpus.shards)
            validation = try settings.corpus.validation.map { try Corpus(directory: $0) }
            if let validation, validation.tokenizerFingerprint != corpus.tokenizerFingerprint {
                throw UserError(
                    .configuration, "its tokenizer is not the one that \(settings.corpus.shards) was made with",
                    at: settings.corpus.validation, advice: "shard both with the same tokenizer")
            }
            tokenizer = try corpus.tokenizer()
            cleaning = try corpus.cleaningRules
            try validation?.requireDescription(of: tokenizer)
            self.corpus = corpus
        }
        languageModel = settings.model.makeModel(vocabularySize: tokenizer.vocabularySize)
    }

    public var model: any TrainableModel { languageModel }
    /// What errors name.
    var place: String { directory ?? configuration.directory }
    public var targets: String { "tokens" }
    public var hasValidation: Bool { validation != nil }

    public var summary: String {
        guard let corpus else { return settings.corpus.shards }
        return "corpus \(corpus.directory), \(corpus.tokenCount.formatted(.number.locale(Locale(identifier: "en_US")))) tokens"
    }

    public var laneBytes: Int {
        guard let corpus else { return 0 }
        let counts = corpus.manifest.counts
        // Inputs and targets, 4 bytes each; a pair's rows are as long as the longest of their batch.
        return 8 * (corpus.kind == .text ? configuration.batch.length : min(configuration.batch.length, 1 + counts.longestTarget))
    }

    /// The most pairs that a session looks at before it begins, to say how many will be cut.
    private static let mostPairsLookedAt = 1 << 20

    public var warnings: [String] {
        get throws {
            guard let corpus, corpus.kind == .pairs else { return [] }
            let looked = min(corpus.count, Self.mostPairsLookedAt)
            let count = try cutPairs(of: corpus, among: looked)
            guard count > 0 else { return [] }
            let counts = corpus.manifest.counts
            let among = looked < corpus.count ? "the first \(looked)" : "\(looked)"
            return [
                "\(count) of \(among) pairs are longer than batch.length, \(configuration.batch.length), and are cut (the longest source has \(counts.longestSource) tokens, the longest target \(counts.longestTarget))"
            ]
        }
    }

    /// How many of the first `count` pairs of a corpus are longer than `batch.length`.
    private func cutPairs(of corpus: Corpus, among count: Int) throws -> Int {
        try corpus.cutPairs(
            among: 0..<count, limits: PairLimits(corpus, length: configuration.batch.length), inOneRow: !languageModel.readsPairs)
    }

    public var identity: [(name: String, value: String)] {
        var identity = [(name: "tokenizer_fingerprint", value: tokenizer.fingerprint)]
        if let corpus { identity.append(("corpus_fingerprint", corpus.manifest.fingerprint)) }
        return identity
    }

    public var agreement: [(name: String, value: String)] {
        [
            ("corpus \(settings.corpus.shards)", corpus?.manifest.fingerprint ?? "none"),
            ("validation corpus", validation?.manifest.fingerprint ?? "none"),
        ]
    }

    public func mismatch(of name: String, at path: String) -> UserError {
        if let directory {
            return UserError(
                .configuration, "is not the tokenizer that the run was trained with", at: "\(directory)/tokenizer.model",
                advice: "copy tokenizer.model from the training corpus")
        }
        if name == "tokenizer_fingerprint" {
            return UserError(
                .configuration, "its vocabulary is not that of \(settings.corpus.shards): the tokenizers differ", at: path,
                advice: "shard the corpus with \(configuration.directory)/tokenizer.model, or start again with --fresh")
        }
        return UserError(
            .configuration, "it was trained on another corpus than \(settings.corpus.shards)", at: path,
            advice: "name the corpus of the run in corpus.shards, or start again with --fresh")
    }

    public var attributes: [String: CheckpointAttribute] { ["vocabulary_size": .integer(Int64(languageModel.vocabularySize))] }
    public var files: [RunFile] {
        [RunFile(name: "tokenizer.model", bytes: tokenizer.modelBytes)] + [cleaning?.runFile].compactMap(\.self)
    }

    public func makeLoader(owning lanes: [Int]) throws -> TaskLoader {
        guard let corpus else { fatalError("a task of a run directory has no training data") }
        if let validation, validation.kind == .text { _ = try textModel(languageModel, of: validation) }
        return try trainingLoader(corpus, settings.corpus, configuration, for: languageModel, lanes: lanes)
    }

    public func evaluate(_ part: EvaluationPart, _ communicator: any Communicator) throws -> TaskScores? {
        guard let validation else { return nil }
        let result = try perplexity(on: validation, communicator, maximumBatches: configuration.evaluationBatches)
        guard let loss = result.lossPerToken else { return nil }
        var scores = [TaskScores.Score("perplexity", exp(loss))]
        if let perWord = result.perplexityPerWord { scores.append(TaskScores.Score("perplexity_per_word", perWord)) }
        if let perByte = result.bitsPerByte { scores.append(TaskScores.Score("bits_per_byte", perByte)) }
        if let perCharacter = result.bitsPerCharacter { scores.append(TaskScores.Score("bits_per_character", perCharacter)) }
        return TaskScores(examples: result.tokens, loss: loss, scores: scores)
    }

    private func perplexity(
        on corpus: Corpus, _ communicator: any Communicator, maximumBatches: Int? = nil
    ) throws -> LanguageModelStatistics {
        try evaluatePerplexity(
            model: languageModel, corpus: corpus, communicator: communicator,
            settings: perplexitySettings.limited(to: maximumBatches))
    }

    /// How corpora are run through the model.
    var perplexitySettings: PerplexitySettings { PerplexitySettings(rows: min(configuration.batch.lanes, 32), length: configuration.batch.length) }

    /// The perplexity of a corpus, the run's validation corpus unless another is named; of pairs, the scores of generated targets too.
    public func report(_ request: EvaluationRequest, _ communicator: any Communicator) throws -> EvaluationReport {
        let run = LanguageRun(self, configuration)
        let corpus = try communicator.onEveryRank {
            try request.require(
                EvaluationOption.generating.union(EvaluationOption.memory).union([.corpus]), of: "a language model, which is measured on one corpus")
            try request.memory.validate()
            guard let path = request.corpus ?? settings.corpus.validation else {
                throw UserError(.usage, "the run has no validation corpus", at: request.directory, advice: "name a corpus with --corpus")
            }
            let corpus = try Corpus(directory: path)
            try run.requireFit(corpus)
            if corpus.kind == .text {
                try request.require(EvaluationOption.memory.union([.corpus]), of: "running text, for which nothing is generated")
            }
            return corpus
        }
        if request.memory.isGiven { return try report(corpus, run, request.memory, communicator) }
        let perplexity = try perplexity(on: corpus, communicator)
        let cut = try communicator.onEveryRank { try corpus.kind == .pairs ? cutPairs(of: corpus, among: corpus.count) : 0 }
        var scores: GenerationScores?
        if corpus.kind == .pairs, request.limit != 0 {
            let settings = request.generation.settings(for: corpus.profile, longestTarget: corpus.manifest.counts.longestTarget)
            scores = try scoreGeneration(
                generator: run.generator, format: run.promptFormat(corpus.profile, request.generation), corpus: corpus, tokenizer: tokenizer,
                scoring: GenerationScoring(settings: settings, limit: request.limit), communicator: communicator)
        }
        var report = EvaluationReport(corpus: corpus.directory, perplexity, scores)
        if corpus.kind == .pairs {
            report.set("cut_pairs", .count(cut))
            if cut > 0 { report.say("cut", "\(cut) of \(corpus.count) pairs, longer than batch.length, \(configuration.batch.length)") }
        }
        return report
    }
}

extension CleaningRules {
    /// The name of the file of a run directory that says how the texts of its corpus were cleaned.
    static let runFileName = "cleaning.json"

    /// The rules as a file of a run directory.
    fileprivate var runFile: RunFile? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        return (try? encoder.encode(self)).map { RunFile(name: Self.runFileName, bytes: Array($0) + [0x0a]) }
    }

    /// Reads the file of a run directory; `nil` where there is none, as in runs of before it was kept.
    /// - Throws: `UserError(.badData)` where it holds no rules.
    fileprivate init?(runDirectory: String) throws {
        let path = "\(runDirectory)/\(Self.runFileName)"
        guard Directory.exists(path) != nil else { return nil }
        let data = Data(try DurableFile.read(path))
        do { self = try JSONDecoder().decode(CleaningRules.self, from: data) } catch {
            throw UserError(.badData, "holds no cleaning rules", at: path, advice: "copy the run directory again")
        }
    }
}

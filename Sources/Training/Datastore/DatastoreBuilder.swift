// A bank of what a language model has seen: the context vector of every token of a corpus, with the token.

import Collectives
import Diagnostics
import MemoryBanks
import Models
import Sharding
import Storage
import Tensors
import VectorSearch

/// What a build has put into a bank.
public struct DatastoreReceipt: Sendable, Encodable {
    public let bank: String
    public let namespace: String
    public let corpus: String
    /// Tokens of the corpus that were read.
    public internal(set) var tokens = 0
    /// Records that came in.
    public internal(set) var created = 0
    /// Records that were there already.
    public internal(set) var unchanged = 0
    /// Records that were deleted from the bank before, and stay so.
    public internal(set) var refusedDeleted = 0
    /// The model that made the keys: the digest of its parameters.
    public let model: String
    /// The layer that they are taken from.
    public let layer: Int
    /// Elements of a key.
    public let width: Int
}

/// Builds datastores: banks of tokens whose keys are a language model's context vectors.
public enum DatastoreBuilder {
    /// The rules of a datastore's bank.
    static func rules(width: Int) -> BankConfiguration { BankConfiguration(keyWidth: width, value: .tokens, metric: .euclidean) }

    /// Adds a record for every token of a corpus: its key the context vector from which a run's model predicts it, its value the token, its
    /// source the corpus and the document, its id the corpus's fingerprint and the token's place. Makes the bank where there is none.
    /// Collective: ranks share the reading; what the bank holds does not depend on their number.
    ///
    /// What is there already is left alone, so a build that was interrupted goes on where it stopped. One commit is made for some 32,768
    /// tokens, and no more than those are in memory beside the bank.
    ///
    /// - Parameters:
    ///   - directory: the bank.
    ///   - namespace: the partition that the records belong to.
    ///   - run: whose model reads the corpus, in the segments of its evaluation.
    ///   - limit: the most tokens; `nil` for the whole corpus.
    ///   - identity: of the session that will hold the bank's lock.
    ///   - edit: the same on every rank.
    ///   - progress: receives the number of tokens done and of all, on every rank.
    /// - Throws: `UserError`: (.configuration) for a model without context vectors, a corpus of another tokenizer, and a bank of another
    ///   generation or kind; (.badData) where the bank has another content for a token's id; (.unavailable, .inputOutput).
    public static func build(
        _ directory: String, namespace: String, of run: LoadedRun, corpus path: String, limit: Int? = nil, identity: SessionIdentity,
        _ edit: BankEdit, communicator: any Communicator = SingleProcess(), progress: (_ done: Int, _ all: Int) -> Void = { _, _ in }
    ) throws -> DatastoreReceipt {
        let task = try communicator.onEveryRank { try run.requireTextModel() }
        let corpus = try communicator.onEveryRank { () -> Corpus in
            let corpus = try Corpus(directory: path)
            try LanguageRun(task, run.configuration).requireFit(corpus)
            return corpus
        }
        let reader = try communicator.onEveryRank { try ContextReader(task.languageModel, corpus, task.perplexitySettings, communicator) }
        guard let generation = task.languageModel.generation else {
            failRequirement("a model that is read has no context vectors", file: #fileID, line: #line)
        }
        let bank = try MemoryBank.openedOrMade(
            directory, rules(width: generation.width), generation: generation, identity, communicator: communicator)
        defer { bank.close() }
        try communicator.onEveryRank { try requireDatastore(bank, of: generation) }
        var receipt = DatastoreReceipt(
            bank: directory, namespace: namespace, corpus: corpus.directory, model: generation.model, layer: generation.layer,
            width: generation.width)
        let wanted = min(limit ?? .max, corpus.tokenCount)
        if wanted == 0 { return receipt }
        try reader.read { own in
            let passages = try ContextPassage.gathered(own.map(\.passage), width: generation.width, communicator)
            let records = try communicator.onEveryRank {
                try Self.records(passages, of: corpus, namespace, atMost: wanted - receipt.tokens)
            }
            let added = try bank.append(records, generation: generation, edit)
            receipt.tokens += records.count
            receipt.created += added.created
            receipt.unchanged += added.unchanged
            receipt.refusedDeleted += added.refusedDeleted
            progress(receipt.tokens, wanted)
            return receipt.tokens < wanted
        }
        return receipt
    }

    /// Makes sure that a bank can hold, or be read as, what a model's datastore holds.
    /// - Throws: `UserError` (.configuration).
    static func requireDatastore(_ bank: MemoryBank, of generation: BankGeneration) throws {
        guard bank.configuration.value == .tokens, bank.configuration.metric == .euclidean else {
            let (value, metric) = (bank.configuration.value.rawValue, bank.configuration.metric.rawValue)
            throw UserError(
                .configuration, "its values are \(value), its metric \(metric); a datastore holds tokens, and its metric is euclidean",
                at: bank.directory, advice: "build a bank with mneme memory build")
        }
        try bank.requireGeneration(generation)
    }

    private static func records(
        _ passages: [ContextPassage], of corpus: Corpus, _ namespace: String, atMost limit: Int
    ) throws -> [BankRecord] {
        var records: [BankRecord] = []
        records.reserveCapacity(min(limit, passages.reduce(0) { $0 + $1.targets.count }))
        let name = String(corpus.manifest.fingerprint.prefix(12))
        var document = (range: 0..<0, source: "")
        for passage in passages {
            let width = passage.vectors.shape[1]
            for (row, position) in passage.positions.enumerated() {
                if records.count == limit { return records }
                if !document.range.contains(position) {
                    let index = try corpus.document(atToken: position)
                    document = (try corpus.documentRange(index), "\(corpus.directory), document \(index + 1)")
                }
                var record = BankRecord(id: "\(name)-\(position)", namespace: namespace, value: .tokens([passage.targets[row]]))
                record.key = Array(UnsafeBufferPointer(start: passage.vectors.floats + row * width, count: width))
                record.source = document.source
                records.append(record)
            }
        }
        return records
    }
}

extension LoadedRun {
    /// The run as a task over texts.
    /// - Throws: `UserError` (.usage) when it is something else.
    func requireTextModel() throws -> LanguageTask {
        guard let task = task as? LanguageTask else {
            throw UserError(
                .usage, "its task, \(configuration.task.modelKind), is no language model over a corpus", at: directory,
                advice: "name a run of one")
        }
        return task
    }
}

// The facts of a run: a person may change them, and the answers follow without training.

import Corpora
import Diagnostics
import Foundation
import Storage

/// The facts that a knowledge run answers from, kept in its directory.
///
/// It is the exact dictionary M(subject, relation) = objects; the network reads the same facts softly. Every change is on disk before the call
/// returns.
public final class KnowledgeBank {
    /// The file of a run directory.
    public static let fileName = "facts.memory"

    private let memory: DictionaryMemory
    private let path: String?
    /// The symbols of the run, which say what may be put; `nil` for facts without a run.
    private let vocabulary: SymbolVocabulary?
    /// Whether the run's facts are triples or sentences; `nil` for facts without a run.
    private let layout: KnowledgeLayout?

    /// Facts that do not last.
    public init(_ facts: [KnowledgeFact], foldsCase: Bool = false) {
        memory = DictionaryMemory(keyCase: foldsCase ? .folded : .exact, duplicates: .collect)
        (path, vocabulary, layout) = (nil, nil, nil)
        // A memory without a file cannot fail to be written.
        for fact in facts { _ = try? memory.put(Self.key(fact.subject, fact.relation), fact.object) }
    }

    /// The facts of a run directory.
    /// - Throws: `UserError` where it has none or they are damaged.
    public convenience init(runDirectory: String) throws {
        try LoadedRun.requireDirectory(runDirectory)
        guard Directory.exists("\(runDirectory)/\(Self.fileName)") != nil else {
            throw UserError(.missingInput, "keeps no facts", at: runDirectory, advice: "name the directory of a run of a knowledge task")
        }
        try self.init(runDirectory: runDirectory, file: KnowledgeFile(runDirectory: runDirectory))
    }

    init(runDirectory: String, file: KnowledgeFile) throws {
        let path = "\(runDirectory)/\(Self.fileName)"
        memory = try DictionaryMemory(path: path)
        (self.path, vocabulary, layout) = (path, file.vocabulary, file.rules.layout)
    }

    /// What a crash has cut off the file; `nil` where nothing was.
    public var repair: String? { memory.repair }
    /// The bytes of a file that holds these facts.
    public var bytes: [UInt8] { memory.bytes }

    /// All facts; those of one subject and relation stand together.
    public var facts: [KnowledgeFact] { memory.entries.flatMap { entry in entry.values.map { Self.fact(entry.key, $0) } } }

    /// The facts about a subject, by the run's case rule; `nil` takes any. Exact: no fact that is merely similar.
    public func facts(subject: String? = nil, relation: String? = nil) -> [KnowledgeFact] {
        if let subject, let relation { return memory.get(Self.key(subject, relation)).map { KnowledgeFact(subject, relation, $0) } }
        let wanted = subject.map(compared)
        return facts.filter { (wanted == nil || compared($0.subject) == wanted) && (relation == nil || $0.relation == relation) }
    }

    /// Adds a fact.
    /// - Returns: false where it is there already.
    /// - Throws: `UserError`: a relation that the run does not know, an entity for which it has no place left, or a file that cannot be written.
    @discardableResult
    public func put(_ fact: KnowledgeFact) throws -> Bool {
        let fact = try checked(fact)
        return try memory.put(Self.key(fact.subject, fact.relation), fact.object)
    }

    /// Puts an object in the place of all objects of its subject and relation, in one change.
    /// - Returns: false where there was none, so that nothing is changed.
    /// - Throws: as `put`.
    @discardableResult
    public func update(_ fact: KnowledgeFact) throws -> Bool {
        let fact = try checked(fact)
        return try memory.update(Self.key(fact.subject, fact.relation), to: fact.object)
    }

    /// Deletes a fact, or all facts of a subject and relation.
    /// - Returns: how many were deleted.
    /// - Throws: `UserError` where the file cannot be written.
    @discardableResult
    public func delete(subject: String, relation: String?, object: String? = nil) throws -> Int {
        try memory.delete(Self.key(subject, relation), object)
    }

    /// The fact with the names as the run spells them.
    private func checked(_ fact: KnowledgeFact) throws -> KnowledgeFact {
        for (text, name) in [(fact.subject, "subject"), (fact.object, "object"), (fact.relation ?? "-", "relation")] {
            guard !text.trimmingCharacters(in: .whitespaces).isEmpty, !text.contains(Self.separator) else {
                throw UserError(.usage, "the \(name) of the fact is empty or holds a control character", at: path, advice: "give a text")
            }
        }
        guard var vocabulary else { return fact }
        if fact.relation == nil, layout == .triple {
            throw UserError(
                .usage, "the run's facts are triples: it would not read a sentence", at: path,
                advice: "give one of the relations \(vocabulary.relations.joined(separator: ", "))")
        }
        if let relation = fact.relation, vocabulary.relation(relation) == nil {
            throw UserError(
                .usage, "the run does not know the relation '\(relation)'", at: path,
                advice: vocabulary.relations.isEmpty
                    ? "leave it out: the run's facts are sentences" : "use one of \(vocabulary.relations.joined(separator: ", "))")
        }
        for known in facts where known.relation != nil { for name in [known.subject, known.object] { _ = vocabulary.learnEntity(name) } }
        for name in fact.relation == nil ? [fact.subject] : [fact.subject, fact.object] where vocabulary.learnEntity(name) == nil {
            throw UserError(
                .usage, "'\(name)' is new, and the \(vocabulary.spareCount) places for new entities are taken", at: path,
                advice: "delete facts about other new entities, or train a run with a larger task.spareSymbols")
        }
        func spelled(_ name: String) -> String { vocabulary.entity(name).map(vocabulary.text(of:)) ?? name }
        return KnowledgeFact(spelled(fact.subject), fact.relation, fact.relation == nil ? fact.object : spelled(fact.object))
    }

    /// Whether the vocabulary that the run was trained with holds a name.
    public func isTrained(_ name: String) -> Bool { vocabulary?.entity(name) != nil }

    private func compared(_ name: String) -> String { memory.keyCase == .folded ? name.lowercased() : name }

    /// Separates subject and relation in a key (the ASCII unit separator).
    private static let separator: Character = "\u{1f}"

    private static func key(_ subject: String, _ relation: String?) -> String { relation.map { "\(subject)\(separator)\($0)" } ?? subject }

    private static func fact(_ key: String, _ object: String) -> KnowledgeFact {
        let parts = key.split(separator: separator, maxSplits: 1, omittingEmptySubsequences: false)
        return KnowledgeFact(String(parts[0]), parts.count == 2 ? String(parts[1]) : nil, object)
    }
}

/// The symbols of a run and what weights them: the file `knowledge.json`.
struct KnowledgeFile: Codable {
    static let name = "knowledge.json"

    var format = "mneme-knowledge"
    var version = 1
    var vocabulary: SymbolVocabulary
    var frequencies: SymbolFrequencies
    var rules: MemoryRules

    init(_ vocabulary: SymbolVocabulary, _ frequencies: SymbolFrequencies, _ rules: MemoryRules) {
        (self.vocabulary, self.frequencies, self.rules) = (vocabulary, frequencies, rules)
    }

    /// - Throws: `UserError` where the file is missing or not what it should be.
    init(runDirectory: String) throws {
        let path = "\(runDirectory)/\(Self.name)"
        guard Directory.exists(path) != nil else {
            throw UserError(.missingInput, "does not exist or cannot be read", at: path, advice: "restore the file: the run was saved with it")
        }
        let data = Data(try DurableFile.read(path))
        do { self = try JSONDecoder().decode(Self.self, from: data) } catch {
            throw UserError(.badData, "is not the symbols of a knowledge run", at: path, advice: "restore the file from a copy")
        }
        guard format == "mneme-knowledge", version == 1 else {
            throw UserError(.badData, "has format \(format), version \(version)", at: path, advice: "use the program that wrote it")
        }
    }

    /// The same bytes for the same content.
    func bytes() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }
}

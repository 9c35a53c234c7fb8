// The facts of a knowledge run: a bank in its directory, which a person may change, so that the answers follow without training.

import Collectives
import Corpora
import Diagnostics
import Foundation
import MemoryBanks
import Storage

/// The facts that a knowledge run answers from: the bank `banks/facts` of its directory.
///
/// Each fact is a record of the namespace `facts`, in a bank without vectors. Its key text is what it is found by, `subject | relation`, or the title of
/// a sentence's document; its value is the object, or the sentence; its source is the subject. Found are the records whose key text says subject and
/// relation exactly; the network reads the same facts softly. The id is the key text, with ` #2` behind it for the second object of a key, and so on:
/// a number that was deleted is not given again.
///
/// A directory that an earlier version has left holds a file instead (see ``FormerFacts``). It is read as it is; who edits it makes a bank of it, in one
/// commit, and the file gets another name.
public final class KnowledgeBank {
    /// The namespace of facts.
    public static let namespace = "facts"
    /// The rules of a bank of facts: it has no vectors.
    package static let rules = BankConfiguration(keyWidth: 0, value: .text)

    /// A fact and the record that says it.
    public struct Entry: Sendable {
        /// What it says.
        public let fact: KnowledgeFact
        /// Its id, version and history; of a former file's facts the record that they would be.
        public let record: BankRecord
    }

    /// Where the bank is.
    public let directory: String
    /// What was passed over or put right when the facts were read, for the user.
    public private(set) var notes: [String] = []
    /// All facts, sorted by key text; those of one key in the order in which they were put.
    public private(set) var entries: [Entry] = []

    /// `nil` where a former file is read.
    private let bank: MemoryBank?
    /// The symbols of the run, which say what may be put.
    private let vocabulary: SymbolVocabulary
    /// Whether the run's facts are triples or sentences.
    private let layout: KnowledgeLayout

    /// Opens the facts of a run directory.
    /// - Parameter identity: of the session that edits them and holds the bank's lock; `nil` to read.
    /// - Throws: `UserError`: (.missingInput) where the directory keeps none, (.badData) where they are damaged, (.unavailable) where another session
    ///   edits them.
    public convenience init(runDirectory: String, editing identity: SessionIdentity? = nil) throws {
        try LoadedRun.requireDirectory(runDirectory)
        guard Directory.exists("\(runDirectory)/\(KnowledgeFile.name)") != nil else {
            throw UserError(.missingInput, "keeps no facts", at: runDirectory, advice: "name the directory of a run of a knowledge task")
        }
        try self.init(runDirectory: runDirectory, file: KnowledgeFile(runDirectory: runDirectory), editing: identity)
    }

    package init(runDirectory: String, file: KnowledgeFile, editing identity: SessionIdentity? = nil) throws {
        directory = FactBank.directory(ofRun: runDirectory)
        (vocabulary, layout) = (file.vocabulary, file.rules.layout)
        let former = "\(runDirectory)/\(FormerFacts.fileName)"
        let hasFormer = Directory.exists(former) == .file
        guard MemoryBank.exists(directory) || hasFormer else { throw Self.noneYet(runDirectory) }
        guard let identity else {
            let bank = MemoryBank.exists(directory) ? try MemoryBank(directory) : nil
            // Commit 0 is a bank that was made and not filled.
            if let bank, bank.commit > 0 {
                try Self.requireText(bank)
                self.bank = bank
                notes = bank.notes
                read(bank)
                return
            }
            guard hasFormer else { throw Self.noneYet(runDirectory) }
            self.bank = nil
            let file = try FormerFacts(path: former)
            notes = [file.repair].compactMap { $0 }
            entries = Self.entries(Self.records(of: file.facts))
            return
        }
        let bank = try MemoryBank.openedOrMade(directory, Self.rules, generation: nil, identity, communicator: SingleProcess())
        self.bank = bank
        do {
            try Self.requireText(bank)
            if bank.commit == 0 {
                let edit = BankEdit(time: Int(Date().timeIntervalSince1970), author: identity.description, reason: "facts of an earlier version")
                guard try Self.fill(bank, ofRun: runDirectory, nil, edit) else { throw Self.noneYet(runDirectory) }
                notes = ["\(former): its facts are a bank now, \(directory); the file is \(FormerFacts.convertedName) and holds what it held"]
            } else if hasFormer {
                try Self.setAside(ofRun: runDirectory)
            }
        } catch {
            bank.close()
            throw error
        }
        notes += bank.notes
        read(bank)
    }

    private static func noneYet(_ run: String) -> UserError {
        UserError(.missingInput, "keeps no facts yet", at: run, advice: "its first checkpoint brings them: train on")
    }

    /// Makes sure that a bank, which somebody else may have made, can hold facts.
    private static func requireText(_ bank: MemoryBank) throws {
        guard bank.configuration.value != .text || bank.configuration.keyWidth > 0 else { return }
        throw UserError(
            .configuration, "is no bank of facts: they are texts without vectors", at: bank.directory, advice: "move it elsewhere; the run makes its own")
    }

    /// Gives the bank's lock back.
    public func close() { bank?.close() }

    // MARK: Facts as records

    /// Fills a new bank in one commit: with what a former file of the run holds, which is then set aside, or else with the facts of its task. Collective.
    /// - Parameter facts: of the task; `nil` where they are not at hand.
    /// - Returns: false where there was nothing to fill it with.
    @discardableResult
    package static func fill(_ bank: MemoryBank, ofRun directory: String, _ facts: [KnowledgeFact]?, _ edit: BankEdit) throws -> Bool {
        let former = try bank.communicator.onEveryRank { () -> [KnowledgeFact]? in
            let path = "\(directory)/\(FormerFacts.fileName)"
            return Directory.exists(path) == .file ? try FormerFacts(path: path).facts : nil
        }
        guard let all = former ?? facts else { return false }
        try bank.communicator.onEveryRank { try requireText(bank) }
        _ = try bank.append(records(of: all), edit)
        if former != nil { try bank.communicator.onEveryRank { if bank.communicator.rank == 0 { try setAside(ofRun: directory) } } }
        return true
    }

    /// Gives a former file, whose facts a bank has, another name.
    private static func setAside(ofRun directory: String) throws {
        try Directory.rename("\(directory)/\(FormerFacts.fileName)", to: "\(directory)/\(FormerFacts.convertedName)")
        try Directory.synchronize(directory)
    }

    /// Facts as the records of a new bank.
    package static func records(of facts: [KnowledgeFact]) -> [BankRecord] {
        var (numbers, taken) = ([String: Int](), Set<String>())
        return facts.map { fact in
            let key = keyText(fact.subject, fact.relation)
            var number = numbers[key] ?? 0
            let id = freeID(key, after: &number) { taken.contains($0) }
            numbers[key] = number
            taken.insert(id)
            return record(fact, id: id)
        }
    }

    private static func record(_ fact: KnowledgeFact, id: String) -> BankRecord {
        var record = BankRecord(id: id, namespace: namespace, value: .text(fact.object))
        (record.keyText, record.source) = (keyText(fact.subject, fact.relation), fact.subject)
        return record
    }

    /// The first id of a key, by its number, that is free. A key that cannot be an id is represented by its hash.
    private static func freeID(_ key: String, after number: inout Int, _ isTaken: (String) -> Bool) -> String {
        let isName = !key.isEmpty && key.utf8.count <= 480 && !hasControlCharacter(key)
        var hash = XXHash64()
        if !isName { Array(key.utf8).withUnsafeBytes { hash.update($0) } }
        let name = isName ? key : hexadecimal(hash.finalized(), digits: 16)
        while true {
            number += 1
            let id = number == 1 ? name : "\(name) #\(number)"
            if !isTaken(id) { return id }
        }
    }

    private static func hasControlCharacter(_ text: String) -> Bool { text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7f } }

    /// `subject | relation`, or the title of a sentence's document. A bar or a backslash in a name has a backslash before it.
    package static func keyText(_ subject: String, _ relation: String?) -> String {
        [subject, relation].compactMap { $0?.replacing("\\", with: "\\\\").replacing("|", with: "\\|") }.joined(separator: " | ")
    }

    /// The fact that a record says, however its key text was written: the first bar without a backslash divides it.
    package static func fact(_ record: BankRecord) -> KnowledgeFact {
        let key = Array(record.keyText.utf8)
        var (names, escapes): ([[UInt8]], Bool) = ([[]], false)
        for byte in key {
            if !escapes, byte == UInt8(ascii: "\\") {
                escapes = true
            } else if !escapes, byte == UInt8(ascii: "|"), names.count == 1 {
                names.append([])
            } else {
                names[names.count - 1].append(byte)
                escapes = false
            }
        }
        // One blank on each side of the bar belongs to it.
        if names.count == 2 {
            if names[0].last == UInt8(ascii: " ") { names[0].removeLast() }
            if names[1].first == UInt8(ascii: " ") { names[1].removeFirst() }
        }
        guard case .text(let object) = record.value else { preconditionFailure("values of a bank of facts are texts") }
        return KnowledgeFact(
            String(decoding: names[0], as: UTF8.self), names.count == 2 ? String(decoding: names[1], as: UTF8.self) : nil, object)
    }

    /// Records with their facts, in the order in which a run reads them on any number of ranks.
    package static func entries(_ records: [BankRecord]) -> [Entry] {
        records.sorted { one, other in
            if one.keyText != other.keyText { return one.keyText.utf8.lexicographicallyPrecedes(other.keyText.utf8) }
            // `name #10` comes after `name #9`.
            return one.id.utf8.count == other.id.utf8.count
                ? one.id.utf8.lexicographicallyPrecedes(other.id.utf8) : one.id.utf8.count < other.id.utf8.count
        }.map { Entry(fact: fact($0), record: $0) }
    }

    private func read(_ bank: MemoryBank) { entries = Self.entries(bank.localRecords(BankFilter(.one(Self.namespace)))) }

    // MARK: Finding

    /// All facts, in the order of their entries.
    public var facts: [KnowledgeFact] { entries.map(\.fact) }

    /// The facts about a subject, by the run's case rule; `nil` takes any. Exact: no fact that is merely similar.
    public func entries(subject: String? = nil, relation: String? = nil) -> [Entry] {
        let (wanted, asked) = (subject.map(compared), relation.map(compared))
        return entries.filter {
            (wanted == nil || compared($0.fact.subject) == wanted) && (asked == nil || $0.fact.relation.map(compared) == asked)
        }
    }

    /// What is known of one key: of a relation, or the sentences of a document.
    public func held(_ subject: String, _ relation: String?) -> [Entry] {
        entries(subject: subject, relation: relation).filter { ($0.fact.relation == nil) == (relation == nil) }
    }

    /// Whether the vocabulary that the run was trained with holds a name.
    public func isTrained(_ name: String) -> Bool { vocabulary.entity(name) != nil }

    private func compared(_ name: String) -> String { vocabulary.foldsCase ? name.lowercased() : name }

    // MARK: Editing

    /// Adds a fact.
    /// - Parameter expected: the version that it must have before, 0 for none; `nil` where that does not matter.
    /// - Returns: the receipt, which changes nothing where the fact is there already.
    /// - Throws: `UserError`: (.usage) for a relation that the run does not know, a fact of another form than its facts and an entity for which it has no
    ///   place left; else as `MemoryBank.put`.
    public func put(_ fact: KnowledgeFact, expecting expected: Int? = nil, _ edit: BankEdit) throws -> BankReceipt {
        let (fact, bank) = (try checked(fact), editable())
        var number = 0
        let record =
            held(fact.subject, fact.relation).first { $0.fact.object == fact.object }?.record
            ?? Self.record(
                fact,
                id: Self.freeID(Self.keyText(fact.subject, fact.relation), after: &number) { bank.has($0, namespace: Self.namespace, orHadDeleted: true) })
        let receipt = try bank.put([record], expecting: expected, edit)
        read(bank)
        return receipt
    }

    /// Puts an object in the place of all objects of its subject and relation, in one commit; where there are none it is as ``put(_:expecting:_:)``.
    ///
    /// One record is changed and keeps its id, as its next version; further ones go. As no deletion: they may come back.
    /// - Parameter expected: the version that each of them must have.
    /// - Throws: as ``put(_:expecting:_:)``.
    public func replace(by fact: KnowledgeFact, expecting expected: Int? = nil, _ edit: BankEdit) throws -> BankReceipt {
        let (fact, bank) = (try checked(fact), editable())
        let held = held(fact.subject, fact.relation)
        guard let kept = held.first(where: { $0.fact.object == fact.object }) ?? held.first else { return try put(fact, expecting: expected, edit) }
        var patch = BankPatch()
        patch.value = .text(fact.object)
        let receipt = try bank.update(
            BankFilter(.one(Self.namespace), ids: [kept.record.id]), patch, replacing: held.map(\.record.id).filter { $0 != kept.record.id },
            expecting: expected, edit)
        read(bank)
        return receipt
    }

    /// Deletes a fact, or all facts of a subject and relation, in one commit. What is put again is a new record.
    /// - Returns: the receipt; `nil` where there is no such fact.
    /// - Throws: as `MemoryBank.delete`.
    public func delete(
        subject: String, relation: String?, object: String? = nil, children: MemoryBank.Children = .refuse, expecting expected: Int? = nil, _ edit: BankEdit
    ) throws -> BankReceipt? {
        let bank = editable()
        let ids = held(subject, relation).filter { object == nil || $0.fact.object == object }.map(\.record.id)
        guard !ids.isEmpty else { return nil }
        let receipt = try bank.delete(BankFilter(.one(Self.namespace), ids: ids), children: children, expecting: expected, edit)
        read(bank)
        return receipt
    }

    private func editable() -> MemoryBank {
        guard let bank else { preconditionFailure("facts that were opened for reading are not edited") }
        return bank
    }

    /// The fact with the names as the run spells them.
    private func checked(_ fact: KnowledgeFact) throws -> KnowledgeFact {
        for (text, name) in [(fact.subject, "subject"), (fact.object, "object"), (fact.relation ?? "-", "relation")] {
            guard !text.trimmingCharacters(in: .whitespaces).isEmpty, !Self.hasControlCharacter(text) else {
                throw UserError(.usage, "the \(name) of the fact is empty or holds a control character", at: directory, advice: "give a text")
            }
        }
        var vocabulary = vocabulary
        if fact.relation == nil, layout == .triple {
            throw UserError(
                .usage, "the run's facts are triples: it would not read a sentence", at: directory,
                advice: "give one of the relations \(vocabulary.relations.joined(separator: ", "))")
        }
        if let relation = fact.relation, vocabulary.relation(relation) == nil {
            throw UserError(
                .usage, "the run does not know the relation '\(relation)'", at: directory,
                advice: vocabulary.relations.isEmpty
                    ? "leave it out: the run's facts are sentences" : "use one of \(vocabulary.relations.joined(separator: ", "))")
        }
        for known in facts where known.relation != nil { for name in [known.subject, known.object] { _ = vocabulary.learnEntity(name) } }
        for name in fact.relation == nil ? [fact.subject] : [fact.subject, fact.object] where vocabulary.learnEntity(name) == nil {
            throw UserError(
                .usage, "'\(name)' is new, and the \(vocabulary.spareCount) places for new entities are taken", at: directory,
                advice: "delete facts about other new entities, or train a run with a larger task.spareSymbols")
        }
        func spelled(_ name: String) -> String { vocabulary.entity(name).map(vocabulary.text(of:)) ?? name }
        return KnowledgeFact(spelled(fact.subject), fact.relation, fact.relation == nil ? fact.object : spelled(fact.object))
    }
}

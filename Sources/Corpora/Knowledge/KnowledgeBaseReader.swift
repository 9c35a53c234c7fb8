// Knowledge bases in the formats that they are published in.

import Diagnostics
import Foundation
import Inputs

/// Reads facts.
public enum KnowledgeBaseReader {
    /// What was read.
    public struct Result: Sendable {
        /// Without repetitions, in the order of the file.
        public var facts: [KnowledgeFact]
        /// Every entity that the files name, in their order: of triples also those without a fact.
        public var entities: [String]
        /// Lines that were wrong.
        public var skipped: SkippedRecords
    }

    /// Reads a directory of triples of numbers: `train.tsv` (`head<TAB>relation<TAB>tail`), `entity2text.txt` and `relation2text.txt`
    /// (`number<TAB>text`).
    /// - Parameter skipLimit: the most wrong lines that are passed over.
    /// - Throws: `UserError` where a file cannot be read or too many lines are wrong.
    public static func numberedTriples(directory: String, skipLimit: Int = 0) throws -> Result {
        var skipped = SkippedRecords(limit: skipLimit)
        let entities = try names(InputFiles.path(of: "entity2text.txt", in: directory), &skipped)
        let relations = try names(InputFiles.path(of: "relation2text.txt", in: directory), &skipped)
        var facts = FactList()
        try forEachLine(InputFiles.path(of: "train.tsv", in: directory), &skipped) { line, _ in
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            guard fields.count == 3 else { throw KnowledgeFault("\(fields.count) fields where head, relation and tail were expected") }
            func name(_ field: Substring, _ names: [Int: String], _ what: String) throws -> String {
                guard let number = Int(field), let name = names[number] else { throw KnowledgeFault("\(what) '\(field)' has no text") }
                return name
            }
            facts.add(
                KnowledgeFact(
                    try name(fields[0], entities.byNumber, "entity"), try name(fields[1], relations.byNumber, "relation"),
                    try name(fields[2], entities.byNumber, "entity")))
        }
        return Result(facts: facts.facts, entities: entities.inOrder, skipped: skipped)
    }

    /// Reads WikiMovies' form: `1 Film name relation_name object, object`, an empty line between films. The relation is the first word after the name
    /// that is one of `relations`. What follows relations in `texts` is one sentence, and no list of entities.
    /// - Throws: as `numberedTriples`.
    public static func numberedLines(
        path: String, relations: Set<String> = wikiMoviesRelations, texts: Set<String> = ["has_plot"], skipLimit: Int = 0
    ) throws -> Result {
        var skipped = SkippedRecords(limit: skipLimit)
        var facts = FactList()
        try forEachLine(path, &skipped) { line, _ in
            if line.allSatisfy(\.isWhitespace) { return }
            let words = line.split(separator: " ")
            guard let number = words.first, Int(number) != nil else { throw KnowledgeFault("no line number before the fact") }
            guard let place = words.indices.dropFirst().first(where: { relations.contains(String(words[$0])) }) else {
                throw KnowledgeFault("no known relation")
            }
            guard place > 1 else { throw KnowledgeFault("no subject before the relation") }
            let (subject, relation) = (words[1..<place].joined(separator: " "), String(words[place]))
            let rest = words[(place + 1)...].joined(separator: " ")
            guard !rest.isEmpty else { throw KnowledgeFault("no object after '\(relation)'") }
            if texts.contains(relation) { return facts.add(KnowledgeFact(subject, nil, rest)) }
            let objects = rest.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
            guard objects.allSatisfy({ !$0.isEmpty }) else { throw KnowledgeFault("an empty object after '\(relation)'") }
            for object in objects { facts.add(KnowledgeFact(subject, relation, object)) }
        }
        return Result(facts: facts.facts, entities: facts.entities, skipped: skipped)
    }

    /// Reads `subject|relation|object` lines.
    /// - Throws: as `numberedTriples`.
    public static func barredLines(path: String, skipLimit: Int = 0) throws -> Result {
        var skipped = SkippedRecords(limit: skipLimit)
        var facts = FactList()
        try forEachLine(path, &skipped) { line, _ in
            if line.isEmpty { return }
            let fields = line.split(separator: "|", omittingEmptySubsequences: false).map { $0.trimmingCharacters(in: .whitespaces) }
            guard fields.count == 3 else { throw KnowledgeFault("\(fields.count) fields where subject, relation and object were expected") }
            for (field, name) in zip(fields, ["subject", "relation", "object"]) where field.isEmpty { throw KnowledgeFault("no \(name)") }
            facts.add(KnowledgeFact(fields[0], fields[1], fields[2]))
        }
        return Result(facts: facts.facts, entities: facts.entities, skipped: skipped)
    }

    /// The relations of WikiMovies.
    public static let wikiMoviesRelations: Set<String> = [
        "directed_by", "written_by", "starred_actors", "release_year", "in_language", "has_tags", "has_genre", "has_plot", "has_imdb_votes",
        "has_imdb_rating",
    ]

    /// `number<TAB>text` lines.
    private static func names(_ path: String, _ skipped: inout SkippedRecords) throws -> (byNumber: [Int: String], inOrder: [String]) {
        var byNumber: [Int: String] = [:]
        var inOrder: [String] = []
        try forEachLine(path, &skipped) { line, _ in
            guard let tab = line.firstIndex(of: "\t"), let number = Int(line[..<tab]) else {
                throw KnowledgeFault("no number and tab before the text")
            }
            let name = line[line.index(after: tab)...].trimmingCharacters(in: .whitespaces)
            guard !name.isEmpty else { throw KnowledgeFault("number \(number) has no text") }
            guard byNumber.updateValue(name, forKey: number) == nil else { throw KnowledgeFault("number \(number) occurs twice") }
            inOrder.append(name)
        }
        return (byNumber, inOrder)
    }
}

/// What is wrong with a line, before its place is known.
struct KnowledgeFault: Error {
    let what: String
    init(_ what: String) { self.what = what }
}

/// Calls `body` with every line of a file and its number from 1, and counts those that are wrong.
func forEachLine(_ path: String, _ skipped: inout SkippedRecords, _ body: (_ line: String, _ number: Int) throws -> Void) throws {
    let lines = try LineReader(path: path)
    while try lines.advance() {
        do {
            try body(String(decoding: try lines.checkedLine(), as: UTF8.self), lines.lineNumber)
        } catch let fault as KnowledgeFault {
            try skipped.count(RecordError(fault.what, at: lines.place))
        } catch let fault as RecordError {
            try skipped.count(fault)
        }
    }
}

/// Facts without repetitions.
private struct FactList {
    private(set) var facts: [KnowledgeFact] = []
    private(set) var entities: [String] = []
    private var known = Set<KnowledgeFact>()
    private var knownEntities = Set<String>()

    mutating func add(_ fact: KnowledgeFact) {
        guard known.insert(fact).inserted else { return }
        facts.append(fact)
        for entity in fact.relation == nil ? [fact.subject] : [fact.subject, fact.object] where knownEntities.insert(entity).inserted {
            entities.append(entity)
        }
    }
}

extension InputFiles {
    /// A file of a directory.
    /// - Throws: `UserError(.missingInput)` where there is none.
    static func path(of name: String, in directory: String) throws -> String {
        let path = directory.hasSuffix("/") ? directory + name : "\(directory)/\(name)"
        guard kind(of: path) == .file else {
            throw UserError(.missingInput, "there is no such file", at: path, advice: "name the directory that holds \(name)")
        }
        return path
    }
}

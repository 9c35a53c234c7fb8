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
            let fields = line.fields(separatedBy: "\t")
            guard fields.count == 3 else { throw KnowledgeFault("\(fields.count) fields where head, relation and tail were expected") }
            func name(_ field: String, _ names: [Int: String], _ what: String) throws -> String {
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
    /// that is one of `relations`. What follows relations in `texts` is one sentence, and no list of entities. A comma divides objects unless it is part
    /// of a name: that of a film of this file, or one of `names`; the longest name counts.
    /// - Parameter names: names of entities that the file does not tell, such as those of WikiMovies' `entities.txt`.
    /// - Throws: as `numberedTriples`.
    public static func numberedLines(
        path: String, relations: Set<String> = wikiMoviesRelations, texts: Set<String> = ["has_plot"], names: [String] = [], skipLimit: Int = 0
    ) throws -> Result {
        var skipped = SkippedRecords(limit: skipLimit)
        var lines: [(subject: String, relation: String, rest: String)] = []
        try forEachLine(path, &skipped) { line, _ in
            if line.trimmed.isEmpty { return }
            let words = line.utf8.split { $0 == 0x20 || $0 == 0x09 }.map { String(Substring($0)) }
            guard let number = words.first, Int(number) != nil else { throw KnowledgeFault("no line number before the fact") }
            guard let place = words.indices.dropFirst().first(where: { relations.contains(words[$0]) }) else {
                throw KnowledgeFault("no known relation")
            }
            guard place > 1 else { throw KnowledgeFault("no subject before the relation") }
            let rest = words[(place + 1)...].joined(separator: " ")
            guard !rest.isEmpty else { throw KnowledgeFault("no object after '\(words[place])'") }
            guard texts.contains(words[place]) || !rest.fields(separatedBy: ",").map(\.trimmed).contains("") else {
                throw KnowledgeFault("an empty object after '\(words[place])'")
            }
            lines.append((words[1..<place].joined(separator: " "), words[place], rest))
        }
        let list = NameList(names + lines.map(\.subject))
        var facts = FactList()
        for (subject, relation, rest) in lines {
            if texts.contains(relation) {
                facts.add(KnowledgeFact(subject, nil, rest))
            } else {
                for object in list.divided(rest) { facts.add(KnowledgeFact(subject, relation, object)) }
            }
        }
        return Result(facts: facts.facts, entities: facts.entities, skipped: skipped)
    }

    /// Reads a list of names, one a line.
    /// - Throws: `UserError` where it cannot be read or is not UTF-8.
    public static func names(path: String) throws -> [String] {
        var names: [String] = []
        var skipped = SkippedRecords(limit: 0)
        try forEachLine(path, &skipped) { line, _ in if !line.trimmed.isEmpty { names.append(line.trimmed) } }
        return names
    }

    /// Reads `subject|relation|object` lines.
    /// - Throws: as `numberedTriples`.
    public static func barredLines(path: String, skipLimit: Int = 0) throws -> Result {
        var skipped = SkippedRecords(limit: skipLimit)
        var facts = FactList()
        try forEachLine(path, &skipped) { line, _ in
            if line.trimmed.isEmpty { return }
            let fields = line.fields(separatedBy: "|").map(\.trimmed)
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
            let fields = line.fields(separatedBy: "\t")
            guard fields.count > 1, let number = Int(fields[0]) else { throw KnowledgeFault("no number and tab before the text") }
            let name = fields.dropFirst().joined(separator: "\t").trimmed
            guard !name.isEmpty else { throw KnowledgeFault("number \(number) has no text") }
            guard byNumber.updateValue(name, forKey: number) == nil else { throw KnowledgeFault("number \(number) occurs twice") }
            inOrder.append(name)
        }
        return (byNumber, inOrder)
    }
}

/// Names that hold commas, by which a list of names that commas divide is read: `Crouching Tiger, Hidden Dragon, Alien` is two films where the first is
/// known.
struct NameList {
    /// Names in lower case, one comma and space between their parts.
    private var names = Set<String>()
    private var mostParts = 1

    /// - Parameter names: any; those without a comma do not count.
    init(_ names: [String]) {
        for name in names where name.utf8.contains(UInt8(ascii: ",")) {
            let parts = name.fields(separatedBy: ",").map(\.trimmed)
            self.names.insert(parts.joined(separator: ", ").lowercased())
            mostParts = max(mostParts, parts.count)
        }
    }

    /// The names of a list: at each place the longest that is known, else what stands before the next comma.
    func divided(_ list: String) -> [String] {
        let parts = list.fields(separatedBy: ",").map(\.trimmed)
        var found: [String] = []
        var place = 0
        while place < parts.count {
            let lengths = stride(from: min(mostParts, parts.count - place), to: 1, by: -1)
            let joined = lengths.lazy.map { (count: $0, name: parts[place..<place + $0].joined(separator: ", ")) }
            let (count, name) = joined.first { names.contains($0.name.lowercased()) } ?? (1, parts[place])
            if !name.isEmpty { found.append(name) }
            place += count
        }
        return found
    }
}

extension String {
    /// The parts between separators, empty ones included. A separator is a byte of its own, whatever combining characters follow it.
    func fields(separatedBy separator: Unicode.Scalar) -> [String] {
        utf8.split(separator: UInt8(ascii: separator), omittingEmptySubsequences: false).map { String(Substring($0)) }
    }

    /// Without the white space of Unicode at both ends.
    var trimmed: String { String(decoding: Array(utf8).withUnsafeBufferPointer { Array($0.trimmed) }, as: UTF8.self) }
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

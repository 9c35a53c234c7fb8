// The symbols of questions and facts: every word, relation and entity is one.
//
// Legend: V symbols.

import Diagnostics
import Foundation

/// Numbers for words, relations and entities, in this order: markers, words, relations, inverse relations, entities, spare places for entities that
/// the memory will learn of later.
public struct SymbolVocabulary: Sendable, Codable, Equatable {
    /// Says of a key that it is a window, or a window that leads to the title of its document.
    public enum Marker: Int32, Sendable, CaseIterable {
        case window, title
    }

    /// Of questions and sentences, in lower case.
    public let words: [String]
    /// As facts name them.
    public let relations: [String]
    /// As facts name them; those that were added later come last.
    public private(set) var entities: [String]
    /// Places for entities beyond those that the vocabulary was made with.
    public let spareCount: Int
    /// Whether entities that differ only in case are one.
    public let foldsCase: Bool
    /// How many entities it was made with.
    public let originalEntityCount: Int

    private var wordNumbers: [String: Int32] = [:]
    private var relationNumbers: [String: Int32] = [:]
    private var entityNumbers: [String: Int32] = [:]
    /// Entities by their words, joined by blanks, and the most words of an entity that begins with a word.
    private var entityPhrases: [String: Int32] = [:]
    private var longestPhrase: [String: Int] = [:]

    private enum CodingKeys: String, CodingKey {
        case words, relations, entities, spareCount, foldsCase
    }

    /// - Parameters:
    ///   - words, relations, entities: without repetitions after their case rule is applied; repetitions are dropped.
    ///   - spareCount: places for entities to come.
    ///   - foldsCase: whether `The Ring` and `the ring` are one entity. Words are always folded.
    public init(words: [String], relations: [String], entities: [String], spareCount: Int, foldsCase: Bool) {
        self.foldsCase = foldsCase
        self.spareCount = spareCount
        self.words = Self.unique(words.map { $0.lowercased() })
        self.relations = Self.unique(relations)
        var seen = Set<String>()
        self.entities = entities.filter { seen.insert(foldsCase ? $0.lowercased() : $0).inserted }
        originalEntityCount = self.entities.count
        for (i, word) in self.words.enumerated() { wordNumbers[word] = firstWord + Int32(i) }
        for (i, relation) in self.relations.enumerated() { relationNumbers[relation] = firstRelation + Int32(i) }
        entityNumbers.reserveCapacity(self.entities.count)
        for i in self.entities.indices { register(i) }
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            words: try container.decode([String].self, forKey: .words), relations: try container.decode([String].self, forKey: .relations),
            entities: try container.decode([String].self, forKey: .entities), spareCount: try container.decode(Int.self, forKey: .spareCount),
            foldsCase: try container.decode(Bool.self, forKey: .foldsCase))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(words, forKey: .words)
        try container.encode(relations, forKey: .relations)
        try container.encode(Array(entities.prefix(originalEntityCount)), forKey: .entities)
        try container.encode(spareCount, forKey: .spareCount)
        try container.encode(foldsCase, forKey: .foldsCase)
    }

    private static func unique(_ names: [String]) -> [String] {
        var seen = Set<String>()
        return names.filter { seen.insert($0).inserted }
    }

    private var firstWord: Int32 { Int32(Marker.allCases.count) }
    private var firstRelation: Int32 { firstWord + Int32(words.count) }
    private var firstInverse: Int32 { firstRelation + Int32(relations.count) }

    /// The number of the first entity.
    public var firstEntity: Int32 { firstInverse + Int32(relations.count) }
    /// V, spare places included.
    public var count: Int { Int(firstEntity) + originalEntityCount + spareCount }

    private mutating func register(_ index: Int) {
        let (name, number) = (entities[index], firstEntity + Int32(index))
        entityNumbers[foldsCase ? name.lowercased() : name] = number
        let phrase = KnowledgeText.words(name, foldsCase: foldsCase)
        guard let first = phrase.first, entityPhrases[phrase.joined(separator: " ")] == nil else { return }
        entityPhrases[phrase.joined(separator: " ")] = number
        longestPhrase[first] = max(longestPhrase[first] ?? 0, phrase.count)
    }

    /// The number of a word; `nil` where it is not known.
    public func word(_ word: String) -> Int32? { wordNumbers[word.lowercased()] }

    /// The number of a relation, or of its inverse: from the object to the subject.
    public func relation(_ name: String, inverse: Bool = false) -> Int32? {
        relationNumbers[name].map { inverse ? $0 + Int32(relations.count) : $0 }
    }

    /// The number of an entity by its name.
    public func entity(_ name: String) -> Int32? { entityNumbers[foldsCase ? name.lowercased() : name] }

    /// The number of an entity, which gets a spare place when it is new; `nil` when there is none left.
    public mutating func learnEntity(_ name: String) -> Int32? {
        if let known = entity(name) { return known }
        guard entities.count < originalEntityCount + spareCount else { return nil }
        entities.append(name)
        register(entities.count - 1)
        return firstEntity + Int32(entities.count - 1)
    }

    /// What a symbol stands for.
    public func text(of symbol: Int32) -> String {
        if symbol >= firstEntity { return Int(symbol - firstEntity) < entities.count ? entities[Int(symbol - firstEntity)] : "(spare)" }
        if symbol >= firstInverse { return relations[Int(symbol - firstInverse)] + " (inverse)" }
        if symbol >= firstRelation { return relations[Int(symbol - firstRelation)] }
        if symbol >= firstWord { return words[Int(symbol - firstWord)] }
        return Marker(rawValue: symbol).map { "\($0)" } ?? "?"
    }

    /// Whether a symbol is an entity.
    public func isEntity(_ symbol: Int32) -> Bool { symbol >= firstEntity }

    /// A text as symbols.
    public struct Symbols: Sendable, Equatable {
        /// In the order of the text.
        public var symbols: [Int32] = []
        /// Words that are not known, and names in brackets that are no entities (their words are read all the same).
        public var unknown: [String] = []
    }

    /// Reads a text: what is in brackets is an entity by its name; elsewhere the longest run of words that is an entity's name is one symbol, and
    /// other words are symbols of their own. An entity whose name consists of ordinary words of questions in lower case, or is one such word at the
    /// start, is only recognised in brackets.
    public func symbols(of text: String) -> Symbols {
        var result = Symbols()
        var isStart = true
        for part in KnowledgeText.parts(text) {
            if part.isBracketed, let entity = entity(part.text) {
                result.symbols.append(entity)
            } else if part.isBracketed {
                result.unknown.append(part.text)
                var inside = Symbols()
                readWords(part.text, isStart: false, into: &inside)
                result.symbols += inside.symbols
            } else {
                readWords(part.text, isStart: isStart, into: &result)
            }
            isStart = false
        }
        return result
    }

    private func readWords(_ text: String, isStart: Bool, into result: inout Symbols) {
        let written = KnowledgeText.words(text, foldsCase: false)
        let folded = written.map { $0.lowercased() }
        let compared = foldsCase ? folded : written
        var place = 0
        while place < written.count {
            if let (length, entity) = longestEntity(at: place, compared), !isOrdinary(place..<place + length, written, folded, isStart: isStart) {
                result.symbols.append(entity)
                place += length
                continue
            }
            if let word = wordNumbers[folded[place]] { result.symbols.append(word) } else { result.unknown.append(written[place]) }
            place += 1
        }
    }

    private func longestEntity(at place: Int, _ words: [String]) -> (length: Int, entity: Int32)? {
        guard let longest = longestPhrase[words[place]] else { return nil }
        for length in stride(from: min(longest, words.count - place), through: 1, by: -1) {
            if let entity = entityPhrases[words[place..<place + length].joined(separator: " ")] { return (length, entity) }
        }
        return nil
    }

    private func isOrdinary(_ range: Range<Int>, _ written: [String], _ folded: [String], isStart: Bool) -> Bool {
        let isAtStart = isStart && range == 0..<1
        return range.allSatisfy { wordNumbers[folded[$0]] != nil && (written[$0] == folded[$0] || isAtStart) }
    }
}

/// Text as words, and as what is inside and outside of brackets.
package enum KnowledgeText {
    /// The runs of letters and digits of a text, an apostrophe inside a word included.
    package static func words(_ text: String, foldsCase: Bool = true) -> [String] {
        let text = foldsCase ? text.lowercased() : text
        return text.split { !($0.isLetter || $0.isNumber || $0 == "'") }.compactMap { word in
            let trimmed = word.drop { $0 == "'" }
            let end = trimmed.lastIndex { $0 != "'" }
            return end.map { String(trimmed[...$0]) }
        }
    }

    /// A text in pieces.
    package static func parts(_ text: String) -> [(text: String, isBracketed: Bool)] {
        var parts: [(text: String, isBracketed: Bool)] = []
        var rest = text[...]
        while let open = rest.firstIndex(of: "["), let close = rest[open...].firstIndex(of: "]") {
            if open > rest.startIndex { parts.append((String(rest[..<open]), false)) }
            parts.append((rest[rest.index(after: open)..<close].trimmingCharacters(in: .whitespaces), true))
            rest = rest[rest.index(after: close)...]
        }
        if !rest.isEmpty { parts.append((String(rest), false)) }
        return parts
    }
}

// Facts as keys and values, and the index by which a question finds those that it may need.
//
// Legend: V symbols, N entries (a key with a value).

import Diagnostics
import Foundation

/// How facts become keys and values (Miller et al. 2016, section 3.2).
public enum KnowledgeLayout: String, Sendable, CaseIterable, Codable {
    /// Two entries a triple: subject and relation lead to the object, object and inverse relation to the subject.
    case triple
    /// A sentence is its own key and value.
    case sentence
    /// For each entity of a sentence the words around it lead to it.
    case window
    /// As `window`, and the same words lead to the title of the document too; markers say which.
    case windowAndTitle = "window-and-title"
}

/// How the symbols of a bag are weighted.
public enum SymbolWeighting: String, Sendable, CaseIterable, Codable {
    /// By the number of occurrences.
    case count
    /// By the number of occurrences times log((1 + n) / (1 + n_s)), n bags of which n_s hold the symbol, then scaled to length 1. Without it the
    /// words that stand in every question count most.
    case inverseFrequency = "tf-idf"
}

/// What makes entries out of facts.
public struct MemoryRules: Sendable, Equatable, Codable {
    /// What a key and a value are made of.
    public var layout: KnowledgeLayout
    /// Symbols of a window, its centre included.
    public var window: Int
    /// Whether the centre of a window and the value behind it have symbols of their own (numbers from V on), which doubles the table.
    public var encodesCentre: Bool
    /// How the symbols of keys, values and questions are weighted.
    public var weighting: SymbolWeighting

    /// Triples, weighted by inverse frequency.
    public init(layout: KnowledgeLayout = .triple, window: Int = 7, encodesCentre: Bool = false, weighting: SymbolWeighting = .inverseFrequency) {
        self.layout = layout
        self.window = window
        self.encodesCentre = encodesCentre
        self.weighting = weighting
    }
}

/// A list of bags of symbols: bag i is `symbols[starts[i] ..< starts[i + 1]]`.
public struct SymbolBags: Sendable, Equatable {
    /// Where each bag begins, and the end of the last, [count + 1].
    public private(set) var starts: [Int32] = [0]
    /// The symbols of all bags.
    public private(set) var symbols: [Int32] = []
    /// The weight of each symbol in its bag, as many as symbols.
    public private(set) var weights: [Float] = []

    /// A list without bags.
    public init() {}

    /// The number of bags.
    public var count: Int { starts.count - 1 }

    /// Adds a bag at the end.
    public mutating func append(_ bag: [(symbol: Int32, weight: Float)]) {
        for (symbol, weight) in bag {
            symbols.append(symbol)
            weights.append(weight)
        }
        starts.append(Int32(symbols.count))
    }

    /// Adds a bag of another list.
    public mutating func append(_ index: Int, of other: SymbolBags) {
        let range = other.range(index)
        symbols += other.symbols[range]
        weights += other.weights[range]
        starts.append(Int32(symbols.count))
    }

    /// Where a bag lies in `symbols` and `weights`.
    public func range(_ index: Int) -> Range<Int> { Int(starts[index])..<Int(starts[index + 1]) }
}

/// How many bags hold each symbol, counted once over the facts and the training questions: what weights are made of.
public struct SymbolFrequencies: Sendable, Equatable, Codable {
    /// n.
    public private(set) var bags = 0
    /// n_s, [V] or [2 V].
    public private(set) var holding: [Int32]

    /// Counts of zero for V symbols, or for 2 V where centres of windows have their own.
    public init(symbolCount: Int) { holding = Array(repeating: 0, count: symbolCount) }

    /// Counts a bag; a symbol that it holds twice counts once.
    public mutating func add(_ symbols: some Sequence<Int32>) {
        bags += 1
        for symbol in Set(symbols) { holding[Int(symbol)] += 1 }
    }

    /// log((1 + n) / (1 + n_s)), or the logarithm of 2 where that is more: no symbol weighs nothing. A symbol never seen weighs as one seen once.
    func inverse(_ symbol: Int32) -> Float {
        Float(max(log(Double(1 + bags) / Double(1 + max(holding[Int(symbol)], 1))), log(2)))
    }
}

/// Entries made of facts, with an index from symbols to the entries whose keys hold them.
public struct KnowledgeMemory: Sendable {
    /// What the entries were made by.
    public let rules: MemoryRules
    /// What each entry is found by, N bags.
    public let keys: SymbolBags
    /// What each entry answers with, N bags.
    public let values: SymbolBags
    /// The fact that each entry was made of, [N].
    public let facts: [Int32]
    /// Facts of another form than the layout takes, or with symbols that the vocabulary does not hold.
    public let leftOut: Int

    private let postingStarts: [Int32]
    private let postings: [Int32]

    /// - Parameters:
    ///   - frequencies: what weights are made of.
    public init(_ facts: [KnowledgeFact], _ vocabulary: SymbolVocabulary, _ rules: MemoryRules, _ frequencies: SymbolFrequencies) {
        self.rules = rules
        var (keys, values, sources, leftOut) = (SymbolBags(), SymbolBags(), [Int32](), 0)
        var counts = [Int32](repeating: 0, count: rules.tableRows(vocabulary) + 1)
        for (number, fact) in facts.enumerated() {
            let entries = rules.entries(fact, vocabulary)
            if entries.isEmpty { leftOut += 1 }
            for entry in entries {
                keys.append(rules.weighted(entry.key, frequencies))
                values.append(rules.weighted(entry.value, frequencies))
                sources.append(Int32(number))
                for i in keys.range(keys.count - 1) { counts[Int(keys.symbols[i]) + 1] += 1 }
            }
        }
        for i in 1..<counts.count { counts[i] += counts[i - 1] }
        var next = counts
        var postings = [Int32](repeating: 0, count: keys.symbols.count)
        for entry in 0..<keys.count {
            for i in keys.range(entry) {
                let symbol = Int(keys.symbols[i])
                postings[Int(next[symbol])] = Int32(entry)
                next[symbol] += 1
            }
        }
        (self.keys, self.values, self.facts, self.leftOut) = (keys, values, sources, leftOut)
        (postingStarts, self.postings) = (counts, postings)
    }

    /// N.
    public var count: Int { keys.count }

    /// The entries whose keys hold a symbol.
    public func entries(holding symbol: Int32) -> ArraySlice<Int32> {
        postings[Int(postingStarts[Int(symbol)])..<Int(postingStarts[Int(symbol) + 1])]
    }

    /// What key hashing finds: the entries that share at least one symbol, held by fewer than `frequencyLimit` keys, with a question.
    /// - Parameters:
    ///   - question: its symbols.
    ///   - limit: of more entries those that share most, by the sum of the weights of the shared symbols, are kept; of equals the first.
    /// - Returns: entries in their order, and how many were left out over the limit.
    public func hashed(_ question: some Sequence<Int32>, frequencyLimit: Int, limit: Int) -> (entries: [Int32], leftOut: Int) {
        var shared: [Int32: Float] = [:]
        for symbol in Set(question).sorted() {
            let entries = entries(holding: symbol)
            if entries.isEmpty || entries.count >= frequencyLimit { continue }
            for entry in entries { shared[entry, default: 0] += 1 / Float(entries.count) }
        }
        if shared.count <= limit { return (shared.keys.sorted(), 0) }
        let best = shared.sorted { $0.value != $1.value ? $0.value > $1.value : $0.key < $1.key }.prefix(limit).map(\.key)
        return (best.sorted(), shared.count - limit)
    }
}

extension MemoryRules {
    /// The rows of the table that the symbols are numbers of.
    public func tableRows(_ vocabulary: SymbolVocabulary) -> Int { encodesCentre ? 2 * vocabulary.count : vocabulary.count }

    /// The keys and values of a fact, unweighted. None where the layout has no place for it.
    public func entries(_ fact: KnowledgeFact, _ vocabulary: SymbolVocabulary) -> [(key: [Int32], value: [Int32])] {
        if layout == .triple {
            guard let name = fact.relation, let subject = vocabulary.entity(fact.subject), let object = vocabulary.entity(fact.object),
                let relation = vocabulary.relation(name), let inverse = vocabulary.relation(name, inverse: true)
            else { return [] }
            return [(key: [subject, relation], value: [object]), (key: [object, inverse], value: [subject])]
        }
        let sentence = sentence(fact, vocabulary)
        if layout == .sentence { return sentence.isEmpty ? [] : [(key: sentence, value: sentence)] }
        let second = encodesCentre ? Int32(vocabulary.count) : 0
        var entries: [(key: [Int32], value: [Int32])] = []
        for (place, symbol) in sentence.enumerated() where vocabulary.isEntity(symbol) {
            let first = max(0, place - window / 2)
            var key = Array(sentence[first..<min(sentence.count, place + (window + 1) / 2)])
            key[place - first] += second
            if layout == .window {
                entries.append((key: key, value: [symbol + second]))
            } else {
                entries.append((key: key + [SymbolVocabulary.Marker.window.rawValue], value: [symbol + second]))
                if let title = vocabulary.entity(fact.subject) {
                    entries.append((key: key + [SymbolVocabulary.Marker.title.rawValue], value: [title + second]))
                }
            }
        }
        return entries
    }

    /// A sentence as symbols; a triple is read as the sentence `subject relation object`.
    private func sentence(_ fact: KnowledgeFact, _ vocabulary: SymbolVocabulary) -> [Int32] {
        guard let relation = fact.relation else { return vocabulary.symbols(of: fact.object).symbols }
        guard let subject = vocabulary.entity(fact.subject), let object = vocabulary.entity(fact.object) else { return [] }
        return [subject] + KnowledgeText.words(relation.replacingOccurrences(of: "_", with: " ")).compactMap(vocabulary.word) + [object]
    }

    /// A bag with the weight of each of its symbols, which are listed once, in the order of their first occurrence.
    public func weighted(_ symbols: [Int32], _ frequencies: SymbolFrequencies) -> [(symbol: Int32, weight: Float)] {
        var bag: [(symbol: Int32, weight: Float)] = []
        for symbol in symbols {
            if let place = bag.firstIndex(where: { $0.symbol == symbol }) { bag[place].weight += 1 } else { bag.append((symbol, 1)) }
        }
        guard weighting == .inverseFrequency else { return bag }
        var squares: Float = 0
        for i in bag.indices {
            bag[i].weight *= frequencies.inverse(bag[i].symbol)
            squares += bag[i].weight * bag[i].weight
        }
        let scale = squares > 0 ? 1 / squares.squareRoot() : 0
        for i in bag.indices { bag[i].weight *= scale }
        return bag
    }
}

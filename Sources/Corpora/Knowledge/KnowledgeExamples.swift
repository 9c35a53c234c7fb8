// Questions made ready: their symbols, the entries that key hashing finds for them, and what may be answered.
//
// Legend: B questions of a batch, F entries of all of them together, V symbols.

import Diagnostics

/// Which answers are weighed against each other.
public enum CandidateRule: Sendable, Equatable {
    /// Every entity that is not named in the question.
    case entities
    /// The right answers and so many other entities, chosen at random for each question; in evaluation every entity.
    case sampled(Int)
    /// The entities of the values that key hashing found, but for those that are named in the question.
    case memory
}

/// One question, made ready.
public struct KnowledgeExample: Sendable {
    /// The words and entities of the question.
    public var symbols: [Int32]
    /// Words that are not known.
    public var unknown: [String]
    /// What key hashing found, as numbers of entries.
    public var entries: [Int32]
    /// Entries over the limit of the memory, which were left out.
    public var leftOut: Int
    /// The right answers that are entities of the vocabulary.
    public var answers: [Int32]
    /// Whether a value that key hashing found is a right answer: without that the memory cannot tell.
    public var isReachable: Bool
}

/// Rows of a batch, as plain lists.
public struct KnowledgeRows: Sendable {
    /// What may be answered.
    public enum Candidates: Sendable, Equatable {
        /// Consecutive symbols, without some places among them: those of question b are `excluded[starts[b] ..< starts[b + 1]]`.
        case range(first: Int, count: Int, starts: [Int32], excluded: [Int32])
        /// Symbols of each question: those of question b are `symbols[starts[b] ..< starts[b + 1]]`.
        case lists(starts: [Int32], symbols: [Int32])
    }

    /// The lane of each question, [B].
    public var lanes: [Int] = []
    /// B bags.
    public var questions = SymbolBags()
    /// Where the entries of each question begin, [B + 1].
    public var factStarts: [Int32] = [0]
    /// The entries, [F].
    public var entries: [Int32] = []
    /// F bags: what each entry is found by.
    public var keys = SymbolBags()
    /// F bags: what each entry answers with.
    public var values = SymbolBags()
    /// What may be answered.
    public var candidates = Candidates.lists(starts: [0], symbols: [])
    /// Right answers as places among the candidates: those of question b are `answerPlaces[answerStarts[b] ..< answerStarts[b + 1]]`.
    public var answerStarts: [Int32] = [0]
    /// Places among a question's candidates, of all questions one after another.
    public var answerPlaces: [Int32] = []
}

/// What makes examples out of questions, and batches out of examples.
public struct KnowledgeExamples: Sendable {
    /// Gives words and entities their numbers; grows where an entity is put into the memory later.
    public var vocabulary: SymbolVocabulary
    /// The entries that questions are hashed into; made again where facts change.
    public var memory: KnowledgeMemory
    /// What weights are made of: those of the training data, whatever is put into the memory later.
    public let frequencies: SymbolFrequencies
    /// Symbols held by so many keys, or more, do not count for key hashing.
    public let frequencyLimit: Int
    /// The most entries of a question.
    public let memoryLimit: Int
    /// Which entities may be answered.
    public let candidates: CandidateRule

    /// Takes parts that belong together: the memory's numbers are the vocabulary's, and the frequencies were counted over both.
    public init(
        vocabulary: SymbolVocabulary, memory: KnowledgeMemory, frequencies: SymbolFrequencies, frequencyLimit: Int, memoryLimit: Int,
        candidates: CandidateRule
    ) {
        self.vocabulary = vocabulary
        self.memory = memory
        self.frequencies = frequencies
        self.frequencyLimit = frequencyLimit
        self.memoryLimit = memoryLimit
        self.candidates = candidates
    }

    /// Makes a question ready.
    public func example(_ question: KnowledgeQuestion) -> KnowledgeExample {
        let read = vocabulary.symbols(of: question.text)
        let (entries, leftOut) = memory.hashed(read.symbols, frequencyLimit: frequencyLimit, limit: memoryLimit)
        let answers = question.answers.compactMap(vocabulary.entity)
        let isReachable = entries.contains { entry in memory.values.range(Int(entry)).contains { answers.contains(first(memory.values.symbols[$0])) }
        }
        return KnowledgeExample(
            symbols: read.symbols, unknown: read.unknown, entries: entries, leftOut: leftOut, answers: Array(Set(answers)).sorted(),
            isReachable: isReachable)
    }

    /// The symbol in the first dictionary: a centre is the same entity as one that is none.
    private func first(_ symbol: Int32) -> Int32 { Int(symbol) >= vocabulary.count ? symbol - Int32(vocabulary.count) : symbol }

    /// The name of a symbol, whichever of the two dictionaries it is of.
    public func name(_ symbol: Int32) -> String { vocabulary.text(of: first(symbol)) }

    /// The words of a text outside of brackets.
    public static func words(of text: String) -> [String] {
        KnowledgeText.parts(text).filter { !$0.isBracketed }.flatMap { KnowledgeText.words($0.text.replacing("_", with: " ")) }
    }

    /// The relations of facts, in the order of their first occurrence.
    public static func relations(of facts: [KnowledgeFact]) -> [String] {
        var seen = Set<String>()
        return facts.compactMap(\.relation).filter { seen.insert($0).inserted }
    }

    /// The rows of a batch in evaluation.
    public func rows(_ examples: [KnowledgeExample], lanes: [Int]) -> KnowledgeRows { rows(examples, lanes: lanes, choices: nil) }

    /// The rows of a batch.
    /// - Parameters:
    ///   - examples: one for each lane.
    ///   - choices: where sampled candidates come from, for a place of the batch; `nil` in evaluation.
    package func rows(_ examples: [KnowledgeExample], lanes: [Int], choices: ((Int) -> SeededChoices)?) -> KnowledgeRows {
        var rows = KnowledgeRows()
        rows.lanes = lanes
        for example in examples {
            rows.questions.append(memory.rules.weighted(example.symbols, frequencies))
            for entry in example.entries {
                rows.keys.append(Int(entry), of: memory.keys)
                rows.values.append(Int(entry), of: memory.values)
            }
            rows.entries += example.entries
            rows.factStarts.append(Int32(rows.entries.count))
        }
        switch (candidates, choices) {
        case (.memory, _): setLists(&rows, examples.map(memoryCandidates), examples)
        case (.sampled(let count), let choices?):
            setLists(&rows, examples.indices.map { sampledCandidates(examples[$0], count: count, choices($0)) }, examples)
        case (.entities, _), (.sampled, nil): setRange(&rows, examples)
        }
        return rows
    }

    /// What a question may be answered with, in the order of its candidates: a symbol.
    public func candidate(_ place: Int, of question: Int, _ rows: KnowledgeRows) -> Int32 {
        switch rows.candidates {
        case .range(let first, _, _, _): Int32(first + place)
        case .lists(let starts, let symbols): symbols[Int(starts[question]) + place]
        }
    }

    private func setRange(_ rows: inout KnowledgeRows, _ examples: [KnowledgeExample]) {
        let (first, count) = (vocabulary.firstEntity, vocabulary.entities.count)
        var (starts, excluded): ([Int32], [Int32]) = ([0], [])
        for example in examples {
            let named = Set(example.symbols.filter(vocabulary.isEntity))
            excluded += named.sorted().map { $0 - first }
            starts.append(Int32(excluded.count))
            rows.answerPlaces += example.answers.filter { !named.contains($0) }.map { $0 - first }
            rows.answerStarts.append(Int32(rows.answerPlaces.count))
        }
        rows.candidates = .range(first: Int(first), count: count, starts: starts, excluded: excluded)
    }

    private func setLists(_ rows: inout KnowledgeRows, _ lists: [[Int32]], _ examples: [KnowledgeExample]) {
        var (starts, symbols): ([Int32], [Int32]) = ([0], [])
        for (list, example) in zip(lists, examples) {
            symbols += list
            starts.append(Int32(symbols.count))
            let answers = Set(example.answers)
            rows.answerPlaces += list.indices.filter { answers.contains(list[$0]) }.map(Int32.init)
            rows.answerStarts.append(Int32(rows.answerPlaces.count))
        }
        rows.candidates = .lists(starts: starts, symbols: symbols)
    }

    private func memoryCandidates(_ example: KnowledgeExample) -> [Int32] {
        var seen = Set(example.symbols)
        var list: [Int32] = []
        for entry in example.entries {
            for i in memory.values.range(Int(entry)) {
                let symbol = first(memory.values.symbols[i])
                if vocabulary.isEntity(symbol), seen.insert(symbol).inserted { list.append(symbol) }
            }
        }
        return list
    }

    private func sampledCandidates(_ example: KnowledgeExample, count: Int, _ choices: SeededChoices) -> [Int32] {
        var choices = choices
        let named = Set(example.symbols)
        var list = example.answers.filter { !named.contains($0) }
        guard !list.isEmpty else { return [] }
        var seen = named.union(list)
        for _ in 0..<count {
            let symbol = vocabulary.firstEntity + Int32(choices.below(vocabulary.entities.count))
            if seen.insert(symbol).inserted { list.append(symbol) }
        }
        return list
    }
}

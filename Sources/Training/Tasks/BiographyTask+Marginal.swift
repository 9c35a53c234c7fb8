// Facts that a model finds by what answers alone have taught it.
//
// Legend: N people, A attributes of each, Q questions, K records of each, W width of keys.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Kernels
import MemoryBanks
import Models
import NeuralNetworks
import Tensors
import VectorSearch

/// A record that was found, as a model reads it.
struct FoundFact {
    /// What the record's key says: the symbols of a question by the attribute's name.
    var question: [Int32]
    /// The symbols of its value.
    var value: [Int32]
    /// The product of the query and the key.
    var likeness: Float
}

/// The facts of all people with the keys that an encoder without a model gives them. Every rank has all of them and searches by itself.
final class FactIndex {
    private let encoder: HashedNGrams
    private let biographies: Biographies
    /// [N A, W].
    private let keys: Tensor
    private let block: KeyBlock

    /// - Complexity: N A keys, made on all threads, and 4 N A W bytes.
    init(_ biographies: Biographies, keyWidth: Int) throws {
        let encoder = HashedNGrams(width: keyWidth)
        let attributes = BiographyAttribute.allCases
        let count = biographies.people * attributes.count
        let keys = Tensor(uninitialized: [count, keyWidth])
        Workers.parallel(count, minimum: 256) { range in
            for fact in range {
                let key = encoder.key(biographies.keyText(attributes[fact % attributes.count], of: fact / attributes.count))
                (keys.floats + fact * keyWidth).update(from: key, count: keyWidth)
            }
        }
        (self.biographies, self.encoder, self.keys) = (biographies, encoder, keys)
        block = try KeyBlock(borrowing: keys.elements, dimension: keyWidth, similarity: .dot, ids: Array(0..<count), owner: Owner(keys))
    }

    /// Keeps the keys' memory.
    private final class Owner {
        private let keys: Tensor
        init(_ keys: Tensor) { self.keys = keys }
    }

    /// The keys of questions' words: float32 [Q, W].
    func words(_ questions: [[Int32]]) -> Tensor { encoder.words(questions) }

    /// The symbols of a fact: its question by the attribute's name, and its value.
    private func symbols(_ fact: Int) -> (question: [Int32], value: [Int32]) {
        let attributes = BiographyAttribute.allCases
        let (person, attribute) = (fact / attributes.count, attributes[fact % attributes.count])
        return (biographies.question(attribute, of: person, phrasing: nil), biographies.value(of: attribute, person))
    }

    /// The facts nearest to queries [Q, W], at most `count` of each.
    func facts(nearest queries: Tensor, _ count: Int) throws -> [[FoundFact]] {
        try ExactSearch.nearest(queries, among: [block], limit: count).rows.map { rows in
            rows.map { row in
                let (question, value) = symbols(row.id)
                return FoundFact(question: question, value: value, likeness: row.score)
            }
        }
    }

    /// The same with their keys, as a model in training reads them.
    func records(nearest queries: Tensor, _ count: Int) -> RetrievedRecords {
        let count = min(count, block.count)
        // The only queries that cannot be searched with are no numbers, and then neither is the loss, whatever the records are.
        let found = try? ExactSearch.nearest(queries, among: [block], limit: count).rows.flatMap { $0.map(\.id) }
        let facts = found ?? (0..<queries.shape[0]).flatMap { _ in Array(0..<count) }
        return RetrievedRecords(
            keys: keys.rows(facts).viewed(as: [queries.shape[0], count, keys.shape[1]]),
            texts: facts.map { fact in
                let (question, value) = symbols(fact)
                return question + value
            })
    }
}

extension HashedNGrams {
    /// The keys of the words of questions in symbols, without the mark before them: float32 [Q, W].
    func words(_ questions: [[Int32]]) -> Tensor {
        Tensor(questions.flatMap { key(Biographies.text($0.dropFirst())) }, [questions.count, generation.width])
    }
}

extension MemoryBank {
    /// The facts nearest to queries [Q, W], at most `count` of each. Collective.
    ///
    /// A record whose words are none of a biography's is passed over: the model could not read it.
    func facts(nearest queries: Tensor, _ count: Int, _ generation: BankGeneration) throws -> [[FoundFact]] {
        let found = try nearest(queries, count: count, in: BankFilter(.one(Biographies.namespace)), generation: generation)
        var records = try records(ofRows: found.rows.flatMap { $0.map(\.id) })[...]
        return found.rows.map { rows in
            rows.compactMap { row in records.popFirst().flatMap { $0 }.flatMap { FoundFact($0, likeness: row.score) } }
        }
    }
}

extension FoundFact {
    /// A record of a bank; `nil` where its words are none of a biography's.
    init?(_ record: BankRecord, likeness: Float) {
        guard case .text(let text) = record.value, let question = try? Biographies.question(record.keyText),
            let attribute = BiographyAttribute.asked(by: question), let value = Biographies.value(text, of: attribute)
        else { return nil }
        self.init(question: question, value: value, likeness: likeness)
    }
}

extension MarginalLanguageModel {
    /// The records of questions as the model reads them, each question with as many as the one that has most, and how alike they are: [Q, K].
    private static func padded(_ found: [[FoundFact]]) -> (texts: [[Int32]], likeness: Tensor) {
        let count = found.map(\.count).max() ?? 0
        let texts = found.flatMap { facts in (0..<count).map { $0 < facts.count ? facts[$0].question + facts[$0].value : [BiographySymbols.begin] } }
        let likeness = found.flatMap { facts in (0..<count).map { $0 < facts.count ? facts[$0].likeness : -.infinity } }
        return (texts, Tensor(likeness, [found.count, count]))
    }

    /// The values that facts answer questions with; none where a question has no facts.
    func values(_ questions: [[Int32]], _ found: [[FoundFact]]) -> [[Int32]] {
        let asked = questions.indices.filter { !found[$0].isEmpty }
        var values = [[Int32]](repeating: [], count: questions.count)
        guard !asked.isEmpty else { return values }
        let (texts, likeness) = Self.padded(asked.map { found[$0] })
        let lengths = asked.map { BiographyAttribute.asked(by: questions[$0])?.valueLength ?? 1 }
        for (place, value) in zip(asked, answers(asked.map { questions[$0] }, texts, likeness: likeness, lengths: lengths)) { values[place] = value }
        return values
    }

    /// -log p(value) of each question, in nats; `nil` where a question has no facts.
    func nats(_ values: [[Int32]], _ questions: [[Int32]], _ found: [[FoundFact]]) -> [Double?] {
        let asked = questions.indices.filter { !found[$0].isEmpty }
        var nats = [Double?](repeating: nil, count: questions.count)
        guard !asked.isEmpty else { return nats }
        let (texts, likeness) = Self.padded(asked.map { found[$0] })
        let sums = loss(asked.map { values[$0] }, asked.map { questions[$0] }, texts, likeness: likeness, ForwardPass())
        for (place, loss) in zip(asked, sums.perPosition) { nats[place] = Double(loss) }
        return nats
    }
}

extension BiographyTask {
    /// The task's facts with their keys, made when they are first needed.
    func factIndex() throws -> FactIndex {
        if let knownFacts { return knownFacts }
        let facts = try FactIndex(biographies, keyWidth: settings.lookup?.keyWidth ?? 0)
        knownFacts = facts
        return facts
    }

    /// A question about a person, and what is right.
    private struct Asked {
        let person: Int
        let attribute: BiographyAttribute
        let symbols: [Int32]
        let value: [Int32]
    }

    private func asked(_ people: Range<Int>, isParaphrased: Bool) -> [Asked] {
        people.flatMap { person in
            BiographyAttribute.allCases.map { attribute in
                Asked(
                    person: person, attribute: attribute, symbols: biographies.asked(attribute, of: person, isParaphrased: isParaphrased),
                    value: biographies.value(of: attribute, person))
            }
        }
    }

    /// The answers of a model that sums records out.
    /// - Parameters:
    ///   - isKept: of each fact of the people whether the bank has it; `nil` where it has all.
    ///   - find: at most K facts for each of queries [Q, W]. Collective.
    func recallByMarginal(
        of people: Range<Int>, _ model: MarginalLanguageModel, _ communicator: any Communicator, isKept: [Bool]? = nil,
        find: (_ queries: Tensor, _ count: Int) throws -> [[FoundFact]]
    ) throws -> FactRecall {
        let (chunks, encoder) = (chunks(of: people), HashedNGrams(width: model.configuration.keyWidth))
        // Every rank asks for its share of the people, all of them in one search.
        let own = chunks.indices.filter { $0 % communicator.size == communicator.rank }
        let questions = own.flatMap { chunk in
            [false, true].flatMap { asked(chunks[chunk], isParaphrased: $0) }
        }
        let queries = Tensor(uninitialized: [questions.count, model.configuration.keyWidth])
        for start in stride(from: 0, to: questions.count, by: 448) {
            let part = questions[start..<min(start + 448, questions.count)].map(\.symbols)
            let found = model.queries(part, words: encoder.words(part), ForwardPass())
            (queries.floats + start * found.shape.columns).update(from: found.floats, count: found.count)
        }
        var found = try find(queries, model.marginal.records)[...]
        return try FactRecall(people: people.count, encoded: communicator.orderedSum(parts: chunks.count, width: FactRecall.width) { part in
            var recall = FactRecall(people: 0)
            for isParaphrased in [false, true] {
                let asked = asked(chunks[part], isParaphrased: isParaphrased)
                let facts = Array(found.prefix(asked.count))
                found = found.dropFirst(asked.count)
                let symbols = asked.map(\.symbols)
                let values = model.values(symbols, facts)
                // What nothing was found for has all the bits that its values have.
                let nats = isParaphrased ? [] : model.nats(asked.map(\.value), symbols, facts)
                for (place, question) in asked.enumerated() {
                    let fact = (question.person - people.lowerBound) * BiographyAttribute.allCases.count + question.attribute.rawValue
                    recall.add(
                        question.attribute, isParaphrased: isParaphrased, isRight: values[place] == question.value,
                        nats: isParaphrased ? nil : nats[place] ?? question.attribute.bits * log(2), isKept: isKept?[fact])
                    let right = biographies.question(question.attribute, of: question.person, phrasing: nil)
                    if !isParaphrased { recall.add(rightRecordAt: facts[place].firstIndex { $0.question == right }) }
                }
            }
            return recall.encoded
        })
    }

    /// The best answer to a question in symbols from the records of a bank, with the best of the records; `nil` where there are none.
    func answer(_ question: [Int32], _ model: MarginalLanguageModel, _ bank: MemoryBank) throws -> (value: [Int32], nats: Double, best: FoundFact)? {
        let encoder = HashedNGrams(width: model.configuration.keyWidth)
        let query = model.queries([question], words: encoder.words([question]), ForwardPass())
        let facts = try bank.facts(nearest: query, model.marginal.records, encoder.generation)
        let value = model.values([question], facts)[0]
        return model.nats([value], [question], facts)[0].map { (value, $0, facts[0][0]) }
    }
}

extension BiographyRows {
    /// A question for every attribute in the biography's words, the last one by the attribute's name, as keys say it.
    func questionBatch(_ facts: FactIndex) -> QuestionBatch {
        var (questions, answers): ([[Int32]], [[Int32]]) = ([], [])
        for (symbols, places) in zip(symbols, places) {
            for (number, place) in places.enumerated() {
                let isLast = number == places.count - 1
                questions.append(Array(symbols[..<4]) + [isLast ? BiographySymbols.symbol(place.attribute, phrasing: nil) : symbols[place.position]])
                answers.append(Array(symbols[place.position + 1..<place.position + 1 + place.valueLength]))
            }
        }
        return QuestionBatch(questions: questions, words: facts.words(questions), answers: answers, find: facts.records)
    }
}

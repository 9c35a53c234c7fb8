// Facts about made-up people: learned by heart, or looked up in a bank of records. Both are measured in bits recalled.
//
// Legend: N people, A attributes of each, W width of keys.

import Collectives
import Corpora
import Diagnostics
import Foundation
import MemoryBanks
import Models
import NeuralNetworks
import Tensors
import VectorSearch

/// Biographies of N people, for a decoder that keeps their facts in its weights or one that looks them up.
public final class BiographyTask: LearningTask {
    /// Where the model has its facts.
    enum Learner {
        case byHeart(DecoderOnlyTransformer)
        case byLookup(LookupLanguageModel)
        /// Looked up, and learned from answers alone.
        case byMarginal(MarginalLanguageModel)
    }

    /// The people.
    public let biographies: Biographies
    let settings: BiographyTaskSettings
    let configuration: RunConfiguration
    let learner: Learner
    /// The run directory, where the run is used.
    let directory: String?
    /// The facts that a model which learns from answers alone finds in training, once they are needed.
    var knownFacts: FactIndex?

    init(_ configuration: RunConfiguration, _ settings: BiographyTaskSettings, savedIn directory: String?) {
        (self.configuration, self.settings, self.directory) = (configuration, settings, directory)
        biographies = Biographies(people: settings.people, seed: settings.seed ?? configuration.seed)
        let vocabulary = BiographySymbols.count
        learner = settings.lookup.map { lookup in
            lookup.marginal.map { .byMarginal(MarginalLanguageModel(settings.transformer, lookup, $0, vocabularySize: vocabulary)) }
                ?? .byLookup(LookupLanguageModel(settings.transformer, lookup, vocabularySize: vocabulary))
        } ?? .byHeart(DecoderOnlyTransformer(settings.transformer, vocabularySize: vocabulary))
    }

    public var summary: String {
        let bits = Double(settings.people) * Biographies.bitsPerPerson
        return "biographies of \(settings.people) people, \(String(format: "%.4g", bits / 1e6)) million bits of facts"
            + (settings.lookup == nil ? "" : ", looked up in a bank")
    }

    public var laneBytes: Int { 8 * Biographies.length }
    public var targets: String { "tokens" }
    public var identity: [(name: String, value: String)] { [("task", "biographies of \(settings.people) people, seed \(biographies.seed)")] }
    public var files: [RunFile] { [] }
    public var model: any TrainableModel {
        switch learner {
        case .byHeart(let model): model
        case .byLookup(let model): model
        case .byMarginal(let model): model
        }
    }
    /// The encoder of the keys of the task's facts; `nil` for a model that knows them by heart.
    var encoderName: String? { settings.lookup.map { $0.marginal == nil ? TextEncoders.run : TextEncoders.hashedNGrams } }

    public func makeLoader(owning lanes: [Int]) throws -> TaskLoader {
        let loader = BiographyLoader(biographies, lanes: configuration.batch.lanes, seed: configuration.seed)
        switch learner {
        case .byHeart(let model): return loader.prepared(for: model) { $0.batch(lanes: $1).textBatch(withValues: true) }
        case .byLookup(let model): return loader.prepared(for: model) { $0.batch(lanes: $1).lookupBatch }
        case .byMarginal(let model):
            let facts = try factIndex()
            return loader.prepared(for: model) { $0.batch(lanes: $1).questionBatch(facts) }
        }
    }

    /// What makes keys of texts such as `First Middle Last | birth city`.
    /// - Throws: `UserError` (.configuration) for a model that knows its facts by heart.
    func makeEncoder() throws -> any TextEncoder {
        switch learner {
        case .byHeart:
            throw UserError(.configuration, "its model looks no facts up", at: configuration.directory, advice: "train one whose model.kind is lookup")
        case .byLookup(let model): return LookupEncoder(model) { try Biographies.question($0) }
        case .byMarginal(let model): return HashedNGrams(width: model.configuration.keyWidth)
        }
    }

    public var bank: KeptBank? {
        guard settings.keepsBank, let keyWidth = settings.lookup?.keyWidth, let encoderName else { return nil }
        let rules = FactBank.rules(keyWidth: keyWidth, encoder: encoderName)
        return KeptBank(name: FactBank.name, rules: rules, encoder: makeEncoder) { [biographies] bank, edit in
            try FactBank.fill(bank, of: biographies, 0..<biographies.people, edit)
        }
    }

    // MARK: Evaluation

    /// People whose facts are asked for together.
    static let peopleAtOnce = 32

    /// Validation asks for the facts of the first `task.examples` people, test for those of all. A model in training has keys of its own for each
    /// evaluation: those of a bank would be an earlier model's.
    public func evaluate(_ part: EvaluationPart, _ communicator: any Communicator) throws -> TaskScores? {
        try recall(of: people(of: part), communicator).scores(of: settings.people)
    }

    private func people(of part: EvaluationPart) -> Range<Int> { 0..<(part == .test ? settings.people : min(settings.people, settings.examples)) }

    private func recall(of people: Range<Int>, _ communicator: any Communicator) throws -> FactRecall {
        switch learner {
        case .byHeart(let model): return try recallByHeart(of: people, model, communicator)
        case .byLookup(let model):
            let facts = try FactKeys(of: 0..<settings.people, biographies, model, communicator)
            return try recallByLookup(of: people, model, communicator) { try facts.values(of: $0, biographies, communicator) }
        case .byMarginal(let model):
            let facts = try communicator.onEveryRank { try factIndex() }
            return try recallByMarginal(of: people, model, communicator) { try facts.facts(nearest: $0, $1) }
        }
    }

    /// A model that looks facts up is measured with the bank of its run, where there is one.
    public func report(_ request: EvaluationRequest, _ communicator: any Communicator) throws -> EvaluationReport {
        try communicator.onEveryRank { try request.require([.part, .people], of: "biographies") }
        let part = request.part ?? .test
        let people = request.people ?? people(of: part)
        let directory = FactBank.directory(ofRun: request.directory)
        let hasBank = try communicator.agreeOnFlag(communicator.rank == 0 && MemoryBank.exists(directory) ? 1 : 0) > 0
        guard encoderName != nil, hasBank else {
            return EvaluationReport(task: summary, part: part, try recall(of: people, communicator).scores(of: settings.people))
        }
        let bank = try MemoryBank(directory, communicator: communicator)
        let generation = try communicator.onEveryRank { try makeEncoder().generation }
        let recall = try recall(of: people, in: bank, generation)
        var report = EvaluationReport(task: summary, part: part, recall.scores(of: settings.people))
        report.set("bank", .text(directory))
        report.set("bank_commit", .count(bank.commit))
        report.say("bank", "\(directory), commit \(bank.commit)")
        return report
    }

    private func recall(of people: Range<Int>, in bank: MemoryBank, _ generation: BankGeneration) throws -> FactRecall {
        let isKept = try kept(people, in: bank)
        switch learner {
        case .byHeart(let model): return try recallByHeart(of: people, model, bank.communicator)
        case .byLookup(let model):
            let filter = BankFilter(.one(Biographies.namespace))
            return try recallByLookup(of: people, model, bank.communicator, isKept: isKept) { queries in
                let found = try bank.nearest(queries, count: 1, in: filter, generation: generation)
                return try bank.records(ofRows: found.rows.map { $0.first?.id ?? -1 }).map { record in
                    if case .text(let text) = record?.value { text } else { nil }
                }
            }
        case .byMarginal(let model):
            return try recallByMarginal(of: people, model, bank.communicator, isKept: isKept) { try bank.facts(nearest: $0, $1, generation) }
        }
    }

    /// Which facts of some people a bank has, person by person. Collective.
    private func kept(_ people: Range<Int>, in bank: MemoryBank) throws -> [Bool] {
        let own = people.flatMap { person in
            BiographyAttribute.allCases.map { attribute -> Int64 in
                bank.localRecord(biographies.keyText(attribute, of: person), namespace: Biographies.namespace) == nil ? 0 : 1
            }
        }
        return try bank.communicator.allReduced(own, .maximum).map { $0 > 0 }
    }

    func chunks(of people: Range<Int>) -> [Range<Int>] {
        stride(from: people.lowerBound, to: people.upperBound, by: Self.peopleAtOnce).map {
            $0..<min($0 + Self.peopleAtOnce, people.upperBound)
        }
    }

    /// The greedy answers of a model that knows its facts by heart, and the bits that they hold at least.
    private func recallByHeart(of people: Range<Int>, _ model: DecoderOnlyTransformer, _ communicator: any Communicator) throws -> FactRecall {
        let chunks = chunks(of: people)
        return try FactRecall(people: people.count, encoded: communicator.orderedSum(parts: chunks.count, width: FactRecall.width) { part in
            var recall = FactRecall(people: 0)
            for isParaphrased in [false, true] {
                let questions = chunks[part].flatMap { person in
                    BiographyAttribute.allCases.map { attribute in
                        (attribute, biographies.asked(attribute, of: person, isParaphrased: isParaphrased), biographies.value(of: attribute, person))
                    }
                }
                let length = questions.map { $1.count + $2.count - 1 }.max() ?? 0
                var (inputs, targets): ([Int32], [Int32]) = ([], [])
                for (_, question, value) in questions {
                    let row = question + value.dropLast()
                    inputs += row + [Int32](repeating: 0, count: length - row.count)
                    targets += [Int32](repeating: ignoredTarget, count: question.count - 1) + value
                    targets += [Int32](repeating: ignoredTarget, count: length - row.count)
                }
                let logits = model.logits(Tensor(inputs, [questions.count, length]), ForwardPass())
                let losses = crossEntropy(logits, targets: Tensor(targets, [questions.count, length])).perPosition
                let rows = logits.viewed(as: [questions.count * length, logits.shape.columns])
                for (row, (attribute, _, value)) in questions.enumerated() {
                    let first = (row + 1) * length - 1
                    let places = (row * length...first).filter { targets[$0] != ignoredTarget }
                    let isRight = zip(places, value).allSatisfy { rows.largest(inRow: $0) == Int($1) }
                    recall.add(attribute, isParaphrased: isParaphrased, isRight: isRight, nats: places.reduce(0) { $0 + Double(losses[$1]) })
                }
            }
            return recall.encoded
        })
    }

    /// The answers of a model that looks facts up.
    /// - Parameters:
    ///   - isKept: of each fact of the people whether the bank has it; `nil` where it has all.
    ///   - find: the values, in words, that queries [F, W] find, `nil` where there is none. Collective.
    private func recallByLookup(
        of people: Range<Int>, _ model: LookupLanguageModel, _ communicator: any Communicator, isKept: [Bool]? = nil,
        find: (Tensor) throws -> [String?]
    ) throws -> FactRecall {
        let attributes = BiographyAttribute.allCases
        let chunks = chunks(of: people)
        // The predicted tokens of the people's biographies, which no bank changes.
        let text = try communicator.orderedSum(parts: chunks.count, width: 2) { part in
            let rows = BiographyRows(of: Array(chunks[part]), biographies, seed: biographies.seed)
            let sums = model.decoder.loss(rows.textBatch(withValues: false), ForwardPass())
            return [sums.negativeLogLikelihood, Double(sums.count)]
        }
        var recall = FactRecall(people: 0)
        // Every rank asks for its share of the people, all of them in one search.
        let own = chunks.indices.filter { $0 % communicator.size == communicator.rank }.flatMap { Array(chunks[$0]) }
        for isParaphrased in [false, true] {
            let queries = Tensor(uninitialized: [own.count * attributes.count, model.configuration.keyWidth])
            for start in stride(from: 0, to: own.count, by: Self.peopleAtOnce) {
                let texts = own[start..<min(start + Self.peopleAtOnce, own.count)].flatMap { person in
                    attributes.map { biographies.asked($0, of: person, isParaphrased: isParaphrased) }
                }
                let part = model.queries(atEndsOf: Tensor(rows: texts), ForwardPass())
                (queries.floats + start * attributes.count * part.shape.columns).update(from: part.floats, count: part.count)
            }
            for (place, value) in try find(queries).enumerated() {
                let (person, attribute) = (own[place / attributes.count], attributes[place % attributes.count])
                recall.add(
                    attribute, isParaphrased: isParaphrased, isRight: value == Biographies.text(biographies.value(of: attribute, person)),
                    isKept: isKept?[(person - people.lowerBound) * attributes.count + attribute.rawValue])
            }
        }
        var total = FactRecall(people: people.count, encoded: try communicator.allReduced(recall.encoded, .sum))
        (total.textNats, total.textTokens) = (text[0], text[1])
        return total
    }

    public func example(_ number: Int) throws -> Explanation {
        throw UserError(
            .usage, "its model keeps no memory that can be shown", at: summary, advice: "see mneme memory list for the records of its bank")
    }
}

extension Biographies {
    /// A question as biographies say it, or in words that no biography of the person has.
    func asked(_ attribute: BiographyAttribute, of person: Int, isParaphrased: Bool) -> [Int32] {
        let heldOut = heldOutPhrasing(of: attribute, person)
        return question(attribute, of: person, phrasing: isParaphrased ? heldOut : (heldOut + 1) % BiographySymbols.phrasingCount)
    }
}

/// The keys of all facts, as the model makes them now, and whose they are. Ranks share the people.
private struct FactKeys {
    private let block: KeyBlock

    /// Keeps the keys' memory.
    private final class Owner {
        private let keys: Tensor
        init(_ keys: Tensor) { self.keys = keys }
    }

    /// - Parameter people: whose facts. Collective.
    init(of people: Range<Int>, _ biographies: Biographies, _ model: LookupLanguageModel, _ communicator: any Communicator) throws {
        let attributes = BiographyAttribute.allCases
        let own = people.filter { $0 % communicator.size == communicator.rank }
        let width = model.configuration.keyWidth
        let keys = Tensor(uninitialized: [own.count * attributes.count, width])
        for start in stride(from: 0, to: own.count, by: 64) {
            let texts = own[start..<min(start + 64, own.count)].flatMap { person in
                attributes.map { biographies.question($0, of: person, phrasing: nil) }
            }
            let part = model.keys(Tensor(rows: texts), ForwardPass())
            (keys.floats + start * attributes.count * width).update(from: part.floats, count: part.count)
        }
        let ids = own.flatMap { person in attributes.map { person * attributes.count + $0.rawValue } }
        block = try communicator.onEveryRank {
            try KeyBlock(borrowing: keys.elements, dimension: width, similarity: .dot, ids: ids, owner: Owner(keys))
        }
    }

    /// The values, in words, of the facts whose keys are most like queries. Collective.
    func values(of queries: Tensor, _ biographies: Biographies, _ communicator: any Communicator) throws -> [String?] {
        let attributes = BiographyAttribute.allCases
        let found = try RankSearch.nearest(queries, limit: 1, communicator: communicator) { queries in
            try ExactSearch.nearest(queries, among: [block], limit: 1)
        }
        return found.rows.map { rows in
            rows.first.map { Biographies.text(biographies.value(of: attributes[$0.id % attributes.count], $0.id / attributes.count)) }
        }
    }
}

extension BiographyRows {
    /// The biographies as text.
    /// - Parameter withValues: whether the values of attributes are predicted.
    func textBatch(withValues: Bool) -> TokenBatch {
        let length = Biographies.length - 1
        var targets = symbols.flatMap { Array($0.dropFirst()) }
        if !withValues {
            for (row, places) in places.enumerated() {
                for place in places {
                    for position in place.position..<place.position + place.valueLength { targets[row * length + position] = ignoredTarget }
                }
            }
        }
        return TokenBatch(
            lanes: lanes, inputs: Tensor(symbols.flatMap { Array($0.dropLast()) }, [lanes.count, length]),
            targets: Tensor(targets, [lanes.count, length]))
    }

    /// The biographies with a lookup at every attribute, and keys: the right ones, then near misses.
    var lookupBatch: LookupBatch {
        let length = Biographies.length - 1
        let keys = zip(symbols, places).flatMap { symbols, places in
            places.map { Array(symbols[0..<4]) + [BiographySymbols.symbol($0.attribute, phrasing: nil)] }
        }
        return LookupBatch(
            text: textBatch(withValues: false), lookups: places.enumerated().flatMap { row, places in places.map { row * length + $0.position } },
            keys: Tensor(rows: keys + nearMisses.flatMap(\.self)))
    }
}

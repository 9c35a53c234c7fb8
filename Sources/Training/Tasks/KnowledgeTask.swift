// Questions over a knowledge base, answered by a key-value memory network.
//
// Legend: B questions of a batch, L lanes of the global batch.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Storage
import Memory
import Models
import NeuralNetworks
import Tensors

/// Questions over facts that live in the run directory, where they can be changed.
public final class KnowledgeTask: LearningTask, AnsweringTask {
    private let configuration: RunConfiguration
    private let settings: KnowledgeTaskSettings
    private let directory: String?
    private let network: KeyValueMemoryNetwork
    private let file: KnowledgeFile
    private let fileBytes: [UInt8]
    /// The facts in the order of a bank's entries; in a session that trains those of its data, else those of the run's bank.
    private let facts: [KnowledgeFact]
    private let examples: KnowledgeExamples
    private lazy var source = Result { try KnowledgeSource(settings, seed: configuration.seed) }

    /// - Throws: `UserError` where facts, questions or the files of the run directory cannot be read.
    init(_ configuration: RunConfiguration, _ settings: KnowledgeTaskSettings, savedIn directory: String?) throws {
        self.configuration = configuration
        self.settings = settings
        self.directory = directory
        var read: KnowledgeSource?
        if let directory {
            let file = try KnowledgeFile(runDirectory: directory)
            self.file = file
            facts = try KnowledgeBank(runDirectory: directory, file: file).facts
        } else {
            let source = try KnowledgeSource(settings, seed: configuration.seed)
            read = source
            let distinct = FormerFacts.distinct(source.facts, foldsCase: settings.foldsCase)
            file = Self.symbols(of: source, distinct, settings)
            facts = KnowledgeBank.entries(KnowledgeBank.records(of: distinct)).map(\.fact)
        }
        fileBytes = try file.bytes()
        examples = Self.examples(facts, file, settings)
        network = KeyValueMemoryNetwork(settings.model, symbolCount: settings.rules.tableRows(file.vocabulary), factCount: facts.count)
        if let read { source = .success(read) }
    }

    /// The symbols of facts and training questions, and how often they occur.
    private static func symbols(of source: KnowledgeSource, _ facts: [KnowledgeFact], _ settings: KnowledgeTaskSettings) -> KnowledgeFile {
        let relations = KnowledgeExamples.relations(of: facts)
        var words = source.training.flatMap { KnowledgeExamples.words(of: $0.text) }
        words += settings.rules.layout == .triple ? [] : facts.flatMap { KnowledgeExamples.words(of: $0.relation ?? $0.object) }
        let vocabulary = SymbolVocabulary(
            words: words, relations: relations, entities: source.entities, spareCount: settings.spareSymbols, foldsCase: settings.foldsCase)
        var frequencies = SymbolFrequencies(symbolCount: settings.rules.tableRows(vocabulary))
        for fact in facts { for entry in settings.rules.entries(fact, vocabulary) { frequencies.add(entry.key) } }
        for question in source.training { frequencies.add(vocabulary.symbols(of: question.text).symbols) }
        return KnowledgeFile(vocabulary, frequencies, settings.rules)
    }

    private static func examples(_ facts: [KnowledgeFact], _ file: KnowledgeFile, _ settings: KnowledgeTaskSettings) -> KnowledgeExamples {
        var vocabulary = file.vocabulary
        for fact in facts {
            _ = vocabulary.learnEntity(fact.subject)
            if fact.relation != nil { _ = vocabulary.learnEntity(fact.object) }
        }
        return KnowledgeExamples(
            vocabulary: vocabulary, memory: KnowledgeMemory(facts, vocabulary, file.rules, file.frequencies), frequencies: file.frequencies,
            frequencyLimit: settings.frequencyLimit, memoryLimit: settings.memorySize, candidates: settings.candidates)
    }

    // MARK: What the run needs to know

    public var model: any TrainableModel { network }

    public var summary: String {
        var notes = directory == nil ? (try? source.get())?.notes ?? [] : []
        if examples.memory.leftOut > 0 { notes.append("\(quantity(examples.memory.leftOut, "fact")) left out that the layout does not take") }
        if unanswerable > 0 { notes.append("\(quantity(unanswerable, "training question")) left out, with no answer among the facts") }
        let counts = "knowledge, \(facts.count) facts as \(examples.memory.count) entries, \(file.vocabulary.count) symbols"
        return notes.isEmpty ? counts : "\(counts) (\(notes.joined(separator: "; ")))"
    }

    public var identity: [(name: String, value: String)] { [("knowledge_symbols", Self.fingerprint(fileBytes))] }

    public var agreement: [(name: String, value: String)] {
        guard directory == nil, let source = try? source.get() else { return identity }
        let questions = (source.training + source.validation + source.test).map { "\($0.text)\t\($0.answers.joined(separator: "|"))" }.joined(
            separator: "\n")
        return identity + [factsDigest, ("questions", Self.fingerprint(Array(questions.utf8)))]
    }

    private var factsDigest: (name: String, value: String) {
        let text = facts.map { "\($0.subject)\t\($0.relation ?? "")\t\($0.object)\n" }.joined()
        return ("facts", Self.fingerprint(Array(text.utf8)))
    }

    public var files: [RunFile] { [RunFile(name: KnowledgeFile.name, bytes: fileBytes)] }

    public var bank: KeptBank? {
        guard directory == nil else { return nil }
        return KeptBank(name: FactBank.name, rules: KnowledgeBank.rules, formerFile: FormerFacts.fileName) { [facts, configuration] bank, edit in
            try KnowledgeBank.fill(bank, ofRun: configuration.directory, facts, edit)
        }
    }

    /// Training questions none of whose answers is an entity; 0 where a run directory is used, which needs no questions.
    private var unanswerable: Int {
        guard directory == nil, let source = try? source.get() else { return 0 }
        return source.training.count { $0.answers.allSatisfy { file.vocabulary.entity($0) == nil } }
    }

    private static func fingerprint(_ bytes: [UInt8]) -> String {
        var hash = XXHash64()
        bytes.withUnsafeBytes { hash.update($0) }
        return String(hash.finalized(), radix: 16)
    }

    // MARK: Training

    public var hasValidation: Bool { (try? source.get())?.validation.isEmpty == false }

    public func makeLoader(owning lanes: [Int]) throws -> TaskLoader {
        let prepared = try source.get().training.map(examples.example)
        let useful = prepared.filter { !$0.answers.isEmpty && (settings.candidates != .memory || $0.isReachable) }
        guard !useful.isEmpty else {
            throw UserError(
                .badData, "no training question has an answer among the facts", at: settings.questions,
                advice: "name the questions of this knowledge base")
        }
        return try KnowledgeLoader(useful, examples, lanes: configuration.batch.lanes, seed: configuration.seed)
            .prepared(for: network) { $0.batch(lanes: $1).modelBatch }
    }

    // MARK: Evaluation

    public func evaluate(_ part: EvaluationPart, _ communicator: any Communicator) throws -> TaskScores? {
        // Ranks may have read the bank before and after an edit.
        if directory != nil { try communicator.agree(on: [factsDigest]) }
        let source: KnowledgeSource = try communicator.onEveryRank { try self.source.get() }
        let questions = part == .validation ? source.validation : source.test
        guard !questions.isEmpty else { return nil }
        let kinds = Array(Set(questions.compactMap(\.kind))).sorted()
        let width = KnowledgeSums(kinds: kinds.count).encoded.count
        let encoded = try communicator.orderedSum(parts: (questions.count + 63) / 64, width: width) { part in
            var sums = KnowledgeSums(kinds: kinds.count)
            let numbers = part * 64..<min(part * 64 + 64, questions.count)
            let batch = numbers.map { examples.example(questions[$0]) }
            let rows = examples.rows(batch, lanes: Array(0..<batch.count))
            let outcome = answers(rows)
            for (place, number) in numbers.enumerated() {
                let isHit = outcome[place].symbol.map(batch[place].answers.contains) ?? false
                sums.hits += isHit ? 1 : 0
                sums.reachable += batch[place].isReachable ? 1 : 0
                sums.overMemorySize += batch[place].leftOut > 0 ? 1 : 0
                sums.withoutKnownAnswer += batch[place].answers.isEmpty ? 1 : 0
                if let loss = outcome[place].loss {
                    sums.withLoss += 1
                    sums.loss += loss
                }
                if let kind = questions[number].kind.flatMap(kinds.firstIndex) {
                    sums.hitsByKind[kind] += isHit ? 1 : 0
                    sums.questionsByKind[kind] += 1
                }
            }
            return sums.encoded
        }
        let sums = KnowledgeSums(encoded: encoded)
        let count = Double(questions.count)
        return TaskScores(
            examples: questions.count, loss: sums.withLoss > 0 ? sums.loss / sums.withLoss : nil,
            scores: [.init("hits_at_1", sums.hits / count), .init("hash_recall", sums.reachable / count)],
            details: [
                .init("questions_over_memory_size", sums.overMemorySize), .init("questions_without_known_answer", sums.withoutKnownAnswer),
            ].filter { $0.value > 0 }
                + kinds.enumerated().flatMap { kind, name in
                    let (hits, asked) = (sums.hitsByKind[kind], sums.questionsByKind[kind])
                    let name = name.replacing(" ", with: "_")
                    return [TaskScores.Score("hits_at_1_\(name)", hits / max(asked, 1)), TaskScores.Score("questions_\(name)", asked)]
                })
    }

    /// The best candidate of each question; `nil` where it has none.
    private func answers(
        _ rows: KnowledgeRows, _ pass: ForwardPass = ForwardPass()
    ) -> [(symbol: Int32?, probability: Double, loss: Double?)] {
        let scores = network.scores(rows.modelBatch, pass)
        let values = scores.values
        return (0..<rows.lanes.count).map { question in
            let range = scores.questions[question]
            guard let best = range.max(by: { values.floats[$0] < values.floats[$1] }), values.floats[best] > -.infinity else { return (nil, 0, nil) }
            let top = Double(values.floats[best])
            let total = range.reduce(0.0) { $0 + exp(Double(values.floats[$1]) - top) }
            let right = rows.answerPlaces[Int(rows.answerStarts[question])..<Int(rows.answerStarts[question + 1])]
            let mass = right.reduce(0.0) { $0 + exp(Double(values.floats[range.lowerBound + Int($1)]) - top) }
            return (examples.candidate(best - range.lowerBound, of: question, rows), 1 / total, right.isEmpty ? nil : log(total) - log(mass))
        }
    }

    // MARK: Explaining

    public var endsQuestionsWithMark: Bool { false }

    public func example(_ number: Int) throws -> Explanation {
        let test = try source.get().test
        guard test.indices.contains(number) else {
            throw UserError(
                .usage, "there is no example \(number)", at: directory,
                advice: test.isEmpty ? "the run has no test questions" : "give a number from 0 to \(test.count - 1)")
        }
        var explanation = explain(test[number].text, facts, examples)
        explanation.expected = test[number].answers.joined(separator: " | ")
        return explanation
    }

    /// Answers a question, which may be a line of a file of questions. Lines before it are facts, `subject|relation|object` or sentences, which are
    /// added to those of the run for this question alone.
    public func answer(_ text: String) throws -> Explanation {
        let lines = text.utf8.split(separator: 0x0a).map { String(Substring($0)).trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
        guard let last = lines.last else { throw UserError(.badData, "there is no question", advice: "write one in the last line") }
        let question = KnowledgeQuestionLine(last).question
        if lines.count == 1 { return explain(question, facts, examples) }
        let all = try facts + lines.dropLast().map(typedFact)
        let examplesOfAll = Self.examples(all, file, settings)
        var explanation = explain(question, all, examplesOfAll)
        let leftOut = examplesOfAll.memory.leftOut - examples.memory.leftOut
        if leftOut > 0 { explanation.notes.append("\(quantity(leftOut, "fact")) left out: the run does not know the relation, or takes other facts") }
        return explanation
    }

    public func requireReadable(_ line: String) throws { _ = try typedFact(line) }

    private func typedFact(_ line: String) throws -> KnowledgeFact {
        let fields = line.utf8.split(separator: UInt8(ascii: "|"), omittingEmptySubsequences: false)
            .map { String(Substring($0)).trimmingCharacters(in: .whitespaces) }
        if fields.count == 1, settings.rules.layout != .triple { return KnowledgeFact("", nil, line) }
        guard fields.count == 3, fields.allSatisfy({ !$0.isEmpty }) else {
            throw UserError(.badData, "'\(line)' is no fact", advice: "write facts as subject|relation|object, and the question last")
        }
        return KnowledgeFact(fields[0], fields[1], fields[2])
    }

    private func explain(_ question: String, _ facts: [KnowledgeFact], _ examples: KnowledgeExamples) -> Explanation {
        let example = examples.example(KnowledgeQuestion(text: question, answers: []))
        let rows = examples.rows([example], lanes: [0])
        let trace = MemoryTrace()
        let labels = example.entries.map { entry in
            let fact = facts[Int(examples.memory.facts[Int(entry)])]
            let value = examples.memory.values.range(Int(entry)).map { examples.name(examples.memory.values.symbols[$0]) }
            return (fact.relation.map { "\(fact.subject) | \($0) | \(fact.object)" } ?? fact.object) + " -> " + value.joined(separator: " ")
        }
        let outcome = answers(rows, ForwardPass(trace: trace))[0]
        var notes = example.unknown.map { "'\($0)' is not known to the run" }
        if example.entries.isEmpty {
            notes.append("no fact shares a symbol with the question: \(outcome.symbol == nil ? "there is no answer" : "the answer is a guess")")
        }
        if example.leftOut > 0 { notes.append("\(quantity(example.leftOut, "fact")) more than the memory of \(settings.memorySize) takes left out") }
        return Explanation(
            input: [question], answer: outcome.symbol.map(examples.name) ?? "", probability: outcome.symbol == nil ? nil : outcome.probability,
            notes: notes, pictures: example.entries.isEmpty ? [] : trace.pictures.map { $0.labelled("fact", labels).strongestColumns(24) })
    }
}

/// Counts over some questions, as numbers that add up.
private struct KnowledgeSums {
    var hits = 0.0
    /// Questions with an answer among the facts that the memory holds for them.
    var reachable = 0.0
    /// Questions with a loss, and the sum of their losses.
    var (withLoss, loss) = (0.0, 0.0)
    /// Questions with more facts than the memory takes.
    var overMemorySize = 0.0
    /// Questions none of whose answers is known.
    var withoutKnownAnswer = 0.0
    var hitsByKind: [Double]
    var questionsByKind: [Double]

    init(kinds: Int) {
        hitsByKind = Array(repeating: 0, count: kinds)
        questionsByKind = hitsByKind
    }

    var encoded: [Double] { [hits, reachable, withLoss, loss, overMemorySize, withoutKnownAnswer] + hitsByKind + questionsByKind }

    init(encoded: [Double]) {
        self.init(kinds: (encoded.count - 6) / 2)
        (hits, reachable, withLoss, loss, overMemorySize, withoutKnownAnswer) = (encoded[0], encoded[1], encoded[2], encoded[3], encoded[4], encoded[5])
        hitsByKind = Array(encoded[6..<6 + hitsByKind.count])
        questionsByKind = Array(encoded[(6 + hitsByKind.count)...])
    }
}

extension SymbolBags {
    fileprivate var weightedBags: WeightedBags { WeightedBags(starts: starts, symbols: symbols, weights: weights) }
}

extension KnowledgeRows {
    /// The rows as the model takes them.
    fileprivate var modelBatch: KnowledgeBatch {
        let choices: AnswerCandidates
        switch candidates {
        case .range(let first, let count, let starts, let excluded):
            choices = .range(first: first, count: count, excluded: Segments(starts: starts), places: excluded)
        case .lists(let starts, let symbols): choices = .lists(Segments(starts: starts), rows: symbols)
        }
        return KnowledgeBatch(
            lanes: lanes, questions: questions.weightedBags, facts: Segments(starts: factStarts), keys: keys.weightedBags,
            values: values.weightedBags, candidates: choices, answers: AnswerPlaces(starts: answerStarts, places: answerPlaces))
    }
}

extension MemoryTrace.Picture {
    /// The picture with so many columns only, those with the largest values of any row, in their order.
    fileprivate func strongestColumns(_ count: Int) -> MemoryTrace.Picture {
        guard columns > count else { return self }
        func strength(_ column: Int) -> Float { (0..<rows).map { values[$0 * columns + column] }.max() ?? 0 }
        let kept = (0..<columns).sorted { strength($0) != strength($1) ? strength($0) > strength($1) : $0 < $1 }.prefix(count).sorted()
        var picture = self
        picture.columns = count
        picture.columnLabels = columnLabels.isEmpty ? [] : kept.map { columnLabels[$0] }
        picture.values = (0..<rows).flatMap { row in kept.map { values[row * columns + $0] } }
        picture.columnAxis = "\(columnAxis), the strongest \(count) of \(columns)"
        return picture
    }
}

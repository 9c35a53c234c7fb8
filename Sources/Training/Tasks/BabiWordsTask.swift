// bAbI's question-answering tasks word by word, for networks that read sequences: recurrent ones, Turing machines, neural computers (Graves et al.
// 2016).
//
// Legend: B stories of a batch.

import Collectives
import Configuration
import Corpora
import Diagnostics
import Evaluation
import Models
import NeuralNetworks
import Tensors

/// The sections `task` (`kind: babi-words`) and `model` of such a run.
public struct BabiWordsTaskSettings: TaskSettings {
    var data: BabiDataSettings
    /// Steps of blanks between a question and its answer mark.
    public var blanks: Int
    /// Training stories of more steps are left out.
    public var maximumSteps: Int?
    /// The part of the training stories that is held out.
    public var validation: Double
    /// Records that may be left out of a split.
    public var maximumBadRecords: Int
    public var model: SequenceModelConfiguration

    public var modelKind: String { model.core.kind.rawValue }

    /// Reads the sections but for `task.kind`.
    /// - Throws: `UserError` (.configuration) that names the key.
    public init(_ section: ConfigurationSection, model: ConfigurationSection) throws {
        data = try BabiDataSettings(section)
        blanks = try section.int(
            "blanks", "Steps of blanks between a question and the mark where it is answered.", default: 0, in: 0...1000)
        maximumSteps = try section.optionalInt("maximumSteps", "Training stories of more steps are left out.", in: 1...)
        validation = try section.heldOutShare()
        maximumBadRecords = try section.maximumBadRecords()
        self.model = try SequenceModelConfiguration(model)
    }

    public func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask {
        try BabiWordsTask(configuration, self, savedIn: directory)
    }
}

/// Answering questions where they stand in a story that is read word by word.
public final class BabiWordsTask: AnsweringTask {
    private let configuration: RunConfiguration
    private let settings: BabiWordsTaskSettings
    private let source: BabiSource
    private let vocabulary: StoryVocabulary
    private let alphabet: StorySymbols
    private let network: SequenceModel
    /// The stories of a training session.
    private let training: WordStories?
    private let validation: WordStories?
    private let notes: [String]
    private var openedTest: (stories: WordStories, findings: StoryFindings)?

    /// Stories that evaluation runs through the model at a time.
    private static let evaluationRows = 32

    /// - Throws: `UserError` where data or vocabulary cannot be read, or too much of the data is wrong.
    init(_ configuration: RunConfiguration, _ settings: BabiWordsTaskSettings, savedIn directory: String?) throws {
        self.configuration = configuration
        self.settings = settings
        source = BabiSource(settings.data)
        if let directory {
            vocabulary = try StoryVocabulary(contentsOf: "\(directory)/\(StoryVocabulary.fileName)")
            alphabet = StorySymbols(words: vocabulary.count)
            (training, validation, notes) = (nil, nil, [])
        } else {
            var read = StoryVocabulary()
            let questions = try source.training(&read)
            try questions.findings.check(limit: settings.maximumBadRecords, at: source.title)
            let alphabet = StorySymbols(words: read.count)
            (vocabulary, self.alphabet) = (read, alphabet)
            let all = WordStories(questions, alphabet, blanks: settings.blanks, maximumSteps: settings.maximumSteps)
            guard questions.count > 0 else {
                throw UserError(
                    .badData, (["there is no question to train on"] + questions.findings.notes).joined(separator: ": "), at: source.title,
                    advice: "check task.data")
            }
            guard !all.stories.isEmpty else {
                throw UserError(
                    .badData, "no story has \(settings.maximumSteps ?? 0) steps or fewer; the longest has \(all.longest)", at: source.title,
                    advice: "raise task.maximumSteps")
            }
            let split = BabiSplit(all.stories.count, part: settings.validation, isJoint: source.tasks.count > 1, seed: configuration.seed)
            training = all.selecting(split.training)
            validation = split.heldOut.isEmpty ? nil : all.selecting(split.heldOut)
            notes =
                questions.findings.notes
                + (all.tooLong > 0 ? ["\(quantity(all.tooLong, "story", "stories")) left out, of more than \(settings.maximumSteps ?? 0) steps"] : [])
        }
        network = SequenceModel(
            settings.model, SequenceModelForm(input: .symbols(alphabet.count), output: .classes(vocabulary.count)))
    }

    public var summary: String {
        guard let training else { return source.title }
        let counts = "\(training.stories.count) stories to train on, \(validation?.stories.count ?? 0) held out, \(vocabulary.count - 1) words"
        return (["\(source.title), word by word: \(counts)"] + notes).joined(separator: "; ")
    }

    public var identity: [(name: String, value: String)] {
        [("vocabulary", vocabulary.fingerprint), ("tasks", source.tasks.map(\.description).joined(separator: ",")), ("blanks", "\(settings.blanks)")]
    }

    public var files: [RunFile] { (try? vocabulary.json).map { [RunFile(name: StoryVocabulary.fileName, bytes: $0)] } ?? [] }
    public var model: any TrainableModel { network }
    public var hasValidation: Bool { settings.validation > 0 }

    public func makeLoader(owning lanes: [Int]) throws -> TaskLoader {
        guard let training else { preconditionFailure("a task of a run directory has no training data") }
        return WordStoryLoader(training, lanes: configuration.batch.lanes, seed: configuration.seed)
            .prepared(for: network) { SequenceBatch($0.batch(lanes: $1)) }
    }

    // MARK: measuring

    public func evaluate(_ part: EvaluationPart, _ communicator: any Communicator) throws -> TaskScores? {
        guard let stories = try communicator.onEveryRank({ try part == .test ? testStories().stories : validationStories() }) else { return nil }
        let rows = Self.evaluationRows
        // Stories of like length together: padding costs time.
        let order = stories.stories.indices.sorted { (stories.stories[$0].steps.count, $0) < (stories.stories[$1].steps.count, $1) }
        var batches = (order.count + rows - 1) / rows
        if part == .validation { batches = min(batches, configuration.evaluationBatches ?? .max) }
        var accuracy = BABIAccuracy()
        let measured = try SequenceMeasurement.summed(network.form.output, batches: batches, communicator) { index in
            let numbers = Array(order[index * rows..<min((index + 1) * rows, order.count)])
            let batch = stories.rows(numbers, lanes: Array(numbers.indices))
            return SequenceMeasurement(of: network, SequenceBatch(batch)) { row, isCorrect in
                accuracy.add(task: batch.tasks[row], isCorrect: isCorrect)
            }
        }
        accuracy = BABIAccuracy(encoded: try communicator.allReduced(accuracy.encoded, .sum))
        var scores = TaskScores(errors: accuracy, loss: measured.meanLoss)
        if part == .test { scores.details += openedTest?.findings.scores ?? [] }
        return scores
    }

    private func validationStories() throws -> WordStories? {
        if training != nil { return validation }
        let all = WordStories(
            try source.savedTraining(vocabulary), alphabet, blanks: settings.blanks, maximumSteps: settings.maximumSteps)
        let split = BabiSplit(all.stories.count, part: settings.validation, isJoint: source.tasks.count > 1, seed: configuration.seed)
        return split.heldOut.isEmpty ? nil : all.selecting(split.heldOut)
    }

    /// All test stories, however long.
    private func testStories() throws -> (stories: WordStories, findings: StoryFindings) {
        if let openedTest { return openedTest }
        let questions = try source.test(vocabulary)
        try questions.findings.check(limit: settings.maximumBadRecords, at: source.title)
        try questions.requireQuestions(at: source.title)
        let test = (stories: WordStories(questions, alphabet, blanks: settings.blanks), findings: questions.findings)
        openedTest = test
        return test
    }

    // MARK: answering

    /// A test story, from 0, with all of its questions.
    public func example(_ number: Int) throws -> Explanation {
        let test = try testStories().stories
        guard test.stories.indices.contains(number) else {
            throw UserError(.usage, "there is no example \(number)", at: source.title, advice: "give a number from 0 to \(test.stories.count - 1)")
        }
        return explain(test, number)
    }

    public func answer(_ text: String) throws -> Explanation {
        let questions = try source.typed(text, vocabulary)
        var explanation = explain(WordStories(questions, alphabet, blanks: settings.blanks), 0)
        explanation.expected = nil
        explanation.notes = questions.findings.notes
        return explanation
    }

    private func explain(_ stories: WordStories, _ number: Int) -> Explanation {
        network.explanation(of: SequenceBatch(stories.rows([number], lanes: [0])), labels: alphabet.names(vocabulary))
    }
}

extension SequenceBatch {
    /// Stories as a loader has handed them out.
    init(_ rows: WordStoryRows) {
        let shape: Shape = [rows.lanes.count, rows.steps]
        self.init(
            lanes: rows.lanes, inputs: .symbols(Tensor(rows.symbols, shape)), targets: .classes(Tensor(rows.classes, shape)), counts: rows.counts)
    }
}

// Questions about stories for memory networks: what bAbI and dialog bAbI have in common.
//
// Legend: B questions of a batch.

import Collectives
import Corpora
import Diagnostics
import Evaluation
import Foundation
import Memory
import Models
import NeuralNetworks

/// Where stories come from.
protocol StorySource {
    /// What the data is called, for the first line of a run: `bAbI tasks 1 to 20`.
    var title: String { get }
    /// The tasks asked for.
    var tasks: [Int] { get }
    /// Whether accuracy is told, not error: dialogs.
    var tellsAccuracy: Bool { get }
    /// The training questions, task by task; their words enter the vocabulary.
    func training(_ vocabulary: inout StoryVocabulary) throws -> StoryQuestions
    /// The test questions, task by task.
    func test(_ vocabulary: StoryVocabulary) throws -> StoryQuestions
    /// A text that a person has typed.
    func typed(_ text: String, _ vocabulary: StoryVocabulary) throws -> StoryQuestions
}

/// The keys of the section `task` that all story tasks have.
struct StoryTaskOptions: Sendable {
    /// M.
    var memory: Int
    /// Random blank slots between sentences in training.
    var timeNoise: Bool
    /// The part of the training questions that is held out.
    var validation: Double
    /// Records that may be left out of a split.
    var maximumBadRecords: Int
}

/// Answering questions about stories.
public final class StoryTask: AnsweringTask {
    private let configuration: RunConfiguration
    private let options: StoryTaskOptions
    private let source: any StorySource
    private let vocabulary: StoryVocabulary
    private let network: MemoryNetwork
    /// The questions of a training session.
    private let training: StoryQuestions?
    private let validation: StoryQuestions?
    private let notes: [String]
    private weak var loader: StoryLoader?
    private var openedTest: StoryQuestions?

    /// - Throws: `UserError` where data or vocabulary cannot be read, or too much of the data is wrong.
    init(
        _ configuration: RunConfiguration, _ options: StoryTaskOptions, _ model: MemoryNetworkConfiguration, _ source: any StorySource,
        savedIn directory: String?
    ) throws {
        self.configuration = configuration
        self.options = options
        self.source = source
        if let directory {
            vocabulary = try StoryVocabulary(contentsOf: "\(directory)/\(StoryVocabulary.fileName)")
            (training, validation, notes) = (nil, nil, [])
        } else {
            var vocabulary = StoryVocabulary()
            let all = try source.training(&vocabulary)
            try all.findings.check(limit: options.maximumBadRecords, at: source.title)
            let split = BabiSplit(all.count, part: options.validation, isJoint: source.tasks.count > 1, seed: configuration.seed)
            guard !split.training.isEmpty else {
                throw UserError(
                    .badData, (["there is no question to train on"] + all.findings.notes).joined(separator: ": "), at: source.title,
                    advice: "check task.data, and lower task.validation")
            }
            self.vocabulary = vocabulary
            training = all.selecting(split.training)
            validation = split.heldOut.isEmpty ? nil : all.selecting(split.heldOut)
            let long = all.questions.count { $0.sentences.count > options.memory }
            notes = all.findings.notes
                + (long > 0 ? ["\(quantity(long, "question")) with more than \(options.memory) sentences before, of which the latest are kept"] : [])
        }
        network = MemoryNetwork(
            model, vocabularySize: vocabulary.count, classCount: vocabulary.answers?.count, slotCount: min(options.memory, vocabulary.longestStory),
            longestSentence: vocabulary.longestSentence)
    }

    public var summary: String {
        guard let training else { return source.title }
        let counts = "\(training.count) questions to train on, \(validation?.count ?? 0) held out, \(vocabulary.count - 1) words"
        return ([source.title + ": " + counts] + notes).joined(separator: "; ")
    }

    public var identity: [(name: String, value: String)] {
        [("vocabulary", vocabulary.fingerprint), ("tasks", source.tasks.map(\.description).joined(separator: ","))]
    }

    public var files: [RunFile] { (try? vocabulary.json).map { [RunFile(name: StoryVocabulary.fileName, bytes: $0)] } ?? [] }
    public var model: any TrainableModel { network }
    public var hasValidation: Bool { validation != nil }

    public func makeLoader(owning lanes: [Int]) throws -> TaskLoader {
        guard let training else { preconditionFailure("a task of a run directory has no training data") }
        let loader = StoryLoader(
            training, lanes: configuration.batch.lanes, memory: options.memory, timeNoise: options.timeNoise, seed: configuration.seed)
        self.loader = loader
        return loader.prepared(for: network) { StoryBatch($0.batch(lanes: $1)) }
    }

    /// Steps done: during a linear start the model is measured as it is trained. A run directory is always measured with its softmax.
    private var stepsDone: Int { loader?.step ?? .max }

    // MARK: measuring

    public func evaluate(_ part: EvaluationPart, _ communicator: any Communicator) throws -> TaskScores? {
        switch part {
        case .validation:
            guard let validation = try communicator.onEveryRank({ try heldOutQuestions() }) else { return nil }
            return try measure(validation, communicator).scores(tellingAccuracy: source.tellsAccuracy)
        case .test:
            let (test, train) = try communicator.onEveryRank { (try testQuestions(), try trainingQuestions()) }
            var scores = try measure(test, communicator).scores(tellingAccuracy: source.tellsAccuracy)
            let fit = try measure(train, communicator)
            // By these a restart is chosen, never by what the test says.
            if let error = fit.accuracy.meanError { scores.details.append(TaskScores.Score("training_error", error)) }
            if let loss = fit.scores().loss { scores.details.append(TaskScores.Score("training_loss", loss)) }
            let long = test.questions.count { $0.sentences.count > options.memory }
            scores.details += test.findings.scores + (long > 0 ? [TaskScores.Score("questions_over_memory_size", Double(long))] : [])
            return scores
        }
    }

    private func heldOutQuestions() throws -> StoryQuestions? {
        if training != nil { return validation }
        let all = try source.savedTraining(vocabulary)
        let numbers = split(all).heldOut
        return numbers.isEmpty ? nil : all.selecting(numbers)
    }

    /// The questions that are trained on.
    private func trainingQuestions() throws -> StoryQuestions {
        if let training { return training }
        let all = try source.savedTraining(vocabulary)
        return all.selecting(split(all).training)
    }

    private func split(_ all: StoryQuestions) -> BabiSplit {
        BabiSplit(all.count, part: options.validation, isJoint: source.tasks.count > 1, seed: configuration.seed)
    }

    private func testQuestions() throws -> StoryQuestions {
        if let openedTest { return openedTest }
        let test = try source.test(vocabulary)
        try test.findings.check(limit: options.maximumBadRecords, at: source.title)
        try test.requireQuestions(at: source.title)
        openedTest = test
        return test
    }

    /// Right answers and losses of questions, over all ranks.
    private struct Measurement {
        var accuracy = BABIAccuracy()
        var loss = 0.0
        var counted = 0

        func scores(tellingAccuracy: Bool = false) -> TaskScores {
            guard tellingAccuracy else { return TaskScores(errors: accuracy, loss: counted > 0 ? loss / Double(counted) : nil) }
            let asked = accuracy.tasksAsked
            let mean = asked.compactMap { accuracy[$0].accuracy }.reduce(0, +) / Double(max(asked.count, 1))
            return TaskScores(
                examples: asked.reduce(0) { $0 + accuracy[$1].questions }, loss: counted > 0 ? loss / Double(counted) : nil,
                scores: [TaskScores.Score("accuracy", mean)],
                details: asked.map { TaskScores.Score("accuracy_task_\($0)", accuracy[$0].accuracy ?? .nan) })
        }
    }

    private func measure(_ questions: StoryQuestions, _ communicator: any Communicator) throws -> Measurement {
        let (size, counts) = (64, BABIAccuracy().encoded.count)
        let sums = try communicator.orderedSum(parts: (questions.count + size - 1) / size, width: counts + 2) { part in
            let rows = questions.rows(part * size..<min(part * size + size, questions.count), memory: options.memory)
            let batch = StoryBatch(rows)
            let pass = ForwardPass(stepsDone: stepsDone)
            var accuracy = BABIAccuracy()
            for (row, answer) in network.answers(batch, pass).enumerated() {
                accuracy.add(task: rows.tasks[row], isCorrect: answer.answer == rows.answers[row])
            }
            let loss = network.loss(batch, pass)
            return accuracy.encoded.map(Double.init) + [loss.negativeLogLikelihood, Double(loss.count)]
        }
        var result = Measurement()
        result.accuracy = BABIAccuracy(encoded: sums.prefix(counts).map { Int64($0) })
        (result.loss, result.counted) = (sums[counts], Int(sums[counts + 1]))
        return result
    }

    // MARK: answering

    /// What a user says in a dialog is often no question.
    public var endsQuestionsWithMark: Bool { !source.tellsAccuracy }
    public var repliesToEverything: Bool { source.tellsAccuracy }

    public func example(_ number: Int) throws -> Explanation {
        let test = try testQuestions()
        guard number >= 0, number < test.count else {
            throw UserError(.usage, "there is no example \(number)", at: source.title, advice: "give a number from 0 to \(test.count - 1)")
        }
        return explain(test, number)
    }

    public func answer(_ text: String) throws -> Explanation { explain(try source.typed(text, vocabulary), 0, notes: true) }

    private func explain(_ questions: StoryQuestions, _ number: Int, notes withFindings: Bool = false) -> Explanation {
        let question = questions.questions[number]
        let sentences = question.sentences.map { text(questions.sentence($0)) }
        let rows = questions.rows([number], memory: options.memory)
        let trace = MemoryTrace()
        let (answer, probability) = network.answers(StoryBatch(rows), ForwardPass(trace: trace, stepsDone: stepsDone))[0]
        var notes = withFindings ? questions.findings.notes : []
        if sentences.count > options.memory { notes.append("the story has \(sentences.count) sentences: the latest \(options.memory) are read") }
        let support = questions.supportingSentences[question.support].map { $0 - question.sentences.lowerBound + 1 }
        if !support.isEmpty { notes.append("the supporting facts are sentences \(support.map(\.description).joined(separator: ", "))") }
        let expected = question.answer >= 0 ? name(ofAnswer: question.answer) : questions.unseenAnswers[number]
        return Explanation(
            input: sentences + [text(questions.questionWords[question.words]) + (source.tellsAccuracy ? "" : "?")], answer: name(ofAnswer: answer),
            expected: expected, probability: Double(probability), notes: notes, pictures: trace.pictures.map { $0.labelled("sentence", Array(sentences.suffix(options.memory))) })
    }

    private func text(_ words: ArraySlice<Int32>) -> String { words.map { vocabulary.words[Int($0)] }.joined(separator: " ") }

    private func name(ofAnswer answer: Int32) -> String { vocabulary.answers?[Int(answer)] ?? vocabulary.words[Int(answer)] }
}

extension StoryQuestions {
    /// - Throws: `UserError` (.badData) where test data hold no question.
    func requireQuestions(at place: String) throws {
        guard questions.isEmpty else { return }
        throw UserError(
            .badData, (["there is no question in the test data"] + findings.notes).joined(separator: ": "), at: place, advice: "check task.data")
    }
}

extension StoryFindings {
    /// What was found in test data, as an evaluation reports it; nothing where nothing was.
    var scores: [TaskScores.Score] {
        [
            ("left_out_records", leftOut), ("unseen_answers", unseenAnswers), ("unknown_words", unknownWords),
            ("questions_without_known_words", unknownQuestions), ("stories_ending_in_facts", storiesEndingInFacts),
        ].filter { $0.1 > 0 }.map { TaskScores.Score($0.0, Double($0.1)) }
    }
}

extension StoryBatch {
    /// What a loader has handed out.
    init(_ rows: StoryRows) {
        var stories = MemorizedStories()
        stories.words = rows.words
        stories.sentenceStarts = rows.sentenceStarts
        stories.ages = rows.ages
        stories.storyStarts = rows.storyStarts
        stories.questionWords = rows.questionWords
        stories.questionStarts = rows.questionStarts
        self.init(lanes: rows.lanes, stories: stories, answers: rows.answers)
    }
}

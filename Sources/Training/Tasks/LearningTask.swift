// What a run learns from and is measured on, so that the training loop needs to know neither the data nor the model.
//
// Legend: L lanes of the global batch.

import Checkpoints
import Collectives
import Configuration
import Corpora
import Diagnostics
import Evaluation
import Models
import NeuralNetworks

/// A file that a run directory keeps beside its checkpoints, such as a vocabulary.
public struct RunFile: Sendable, Equatable {
    /// Its name in the run directory.
    public var name: String
    /// What it holds.
    public var bytes: [UInt8]

    /// A file in memory; the trainer writes it.
    public init(name: String, bytes: [UInt8]) {
        self.name = name
        self.bytes = bytes
    }
}

/// One input with the model's answer, and pictures of what its memory did.
public struct Explanation: Sendable, Equatable, Codable {
    /// What was read, line by line.
    public var input: [String]
    /// What the model answers.
    public var answer: String
    /// What it should answer, where that is known.
    public var expected: String?
    /// The probability that the model gives to its answer, where it has one.
    public var probability: Double?
    /// Warnings, such as words that the model does not know.
    public var notes: [String]
    /// What the memory did, in the order of recording.
    public var pictures: [MemoryTrace.Picture]

    /// An explanation of an answer that is known.
    public init(
        input: [String], answer: String, expected: String? = nil, probability: Double? = nil, notes: [String] = [], pictures: [MemoryTrace.Picture]
    ) {
        self.input = input
        self.answer = answer
        self.expected = expected
        self.probability = probability
        self.notes = notes
        self.pictures = pictures
    }
}

/// A task: training batches, a model that fits them, and a measure of how well it is learned.
///
/// A task is made from a run's configuration alone (a new or resumed session), or with the files of a run directory (evaluation and use), and then
/// needs no training data.
public protocol LearningTask: AnyObject {
    /// What it learns from, for the line that a run begins with: `bAbI tasks 1 to 20, 18,000 questions`.
    var summary: String { get }
    /// What of the data is cut or passed over in training, a line each, for the log of a session.
    var warnings: [String] { get throws }
    /// Bytes of a lane's part of a batch, before anything is computed: an estimate from below.
    var laneBytes: Int { get }
    /// What its losses are means over, and a run counts, in the plural: tokens, answers.
    var targets: String { get }
    /// What all ranks, and a session that resumes, must have in common; the name is what a message calls it, and has no blanks.
    var identity: [(name: String, value: String)] { get }
    /// What ranks must have in common; more than `identity` where a session may differ from the one before it.
    var agreement: [(name: String, value: String)] { get }
    /// The error for a checkpoint at `path` whose `name` of `identity` is another one.
    func mismatch(of name: String, at path: String) -> UserError
    /// What checkpoints say about the task besides `identity`.
    var attributes: [String: CheckpointAttribute] { get }
    /// What a run directory needs, beside checkpoints, to use the model without the data.
    var files: [RunFile] { get }
    /// The model, its parameters declared; the run allocates them.
    var model: any TrainableModel { get }
    /// Whether there are examples for `evaluate(.validation)`.
    var hasValidation: Bool { get }
    /// What it keeps in a bank of its run; `nil` where it keeps nothing.
    var bank: KeptBank? { get }

    /// The batches for a rank that owns some of the L lanes.
    func makeLoader(owning lanes: [Int]) throws -> TaskLoader
    /// Measures the model on held-out examples, divided among the ranks; the same result on every rank. `nil` where there are none. Collective.
    /// - Parameter part: which examples.
    func evaluate(_ part: EvaluationPart, _ communicator: any Communicator) throws -> TaskScores?
    /// Measures the model as a user asks for it, divided among the ranks; the same result on every rank. Collective.
    /// - Throws: `UserError`, the same on every rank: an option that means nothing to the task (.usage), no examples (.missingInput).
    func report(_ request: EvaluationRequest, _ communicator: any Communicator) throws -> EvaluationReport
    /// A held-out example by number, with what the memory did.
    /// - Throws: `UserError` where there is no such example.
    func example(_ number: Int) throws -> Explanation
}

extension LearningTask {
    public var warnings: [String] { get throws { [] } }
    public var laneBytes: Int { 0 }
    public var targets: String { "answers" }
    public var agreement: [(name: String, value: String)] { identity }
    public var attributes: [String: CheckpointAttribute] { [:] }
    public var hasValidation: Bool { true }
    public var bank: KeptBank? { nil }

    public func report(_ request: EvaluationRequest, _ communicator: any Communicator) throws -> EvaluationReport {
        let part = request.part ?? .test
        try communicator.onEveryRank { try request.require([.part], of: "a run whose data is in its own task section") }
        guard let scores = try evaluate(part, communicator) else {
            throw UserError(.missingInput, "the task has no examples for \(part.rawValue)", at: request.directory).shared
        }
        return EvaluationReport(task: summary, part: part, scores)
    }

    public func mismatch(of name: String, at path: String) -> UserError {
        UserError(
            .configuration, "it was trained with another \(name.replacing("_", with: " "))", at: path,
            advice: "name the data of the run, or start again with --fresh")
    }
}

/// What a run file says about its task and its model.
public protocol TaskSettings: Sendable {
    /// The kind of the model, as checkpoints and the first line of a run say it.
    var modelKind: String { get }
    /// Reads `batch.length`; 0 where sequences have lengths of their own and there is no such key.
    /// - Throws: `UserError` (.configuration) that names the key.
    func readLength(_ batch: ConfigurationSection) throws -> Int
    /// The task.
    /// - Parameter directory: the run directory to take vocabularies from; `nil` to make them from the training data.
    func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask
}

extension TaskSettings {
    public func readLength(_ batch: ConfigurationSection) throws -> Int { 0 }
}

/// A task whose inputs a person can type: facts and a question.
public protocol AnsweringTask: LearningTask {
    /// Answers a text: lines of facts, the last one the question.
    /// - Throws: `UserError(.badData)` for a text that holds no question.
    func answer(_ text: String) throws -> Explanation
    /// Whether the last line of a text must end with a question mark: where facts and questions are both sentences, and one might be taken for
    /// the other.
    var endsQuestionsWithMark: Bool { get }
    /// Whether every line that a person says is answered, as in a dialog, and not questions alone.
    var repliesToEverything: Bool { get }
    /// Makes sure that a line can stand before a question.
    /// - Throws: `UserError(.badData)`.
    func requireReadable(_ line: String) throws
}

extension AnsweringTask {
    public var endsQuestionsWithMark: Bool { true }
    public var repliesToEverything: Bool { false }
    public func requireReadable(_ line: String) throws {}
}

/// A task whose model writes text.
public protocol GeneratingTask: LearningTask {
    /// The model as what it is.
    var languageModel: any LanguageModel { get }
    /// From text to what the model reads, and back.
    var tokenizer: SentencePieceTokenizer { get }
    /// What the texts that it learned from were cleaned by; `nil` where that is not known.
    var cleaning: CleaningRules? { get }
    /// Runs a text through the model.
    /// - Returns: the text, the likeliest next piece with its probability, and what the memory did up to there.
    /// - Throws: `UserError` (.usage, .badData) for a model that reads pairs or shows no memory, and for a text of no words.
    func explanation(of text: String) throws -> Explanation
}

/// Which examples are measured.
public enum EvaluationPart: String, Sendable, CaseIterable {
    /// What is looked at during training: by it one may choose.
    case validation
    /// What the final figures are of.
    case test
}

/// How well a task is done.
public struct TaskScores: Sendable, Equatable {
    /// One figure, such as `bit_errors_per_sequence` or `error_task_1`: a name as it stands in JSON, and its value.
    public struct Score: Sendable, Equatable {
        /// As it stands in JSON, in snake case.
        public var name: String
        /// The figure. Whether more is better depends on what it measures.
        public var value: Double

        /// One figure.
        public init(_ name: String, _ value: Double) {
            self.name = name
            self.value = value
        }
    }

    /// Examples measured.
    public var examples: Int
    /// The mean loss, nats an answer; `nil` where none is defined.
    public var loss: Double?
    /// The most telling one first.
    public var scores: [Score]
    /// Figures too many for metrics.jsonl, which `mneme evaluate` prints too: errors task by task.
    public var details: [Score]

    /// The figures of one evaluation.
    public init(examples: Int, loss: Double? = nil, scores: [Score], details: [Score] = []) {
        self.examples = examples
        self.loss = loss
        self.scores = scores
        self.details = details
    }
}

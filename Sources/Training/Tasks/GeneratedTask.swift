// Tasks whose sequences are made up from the run's seed: copy, recall, addition. There is no end of examples, and no data to read.
//
// Legend: B sequences of a batch, T steps.

import Collectives
import Configuration
import Corpora
import Diagnostics
import Models
import NeuralNetworks
import Tensors

/// The sections `task` and `model` of a run that learns a generated task.
public struct GeneratedTaskSettings: TaskSettings {
    /// What makes the sequences.
    public var generator: any SequenceGenerator
    /// Sequences of one evaluation.
    public var examples: Int
    /// Lengths beside those of training that `mneme evaluate` measures, in the task's own unit.
    public var testLengths: [Int]
    /// What learns it.
    public var model: Learner

    /// A model for sequences.
    public enum Learner: Sendable {
        /// A core between an input and an output layer.
        case steps(SequenceModelConfiguration)
        /// A language model over the symbols of a task that answers classes.
        case tokens(any ModelConfiguration)
    }

    public var modelKind: String {
        switch model {
        case .steps(let model): model.core.kind.rawValue
        case .tokens(let model): model.kind.rawValue
        }
    }

    /// Settings that no run file gives.
    public init(generator: any SequenceGenerator, examples: Int = 1024, testLengths: [Int] = [], model: Learner) {
        self.generator = generator
        self.examples = examples
        self.testLengths = testLengths
        self.model = model
    }

    public func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask {
        GeneratedTask(configuration, self)
    }
}

/// A generated task with a model that answers at some of the steps.
public final class GeneratedTask: LearningTask {
    /// The model as what it is.
    public let sequenceModel: any SequenceAnsweringModel
    private let settings: GeneratedTaskSettings
    private let seed: UInt64
    private let lanes: Int
    private let maximumBatches: Int?

    /// Sequences that evaluation runs through the model at a time.
    private static let evaluationRows = 32

    init(_ configuration: RunConfiguration, _ settings: GeneratedTaskSettings) {
        self.settings = settings
        seed = configuration.seed
        lanes = configuration.batch.lanes
        maximumBatches = configuration.evaluationBatches
        let form = SequenceModelForm(settings.generator)
        sequenceModel =
            switch settings.model {
            case .steps(let model): SequenceModel(model, form)
            case .tokens(let model): TokenSequenceModel(model, form)
            }
    }

    public var summary: String { settings.generator.summary }

    public var laneBytes: Int {
        let steps = settings.generator.longest
        let inputs = if case .vectors(let width) = settings.generator.input { width } else { 1 }
        let outputs =
            switch settings.generator.output {
            case .bits(let width), .values(let width): width
            case .classes: 1
            }
        return 4 * steps * (inputs + outputs)
    }

    public var identity: [(name: String, value: String)] { [("task", settings.generator.identity)] }
    public var files: [RunFile] { [] }
    public var model: any TrainableModel { sequenceModel }

    public func makeLoader(owning lanes: [Int]) throws -> TaskLoader {
        func prepared(_ model: some SequenceAnsweringModel) -> TaskLoader {
            GeneratedLoader(settings.generator, lanes: self.lanes, seed: seed).prepared(for: model) {
                SequenceBatch($0.batch(lanes: $1), $0.generator)
            }
        }
        return prepared(sequenceModel)
    }

    /// Both parts are made from the run's seed, with sequences that training never sees; the test adds the test lengths.
    public func evaluate(_ part: EvaluationPart, _ communicator: any Communicator) throws -> TaskScores? {
        let measured = try measure(settings.generator, part, communicator)
        var scores = measured.scores
        for length in part == .test ? settings.testLengths : [] {
            scores += try measure(settings.generator.withLength(length), part, communicator).scores.map {
                .init("\($0.name)_length_\(length)", $0.value)
            }
        }
        return TaskScores(examples: measured.sequences, loss: measured.meanLoss, scores: scores)
    }

    private func measure(_ generator: any SequenceGenerator, _ part: EvaluationPart, _ communicator: any Communicator) throws -> SequenceMeasurement {
        let rows = Self.evaluationRows
        let batches = min((settings.examples + rows - 1) / rows, maximumBatches ?? .max)
        return try SequenceMeasurement.summed(sequenceModel.form.output, batches: batches, communicator) { index in
            let lanes = Array(0..<min(rows, settings.examples - index * rows))
            let batch = SequenceBatch(
                generator.batch(seed: seed, part: part == .validation ? .validation : .test, step: index, lanes: lanes), generator)
            return SequenceMeasurement(of: sequenceModel, batch)
        }
    }

    /// A test sequence, from 0.
    public func example(_ number: Int) throws -> Explanation {
        guard number >= 0 else { throw UserError(.usage, "there is no example \(number)", at: summary, advice: "give a number from 0") }
        let generated = settings.generator.batch(seed: seed, part: .test, step: number, lanes: [0])
        return sequenceModel.explanation(of: SequenceBatch(generated, settings.generator), labels: [])
    }
}

extension SequenceModelForm {
    /// What a model of a generated task reads and answers.
    init(_ generator: any SequenceGenerator) {
        let input: Input =
            switch generator.input {
            case .vectors(let width): .vectors(width)
            case .symbols(let count): .symbols(count)
            }
        let output: Output =
            switch generator.output {
            case .bits(let width): .bits(width)
            case .classes(let count): .classes(count)
            case .values(let width): .values(width)
            }
        self.init(input: input, output: output)
    }
}

extension SequenceBatch {
    /// Generated sequences as tensors.
    init(_ batch: GeneratedBatch, _ generator: any SequenceGenerator) {
        let (rows, steps) = (batch.lanes.count, batch.steps)
        let inputs: SequenceInputs =
            switch generator.input {
            case .vectors(let width): .vectors(Tensor(batch.vectors, [rows, steps, width]))
            case .symbols: .symbols(Tensor(batch.symbols, [rows, steps]))
            }
        let targets: SequenceTargets =
            switch generator.output {
            case .bits(let width): .bits(Tensor(batch.targets, [rows, steps, width]))
            case .classes: .classes(Tensor(batch.classes, [rows, steps]))
            case .values(let width): .values(Tensor(batch.targets, [rows, steps, width]))
            }
        self.init(lanes: batch.lanes, inputs: inputs, targets: targets, counts: batch.counts)
    }
}

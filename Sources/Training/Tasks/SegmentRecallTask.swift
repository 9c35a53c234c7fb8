// Pairs said in one segment and asked for some segments later, for language models that remember from segment to segment.
//
// Legend: B streams, T positions of a segment, V symbols.

import Collectives
import Configuration
import Corpora
import Diagnostics
import Models
import NeuralNetworks
import Tensors

/// The sections `task` (`kind: segment-recall`) and `model` of a run.
public struct SegmentRecallTaskSettings: TaskSettings {
    /// What makes the segments.
    public var generator: SegmentRecallGenerator
    /// Segments of each stream that one evaluation reads.
    public var examples: Int
    /// What learns it.
    public var model: any ModelConfiguration

    public var modelKind: String { model.kind.rawValue }

    /// Reads the sections but for `task.kind`.
    /// - Throws: `UserError` (.configuration) that names the key.
    init(_ section: ConfigurationSection, model: ConfigurationSection) throws {
        let standard = SegmentRecallGenerator()
        let keys = try section.int("keys", "Different keys of a segment.", default: standard.keys, in: SizeLimits.generatedWidth)
        let pairs = try section.int(
            "pairs", "Pairs of a key and a value that a segment says.", default: keys, defaultText: "task.keys", in: SizeLimits.generatedWidth)
        guard pairs <= keys else { throw section.error("pairs", "is \(pairs), more than task.keys, \(keys)") }
        generator = SegmentRecallGenerator(
            pairs: pairs,
            questions: try section.int(
                "questions", "Questions of a segment, for pairs of an earlier one.", default: pairs, defaultText: "task.pairs",
                in: SizeLimits.generatedWidth),
            distance: try section.int(
                "distance", "How many segments after its pair a question stands.", default: standard.distance, in: SizeLimits.generatedWidth),
            keys: keys,
            values: try section.int("values", "Different values.", default: standard.values, in: 2...SizeLimits.generatedLength.upperBound))
        examples = try section.int("examples", "Segments of each of 16 streams that one evaluation reads.", default: 32, in: 1..., onResume: .free)
        self.model = try readModelConfiguration(model, of: ModelKind.texts)
        guard model.fillsIn || self.model.maximumLength ?? .max >= generator.length else {
            throw model.error(
                "context", "is \(self.model.maximumLength ?? 0), and segments have \(generator.length) positions", advice: "raise model.context")
        }
    }

    public func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask {
        SegmentRecallTask(configuration, self)
    }
}

/// Recall over segments with a language model.
public final class SegmentRecallTask: LearningTask {
    private let generator: SegmentRecallGenerator
    private let examples: Int
    private let configuration: RunConfiguration
    private let languageModel: any TextLanguageModel

    /// Streams of an evaluation, and those that are read together, whatever the number of ranks.
    private static let streams = 16
    private static let streamsAtOnce = 4

    init(_ configuration: RunConfiguration, _ settings: SegmentRecallTaskSettings) {
        (generator, examples, self.configuration) = (settings.generator, settings.examples, configuration)
        guard case .text(let model) = settings.model.makeModel(vocabularySize: generator.symbols).form else { fatalError("a model of pairs") }
        languageModel = model
    }

    public var summary: String { generator.summary }
    public var laneBytes: Int { 8 * generator.length }
    public var identity: [(name: String, value: String)] { [("task", generator.identity)] }
    public var files: [RunFile] { [] }
    public var model: any TrainableModel { languageModel }

    public func makeLoader(owning lanes: [Int]) throws -> TaskLoader {
        SegmentRecallLoader(generator, lanes: configuration.batch.lanes, seed: configuration.seed).loader(for: languageModel)
    }

    /// Reads streams that training never sees, from their beginning.
    public func evaluate(_ part: EvaluationPart, _ communicator: any Communicator) throws -> TaskScores? {
        let segments = generator.distance + min(examples, configuration.evaluationBatches ?? .max)
        let sums = try communicator.orderedSum(parts: Self.streams / Self.streamsAtOnce, width: 3) { group in
            var sums = [0.0, 0.0, 0.0]
            read(segments, part, lanes: Array(group * Self.streamsAtOnce..<(group + 1) * Self.streamsAtOnce)) { batch, logits in
                let loss = crossEntropy(logits, targets: batch.targets.viewed(as: [batch.targets.count]))
                sums[0] += Double(loss.count)
                sums[1] += loss.negativeLogLikelihood
                for (row, target) in batch.targets.integerArray.enumerated() where target >= 0 {
                    if logits.largest(inRow: row) == Int(target) { sums[2] += 1 }
                }
            }
            return sums
        }
        let answers = max(sums[0], 1)
        return TaskScores(examples: Int(sums[0]), loss: sums[1] / answers, scores: [.init("accuracy", sums[2] / answers)])
    }

    /// Reads segments of some streams one after the other, the memory going on.
    /// - Parameter onSegment: gets each with its logits, [B T, V].
    private func read(
        _ segments: Int, _ part: EvaluationPart, lanes: [Int], trace: MemoryTrace? = nil, _ onSegment: (TokenBatch, Tensor) -> Void
    ) {
        var memory = CarriedMemory([:])
        for number in 0..<segments {
            let batch = TokenBatch(
                generator.segments(number, seed: configuration.seed, part: part == .validation ? .validation : .test, lanes: lanes))
            let pass = ForwardPass(memory: memory, trace: number == segments - 1 ? trace : nil)
            pass.resets = batch.resets
            let logits = languageModel.logits(batch.inputs, pass)
            onSegment(batch, logits.viewed(as: [batch.inputs.count, languageModel.vocabularySize]))
            memory = CarriedMemory(memory.after)
        }
    }

    /// A segment of the first test stream, from 0, and the answers to its questions.
    public func example(_ number: Int) throws -> Explanation {
        guard number >= 0 else { throw UserError(.usage, "there is no example \(number)", at: summary, advice: "give a number from 0") }
        let trace = MemoryTrace()
        var (input, answer, expected): ([String], [String], [String]) = ([], [], [])
        read(number + generator.distance + 1, .test, lanes: [0], trace: trace) { batch, logits in
            input.append(batch.inputs.integerArray.map(\.description).joined(separator: " "))
            let asked = batch.targets.integerArray.enumerated().filter { $0.element >= 0 }
            answer = asked.map { logits.largest(inRow: $0.offset).description }
            expected = asked.map(\.element.description)
        }
        return Explanation(
            input: input.suffix(generator.distance + 1), answer: answer.joined(separator: " "), expected: expected.joined(separator: " "),
            pictures: trace.pictures)
    }
}

extension SegmentRecallLoader {
    fileprivate func loader(for model: any TextLanguageModel) -> TaskLoader {
        MappedLoader(self) { loader, lanes in PreparedBatch(TokenBatch(loader.batch(lanes: lanes)), for: model) }
    }
}

extension TokenBatch {
    fileprivate init(_ batch: SegmentRecallBatch) {
        let shape: Shape = [batch.lanes.count, batch.inputs.count / max(batch.lanes.count, 1)]
        self.init(lanes: batch.lanes, inputs: Tensor(batch.inputs, shape), targets: Tensor(batch.targets, shape))
    }
}

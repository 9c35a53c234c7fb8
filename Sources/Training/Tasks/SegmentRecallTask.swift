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
    /// Segments of each stream that a training step reads.
    public var segments: Int
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
        let questions = try section.int(
            "questions", "Questions of a segment, for pairs of an earlier one.", default: pairs, defaultText: "task.pairs",
            in: SizeLimits.generatedWidth)
        let distances = try section.ints(
            "distance", "How many segments after its pair a question stands. Of several each has pairs of its own in every segment.",
            default: [standard.longestDistance], in: 0...SizeLimits.generatedWidth.upperBound)
        guard !distances.isEmpty, Set(distances).count == distances.count else {
            throw section.error("distance", "is \(distances), which is empty or names a distance twice")
        }
        let sharesPairs = try section.bool(
            "sharesPairs", "The distances ask for the same pairs, whose keys come again after one recurrence for all.", default: false)
        let longest = distances.max() ?? 0
        var recurrences = try section.ints(
            "recurrence",
            "After how many segments the keys of a distance come again, for each of task.distance; up to the distance itself they have come again when "
                + "they are asked for, with other values.",
            default: sharesPairs ? [longest + 1] : distances.map { $0 + 1 }, defaultText: "one more than the distance", in: SizeLimits.generatedWidth)
        let (asked, expected) = sharesPairs ? ("task.sharesPairs asks for one", 1) : ("task.distance has \(distances.count)", distances.count)
        guard recurrences.count == expected || section.fillsIn else {
            throw section.error("recurrence", "has \(recurrences.count) numbers, and \(asked)")
        }
        if sharesPairs {
            guard recurrences[0] > longest || section.fillsIn else {
                throw section.error("recurrence", "is \(recurrences[0]), and pairs that the distances share are asked for after \(longest) segments")
            }
            recurrences = [Int](repeating: recurrences[0], count: distances.count)
        }
        generator = SegmentRecallGenerator(
            pairs: pairs, questions: questions,
            groups: zip(distances, recurrences).map { SegmentRecallGenerator.Group(distance: $0, recurrence: $1) }, keys: keys,
            values: try section.int("values", "Different values.", default: standard.values, in: 2...SizeLimits.generatedLength.upperBound))
        generator.sharesPairs = sharesPairs
        generator.marksQuestions = try section.bool(
            "marksQuestions", "A question for a key is a symbol of its own, instead of the key.", default: generator.marksQuestions)
        segments = try section.int(
            "segments",
            "Segments of each stream that a training step reads at once: over how many a gradient flows. Evaluation reads them one by one.",
            default: 1, in: SizeLimits.generatedWidth)
        examples = try section.int("examples", "Segments of each of 16 streams that one evaluation reads.", default: 32, in: 1..., onResume: .free)
        self.model = try readModelConfiguration(model, of: ModelKind.texts)
        let positions = segments * generator.length
        guard model.fillsIn || self.model.maximumLength ?? .max >= positions else {
            throw model.error(
                "context", "is \(self.model.maximumLength ?? 0), and a step reads \(positions) positions of a stream", advice: "raise model.context")
        }
    }

    public func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask {
        SegmentRecallTask(configuration, self)
    }
}

/// Recall over segments with a language model.
public final class SegmentRecallTask: LearningTask {
    private let generator: SegmentRecallGenerator
    private let segments: Int
    private let examples: Int
    private let configuration: RunConfiguration
    private let languageModel: any TextLanguageModel

    /// Streams of an evaluation, and those that are read together, whatever the number of ranks.
    private static let streams = 16
    private static let streamsAtOnce = 4

    init(_ configuration: RunConfiguration, _ settings: SegmentRecallTaskSettings) {
        (generator, segments, examples, self.configuration) = (settings.generator, settings.segments, settings.examples, configuration)
        guard case .text(let model) = settings.model.makeModel(vocabularySize: generator.symbols).form else { fatalError("a model of pairs") }
        languageModel = model
    }

    public var summary: String { generator.summary }
    public var laneBytes: Int { 8 * segments * generator.length }
    public var identity: [(name: String, value: String)] { [("task", generator.identity)] }
    public var files: [RunFile] { [] }
    public var model: any TrainableModel { languageModel }

    public func makeLoader(owning lanes: [Int]) throws -> TaskLoader {
        let lanes = configuration.batch.lanes
        return SegmentRecallLoader(generator, lanes: lanes, segments: segments, seed: configuration.seed).loader(for: languageModel)
    }

    /// Reads streams that training never sees, from their beginning. Of several distances each has an accuracy, too.
    public func evaluate(_ part: EvaluationPart, _ communicator: any Communicator) throws -> TaskScores? {
        let segments = generator.longestDistance + min(examples, configuration.evaluationBatches ?? .max)
        let groups = generator.groups
        // Answers, nats and right answers of all, then answers and right answers of each group.
        let width = 3 + 2 * groups.count
        let sums = try communicator.orderedSum(parts: Self.streams / Self.streamsAtOnce, width: width) { group in
            var sums = [Double](repeating: 0, count: width)
            try read(segments, part, lanes: Array(group * Self.streamsAtOnce..<(group + 1) * Self.streamsAtOnce)) { number, batch, logits in
                let loss = crossEntropy(logits, targets: batch.targets.viewed(as: [batch.targets.count]))
                sums[0] += Double(loss.count)
                sums[1] += loss.negativeLogLikelihood
                let inputs = batch.inputs.integerArray
                for (row, target) in batch.targets.integerArray.enumerated() where target >= 0 {
                    let own = 3 + 2 * generator.group(ofQuestion: inputs[row], segment: number)
                    sums[own] += 1
                    guard logits.largest(inRow: row) == Int(target) else { continue }
                    sums[2] += 1
                    sums[own + 1] += 1
                }
            }
            return sums
        }
        let answers = max(sums[0], 1)
        let byDistance = groups.count == 1 ? [] : groups.indices.map { group in
            TaskScores.Score("accuracy_distance_\(groups[group].distance)", sums[4 + 2 * group] / max(sums[3 + 2 * group], 1))
        }
        return TaskScores(examples: Int(sums[0]), loss: sums[1] / answers, scores: [.init("accuracy", sums[2] / answers)] + byDistance)
    }

    /// Reads segments of some streams one after the other, the memory going on. Stored keys and values begin with the streams, as many of each as in
    /// training.
    /// - Parameter onSegment: gets each by its number, with its logits, [B T, V].
    private func read(
        _ segments: Int, _ part: EvaluationPart, lanes: [Int], trace: MemoryTrace? = nil, _ onSegment: (Int, TokenBatch, Tensor) -> Void
    ) throws {
        var memory = CarriedMemory([:])
        let memorizing = languageModel as? any MemorizingModel
        let own = memorizing?.memorizing.map { settings in
            let capacity = max(1, settings.capacity / configuration.batch.lanes * lanes.count)
            return MemorizedPairs(settings, heads: memorizing?.pairHeads ?? 1, width: memorizing?.pairWidth ?? 1, capacity: capacity)
        }
        for number in 0..<segments {
            let batch = TokenBatch(
                generator.segments(number, seed: configuration.seed, part: part == .validation ? .validation : .test, lanes: lanes))
            let pairs = own.map { PairReading([$0], collects: true) }
            pairs?.lanes = lanes
            let pass = ForwardPass(memory: memory, pairs: pairs, trace: number == segments - 1 ? trace : nil)
            pass.resets = batch.resets
            let logits = languageModel.logits(batch.inputs, pass)
            onSegment(number, batch, logits.viewed(as: [batch.inputs.count, languageModel.vocabularySize]))
            if let left = pairs?.segment { try own?.append([(lanes, left)]) }
            memory = CarriedMemory(memory.after)
        }
    }

    /// A segment of the first test stream, from 0, and the answers to its questions.
    public func example(_ number: Int) throws -> Explanation {
        guard number >= 0 else { throw UserError(.usage, "there is no example \(number)", at: summary, advice: "give a number from 0") }
        let trace = MemoryTrace()
        var (input, answer, expected): ([String], [String], [String]) = ([], [], [])
        try read(number + generator.longestDistance + 1, .test, lanes: [0], trace: trace) { _, batch, logits in
            input.append(batch.inputs.integerArray.map(\.description).joined(separator: " "))
            let asked = batch.targets.integerArray.enumerated().filter { $0.element >= 0 }
            answer = asked.map { logits.largest(inRow: $0.offset).description }
            expected = asked.map(\.element.description)
        }
        return Explanation(
            input: input.suffix(generator.longestDistance + 1), answer: answer.joined(separator: " "), expected: expected.joined(separator: " "),
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

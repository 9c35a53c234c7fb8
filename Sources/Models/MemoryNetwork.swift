// The end-to-end memory network of Sukhbaatar, Szlam, Weston and Fergus ("End-to-end memory networks", 2015): stories and questions to answers.
//
// Legend: B questions, N sentences of a batch, D width, V vocabulary, M memory slots, K hops, C classes of answers.

import Memory
import NeuralNetworks
import Tensors

/// Reads a story into slots, looks at them once for each hop, and names the class of the answer.
public final class MemoryNetwork: TrainableModel {
    public let configuration: MemoryNetworkConfiguration
    public let store = ParameterStore()
    /// V; word 0 is padding.
    public let vocabularySize: Int
    /// C. Class 0 is never answered where the output is tied, since word 0 is no word.
    public let classCount: Int
    /// M.
    public let slotCount: Int

    private let core: EndToEndMemory
    /// Tables that sentences are summed with; K + 1 of them adjacent, 2 layer-wise.
    private let memoryTables: [Parameter]
    /// Temporal rows of those tables.
    private let times: [Parameter]
    /// The question's own table, where it has one.
    private let question: Parameter?
    private let transition: Parameter?
    private let output: Parameter
    /// What is added to the scores of the answers: padding is never one.
    private let outputOffset: Tensor?

    /// Declares the parameters. The caller allocates.
    /// - Parameters:
    ///   - configuration: what it is made of.
    ///   - vocabularySize: V, padding counted.
    ///   - classCount: C, for answers that are not words of the vocabulary; `nil`: the answer is a word.
    ///   - slotCount: M, the most sentences that are remembered, and the ages told apart.
    ///   - longestSentence: J of the released position encoding, in words; the other encodings do not use it.
    public init(
        _ configuration: MemoryNetworkConfiguration, vocabularySize: Int, classCount: Int? = nil, slotCount: Int, longestSentence: Int
    ) {
        self.configuration = configuration
        self.vocabularySize = vocabularySize
        self.classCount = classCount ?? vocabularySize
        self.slotCount = slotCount
        let encoding: SentenceEncoding =
            switch configuration.encoding {
            case .bag: .bag
            case .position: .position
            case .releasedPosition: .releasedPosition(places: longestSentence + (configuration.temporal ? 1 : 0))
            }
        core = EndToEndMemory(
            width: configuration.width, encoding: encoding, rectifiedUnits: configuration.rectifier.units(of: configuration.width),
            capacity: configuration.emptySlots ? slotCount : nil)
        let store = store
        let words = Initializer.paddedNormal(standardDeviation: configuration.deviation)
        let dense = Initializer.normal(standardDeviation: configuration.deviation)
        let isTied = configuration.tiedOutput && classCount == nil
        func table(_ name: String, isTied: Bool = false) -> Parameter {
            store.add(
                name, [vocabularySize, configuration.width], words, decays: false,
                gradient: isTied ? .dense : .table(rows: vocabularySize, width: configuration.width))
        }
        let isAdjacent = configuration.tying == .adjacent
        let names = isAdjacent ? (0...configuration.hops).map { "memory.\($0)" } : ["memory.input", "memory.output"]
        question = isAdjacent ? nil : table("question.words")
        memoryTables = names.map { table("\($0).words", isTied: isTied && $0 == names.last) }
        times = configuration.temporal ? names.map { store.add("\($0).times", [slotCount, configuration.width], dense, decays: false) } : []
        transition = configuration.transition ? store.add("transition", [configuration.width, configuration.width], dense) : nil
        output = isTied ? memoryTables[memoryTables.count - 1] : store.add("output.weight", [self.classCount, configuration.width], dense)
        outputOffset = classCount == nil ? Self.withoutPadding(self.classCount) : nil
    }

    /// 0 for each class but the first, whose probability becomes 0.
    private static func withoutPadding(_ classes: Int) -> Tensor {
        let offsets = Tensor(zeros: [classes])
        offsets.floats[0] = -1e30
        return offsets
    }

    public var memory: [MemoryDeclaration] {
        memoryTables.map {
            MemoryDeclaration(String($0.name.dropLast(".words".count)), [slotCount, configuration.width], axes: ["sentence", "unit"])
        } + [MemoryDeclaration("state", [configuration.width], axes: ["unit"])]
    }

    /// The state after the last hop, [B, D], and the attention of each hop, [K, N].
    public func read(_ batch: StoryBatch, _ pass: ForwardPass) -> EndToEndMemory.Output {
        var words = memoryTables.map { pass($0) }
        if let question { words.append(pass(question)) }
        let isAdjacent = configuration.tying == .adjacent
        let tables = EndToEndTables(
            words: words, times: times.map { pass($0) }, hops: (0..<configuration.hops).map { isAdjacent ? ($0, $0 + 1) : (0, 1) },
            question: isAdjacent ? 0 : 2, transition: transition.map { pass($0) })
        let result = core(batch.stories, tables, isLinear: pass.stepsDone < configuration.linearStart)
        if let trace = pass.trace { record(result.attention, batch, trace) }
        return result
    }

    /// What the first story's hops looked at.
    private func record(_ attention: Tensor, _ batch: StoryBatch, _ trace: MemoryTrace) {
        let (columns, sentences) = (Int(batch.stories.storyStarts[1]), batch.stories.sentenceCount)
        let values = (0..<configuration.hops).flatMap { hop in (0..<columns).map { attention.floats[hop * sentences + $0] } }
        trace.record(
            "attention", rowAxis: "hop", columnAxis: "sentence", rowLabels: (1...configuration.hops).map { "hop \($0)" }, rows: configuration.hops,
            columns: columns, values: values)
    }

    /// The scores of all classes, [B, C].
    public func scores(_ batch: StoryBatch, _ pass: ForwardPass) -> Tensor {
        linear(read(batch, pass).state, weight: pass(output), bias: outputOffset, outputType: .float32)
    }

    public func loss(_ batch: StoryBatch, _ pass: ForwardPass) -> SummedLoss {
        linearCrossEntropy(
            read(batch, pass).state, weight: pass(output), bias: outputOffset, targets: Tensor(batch.answers, [batch.answers.count]))
    }

    /// The likeliest class of each question and its probability.
    public func answers(_ batch: StoryBatch, _ pass: ForwardPass = ForwardPass()) -> [(answer: Int32, probability: Float)] {
        let scores = softmax(scores(batch, pass))
        return (0..<batch.lanes.count).map { story in
            let row = scores.floats + story * classCount
            var best = 0
            for index in 1..<max(1, classCount) where row[index] > row[best] { best = index }
            return (Int32(best), row[best])
        }
    }
}

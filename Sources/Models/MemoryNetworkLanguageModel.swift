// The end-to-end memory network as a language model (Sukhbaatar, Szlam, Weston and Fergus, "End-to-end memory networks", 2015, section 5).
//
// Legend: B sequences, T positions, H words before the first position, M words of memory, D width, V vocabulary, K hops.

import Configuration
import Memory
import NeuralNetworks
import Tensors

/// What a memory network that is a language model has beside `ModelConfiguration.width` (D), `dropout` and `carry`.
public struct MemoryNetworkLanguageOptions: Sendable, Equatable {
    /// K.
    public var hops: Int
    /// M, the latest words that are seen, that at the position itself counted.
    public var memory: Int
    /// How the tables of the hops are tied.
    public var tying: MemoryTying
    /// A learned matrix H on the state between hops.
    public var transition: Bool
    /// Which units go through a rectifier after each hop.
    public var rectifier: MemoryRectifier
    /// The standard deviation of all parameters at the start.
    public var deviation: Float

    /// The model of the paper's section 5.
    public init(
        hops: Int = 6, memory: Int = 100, tying: MemoryTying = .layerWise, transition: Bool? = nil, rectifier: MemoryRectifier = .half,
        deviation: Float = 0.05
    ) {
        self.hops = hops
        self.memory = memory
        self.tying = tying
        self.transition = transition ?? (tying == .layerWise)
        self.rectifier = rectifier
        self.deviation = deviation
    }

    /// Reads the section `model`.
    /// - Throws: `UserError` (.configuration) that names the key.
    public init(_ section: ConfigurationSection) throws {
        let standard = MemoryNetworkLanguageOptions()
        let tying = try section.choice("tying", default: standard.tying)
        self.init(
            hops: try section.int("hops", default: standard.hops, in: 1...64),
            memory: try section.int("memory", default: standard.memory, in: 1...65_536),
            tying: tying, transition: try section.bool("transition", default: tying == .layerWise),
            rectifier: try section.choice("rectifier", default: standard.rectifier),
            deviation: Float(try section.double("deviation", default: 0.05, in: Double.leastNonzeroMagnitude...)))
    }
}

/// A language model that looks back at the latest M words, hop after hop, before it predicts the next.
///
/// Each word is a sentence of its own, with temporal rows by its age. Each batch starts with no words remembered, or, where the configuration
/// says `carry`, with the words that its lanes read last, from `ForwardPass.memory`. Words are remembered, not what was made of them: they are
/// embedded anew by the present tables, and gradient flows to the tables from every word that is seen, whichever batch it came in.
///
/// With layer-wise tying the output layer has a matrix of its own; with adjacent tying it is the output memory's table of the last hop. There
/// is no bias.
public final class MemoryNetworkLanguageModel: TextLanguageModel {
    /// What it is made of; `configuration.memoryNetwork` holds the options.
    public let configuration: ModelConfiguration
    /// V.
    public let vocabularySize: Int
    public let store = ParameterStore()
    public let inputKind = ModelInputKind.tokens
    public let maximumLength: Int? = nil
    /// One declaration, `words` [M]: ids as float32, the latest last, -1 for a slot without a word.
    public let memory: [MemoryDeclaration]

    private let options: MemoryNetworkLanguageOptions
    private let core: SlidingMemory
    /// Tables of words, [V, D]; K + 1 of them adjacent, 2 layer-wise.
    private let tables: [Embedding]
    /// Temporal rows of those tables, [M, D].
    private let times: [Parameter]
    private let transition: Parameter?
    /// [V, D].
    private let output: Parameter

    /// The value of a slot without a word. Others hold the word's id.
    private static let noWord: Float = -1

    /// Declares the parameters: normal numbers of the options' deviation. The caller allocates.
    public init(_ configuration: ModelConfiguration, vocabularySize: Int) {
        precondition(vocabularySize <= 1 << 24, "ids of \(vocabularySize) words are remembered as float32")
        self.configuration = configuration
        self.vocabularySize = vocabularySize
        options = configuration.memoryNetwork
        let (width, options) = (configuration.width, options)
        core = SlidingMemory(width: width, rectifiedUnits: options.rectifier.units(of: width))
        let (store, normal) = (store, Initializer.normal(standardDeviation: options.deviation))
        let isAdjacent = options.tying == .adjacent
        let names = isAdjacent ? (0...options.hops).map { "memory.\($0)" } : ["memory.input", "memory.output"]
        tables = names.map {
            Embedding(
                store, "\($0).words", rows: vocabularySize, width: width, initializer: normal, gradient: isAdjacent && $0 == names.last ? .dense : .rows)
        }
        times = names.map { store.add("\($0).times", [options.memory, width], normal) }
        transition = options.transition ? store.add("transition", [width, width], normal) : nil
        output = isAdjacent ? tables[options.hops].weight : store.add("output.weight", [vocabularySize, width], normal)
        memory = [
            MemoryDeclaration(
                "words", [options.memory], axes: ["slot"], lifetime: configuration.carry ? .lane : .sequence, initial: .constant(Self.noWord))
        ]
    }

    /// The states before the output layer, dropout applied: int32 [B, T] to [B, T, D].
    /// - Parameter words: the words remembered before the first position, ids as float32 [B, M], the latest last and -1 for none, which come first;
    ///   `nil` for none at all.
    /// - Returns: the states, and the words remembered after the last position.
    public func hidden(_ inputs: Tensor, after words: Tensor? = nil, _ pass: ForwardPass) -> (hidden: Tensor, words: Tensor) {
        let window = RememberedWords(inputs, after: words, capacity: options.memory)
        let isAdjacent = options.tying == .adjacent
        let rows = tables.map { dropout($0(window.ids, pass), rate: configuration.dropout, pass.dropout) }
        let result = core(
            SlidingMemoryTables(
                words: rows, times: times.map { pass($0) }, hops: (0..<options.hops).map { isAdjacent ? ($0, $0 + 1) : (0, 1) },
                transition: transition.map { pass($0) }),
            positions: inputs.shape[1], empty: window.empty)
        if let trace = pass.trace { record(result.attention, words: min(options.memory, window.ids.shape[1] - window.empty[0]), trace) }
        let state = convert(pass.checked(result.state, times[times.count - 1]), to: store.activationType)
        return (dropout(state, rate: configuration.dropout, pass.dropout), window.latest(none: Self.noWord))
    }

    /// What the hops looked at after the last position of the first sequence, where so many words are seen.
    private func record(_ attention: Tensor, words: Int, _ trace: MemoryTrace) {
        let (batch, positions, places) = (attention.shape[1], attention.shape[2], attention.shape[3])
        let values = (0..<options.hops).flatMap { hop in
            (places - words..<places).map { attention.floats[(hop * batch * positions + positions - 1) * places + $0] }
        }
        trace.record(
            "attention", rowAxis: "hop", columnAxis: "word", rowLabels: (1...options.hops).map { "hop \($0)" }, rows: options.hops, columns: words,
            values: values)
    }

    /// The logits of every position: int32 [B, T] to float32 [B, T, V]; read from, and kept in, the lanes' memory where the configuration says `carry`.
    public func logits(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor { project(hiddenFromLanes(inputs, pass), pass) }

    public func loss(_ batch: ModelBatch, _ pass: ForwardPass) -> SummedLoss {
        guard case .tokens(let batch) = batch else { preconditionFailure("a memory network as a language model takes token batches") }
        return linearCrossEntropy(
            hiddenFromLanes(batch.inputs, pass), weight: pass.operand(output), targets: batch.targets,
            labelSmoothing: pass.isTraining ? configuration.labelSmoothing : 0)
    }

    /// `hidden` after the words that lanes remember, which then remember what they have read, where the configuration says `carry`.
    private func hiddenFromLanes(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor {
        let before = configuration.carry ? pass.remembered(memory, withGradient: false) : nil
        let (hidden, words) = hidden(inputs, after: before?.tensors[0], pass)
        if configuration.carry { pass.remember(MemoryState([words]), as: memory) }
        return hidden
    }

    public func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder { Decoder(self, prompts) }

    private func project(_ hidden: Tensor, _ pass: ForwardPass) -> Tensor {
        linear(hidden, weight: pass.operand(output), outputType: .float32, packed: pass.packed(output))
    }

    /// Every step looks at the M latest words: 2 K M D flops for each of the two products of a hop, whatever has been read before.
    private final class Decoder: IncrementalDecoder {
        private let model: MemoryNetworkLanguageModel
        private let pass = ForwardPass()
        /// [B, M].
        private var words: Tensor
        private(set) var firstLogits: Tensor?

        init(_ model: MemoryNetworkLanguageModel, _ prompts: [[Int32]]) {
            self.model = model
            let capacity = model.options.memory
            words = Tensor(repeating: MemoryNetworkLanguageModel.noWord, [prompts.count, capacity])
            let lasts = prompts.map { prompt -> Int32 in
                guard let last = prompt.last else { preconditionFailure("decoding starts from at least one token") }
                return last
            }
            for (row, prompt) in prompts.enumerated() {
                let known = prompt.dropLast().suffix(capacity)
                for (place, word) in known.enumerated() { words.floats[(row + 1) * capacity - known.count + place] = Float(word) }
            }
            firstLogits = advance(lasts)
        }

        func advance(_ tokens: [Int32]) -> Tensor {
            let (hidden, next) = model.hidden(Tensor(tokens, [tokens.count, 1]), after: words, pass)
            words = next
            return model.project(hidden, pass).viewed(rows: tokens.count)
        }

        func reorder(_ parents: [Int]) {
            let columns = words.shape[1]
            let chosen = Tensor(uninitialized: [parents.count, columns])
            for (row, parent) in parents.enumerated() {
                (chosen.floats + row * columns).update(from: words.floats + parent * columns, count: columns)
            }
            words = chosen
        }
    }
}

/// The words that a batch sees: those remembered, then those it reads.
private struct RememberedWords {
    /// int32 [B, H + T]; 0 where there is no word.
    let ids: Tensor
    /// For each sequence the first columns of `ids` that are no words.
    let empty: [Int]
    private let capacity: Int

    /// - Parameter words: as `MemoryNetworkLanguageModel.hidden` takes them. The oldest is too old for the first position, and left out.
    init(_ inputs: Tensor, after words: Tensor?, capacity: Int) {
        self.capacity = capacity
        let (batch, positions) = (inputs.shape[0], inputs.shape[1])
        if let words {
            precondition(words.shape == [batch, capacity], "words of shape \(words.shape) remembered by \(batch) sequences of \(capacity)")
        }
        let before = words == nil ? 0 : capacity - 1
        let ids = Tensor(uninitialized: [batch, before + positions], .int32)
        var empty = [Int](repeating: 0, count: batch)
        for row in 0..<batch {
            let target = ids.integers + row * (before + positions)
            if let words {
                let source = words.floats + row * capacity + 1
                for place in 0..<before {
                    target[place] = Int32(max(source[place], 0))
                    if source[place] < 0 { empty[row] = place + 1 }
                }
            }
            (target + before).update(from: inputs.integers + row * positions, count: positions)
        }
        (self.ids, self.empty) = (ids, empty)
    }

    /// The latest words of each sequence, [B, M].
    func latest(none: Float) -> Tensor {
        let (batch, count) = (ids.shape[0], ids.shape[1])
        let result = Tensor(uninitialized: [batch, capacity])
        for row in 0..<batch {
            for place in 0..<capacity {
                let column = count - capacity + place
                result.floats[row * capacity + place] = column < empty[row] ? none : Float(ids.integers[row * count + column])
            }
        }
        return result
    }
}

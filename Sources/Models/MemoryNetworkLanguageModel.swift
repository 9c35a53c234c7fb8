// The end-to-end memory network as a language model (Sukhbaatar, Szlam, Weston and Fergus, "End-to-end memory networks", 2015, section 5).
//
// Legend: B sequences, T positions, H words before the first position, M words of memory, D width, V vocabulary, K hops.

import Configuration
import Diagnostics
import Memory
import NeuralNetworks
import Tensors

/// A language model that looks back at the latest M words, hop after hop, before it predicts the next.
///
/// Each word is a sentence of its own, with temporal rows by its age. Each batch starts with no words remembered, or, where the configuration
/// says `carry`, with the words that its lanes read last. Words are remembered, not what was made of them: they are
/// embedded anew by the present tables, and gradient flows to the tables from every word that is seen, whichever batch it came in.
///
/// With layer-wise tying the output layer has a matrix of its own; with adjacent tying it is the output memory's table of the last hop. There
/// is no bias.
public final class MemoryNetworkLanguageModel: RememberingLanguageModel {
    /// The section `model` of a run over a corpus with `kind: memory-network`; what it starts as is the model of the paper's section 5.
    public struct Configuration: ModelConfiguration {
        /// D.
        public var width: Int
        /// K.
        public var hops = 6
        /// M, the latest words that are seen, that at the position itself counted.
        public var memory = 100
        /// How the tables of the hops are tied.
        public var tying = MemoryTying.layerWise {
            didSet { transition = tying.hasTransition }
        }
        /// A learned matrix H on the state between hops.
        public var transition = MemoryTying.layerWise.hasTransition
        /// Which units go through a rectifier after each hop.
        public var rectifier = MemoryRectifier.half
        /// The standard deviation of all parameters at the start.
        public var deviation: Float = 0.05
        /// The rate of dropout on the words' rows and on the last state.
        public var dropout: Float = 0
        /// The probability that is spread over the whole vocabulary in the training loss.
        public var labelSmoothing: Float = 0
        /// Whether lanes go on from the words of their earlier batch.
        public var carriesMemory = false

        /// The paper's model at some width.
        public init(width: Int) { self.width = width }

        public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
            self.init(width: try section.int("width", "The width of the tables of words.", in: SizeLimits.width))
            dropout = try section.rate("dropout", "The rate of dropout on the words' rows and on the last state.", default: dropout)
            labelSmoothing = try section.labelSmoothing(default: labelSmoothing)
            carriesMemory = try section.carry(default: carriesMemory)
            tying = try section.choice("tying", "Which tables of words the hops share.", default: tying)
            hops = try section.int("hops", "How often the memory is read.", default: hops, in: 1...64)
            memory = try section.int("memory", "How many of the latest words are seen.", default: memory, in: 1...65_536)
            transition = try section.bool(
                "transition", "The state goes through a learned matrix between hops.", default: tying.hasTransition,
                defaultText: "true where model.tying is layer-wise")
            rectifier = try section.choice(
                "rectifier", "Which units of the state go through a rectifier after each hop.", default: rectifier)
            deviation = try section.deviation(default: deviation)
        }

        public var kind: ModelKind { .memoryNetwork }
        public var maximumLength: Int? { nil }
        public func makeModel(vocabularySize: Int) -> any LanguageModel { MemoryNetworkLanguageModel(self, vocabularySize: vocabularySize) }
    }

    public let configuration: Configuration
    /// V.
    public let vocabularySize: Int
    public let store = ParameterStore()
    public let maximumLength: Int? = nil
    /// One declaration, `words` [M]: ids as float32, the latest last, -1 for a slot without a word.
    public let memory: [MemoryDeclaration]

    /// The state after the last hop.
    public var contextVectors: ContextVectors? { ContextVectors(layer: configuration.hops - 1, width: configuration.width) }

    private let core: SlidingMemory
    /// Tables of words, [V, D]; K + 1 of them adjacent, 2 layer-wise.
    private let tables: [Embedding]
    /// Temporal rows of those tables, [M, D].
    private let times: [Parameter]
    private let transition: Parameter?
    let output: OutputProjection
    /// Words are remembered, which no gradient goes to.
    let learnsFromState = false
    var carriesMemory: Bool { configuration.carriesMemory }
    var labelSmoothing: Float { configuration.labelSmoothing }

    /// The value of a slot without a word. Others hold the word's id.
    private static let noWord: Float = -1

    /// Declares the parameters: normal numbers of the configuration's deviation. The caller allocates.
    public init(_ configuration: Configuration, vocabularySize: Int) {
        require(vocabularySize <= 1 << 24, "ids of \(vocabularySize) words are remembered as float32")
        self.configuration = configuration
        self.vocabularySize = vocabularySize
        let width = configuration.width
        core = SlidingMemory(width: width, rectifiedUnits: configuration.rectifier.units(of: width))
        let (store, normal) = (store, Initializer.normal(standardDeviation: configuration.deviation))
        let isAdjacent = configuration.tying == .adjacent
        let names = isAdjacent ? (0...configuration.hops).map { "memory.\($0)" } : ["memory.input", "memory.output"]
        tables = names.map {
            Embedding(
                store, "\($0).words", rows: vocabularySize, width: width, initializer: normal, gradient: isAdjacent && $0 == names.last ? .dense : nil)
        }
        times = names.map { store.add("\($0).times", [configuration.memory, width], normal) }
        transition = configuration.transition ? store.add("transition", [width, width], normal) : nil
        output = OutputProjection(isAdjacent ? tables[configuration.hops].weight : store.add("output.weight", [vocabularySize, width], normal))
        memory = [
            MemoryDeclaration(
                "words", [configuration.memory], axes: ["slot"], lifetime: configuration.carriesMemory ? .lane : .sequence,
                initial: .constant(Self.noWord))
        ]
    }

    /// The states before the output layer, dropout applied: int32 [B, T] to [B, T, D].
    /// - Parameter state: the words remembered before the first position, ids as float32 [B, M], the latest last and -1 for none, which come first;
    ///   `nil` for none at all.
    /// - Returns: the states, and the words remembered after the last position.
    public func hidden(_ inputs: Tensor, from state: MemoryState? = nil, _ pass: ForwardPass) -> (hidden: Tensor, state: MemoryState) {
        let window = RememberedWords(inputs, after: state?.tensors[0], capacity: configuration.memory)
        let isAdjacent = configuration.tying == .adjacent
        let rows = tables.map { dropout($0(window.ids, pass), rate: configuration.dropout, pass.dropout) }
        let result = core(
            SlidingMemoryTables(
                words: rows, times: times.map { pass($0) }, hops: (0..<configuration.hops).map { isAdjacent ? ($0, $0 + 1) : (0, 1) },
                transition: transition.map { pass($0) }),
            positions: inputs.shape[1], empty: window.empty)
        if let trace = pass.trace { record(result.attention, words: min(configuration.memory, window.ids.shape[1] - window.empty[0]), trace) }
        let state = convert(pass.checked(result.state, times[times.count - 1]), to: store.activationType)
        return (dropout(state, rate: configuration.dropout, pass.dropout), MemoryState([window.latest(none: Self.noWord)]))
    }

    /// What the hops looked at after the last position of the first sequence, where so many words are seen.
    private func record(_ attention: Tensor, words: Int, _ trace: MemoryTrace) {
        let (batch, positions, places) = (attention.shape[1], attention.shape[2], attention.shape[3])
        let values = (0..<configuration.hops).flatMap { hop in
            (places - words..<places).map { attention.floats[(hop * batch * positions + positions - 1) * places + $0] }
        }
        trace.record(
            "attention", rowAxis: "hop", columnAxis: "word", rowLabels: (1...configuration.hops).map { "hop \($0)" }, rows: configuration.hops,
            columns: words, values: values)
    }

    /// Every step looks at the M latest words: 2 K M D flops for each of the two products of a hop, whatever has been read before.
    public func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder {
        let capacity = configuration.memory
        let words = Tensor(repeating: Self.noWord, [prompts.count, capacity])
        let lasts = prompts.enumerated().map { row, prompt in
            guard let last = prompt.last else { fatalError("decoding starts from at least one token") }
            let known = prompt.dropLast().suffix(capacity)
            for (place, word) in known.enumerated() { words.floats[(row + 1) * capacity - known.count + place] = Float(word) }
            return last
        }
        let pass = ForwardPass()
        let read = hidden(Tensor(lasts, [lasts.count, 1]), from: MemoryState([words]), pass)
        return RememberingDecoder(self, read.state, firstLogits: output(read.hidden, pass).viewed(as: [prompts.count, vocabularySize]))
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
            require(words.shape == [batch, capacity], "words of shape \(words.shape) remembered by \(batch) sequences of \(capacity)")
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

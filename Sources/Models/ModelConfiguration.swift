// The kinds of models that a run over a corpus can name, and what reads the section `model` of each.

import Configuration
import Diagnostics
import Memory
import NeuralNetworks

/// The words that `model.kind` may be. A new kind has its case here, and its line in `reader`.
public enum ModelKind: String, Sendable, CaseIterable {
    /// GPT-2's layout.
    case decoderOnly = "decoder-only"
    /// The WMT base recipe's layout.
    case encoderDecoder = "encoder-decoder"
    /// A Transformer that remembers the hidden states of earlier segments.
    case transformerXL = "transformer-xl"
    /// The same, which compresses the states that leave its memory instead of forgetting them.
    case compressiveTransformer = "compressive-transformer"
    /// The end-to-end memory network over the latest words.
    case memoryNetwork = "memory-network"
    /// Elman's simple recurrent layers.
    case elman
    /// LSTM layers: over a corpus Zaremba's language model.
    case lstm
    /// Gated recurrent units, the reset gate behind the product.
    case gru
    /// Gated recurrent units, the reset gate before the product.
    case gruResetBefore = "gru-reset-before"
    /// A Neural Turing Machine.
    case turingMachine = "ntm"
    /// A Differentiable Neural Computer.
    case neuralComputer = "dnc"
    /// The erase/add memory.
    case eraseAdd = "erase-add"
    /// Gated DeltaNet: layers whose token mixer is the gated delta rule.
    case gatedDeltaNet = "gated-deltanet"
    /// Sparse Delta Memory: layers that write to and read a few rows of a large memory.
    case sparseDelta = "sparse-delta"
    /// The recurrent memory transformer and its associative form: attention within segments, memory tokens between them.
    case recurrentMemory = "recurrent-memory"
    /// Memformer: attention within segments and to slots, which each segment writes.
    case memformer

    /// What reads the keys of a kind.
    enum Reader {
        /// A language model of its own.
        case model(any ModelConfiguration.Type)
        /// A core that reads one position after the other: in a `RecurrentLanguageModel` over a corpus, in a `SequenceModel` for other tasks.
        case core(any SequenceCoreConfiguration.Type)
    }

    var reader: Reader {
        switch self {
        case .decoderOnly, .encoderDecoder: .model(TransformerConfiguration.self)
        case .transformerXL, .compressiveTransformer: .model(TransformerXLConfiguration.self)
        case .memoryNetwork: .model(MemoryNetworkLanguageModel.Configuration.self)
        case .elman, .lstm, .gru, .gruResetBefore: .core(RecurrentLayersConfiguration.self)
        case .turingMachine: .core(NeuralTuringMachineConfiguration.self)
        case .neuralComputer: .core(DifferentiableNeuralComputerConfiguration.self)
        case .eraseAdd: .core(EraseAddConfiguration.self)
        case .gatedDeltaNet: .core(GatedDeltaNetConfiguration.self)
        case .sparseDelta: .core(SparseDeltaConfiguration.self)
        case .recurrentMemory: .core(RecurrentMemoryConfiguration.self)
        case .memformer: .core(MemformerConfiguration.self)
        }
    }

    /// The kinds that read one position after the other: recurrent layers, or a controller with a memory.
    public static let cores = allCases.filter { if case .core = $0.reader { true } else { false } }

    /// The kinds that have no core but read tokens from left to right, and may read a task's symbols as such.
    public static let tokenReaders = [ModelKind.decoderOnly, .transformerXL]
    /// The kinds that read one sequence of tokens from left to right.
    public static let texts = allCases.filter { $0 != .encoderDecoder }
}

/// What a language model is made of, as the run file's section `model` says it.
public protocol ModelConfiguration: Sendable {
    /// Reads the keys of a kind, but for `kind`.
    /// - Throws: `UserError` (.configuration) that names the key.
    init(_ kind: ModelKind, _ section: ConfigurationSection) throws
    /// Which model.
    var kind: ModelKind { get }
    /// The most positions a sequence may have, target side for pairs; `nil` without a limit.
    var maximumLength: Int? { get }
    /// Whether a lane goes on from what its earlier batch left in memory, instead of starting each batch anew.
    var carriesMemory: Bool { get }
    /// The key of the section that says so, for errors.
    var carryKey: String { get }
    /// What to do about that key where nothing can be carried.
    var carryAdvice: String { get }
    /// The model, its parameters declared but not allocated.
    func makeModel(vocabularySize: Int) -> any LanguageModel
}

extension ModelConfiguration {
    public var carryKey: String { "carry" }
    public var carryAdvice: String { "leave it out" }
}

/// The section `model` of a run over a corpus.
/// - Parameter kinds: those that are allowed.
/// - Throws: `UserError` (.configuration) that names the key.
public func readModelConfiguration(
    _ section: ConfigurationSection, of kinds: [ModelKind] = ModelKind.allCases
) throws -> any ModelConfiguration {
    try readModelConfiguration(section.choice("kind", modelKindMeaning, of: kinds), section)
}

/// The same where the kind is known.
public func readModelConfiguration(_ kind: ModelKind, _ section: ConfigurationSection) throws -> any ModelConfiguration {
    switch kind.reader {
    case .model(let type): return try type.init(kind, section)
    case .core: return try RecurrentLanguageModel.Configuration(kind, section)
    }
}

/// What the key `model.kind` means, whichever task reads it.
public let modelKindMeaning = "What the model is made of."

/// The core of a kind of `ModelKind.cores`.
/// - Throws: `UserError` (.configuration) that names the key.
func readCore(_ kind: ModelKind, _ section: ConfigurationSection) throws -> any SequenceCoreConfiguration {
    guard case .core(let type) = kind.reader else { fatalError("\(kind.rawValue) is no core") }
    return try type.init(kind, section)
}

extension ConfigurationSection {
    /// A number kept as float32. Its default reads as it is written in the source.
    func float(
        _ key: String, _ meaning: String, default defaultValue: Float,
        in range: some RangeExpression<Double> = -Double.infinity...Double.infinity,
        onResume: ResumeRule? = nil
    ) throws -> Float {
        Float(try double(key, meaning, default: Double(defaultValue.description), in: range, onResume: onResume))
    }

    /// A rate of dropout: 0 up to but not 1.
    func rate(_ key: String, _ meaning: String, default defaultValue: Float) throws -> Float {
        try float(key, meaning, default: defaultValue, in: 0..<1, onResume: .noted)
    }

    /// The key `labelSmoothing`.
    func labelSmoothing(default defaultValue: Float) throws -> Float {
        try rate("labelSmoothing", "The probability that the training loss spreads over the whole vocabulary.", default: defaultValue)
    }

    /// The key `recompute`, which changes no result.
    func recompute(default defaultValue: Bool) throws -> Bool {
        try bool(
            "recompute",
            "Compute activations again in the backward pass instead of keeping them: less memory, more time, the same numbers.",
            default: defaultValue, onResume: .free)
    }

    /// The key `carry`.
    func carry(default defaultValue: Bool) throws -> Bool {
        try bool(
            "carry", "A lane goes on from what its earlier batch left in memory, instead of starting each batch anew.", default: defaultValue)
    }

    /// The key `deviation`.
    func deviation(default defaultValue: Float) throws -> Float {
        try float(
            "deviation", "The standard deviation of the parameters at the start.", default: defaultValue, in: Double.leastNonzeroMagnitude...)
    }
}

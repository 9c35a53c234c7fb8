// A model that reads sequences step by step and answers at some of the steps: a core between an input and an output layer.
//
// Legend: B sequences (one a lane), T steps, I input width, F width of the core's outputs, O output width, A steps that are answered, of all
// sequences.

import Configuration
import Diagnostics
import NeuralNetworks
import Tensors

/// What a task gives to a sequence model at every step, and what it asks for.
public struct SequenceModelForm: Sendable, Equatable {
    /// What is read.
    public enum Input: Sendable, Equatable {
        /// Vectors of width I, read as they are.
        case vectors(Int)
        /// Symbols 0 ..< count, read as one-hot vectors or through an embedding.
        case symbols(Int)
    }

    /// What is answered.
    public enum Output: Sendable, Equatable {
        /// O independent bits, scored by their cross-entropy.
        case bits(Int)
        /// One of O classes, scored by cross-entropy.
        case classes(Int)
        /// O real values, scored by squared error.
        case values(Int)

        /// O.
        public var width: Int {
            switch self {
            case .bits(let width), .classes(let width), .values(let width): width
            }
        }
    }

    /// What is read at every step.
    public var input: Input
    /// What is answered at the steps that count.
    public var output: Output

    /// The form of one task; generators and stories give theirs.
    public init(input: Input, output: Output) {
        self.input = input
        self.output = output
    }
}

/// The section `model` of a run whose task is one of sequences.
public struct SequenceModelConfiguration: Sendable {
    /// What reads the steps.
    public var core: any SequenceCoreConfiguration
    /// The width of the embeddings of symbols; `nil` reads symbols as one-hot vectors.
    public var embedding: Int?

    /// A core, and the width of embeddings in front of it.
    public init(core: any SequenceCoreConfiguration, embedding: Int? = nil) {
        self.core = core
        self.embedding = embedding
    }

    /// Reads the section `model`, its `kind` included.
    /// - Throws: `UserError` (configuration).
    public init(_ section: ConfigurationSection) throws {
        try self.init(section.choice("kind", modelKindMeaning, of: ModelKind.cores), section)
    }

    /// Reads the section `model` but for its `kind`.
    /// - Throws: `UserError` (configuration).
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        core = try readCore(kind, section)
        embedding = try section.optionalInt(
            "embedding", "The width of the embeddings of symbols.", defaultText: "symbols are one-hot vectors", in: SizeLimits.width)
    }
}

/// Input, core, output layer, and a loss over the steps that are answered. Steps that are not answered cost no output layer.
public final class SequenceModel: SequenceAnsweringModel {
    public let form: SequenceModelForm
    public let store = ParameterStore()
    /// What reads the steps and remembers.
    public let core: any SequenceCore
    public var memory: [MemoryDeclaration] { core.memory }

    private let symbolEmbedding: Embedding?
    private let output: OutputProjection

    /// Declares `embedding` (where there is one), `core` and `output`. The output layer starts uniform on -1 / sqrt(F) ... 1 / sqrt(F), its bias as
    /// well. A core that ties its embeddings has no `output` where classes are the symbols. The caller allocates.
    public init(_ configuration: SequenceModelConfiguration, _ form: SequenceModelForm) {
        self.form = form
        let inputs: Int
        var isTied = false
        switch (form.input, configuration.embedding) {
        case (.vectors(let width), _): (inputs, symbolEmbedding) = (width, nil)
        case (.symbols(let count), let width?):
            isTied = configuration.core.tiesEmbedding && width == configuration.core.units && form.output == .classes(count)
            symbolEmbedding = Embedding(
                store, "embedding", rows: count, width: width,
                initializer: .normal(standardDeviation: isTied ? 0.02 : 1 / Float(width).squareRoot()), gradient: isTied ? .dense : nil)
            inputs = width
        case (.symbols(let count), nil): (inputs, symbolEmbedding) = (count, nil)
        }
        core = configuration.core.makeCore(store, "core", inputs: inputs, lifetime: .sequence)
        if isTied, let symbolEmbedding {
            output = OutputProjection(symbolEmbedding.weight)
            return
        }
        let uniform = Initializer.uniform(bound: 1 / Float(core.outputWidth).squareRoot())
        let layer = Linear(store, "output", inputs: core.outputWidth, outputs: form.output.width, initializer: uniform, biasInitializer: uniform)
        output = OutputProjection(layer.weight, bias: layer.bias)
    }

    /// What the core gives at every step: [B, T, F].
    private func features(_ inputs: SequenceInputs, _ pass: ForwardPass) -> Tensor {
        let x: Tensor
        switch (inputs, form.input) {
        case (.vectors(let vectors), .vectors(let width)):
            require(vectors.shape.rank == 3 && vectors.shape[2] == width, "vectors \(vectors.shape) for a model that reads \(width)")
            x = vectors
        case (.symbols(let symbols), .symbols(let count)): x = symbolEmbedding.map { $0(symbols, pass) } ?? oneHot(symbols, classes: count)
        default: fatalError("the batch does not hold what the model reads")
        }
        return core(convert(x, to: store.activationType), from: nil, pass).outputs
    }

    /// The outputs of all steps, float32 [B, T, O]: logits of bits or of classes, or values.
    public func outputs(_ inputs: SequenceInputs, _ pass: ForwardPass) -> Tensor { output(features(inputs, pass), pass) }

    public func answers(_ batch: SequenceBatch, _ pass: ForwardPass) -> Tensor {
        let all = features(batch.inputs, pass)
        let rows = batch.answeredRows
        require(batch.counts.count == all.shape[0] * all.shape[1], "\(batch.counts.count) steps counted or not, features \(all.shape)")
        if rows.count == batch.counts.count { return output(all.reshaped(to: [rows.count, core.outputWidth]), pass) }
        let chosen = embedding(
            convert(all, to: .float32).reshaped(to: [batch.counts.count, core.outputWidth]), Tensor(rows.map { Int32($0) }, [rows.count]))
        return output(convert(chosen, to: store.activationType), pass)
    }
}

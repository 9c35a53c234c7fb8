// What a model is to the training loop and to decoding.
//
// Legend: B sequences of a batch (one a lane), T and U positions, S source positions, V vocabulary.

import Diagnostics
import NeuralNetworks
import Tensors

/// A model that can be trained.
public protocol TrainableModel<Batch>: AnyObject {
    /// What it reads at a step, with what it should answer.
    associatedtype Batch
    /// The parameters, in the order of the forward pass.
    var store: ParameterStore { get }
    /// Everything it remembers.
    var memory: [MemoryDeclaration] { get }
    /// The summed loss of a batch.
    func loss(_ batch: Batch, _ pass: ForwardPass) -> SummedLoss
}

extension TrainableModel {
    /// Nothing: what a model without memory remembers.
    public var memory: [MemoryDeclaration] { [] }
}

/// A batch together with the model that takes it: all that a trainer, an evaluation or a benchmark needs to know of either.
public struct PreparedBatch {
    /// The summed loss of the batch.
    public let loss: (_ pass: ForwardPass) -> SummedLoss

    /// Examples of the step, those of other lanes included, that were cut to fit.
    public let cutExamples: Int

    /// The batch of a model.
    /// - Parameter cutExamples: examples of the step that were cut to fit, as whoever made the batch counted them.
    public init<Model: TrainableModel>(_ batch: Model.Batch, for model: Model, cutExamples: Int = 0) {
        loss = { model.loss(batch, $0) }
        self.cutExamples = cutExamples
    }
}

/// A model that can be trained, evaluated and decoded from.
public protocol LanguageModel: TrainableModel {
    /// V.
    var vocabularySize: Int { get }
    /// The most positions a sequence may have, target side for pairs; `nil` without a limit.
    var maximumLength: Int? { get }
    /// The model by what it reads.
    var form: LanguageModelForm { get }
    /// What its context vectors are, by which a datastore finds what followed in like contexts; `nil` for a model that gives none. A forward pass hands them
    /// to whoever asks (`ForwardPass.onContextVectors`), beside its loss or logits.
    var contextVectors: ContextVectors? { get }

    /// Starts generating after the given prompts (models of text) or from the given sources (models of pairs).
    /// - Parameters:
    ///   - prompts: B sequences of token ids, at least one token each.
    ///   - maximumNewTokens: the most `advance` calls that will follow.
    func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder
}

/// What the vectors are that stand for what a model has read up to a position.
public struct ContextVectors: Sendable, Equatable {
    /// The layer, counted from 0, that they are taken from.
    public let layer: Int
    /// F, their elements.
    public let width: Int

    /// Vectors of `width` elements from a layer.
    public init(layer: Int, width: Int) { (self.layer, self.width) = (layer, width) }
}

extension LanguageModel {
    /// None.
    public var contextVectors: ContextVectors? { nil }
}

/// A language model by what it reads.
public enum LanguageModelForm {
    /// One sequence: running text, or a source and a target with a separator between them.
    case text(any TextLanguageModel)
    /// A source for the encoder and a target for the decoder.
    case pairs(any PairLanguageModel)
}

extension LanguageModel {
    /// Whether it reads a source and a target apart.
    public var readsPairs: Bool { if case .pairs = form { true } else { false } }

    /// The batch of the form that the model takes.
    public func prepared(text: () throws -> TokenBatch, pairs: () throws -> SequencePairBatch) rethrows -> PreparedBatch {
        switch form {
        case .text(let model): PreparedBatch(try text(), for: model)
        case .pairs(let model): PreparedBatch(try pairs(), for: model)
        }
    }
}

/// A language model that reads token sequences from left to right.
public protocol TextLanguageModel: LanguageModel where Batch == TokenBatch {
    /// The logits of every position: int32 [B, T] to float32 [B, T, V]. A model that carries memory goes on from that of the lanes, and keeps its own.
    func logits(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor
}

extension TextLanguageModel {
    public var form: LanguageModelForm { .text(self) }
}

/// A language model that reads a source and writes a target.
public protocol PairLanguageModel: LanguageModel where Batch == SequencePairBatch {}

extension PairLanguageModel {
    public var form: LanguageModelForm { .pairs(self) }
}

/// Generation in progress: one token a sequence and step, with the memory of all earlier ones.
public protocol IncrementalDecoder: AnyObject {
    /// The logits for the first new token, [B, V]; `nil` when decoding starts from a start symbol given to `advance`.
    var firstLogits: Tensor? { get }
    /// Takes the next token of each sequence; returns the logits for the one after it, [B, V].
    func advance(_ tokens: [Int32]) -> Tensor
    /// Sequence b continues what sequence `parents[b]` was. The number of sequences may change.
    func reorder(_ parents: [Int])
}

/// A batch of token sequences for a model that predicts the next token.
public struct TokenBatch {
    /// The global lane of each sequence, [B].
    public var lanes: [Int]
    /// int32 [B, T].
    public var inputs: Tensor
    /// int32 [B, T]; -1 where no prediction counts.
    public var targets: Tensor
    /// [B, T]: true where a document begins with the target, so that a memory may be emptied before the position is read; empty where nobody knows.
    public var resets: [Bool]

    /// Inputs, targets and resets are [B, T], B the number of lanes.
    public init(lanes: [Int], inputs: Tensor, targets: Tensor, resets: [Bool] = []) {
        require(
            inputs.shape == targets.shape && inputs.shape[0] == lanes.count && (resets.isEmpty || resets.count == inputs.count),
            "inputs \(inputs.shape), targets \(targets.shape), \(resets.count) resets, \(lanes.count) lanes")
        self.resets = resets
        self.lanes = lanes
        self.inputs = inputs
        self.targets = targets
    }
}

/// A batch of sequence pairs for an encoder-decoder model.
public struct SequencePairBatch {
    /// The global lane of each pair, [B].
    public var lanes: [Int]
    /// int32 [B, S], padded.
    public var sources: Tensor
    /// The real positions of each source, [B].
    public var sourceLengths: [Int]
    /// int32 [B, U], the target shifted right.
    public var targetInputs: Tensor
    /// int32 [B, U]; -1 where padding.
    public var targetOutputs: Tensor

    /// Sources are [B, S], and both targets of one shape [B, U], B the number of lanes.
    public init(lanes: [Int], sources: Tensor, sourceLengths: [Int], targetInputs: Tensor, targetOutputs: Tensor) {
        require(sources.shape[0] == lanes.count && sourceLengths.count == lanes.count, "sources \(sources.shape), \(lanes.count) lanes")
        require(targetInputs.shape == targetOutputs.shape, "target inputs \(targetInputs.shape) and outputs \(targetOutputs.shape)")
        self.lanes = lanes
        self.sources = sources
        self.sourceLengths = sourceLengths
        self.targetInputs = targetInputs
        self.targetOutputs = targetOutputs
    }
}

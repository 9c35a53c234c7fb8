// What a model is to the training loop and to decoding.
//
// Legend: B sequences of a batch (one a lane), T and U positions, S source positions, V vocabulary.

import NeuralNetworks
import Tensors

/// A batch of token sequences for a model that predicts the next token.
public struct TokenBatch {
    /// The global lane of each sequence, [B].
    public var lanes: [Int]
    /// int32 [B, T].
    public var inputs: Tensor
    /// int32 [B, T]; -1 where no prediction counts.
    public var targets: Tensor

    /// - Precondition: inputs and targets are [B, T], B the number of lanes.
    public init(lanes: [Int], inputs: Tensor, targets: Tensor) {
        precondition(
            inputs.shape == targets.shape && inputs.shape[0] == lanes.count,
            "inputs \(inputs.shape), targets \(targets.shape), \(lanes.count) lanes")
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

    /// - Precondition: sources are [B, S], and both targets of one shape [B, U], B the number of lanes.
    public init(lanes: [Int], sources: Tensor, sourceLengths: [Int], targetInputs: Tensor, targetOutputs: Tensor) {
        precondition(sources.shape[0] == lanes.count && sourceLengths.count == lanes.count, "sources \(sources.shape), \(lanes.count) lanes")
        precondition(targetInputs.shape == targetOutputs.shape, "target inputs \(targetInputs.shape) and outputs \(targetOutputs.shape)")
        self.lanes = lanes
        self.sources = sources
        self.sourceLengths = sourceLengths
        self.targetInputs = targetInputs
        self.targetOutputs = targetOutputs
    }
}

/// A batch in the form that a model asks for.
public enum ModelBatch {
    case tokens(TokenBatch)
    case pairs(SequencePairBatch)
    case sequences(SequenceBatch)
    case stories(StoryBatch)
    case knowledge(KnowledgeBatch)
}

/// A model that can be trained.
public protocol TrainableModel: AnyObject {
    /// The parameters, in the order of the forward pass.
    var store: ParameterStore { get }
    /// Everything it remembers.
    var memory: [MemoryDeclaration] { get }
    /// The summed loss of a batch of the form that the model takes.
    func loss(_ batch: ModelBatch, _ pass: ForwardPass) -> SummedLoss
}

extension TrainableModel {
    /// Nothing: what a model without memory remembers.
    public var memory: [MemoryDeclaration] { [] }
}

/// What a model reads.
public enum ModelInputKind: Sendable {
    /// One sequence: running text, or a source and a target with a separator between them.
    case tokens
    /// A source for the encoder and a target for the decoder.
    case pairs
}

/// A model that can be trained, evaluated and decoded from.
public protocol LanguageModel: TrainableModel {
    /// What it is made of.
    var configuration: ModelConfiguration { get }
    /// V.
    var vocabularySize: Int { get }
    /// What `loss` takes.
    var inputKind: ModelInputKind { get }
    /// The most positions a sequence may have, target side for pairs; `nil` without a limit.
    var maximumLength: Int? { get }

    /// Starts generating after the given prompts (token models) or from the given sources (pair models).
    /// - Parameters:
    ///   - prompts: B sequences of token ids, at least one token each.
    ///   - maximumNewTokens: the most `advance` calls that will follow.
    func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder
}

/// A language model that reads token sequences from left to right.
public protocol TextLanguageModel: LanguageModel {
    /// The logits of every position: int32 [B, T] to float32 [B, T, V]. A model that carries memory goes on from the lanes' memory, and keeps it there.
    func logits(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor
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

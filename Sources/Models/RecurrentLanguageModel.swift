// Language models that read one position after the other: embedding, a core that remembers, output layer. With LSTM layers as core it is the model of
// Zaremba et al. 2014 ("Recurrent neural network regularization").
//
// Legend: B sequences, T positions, D units of the recurrent layers or of the controller, F width of the core's outputs, V vocabulary.

import NeuralNetworks
import Tensors

/// A language model that reads left to right and remembers in the state of its core: recurrent layers, or a controller with a memory.
///
/// Each batch starts from the initial memory, or, where the configuration says `carry`, from what its lanes remember in `ForwardPass.memory`:
/// truncated back-propagation through time, no gradient flowing from one batch to the one before.
public final class RecurrentLanguageModel: TextLanguageModel {
    public let configuration: ModelConfiguration
    public let vocabularySize: Int
    public let store = ParameterStore()
    public let inputKind = ModelInputKind.tokens
    public let maximumLength: Int? = nil
    public var memory: [MemoryDeclaration] { core.memory }

    private let tokenEmbedding: Embedding
    private let core: any SequenceCore
    private let output: Linear

    /// Declares `tokenEmbedding`, the core (`layers` for recurrent layers, `core` for others) and `output`. Embeddings are uniform on
    /// -1 / sqrt(D) ... 1 / sqrt(D), the output layer's weights on -1 / sqrt(F) ... 1 / sqrt(F), or, as all weights of recurrent layers, on the bound
    /// that the options give; the output layer's bias starts at zero unless they give one. The caller allocates.
    /// - Precondition: `configuration.core` is there.
    public init(_ configuration: ModelConfiguration, vocabularySize: Int) {
        guard let core = configuration.core else { preconditionFailure("\(configuration.kind.rawValue) is no recurrent model") }
        self.configuration = configuration
        self.vocabularySize = vocabularySize
        let embeddingWidth = configuration.embedding ?? configuration.width
        let bound = configuration.recurrent.initialBound
        func uniform(_ width: Int) -> Initializer { .uniform(bound: bound ?? 1 / Float(width).squareRoot()) }
        tokenEmbedding = Embedding(
            store, "tokenEmbedding", rows: vocabularySize, width: embeddingWidth, initializer: uniform(configuration.width))
        self.core = core.makeCore(
            store, configuration.kind.recurrentCell == nil ? "core" : "layers", inputs: embeddingWidth,
            lifetime: configuration.carry ? .lane : .sequence)
        let start = uniform(self.core.outputWidth)
        output = Linear(
            store, "output", inputs: self.core.outputWidth, outputs: vocabularySize, initializer: start,
            biasInitializer: bound == nil ? .zeros : start)
    }

    /// The core's outputs before the output layer: int32 [B, T] to [B, T, F], dropout applied, and the state after the last position.
    public func hidden(_ inputs: Tensor, from state: MemoryState? = nil, _ pass: ForwardPass) -> (hidden: Tensor, state: MemoryState) {
        let x = dropout(tokenEmbedding(inputs, pass), rate: configuration.dropout, pass.dropout)
        let (outputs, next) = core(convert(x, to: store.activationType), from: state, pass)
        let dropped = dropout(outputs, rate: configuration.dropout, pass.dropout)
        return (variationalDropout(dropped, rate: configuration.recurrent.inputDropout, pass.dropout), next)
    }

    /// The logits of every position: int32 [B, T] to float32 [B, T, V]; read from, and kept in, the lanes' memory where the configuration says `carry`.
    public func logits(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor { project(hiddenFromLanes(inputs, pass), pass) }

    public func loss(_ batch: ModelBatch, _ pass: ForwardPass) -> SummedLoss {
        guard case .tokens(let batch) = batch else { preconditionFailure("a recurrent language model takes token batches") }
        return linearCrossEntropy(
            hiddenFromLanes(batch.inputs, pass), weight: pass.operand(output.weight), bias: output.bias.map { pass($0) }, targets: batch.targets,
            labelSmoothing: pass.isTraining ? configuration.labelSmoothing : 0)
    }

    public func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder { Decoder(self, prompts) }

    /// `hidden` from what lanes remember, which then remember what they have read, where the configuration says `carry`.
    private func hiddenFromLanes(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor {
        let result = hidden(inputs, from: configuration.carry ? pass.remembered(memory) : nil, pass)
        if configuration.carry { pass.remember(result.state, as: memory) }
        return result.hidden
    }

    private func project(_ hidden: Tensor, _ pass: ForwardPass) -> Tensor {
        linear(hidden, weight: pass.operand(output.weight), bias: output.bias.map { pass($0) }, outputType: .float32)
    }

    private final class Decoder: IncrementalDecoder {
        private let model: RecurrentLanguageModel
        private let pass = ForwardPass()
        private var state: MemoryState
        let firstLogits: Tensor?

        init(_ model: RecurrentLanguageModel, _ prompts: [[Int32]]) {
            self.model = model
            let pass = ForwardPass()
            let last = Tensor(uninitialized: [prompts.count, model.core.outputWidth], model.store.activationType)
            state = MemoryState(model.memory.map { Tensor(uninitialized: Shape([prompts.count] + $0.shape.array)) })
            // Prompts of one length are read together: no padding reaches the state.
            for (length, places) in Dictionary(grouping: prompts.indices, by: { prompts[$0].count }).sorted(by: { $0.key < $1.key }) {
                precondition(length > 0, "decoding starts from at least one token")
                let part = model.hidden(Tensor(places.flatMap { prompts[$0] }, [places.count, length]), pass)
                for (row, place) in places.enumerated() {
                    last.copyItem(place, from: part.hidden.viewed(as: [places.count * length, model.core.outputWidth]), row * length + length - 1)
                    for (target, source) in zip(state.tensors, part.state.tensors) { target.copyItem(place, from: source, row) }
                }
            }
            firstLogits = model.project(last, pass)
        }

        func advance(_ tokens: [Int32]) -> Tensor {
            let (hidden, next) = model.hidden(Tensor(tokens, [tokens.count, 1]), from: state, pass)
            state = next
            return model.project(hidden, pass).viewed(rows: tokens.count)
        }

        func reorder(_ parents: [Int]) {
            state = MemoryState(state.tensors.map { $0.items(parents) })
        }
    }
}

extension Tensor {
    /// Parts along the first axis by index, off the tape.
    fileprivate func items(_ indices: [Int]) -> Tensor {
        let result = Tensor(uninitialized: Shape([indices.count] + shape.array.dropFirst()), dataType)
        for (row, index) in indices.enumerated() { result.copyItem(row, from: self, index) }
        return result
    }

    /// Overwrites a part along the first axis with one of another tensor, whose parts have the same count and type.
    fileprivate func copyItem(_ row: Int, from other: Tensor, _ index: Int) {
        let bytes = count / shape[0] * dataType.byteCount
        (self.bytes + row * bytes).copyMemory(from: other.bytes + index * bytes, byteCount: bytes)
    }
}

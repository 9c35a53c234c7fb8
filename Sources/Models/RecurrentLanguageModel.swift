// The recurrent language model of Zaremba et al. 2014 ("Recurrent neural network regularization"): embedding, recurrent layers, output layer.
//
// Legend: B sequences, T positions, D width, V vocabulary.

import NeuralNetworks
import Tensors

/// A language model that reads left to right and remembers in the state of its layers.
///
/// Each batch starts from zero state, or, where the configuration says `carry`, from what its lanes remember in `ForwardPass.memory`: truncated
/// back-propagation through time, no gradient flowing from one batch to the one before.
public final class RecurrentLanguageModel: LanguageModel {
    public let configuration: ModelConfiguration
    public let vocabularySize: Int
    public let store = ParameterStore()
    public let inputKind = ModelInputKind.tokens
    public let maximumLength: Int? = nil
    public var memory: [MemoryDeclaration] { layers.memory }

    private let tokenEmbedding: Embedding
    private let layers: RecurrentStack
    private let output: Linear

    /// Declares the parameters. Weights are uniform on -1 / sqrt(D) ... 1 / sqrt(D), D the width of the layers, or on the bound that the options
    /// give; the output layer's bias starts at zero unless they give one. The caller allocates.
    public init(_ configuration: ModelConfiguration, cell: RecurrentCell, vocabularySize: Int) {
        self.configuration = configuration
        self.vocabularySize = vocabularySize
        let width = configuration.width
        let embeddingWidth = configuration.embedding ?? width
        let uniform = Initializer.uniform(bound: configuration.recurrent.initialBound ?? 1 / Float(width).squareRoot())
        tokenEmbedding = Embedding(store, "tokenEmbedding", rows: vocabularySize, width: embeddingWidth, initializer: uniform)
        var options = configuration.recurrent
        options.dropout = configuration.dropout
        layers = RecurrentStack(
            store, "layers", cell: cell, inputs: embeddingWidth, width: width, layers: configuration.layers, options: options,
            lifetime: configuration.carry ? .lane : .sequence)
        output = Linear(
            store, "output", inputs: width, outputs: vocabularySize, initializer: uniform, biasInitializer: options.initialBound == nil ? .zeros : uniform)
    }

    /// The hidden states before the output layer: int32 [B, T] to [B, T, D], dropout applied, and the state after the last position.
    public func hidden(_ inputs: Tensor, from state: MemoryState? = nil, _ pass: ForwardPass) -> (hidden: Tensor, state: MemoryState) {
        let x = dropout(tokenEmbedding(inputs, pass), rate: configuration.dropout, pass.dropout)
        let (outputs, next) = layers(convert(x, to: store.activationType), from: state, pass)
        let dropped = dropout(outputs, rate: configuration.dropout, pass.dropout)
        return (variationalDropout(dropped, rate: configuration.recurrent.inputDropout, pass.dropout), next)
    }

    /// The logits of every position: int32 [B, T] to [B, T, V].
    public func logits(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor { project(hidden(inputs, pass).hidden, pass) }

    public func loss(_ batch: ModelBatch, _ pass: ForwardPass) -> SummedLoss {
        guard case .tokens(let batch) = batch else { preconditionFailure("a recurrent language model takes token batches") }
        let carried = configuration.carry ? pass.memory : nil
        let (hidden, state) = hidden(batch.inputs, from: carried?.state(of: memory), pass)
        carried?.keep(state, of: memory)
        return linearCrossEntropy(
            hidden, weight: pass.operand(output.weight), bias: output.bias.map { pass($0) }, targets: batch.targets,
            labelSmoothing: pass.tape == nil ? 0 : configuration.labelSmoothing)
    }

    public func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder { Decoder(self, prompts) }

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
            // Prompts of one length are read together: no padding reaches the state.
            let lengths = Dictionary(grouping: prompts.indices, by: { prompts[$0].count }).sorted { $0.key < $1.key }
            let pass = ForwardPass()
            let states = lengths.map { length, places in
                precondition(length > 0, "decoding starts from at least one token")
                return model.hidden(Tensor(places.flatMap { prompts[$0] }, [places.count, length]), pass).state
            }
            /// The sequences' rows of one tensor of each state, in the order of the prompts.
            func joined(_ parts: [Tensor]) -> Tensor {
                let result = Tensor(uninitialized: [prompts.count, parts[0].shape.columns], parts[0].dataType)
                for (part, (_, places)) in zip(parts, lengths) { for (row, place) in places.enumerated() { result.copyRow(place, from: part, row) } }
                return result
            }
            state = MemoryState(model.memory.indices.map { index in joined(states.map { $0.tensors[index] }) })
            guard let last = model.memory.lastIndex(where: { $0.name.hasSuffix(".hidden") }) else { preconditionFailure("a model without layers") }
            firstLogits = model.project(convert(state.tensors[last], to: model.store.activationType), pass)
        }

        func advance(_ tokens: [Int32]) -> Tensor {
            let (hidden, next) = model.hidden(Tensor(tokens, [tokens.count, 1]), from: state, pass)
            state = next
            return model.project(hidden, pass).viewed(rows: tokens.count)
        }

        func reorder(_ parents: [Int]) {
            state = MemoryState(state.tensors.map { $0.rows(parents) })
        }
    }
}

extension Tensor {
    /// Rows of a matrix by index, off the tape.
    fileprivate func rows(_ indices: [Int]) -> Tensor {
        let result = Tensor(uninitialized: [indices.count, shape.columns], dataType)
        for (row, index) in indices.enumerated() { result.copyRow(row, from: self, index) }
        return result
    }

    /// Overwrites a row with one of another matrix of the same width and type.
    fileprivate func copyRow(_ row: Int, from other: Tensor, _ index: Int) {
        let bytes = shape.columns * dataType.byteCount
        (self.bytes + row * bytes).copyMemory(from: other.bytes + index * bytes, byteCount: bytes)
    }
}

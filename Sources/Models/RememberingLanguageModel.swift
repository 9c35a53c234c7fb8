// What language models have in common that remember what they have read in a state of fixed size.
//
// Legend: B sequences, T positions, F width of the hidden states, V vocabulary.

import Diagnostics
import NeuralNetworks
import Tensors

/// A language model with a state that goes from position to position, and from batch to batch of a lane where it carries memory.
protocol RememberingLanguageModel: TextLanguageModel {
    /// Whether lanes go on from what their earlier batch left.
    var carriesMemory: Bool { get }
    /// Whether the loss has a gradient by the state that lanes bring with them, which a run then reports.
    var learnsFromState: Bool { get }
    /// The probability that is spread over the whole vocabulary in the training loss.
    var labelSmoothing: Float { get }
    /// From hidden states to logits.
    var output: OutputProjection { get }
    /// What the output layer reads: int32 [B, T] to [B, T, F], and the state after the last position.
    /// - Parameter state: what was remembered before the first position; `nil` for the initial values.
    func hidden(_ inputs: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (hidden: Tensor, state: MemoryState)
}

extension RememberingLanguageModel {
    /// `hidden` from what lanes remember, which then remember what they have read, where the model carries memory.
    private func hiddenFromLanes(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor {
        let carried = carriesMemory ? memory.filter { $0.lifetime != .run } : []
        let result = hidden(inputs, from: carriesMemory ? pass.remembered(carried, withGradient: learnsFromState) : nil, pass)
        if carriesMemory { pass.remember(result.state, as: carried) }
        pass.onContextVectors?(result.hidden)
        return result.hidden
    }

    public func logits(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor { output(hiddenFromLanes(inputs, pass), pass) }

    public func loss(_ batch: TokenBatch, _ pass: ForwardPass) -> SummedLoss {
        pass.resets = batch.resets
        pass.pairs?.lanes = batch.lanes
        var result = output.loss(hiddenFromLanes(batch.inputs, pass), targets: batch.targets, labelSmoothing: labelSmoothing, pass)
        result.auxiliary = pass.auxiliaryLoss
        return result
    }

    /// Starts generating from the state that prompts leave. Those of one length are read together: no padding reaches the state.
    func rememberingDecoder(_ prompts: [[Int32]]) -> RememberingDecoder {
        let pass = ForwardPass()
        var last: Tensor?
        var state: [Tensor]?
        for (length, places) in Dictionary(grouping: prompts.indices, by: { prompts[$0].count }).sorted(by: { $0.key < $1.key }) {
            require(length > 0, "decoding starts from at least one token")
            let part = hidden(Tensor(places.flatMap { prompts[$0] }, [places.count, length]), from: nil, pass)
            func all(_ part: Tensor) -> Tensor {
                Tensor(uninitialized: Shape([prompts.count] + part.shape.array.dropFirst()), part.dataType)
            }
            let rows = part.hidden.viewed(as: [places.count * length, part.hidden.shape[2]]).rows(places.indices.map { ($0 + 1) * length - 1 })
            let (lastOfAll, stateOfAll) = (last ?? all(rows), state ?? part.state.tensors.map(all))
            lastOfAll.storeRows(places, from: rows)
            for (target, source) in zip(stateOfAll, part.state.tensors) { target.storeRows(places, from: source) }
            (last, state) = (lastOfAll, stateOfAll)
        }
        guard let last, let state else { fatalError("decoding starts from at least one prompt") }
        return RememberingDecoder(self, MemoryState(state), firstLogits: output(last, pass))
    }
}

/// Generation with the state as all memory of what was read.
final class RememberingDecoder: IncrementalDecoder {
    private let model: any RememberingLanguageModel
    private let pass = ForwardPass()
    private var state: MemoryState
    let firstLogits: Tensor?

    /// Goes on from a state and the logits of the first new token, [B, V].
    init(_ model: any RememberingLanguageModel, _ state: MemoryState, firstLogits: Tensor) {
        (self.model, self.state, self.firstLogits) = (model, state, firstLogits)
    }

    func advance(_ tokens: [Int32]) -> Tensor {
        let (hidden, next) = model.hidden(Tensor(tokens, [tokens.count, 1]), from: state, pass)
        state = next
        return model.output(hidden, pass).viewed(as: [tokens.count, model.vocabularySize])
    }

    func reorder(_ parents: [Int]) { state = MemoryState(state.tensors.map { $0.rows(parents) }) }
}

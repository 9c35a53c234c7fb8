// Recurrent layers, stacked, over whole sequences.
//
// Legend: B sequences, T steps, I input width, H width, L layers.

import Tensors

/// The state of a stack of recurrent layers between two calls, by layer.
public struct RecurrentState {
    /// [B, H] of each layer.
    public var hidden: [Tensor]
    /// [B, H] of each layer, float32; empty for a GRU.
    public var cells: [Tensor]

    public init(hidden: [Tensor], cells: [Tensor] = []) {
        self.hidden = hidden
        self.cells = cells
    }

    /// The same values off any tape: no gradient flows back into the calls that made them.
    public func stopGradient() -> RecurrentState {
        RecurrentState(hidden: hidden.map { $0.stopGradient() }, cells: cells.map { $0.stopGradient() })
    }
}

/// The kinds of recurrent cells.
public enum RecurrentCell: String, Sendable, CaseIterable {
    /// Long short-term memory.
    case lstm
    /// The gated recurrent unit.
    case gru

    /// Rows of a weight for each unit.
    var gatesPerUnit: Int { self == .lstm ? 4 : 3 }
}

/// L recurrent layers, each reading the outputs of the one below, with dropout between them (Zaremba et al. 2014).
public struct RecurrentStack {
    /// LSTM or GRU.
    public let cell: RecurrentCell
    /// Of the outputs of all layers but the last.
    public let dropoutRate: Float
    private let layers: [Layer]

    private struct Layer {
        let inputWeight: Parameter
        let hiddenWeight: Parameter
        let inputBias: Parameter
        let hiddenBias: Parameter
    }

    /// Declares `path.N.inputWeight`, `.hiddenWeight`, `.inputBias` and `.hiddenBias` of each layer, all uniform on -1 / sqrt(H) ... 1 / sqrt(H) as
    /// PyTorch's layers start. (An LSTM adds its two biases; both exist so that training follows PyTorch's step by step.)
    public init(_ store: ParameterStore, _ path: String, cell: RecurrentCell, inputs: Int, width: Int, layers: Int, dropoutRate: Float) {
        self.cell = cell
        self.dropoutRate = dropoutRate
        let uniform = Initializer.uniform(bound: 1 / Float(width).squareRoot())
        let gates = cell.gatesPerUnit * width
        self.layers = (0..<layers).map { index in
            Layer(
                inputWeight: store.add("\(path).\(index).inputWeight", [gates, index == 0 ? inputs : width], uniform),
                hiddenWeight: store.add("\(path).\(index).hiddenWeight", [gates, width], uniform),
                inputBias: store.add("\(path).\(index).inputBias", [gates], uniform), hiddenBias: store.add("\(path).\(index).hiddenBias", [gates], uniform))
        }
    }

    /// [B, T, I] to [B, T, H], starting from `state` (`nil` is zeros).
    ///
    /// - Returns: the outputs of the last layer, without dropout; and the state after the last step.
    public func callAsFunction(_ x: Tensor, from state: RecurrentState? = nil, _ pass: ForwardPass) -> (outputs: Tensor, state: RecurrentState) {
        var x = x
        var next = RecurrentState(hidden: [])
        for (index, layer) in layers.enumerated() {
            if index > 0 { x = dropout(x, rate: dropoutRate, pass.dropout) }
            let result = run(layer, x, state.map { ($0.hidden[index], $0.cells.isEmpty ? nil : $0.cells[index]) }, pass)
            x = pass.checked(result.outputs, layer.inputWeight)
            next.hidden.append(result.hidden)
            if let cell = result.cell { next.cells.append(cell) }
        }
        return (x, next)
    }

    private func run(_ layer: Layer, _ x: Tensor, _ state: (hidden: Tensor, cell: Tensor?)?, _ pass: ForwardPass) -> RecurrentOutput {
        let (inputWeight, hiddenWeight) = (pass.operand(layer.inputWeight), pass.operand(layer.hiddenWeight))
        let (inputBias, hiddenBias) = (pass(layer.inputBias), pass(layer.hiddenBias))
        switch cell {
        case .lstm:
            return lstm(
                x, hidden: state?.hidden, cell: state?.cell, inputWeight: inputWeight, hiddenWeight: hiddenWeight, bias: inputBias + hiddenBias)
        case .gru:
            return gru(x, hidden: state?.hidden, inputWeight: inputWeight, hiddenWeight: hiddenWeight, inputBias: inputBias, hiddenBias: hiddenBias)
        }
    }
}

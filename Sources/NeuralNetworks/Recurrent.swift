// Recurrent layers, stacked, over whole sequences.
//
// Legend: B sequences, T steps, I input width, H width, L layers.

import Tensors

/// The kinds of recurrent cells.
public enum RecurrentCell: String, Sendable, CaseIterable {
    /// The simple recurrent network (Elman 1990).
    case elman
    /// Long short-term memory.
    case lstm
    /// The gated recurrent unit with the reset gate behind the product, as in cuDNN and PyTorch.
    case gru
    /// The gated recurrent unit with the reset gate before the product, as Cho et al. 2014 wrote it. Its weights are not those of `gru`.
    case gruResetBefore = "gru-reset-before"

    /// What a layer remembers.
    var stateParts: [String] { self == .lstm ? ["hidden", "cell"] : ["hidden"] }

    /// Rows of a weight for each unit.
    public var gatesPerUnit: Int {
        switch self {
        case .elman: 1
        case .lstm: 4
        case .gru, .gruResetBefore: 3
        }
    }
}

/// What a stack of recurrent layers may have beside its cells.
public struct RecurrentOptions: Sendable, Equatable {
    /// Of the outputs of all layers but the last, anew at every step (Zaremba et al. 2014).
    public var dropout: Float
    /// Of each layer's input, one mask for all steps of a sequence (Gal and Ghahramani 2016).
    public var inputDropout: Float
    /// Of the state that each layer's products read, one mask for all steps of a sequence (Gal and Ghahramani 2016).
    public var stateDropout: Float
    /// One bias instead of one for the input and one for the state. `gru` needs both, and `gru-reset-before` has one always.
    public var hasSingleBias: Bool
    /// The forget gates' bias at the start, all other biases then starting at zero; `nil`: biases start as weights do. For LSTMs.
    public var forgetBias: Float?
    /// Parameters start uniform on -bound ... bound; `nil` is 1 / sqrt(H), as PyTorch's layers start.
    public var initialBound: Float?

    /// No dropout, separate biases, parameters as PyTorch starts them. Rates are in 0 ..< 1.
    public init(
        dropout: Float = 0, inputDropout: Float = 0, stateDropout: Float = 0, hasSingleBias: Bool = false, forgetBias: Float? = nil,
        initialBound: Float? = nil
    ) {
        self.dropout = dropout
        self.inputDropout = inputDropout
        self.stateDropout = stateDropout
        self.hasSingleBias = hasSingleBias
        self.forgetBias = forgetBias
        self.initialBound = initialBound
    }
}

/// Dropout with one mask for all steps of a sequence (Gal and Ghahramani 2016): [B, T, D] to [B, T, D].
public func variationalDropout(_ x: Tensor, rate: Float, _ context: DropoutContext?) -> Tensor {
    guard rate > 0, let context else { return x }
    let mask = dropout(Tensor(repeating: 1, [x.shape[0], 1, x.shape[2]]), rate: rate, context)
    return convert(convert(x, to: .float32) * mask, to: x.dataType)
}

/// L recurrent layers, each reading the outputs of the one below.
public struct RecurrentStack: SequenceCore {
    /// What the layers are made of.
    public let cell: RecurrentCell
    /// What the layers have beside their cells.
    public let options: RecurrentOptions
    public let outputWidth: Int
    /// Of each layer `path.N.hidden` [H], and for LSTMs `path.N.cell` [H].
    public let memory: [MemoryDeclaration]
    private let layers: [Layer]

    private struct Layer {
        let inputWeight: Parameter
        let hiddenWeight: Parameter
        let inputBias: Parameter
        let hiddenBias: Parameter?
    }

    /// Declares `path.N.inputWeight`, `.hiddenWeight`, `.inputBias` and `.hiddenBias` of each layer, or `.bias` where there is one. (An LSTM adds
    /// its two biases; both exist so that training follows PyTorch's step by step.)
    ///
    /// - Parameter lifetime: of its memory.
    public init(
        _ store: ParameterStore, _ path: String, cell: RecurrentCell, inputs: Int, width: Int, layers: Int,
        options: RecurrentOptions = RecurrentOptions(), lifetime: MemoryLifetime = .sequence
    ) {
        self.cell = cell
        self.options = options
        outputWidth = width
        let uniform = Initializer.uniform(bound: options.initialBound ?? 1 / Float(width).squareRoot())
        let gates = cell.gatesPerUnit * width
        let hasSingleBias = cell == .gruResetBefore || options.hasSingleBias && cell != .gru
        let isForgetSet = cell == .lstm && options.forgetBias != nil
        let bias = isForgetSet ? Initializer.parts([0, options.forgetBias ?? 0, 0, 0]) : uniform
        self.layers = (0..<layers).map { index in
            let layer = "\(path).\(index)"
            return Layer(
                inputWeight: store.add("\(layer).inputWeight", [gates, index == 0 ? inputs : width], uniform),
                hiddenWeight: store.add("\(layer).hiddenWeight", [gates, width], uniform),
                inputBias: store.add(hasSingleBias ? "\(layer).bias" : "\(layer).inputBias", [gates], bias),
                hiddenBias: hasSingleBias ? nil : store.add("\(layer).hiddenBias", [gates], isForgetSet ? .zeros : uniform))
        }
        memory = (0..<layers).flatMap { index in
            cell.stateParts.map {
                MemoryDeclaration("\(path).\(index).\($0)", [width], axes: ["unit"], lifetime: lifetime)
            }
        }
    }

    /// - Returns: the outputs of the last layer in x's type, without dropout; and the state after the last step, float32.
    public func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        var x = x
        var next = MemoryState([])
        let parts = cell.stateParts
        for (index, layer) in layers.enumerated() {
            if index > 0 { x = dropout(x, rate: options.dropout, pass.dropout) }
            x = variationalDropout(x, rate: options.inputDropout, pass.dropout)
            var before = CellState()
            for (offset, part) in parts.enumerated() { before[part] = state?.tensors[index * parts.count + offset] }
            let (outputs, after) = run(layer, x, before, pass)
            x = pass.checked(outputs, layer.inputWeight)
            next.tensors += parts.compactMap { after[$0] }
        }
        record(x, pass.trace)
        return (x, next)
    }

    private func run(_ layer: Layer, _ x: Tensor, _ state: CellState, _ pass: ForwardPass) -> (outputs: Tensor, state: CellState) {
        let (inputWeight, hiddenWeight) = (pass.operand(layer.inputWeight), pass.operand(layer.hiddenWeight))
        let (inputBias, hiddenBias) = (pass(layer.inputBias), layer.hiddenBias.map { pass($0) })
        var mask: Tensor?
        if options.stateDropout > 0, let context = pass.dropout {
            mask = dropout(Tensor(repeating: 1, [x.shape[0], outputWidth]), rate: options.stateDropout, context)
        }
        if cell == .gru, let hiddenBias {
            return gru(
                x, from: state, inputWeight: inputWeight, hiddenWeight: hiddenWeight, inputBias: inputBias, hiddenBias: hiddenBias, stateMask: mask)
        }
        let bias = hiddenBias.map { inputBias + $0 } ?? inputBias
        let function = cell == .elman ? elman : cell == .lstm ? lstm : gruResetBefore
        return function(x, state, inputWeight, hiddenWeight, bias, mask)
    }

    /// Shows what the units of the last layer did for the first sequence.
    private func record(_ outputs: Tensor, _ trace: MemoryTrace?) {
        guard let trace, outputs.shape[0] > 0 else { return }
        let (steps, values) = (outputs.shape[1], outputs.converted(to: .float32))
        trace.record(
            "hidden state", rowAxis: "step", columnAxis: "unit", rows: steps, columns: outputWidth,
            values: Array(UnsafeBufferPointer(start: values.floats, count: steps * outputWidth)))
    }
}

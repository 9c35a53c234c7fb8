// Layers of a token mixer that remembers and a feed-forward block, with what delta rules have in common: gates in front of the memory, and what is
// made of what was read of it.
//
// Legend: B sequences, T steps, I input width, D width, H heads, V width of a value, L layers.

import NeuralNetworks
import Tensors

/// What takes the place of attention in a layer: later positions learn of earlier ones through what it remembers.
protocol TokenMixer {
    /// What it remembers from step to step.
    var memory: [MemoryDeclaration] { get }
    /// [B, T, D] to [B, T, D].
    /// - Parameters:
    ///   - state: the values of `memory` before the first step; `nil` for the initial ones.
    ///   - layer: its number, by which a trace calls its pictures.
    func callAsFunction(_ x: Tensor, from state: ArraySlice<Tensor>?, _ pass: ForwardPass, layer: Int) -> (outputs: Tensor, state: [Tensor])
}

/// L pre-norm layers of a token mixer and a feed-forward block each, and a normalisation behind the last.
struct MixerLayers<Mixer: TokenMixer> {
    /// Of all mixers, in their order.
    let memory: [MemoryDeclaration]
    private let dropout: Float
    private let input: Linear?
    private let layers: [Layer]
    private let finalNorm: LayerNorm

    private struct Layer {
        let mixerNorm: LayerNorm
        let mixer: Mixer
        let feedForwardNorm: LayerNorm
        let feedForward: FeedForward
    }

    /// Declares `path.input` [D, I] where I is not D, of each layer `path.N.mixerNorm`, the mixer under `path.N`, `path.N.feedForwardNorm` and
    /// `path.N.feedForward`, and `path.finalNorm`. Weights start as N(0, 0.02), and N(0, 0.02 / sqrt(2 L)) where a block writes to the residual
    /// stream, as the decoder-only Transformer's.
    /// - Parameter makeMixer: declares a layer's mixer, given how its weights start and how those that write to the residual stream do.
    init(
        _ store: ParameterStore, _ path: String, inputs: Int, layers count: Int, width: Int, feedForward: Int, dropout: Float,
        makeMixer: (_ path: String, _ initializer: Initializer, _ outputInitializer: Initializer) -> Mixer
    ) {
        self.dropout = dropout
        let normal = Initializer.normal(standardDeviation: 0.02)
        let residual = Initializer.normal(standardDeviation: 0.02 / Float(2 * count).squareRoot())
        let unit = Initializer.normal(standardDeviation: 1 / Float(inputs).squareRoot())
        input = inputs == width ? nil : Linear(store, "\(path).input", inputs: inputs, outputs: width, initializer: unit)
        layers = (0..<count).map { index in
            let layer = "\(path).\(index)"
            return Layer(
                mixerNorm: LayerNorm(store, "\(layer).mixerNorm", width: width), mixer: makeMixer(layer, normal, residual),
                feedForwardNorm: LayerNorm(store, "\(layer).feedForwardNorm", width: width),
                feedForward: FeedForward(
                    store, "\(layer).feedForward", width: width, inner: feedForward, activation: .gelu, initializer: normal,
                    outputInitializer: residual, dropoutRate: 0))
        }
        finalNorm = LayerNorm(store, "\(path).finalNorm", width: width)
        memory = layers.flatMap(\.mixer.memory)
    }

    /// - Returns: [B, T, D] in the type of activations, and the state after the last step, float32.
    func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        var x = convert(input.map { $0(x, pass) } ?? x, to: .float32)
        var next: [Tensor] = []
        for (index, layer) in layers.enumerated() {
            let range = next.count..<next.count + layer.mixer.memory.count
            let (mixed, last) = layer.mixer(layer.mixerNorm(x, pass), from: state?.tensors[range], pass, layer: index)
            next += last
            x = addDropout(x, mixed, rate: dropout, pass.dropout)
            x = addDropout(x, layer.feedForward(layer.feedForwardNorm(x, pass), pass), rate: dropout, pass.dropout)
        }
        return (finalNorm(x, pass), MemoryState(next))
    }
}

/// How strongly a position writes to each head's memory, and how much of what is there it lets decay: b = sigmoid(W_b x), and
/// g = -exp(A) softplus(W_a x + d) (Yang, Kautz and Hatamizadeh 2024, as Mamba 2 has it).
struct DeltaGates {
    private let heads: Int
    private let gates: Linear
    /// A.
    let rateBias: Parameter
    private let stepBias: Parameter

    /// Declares `path.gates` [2 H, D] (strengths, then decays), `path.rateBias` [H] (A: the logarithm of a rate uniform on 0 ... 16) and
    /// `path.stepBias` [H] (d: softplus of it is log-uniform on 0.001 ... 0.1). None has a bias; A and d do not decay.
    init(_ store: ParameterStore, _ path: String, width: Int, heads: Int, initializer: Initializer) {
        self.heads = heads
        gates = Linear(store, "\(path).gates", inputs: width, outputs: 2 * heads, initializer: initializer, hasBias: false)
        rateBias = store.add("\(path).rateBias", [heads], .logarithmOfUniform(upTo: 16), decays: false)
        stepBias = store.add("\(path).stepBias", [heads], .inverseSoftplusOfLogUniform(from: 0.001, to: 0.1), decays: false)
    }

    /// [B, T, D] to b and g, float32 [B, T, H] each.
    /// - Parameter layer: its number, by which a trace calls the pictures of strengths and decays.
    func callAsFunction(_ x: Tensor, _ pass: ForwardPass, layer: Int) -> (strengths: Tensor, logDecays: Tensor) {
        let numbers = convert(gates(x, pass), to: .float32)
        let strengths = numbers.slice(0..<heads, axis: 2).sigmoid()
        let rates = pass(rateBias).applying(.exponential)
        let logDecays = -((numbers.slice(heads..<2 * heads, axis: 2) + pass(stepBias)).applying(.softplus) * rates)
        if let trace = pass.trace { record(strengths, logDecays, layer, trace) }
        return (strengths, logDecays)
    }

    private func record(_ strengths: Tensor, _ logDecays: Tensor, _ layer: Int, _ trace: MemoryTrace) {
        guard strengths.shape[0] > 0 else { return }
        let count = strengths.shape[1] * heads
        for (name, values) in [("strengths of writing", strengths), ("decays", logDecays.stopGradient().applying(.exponential))] {
            trace.record(
                "\(name), layer \(layer)", rowAxis: "step", columnAxis: "head", rows: strengths.shape[1], columns: heads,
                values: Array(UnsafeBufferPointer(start: values.floats, count: count)))
        }
    }
}

/// What a layer gives of what its heads have read: W_o (rmsNorm(o) * gate), the norm over each head's V, the gate silu(W_g x) or sigmoid(W_g x).
struct GatedReading {
    /// What the gate's numbers go through.
    enum Gate { case silu, sigmoid }

    private let gate: Gate
    private let outputGate: Linear
    private let outputNorm: Parameter
    private let output: Linear

    /// What `rmsNorm` adds to the mean of squares.
    private static let epsilon: Float = 1e-5

    /// Declares `path.outputGate` [H V, D], `path.outputNorm.weight` [V] and `path.output` [D, H V], without biases.
    init(
        _ store: ParameterStore, _ path: String, width: Int, heads: Int, valueWidth: Int, _ gate: Gate, initializer: Initializer,
        outputInitializer: Initializer
    ) {
        self.gate = gate
        let values = heads * valueWidth
        outputGate = Linear(store, "\(path).outputGate", inputs: width, outputs: values, initializer: initializer, hasBias: false)
        outputNorm = store.add("\(path).outputNorm.weight", [valueWidth], .ones)
        output = Linear(store, "\(path).output", inputs: values, outputs: width, initializer: outputInitializer, hasBias: false)
    }

    /// What was read, float32 [B, T, H V], and the layer's input, [B, T, D], to [B, T, D] in the type of the input.
    func callAsFunction(_ read: Tensor, of x: Tensor, _ pass: ForwardPass) -> Tensor {
        let heads: Shape = [x.shape[0], x.shape[1], read.shape[2] / outputNorm.shape[0], outputNorm.shape[0]]
        let normal = rmsNorm(read.reshaped(to: heads), gain: pass(outputNorm), epsilon: Self.epsilon)
        let numbers = convert(outputGate(x, pass), to: .float32)
        let factors = gate == .silu ? numbers * numbers.sigmoid() : numbers.sigmoid()
        return output(convert(normal.reshaped(to: numbers.shape) * factors, to: x.dataType), pass)
    }
}

// Gated DeltaNet (Yang, Kautz and Hatamizadeh 2024): layers that remember by the gated delta rule, in the place of attention.
//
// Legend: B sequences, T steps, I input width, D width, H heads, K width of a key, V width of a value, C = H (2 K + V) channels, W width of the
// convolution, L layers.

import Diagnostics
import NeuralNetworks
import Tensors

/// The shape of a Gated DeltaNet.
public struct GatedDeltaNetConfiguration: Sendable, Equatable {
    /// L.
    public var layers: Int
    /// D.
    public var width: Int
    /// H.
    public var heads: Int
    /// K.
    public var keyWidth: Int
    /// V.
    public var valueWidth: Int
    /// W, at least 2: positions that queries, keys and values are made of.
    public var convolution = 4
    /// Whether a write takes away what was stored under its key; without it the layer is gated linear attention.
    public var erases = true
    /// The inner width of the feed-forward blocks.
    public var feedForward: Int
    /// The rate of dropout on what each block adds.
    public var dropout: Float = 0

    /// Keys and values of D / H elements, feed-forward blocks of 4 D.
    /// - Precondition: all are positive.
    public init(layers: Int, width: Int, heads: Int) {
        precondition(layers > 0 && width > 0 && heads > 0, "\(layers) layers of \(width) with \(heads) heads")
        (self.layers, self.width, self.heads) = (layers, width, heads)
        (keyWidth, valueWidth) = (max(1, width / heads), max(1, width / heads))
        feedForward = 4 * width
    }
}

/// The token mixer of a layer: what a position gives to later ones goes through H matrices that are written by the gated delta rule.
///
/// With y = silu(convolution(W_qkv x)) for queries, keys and values, g = -exp(A) softplus(W_a x + d) and b = sigmoid(W_b x), both one number a
/// head, o is what `deltaRule` reads, and the output W_o (rmsNorm(o) * silu(W_g x)). Projections have the type of activations, all else is float32.
struct GatedDeltaMixer {
    private let shape: DeltaRuleShape
    private let projection: Linear
    private let convolution: Parameter
    private let gates: Linear
    private let rateBias: Parameter
    private let stepBias: Parameter
    private let outputGate: Linear
    private let outputNorm: Parameter
    private let output: Linear
    /// `path.memory` [H K, V] and `path.convolution` [W - 1, C].
    let memory: [MemoryDeclaration]

    /// What `rmsNorm` adds to the mean of squares.
    private static let epsilon: Float = 1e-5

    /// Declares `path.projection` [C, D], `path.convolution` [C, W], `path.gates` [2 H, D] (strengths, then decays), `path.rateBias` [H] (A: the
    /// logarithm of a rate uniform on 0 ... 16), `path.stepBias` [H] (d: softplus of it is log-uniform on 0.001 ... 0.1), `path.outputGate` [H V, D],
    /// `path.outputNorm.weight` [V] and `path.output` [D, H V]. None has a bias; A and d do not decay.
    init(
        _ store: ParameterStore, _ path: String, _ configuration: GatedDeltaNetConfiguration, initializer: Initializer,
        outputInitializer: Initializer, lifetime: MemoryLifetime
    ) {
        let (width, heads) = (configuration.width, configuration.heads)
        shape = DeltaRuleShape(
            heads: heads, keyWidth: configuration.keyWidth, valueWidth: configuration.valueWidth, erases: configuration.erases)
        let values = heads * configuration.valueWidth
        func linear(_ name: String, _ inputs: Int, _ outputs: Int, _ initializer: Initializer) -> Linear {
            Linear(store, "\(path).\(name)", inputs: inputs, outputs: outputs, initializer: initializer, hasBias: false)
        }
        projection = linear("projection", width, shape.associationWidth, initializer)
        let positions = configuration.convolution
        convolution = store.add(
            "\(path).convolution", [shape.associationWidth, positions], .uniform(bound: 1 / Float(positions).squareRoot()))
        gates = linear("gates", width, 2 * heads, initializer)
        rateBias = store.add("\(path).rateBias", [heads], .logarithmOfUniform(upTo: 16), decays: false)
        stepBias = store.add("\(path).stepBias", [heads], .inverseSoftplusOfLogUniform(from: 0.001, to: 0.1), decays: false)
        outputGate = linear("outputGate", width, values, initializer)
        outputNorm = store.add("\(path).outputNorm.weight", [configuration.valueWidth], .ones)
        output = linear("output", values, width, outputInitializer)
        memory = [
            MemoryDeclaration(
                "\(path).memory", [heads * configuration.keyWidth, configuration.valueWidth], axes: ["key", "value"], lifetime: lifetime),
            MemoryDeclaration("\(path).convolution", [positions - 1, shape.associationWidth], axes: ["position", "channel"], lifetime: lifetime),
        ]
    }

    /// [B, T, D] to [B, T, D].
    /// - Parameters:
    ///   - state: the values of `memory` before the first step, or nothing.
    ///   - layer: its number, by which a trace calls the pictures of its strengths and decays.
    func callAsFunction(
        _ x: Tensor, from state: ArraySlice<Tensor>?, _ pass: ForwardPass, layer: Int
    ) -> (outputs: Tensor, state: [Tensor]) {
        let (batch, steps, heads) = (x.shape[0], x.shape[1], shape.heads)
        let associations = causalConvolution(
            convert(projection(x, pass), to: .float32), weight: pass(convolution), from: state?.last)
        let numbers = convert(gates(x, pass), to: .float32)
        let strengths = numbers.slice(0..<heads, axis: 2).sigmoid()
        let rates = pass(rateBias).applying(.exponential)
        let logDecays = -((numbers.slice(heads..<2 * heads, axis: 2) + pass(stepBias)).applying(.softplus) * rates)
        let (read, last) = deltaRule(associations.outputs, strengths: strengths, logDecays: logDecays, from: state?.first, shape)
        if let trace = pass.trace { record(strengths, logDecays, layer, trace) }
        let normal = rmsNorm(
            pass.checked(read, rateBias).reshaped(to: [batch, steps, heads, shape.valueWidth]), gain: pass(outputNorm), epsilon: Self.epsilon)
        let gate = convert(outputGate(x, pass), to: .float32)
        let gated = normal.reshaped(to: gate.shape) * (gate * gate.sigmoid())
        return (output(convert(gated, to: x.dataType), pass), [last, associations.state])
    }

    private func record(_ strengths: Tensor, _ logDecays: Tensor, _ layer: Int, _ trace: MemoryTrace) {
        guard strengths.shape[0] > 0 else { return }
        let count = strengths.shape[1] * shape.heads
        for (name, values) in [("strengths of writing", strengths), ("decays", logDecays.stopGradient().applying(.exponential))] {
            trace.record(
                "\(name), layer \(layer)", rowAxis: "step", columnAxis: "head", rows: strengths.shape[1], columns: shape.heads,
                values: Array(UnsafeBufferPointer(start: values.floats, count: count)))
        }
    }
}

/// L pre-norm layers of a `GatedDeltaMixer` and a feed-forward block each, and a normalisation behind the last.
public struct GatedDeltaNet: SequenceCore {
    public let configuration: GatedDeltaNetConfiguration
    /// Of each layer `path.N.memory` [H K, V] and `path.N.convolution` [W - 1, C].
    public let memory: [MemoryDeclaration]
    private let input: Linear?
    private let layers: [Layer]
    private let finalNorm: LayerNorm

    private struct Layer {
        let mixerNorm: LayerNorm
        let mixer: GatedDeltaMixer
        let feedForwardNorm: LayerNorm
        let feedForward: FeedForward
    }

    /// Declares `path.input` [D, I] where I is not D, of each layer `path.N.mixerNorm`, the mixer under `path.N`, `path.N.feedForwardNorm` and
    /// `path.N.feedForward`, and `path.finalNorm`. Weights start as N(0, 0.02), and N(0, 0.02 / sqrt(2 L)) where a block writes to the residual
    /// stream, as the decoder-only Transformer's.
    public init(
        _ store: ParameterStore, _ path: String, inputs: Int, _ configuration: GatedDeltaNetConfiguration, lifetime: MemoryLifetime = .sequence
    ) {
        self.configuration = configuration
        let width = configuration.width
        let normal = Initializer.normal(standardDeviation: 0.02)
        let residual = Initializer.normal(standardDeviation: 0.02 / Float(2 * configuration.layers).squareRoot())
        let unit = Initializer.normal(standardDeviation: 1 / Float(inputs).squareRoot())
        input = inputs == width ? nil : Linear(store, "\(path).input", inputs: inputs, outputs: width, initializer: unit)
        layers = (0..<configuration.layers).map { index in
            let layer = "\(path).\(index)"
            return Layer(
                mixerNorm: LayerNorm(store, "\(layer).mixerNorm", width: width),
                mixer: GatedDeltaMixer(
                    store, layer, configuration, initializer: normal, outputInitializer: residual, lifetime: lifetime),
                feedForwardNorm: LayerNorm(store, "\(layer).feedForwardNorm", width: width),
                feedForward: FeedForward(
                    store, "\(layer).feedForward", width: width, inner: configuration.feedForward, activation: .gelu, initializer: normal,
                    outputInitializer: residual, dropoutRate: 0))
        }
        finalNorm = LayerNorm(store, "\(path).finalNorm", width: width)
        memory = layers.flatMap(\.mixer.memory)
    }

    public var outputWidth: Int { configuration.width }

    /// - Returns: [B, T, D] in the type of activations, and the state after the last step, float32.
    public func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        var x = convert(input.map { $0(x, pass) } ?? x, to: .float32)
        var next: [Tensor] = []
        let rate = configuration.dropout
        for (index, layer) in layers.enumerated() {
            let (mixed, last) = layer.mixer(layer.mixerNorm(x, pass), from: state.map { $0.tensors[2 * index..<2 * index + 2] }, pass, layer: index)
            next += last
            x = addDropout(x, mixed, rate: rate, pass.dropout)
            x = addDropout(x, layer.feedForward(layer.feedForwardNorm(x, pass), pass), rate: rate, pass.dropout)
        }
        return (finalNorm(x, pass), MemoryState(next))
    }
}

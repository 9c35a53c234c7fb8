// Gated DeltaNet (Yang, Kautz and Hatamizadeh 2024): layers that remember by the gated delta rule, in the place of attention.
//
// Legend: B sequences, T steps, I input width, D width, H heads, K width of a key, V width of a value, C = H (2 K + V) channels, W width of the
// convolution, L layers.

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
/// With y = silu(convolution(W_qkv x)) for queries, keys and values, and g and b of ``DeltaGates``, o is what `deltaRule` reads, and the output
/// W_o (rmsNorm(o) * silu(W_g x)). Projections have the type of activations, all else is float32.
struct GatedDeltaMixer: TokenMixer {
    private let shape: DeltaRuleShape
    private let projection: Linear
    private let convolution: Parameter
    private let gates: DeltaGates
    private let reading: GatedReading
    /// `path.memory` [H K, V] and `path.convolution` [W - 1, C].
    let memory: [MemoryDeclaration]

    /// Declares `path.projection` [C, D] without a bias, `path.convolution` [C, W], and the parts of ``DeltaGates`` and ``GatedReading``.
    init(
        _ store: ParameterStore, _ path: String, _ configuration: GatedDeltaNetConfiguration, initializer: Initializer,
        outputInitializer: Initializer, lifetime: MemoryLifetime
    ) {
        let (width, heads) = (configuration.width, configuration.heads)
        shape = DeltaRuleShape(
            heads: heads, keyWidth: configuration.keyWidth, valueWidth: configuration.valueWidth, erases: configuration.erases)
        projection = Linear(
            store, "\(path).projection", inputs: width, outputs: shape.associationWidth, initializer: initializer, hasBias: false)
        let positions = configuration.convolution
        convolution = store.add(
            "\(path).convolution", [shape.associationWidth, positions], .uniform(bound: 1 / Float(positions).squareRoot()))
        gates = DeltaGates(store, path, width: width, heads: heads, initializer: initializer)
        reading = GatedReading(
            store, path, width: width, heads: heads, valueWidth: configuration.valueWidth, .silu, initializer: initializer,
            outputInitializer: outputInitializer)
        memory = [
            MemoryDeclaration(
                "\(path).memory", [heads * configuration.keyWidth, configuration.valueWidth], axes: ["key", "value"], lifetime: lifetime),
            MemoryDeclaration("\(path).convolution", [positions - 1, shape.associationWidth], axes: ["position", "channel"], lifetime: lifetime),
        ]
    }

    func callAsFunction(
        _ x: Tensor, from state: ArraySlice<Tensor>?, _ pass: ForwardPass, layer: Int
    ) -> (outputs: Tensor, state: [Tensor]) {
        let associations = causalConvolution(
            convert(projection(x, pass), to: .float32), weight: pass(convolution), from: state?.last)
        let (strengths, logDecays) = gates(x, pass, layer: layer)
        let (read, last) = deltaRule(associations.outputs, strengths: strengths, logDecays: logDecays, from: state?.first, shape)
        return (reading(pass.checked(read, gates.rateBias), of: x, pass), [last, associations.state])
    }
}

/// L pre-norm layers of a `GatedDeltaMixer` and a feed-forward block each, and a normalisation behind the last.
public struct GatedDeltaNet: SequenceCore {
    public let configuration: GatedDeltaNetConfiguration
    private let layers: MixerLayers<GatedDeltaMixer>

    /// Declares ``MixerLayers`` of width D: `path.input` where I is not D, each layer under `path.N`, and `path.finalNorm`.
    public init(
        _ store: ParameterStore, _ path: String, inputs: Int, _ configuration: GatedDeltaNetConfiguration, lifetime: MemoryLifetime = .sequence
    ) {
        self.configuration = configuration
        layers = MixerLayers(
            store, path, inputs: inputs, layers: configuration.layers, width: configuration.width, feedForward: configuration.feedForward,
            dropout: configuration.dropout
        ) {
            GatedDeltaMixer(store, $0, configuration, initializer: $1, outputInitializer: $2, lifetime: lifetime)
        }
    }

    public var outputWidth: Int { configuration.width }

    /// Of each layer `path.N.memory` [H K, V] and `path.N.convolution` [W - 1, C].
    public var memory: [MemoryDeclaration] { layers.memory }

    /// - Returns: [B, T, D] in the type of activations, and the state after the last step, float32.
    public func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        layers(x, from: state, pass)
    }
}

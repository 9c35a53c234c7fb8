// Sparse Delta Memory (Cabannes et al. 2026): layers that write to and read a few rows of a large memory at every position, in place of attention.
//
// Legend: B sequences, T steps, I input width, D width, H heads, S rows of a head, K width of a row's key, V width of a row, n = sqrt(S) halves of
// keys, C = H (2 K + V) channels, W width of the convolution, L layers.

import Diagnostics
import NeuralNetworks
import Tensors

/// What the memory of a lane, or of a sequence, starts with.
public enum SparseDeltaStart: String, Sendable, CaseIterable {
    /// Zeros.
    case zero
    /// A parameter of the memory's shape: a memory that all lanes share, and that training writes.
    case learned
    /// The sum of two parameters, a number for each row and one for each column.
    case factorized
}

/// The shape of a network with Sparse Delta Memories.
public struct SparseDeltaConfiguration: Sendable, Equatable {
    /// L.
    public var layers: Int
    /// D.
    public var width: Int
    /// H.
    public var heads: Int
    /// S, a square.
    public var rows = 1024
    /// Rows that a position writes to, at most S.
    public var writes = 16
    /// Rows that a position reads, at most S.
    public var reads = 16
    /// K, even.
    public var keyWidth: Int
    /// V.
    public var valueWidth: Int
    /// Positions that queries, keys and values are made of, at least 2.
    public var convolution = 4
    /// What the memory starts with.
    public var start = SparseDeltaStart.zero
    /// Whether a lane's memory goes back to its start where a document begins.
    public var resetsAtDocuments = false
    /// The inner width of the feed-forward blocks.
    public var feedForward: Int
    /// The rate of dropout on what each block adds.
    public var dropout: Float = 0

    /// 1,024 rows a head of D / H elements, with keys of as many or one less, feed-forward blocks of 4 D.
    /// - Precondition: all are positive.
    public init(layers: Int, width: Int, heads: Int) {
        precondition(layers > 0 && width > 0 && heads > 0, "\(layers) layers of \(width) with \(heads) heads")
        (self.layers, self.width, self.heads) = (layers, width, heads)
        (keyWidth, valueWidth) = (2 * max(1, width / heads / 2), max(1, width / heads))
        feedForward = 4 * width
    }

    /// n.
    public var side: Int { Int(Double(rows).squareRoot().rounded()) }
}

/// The token mixer of a layer: a position writes to a few rows of each head's memory and reads a few.
///
/// With y = silu(convolution(W_qkv x)) for queries, keys and values, queries and keys are normalised, each by its own mean and deviation alone, with
/// a gain; `productKeyAddresses` finds the rows that they stand for, by the same product keys for both, so that what is written under a key is
/// found by a query like it. With g and b of ``DeltaGates``, o is what `sparseDeltaRule` reads, and the output W_o (rmsNorm(o) * sigmoid(W_g x)).
/// Projections have the type of activations, all else is float32.
struct SparseDeltaMixer: TokenMixer {
    private let configuration: SparseDeltaConfiguration
    private let projection: Linear
    private let convolution: Parameter
    private let queryNorm: Parameter
    private let keyNorm: Parameter
    private let productKeys: Parameter
    private let gates: DeltaGates
    private let start: Parameter?
    private let (startRows, startColumns): (Parameter?, Parameter?)
    private let reading: GatedReading
    /// `path.memory` [H S, V] and `path.convolution` [W - 1, C].
    let memory: [MemoryDeclaration]

    /// Added to a query's or a key's variance.
    private static let epsilon: Float = 1e-5

    /// Declares `path.projection` [C, D] without a bias, `path.convolution` [C, W], `path.queryNorm.weight` and `path.keyNorm.weight` [K],
    /// `path.productKeys` [2 H n, K / 2] (which start so that the scores of halves have a deviation of 1), the parts of ``DeltaGates``, of the start
    /// `path.start` [H S, V], or `path.startRowBias` [H S] and `path.startColumnBias` [H, V], all at first zero, and the parts of ``GatedReading``.
    init(
        _ store: ParameterStore, _ path: String, _ configuration: SparseDeltaConfiguration, initializer: Initializer,
        outputInitializer: Initializer, lifetime: MemoryLifetime
    ) {
        self.configuration = configuration
        let (width, heads, keyWidth, valueWidth) = (configuration.width, configuration.heads, configuration.keyWidth, configuration.valueWidth)
        let (channels, positions) = (heads * (2 * keyWidth + valueWidth), configuration.convolution)
        require(
            keyWidth > 0 && keyWidth % 2 == 0 && configuration.side * configuration.side == configuration.rows,
            "keys of \(keyWidth), \(configuration.rows) rows")
        projection = Linear(store, "\(path).projection", inputs: width, outputs: channels, initializer: initializer, hasBias: false)
        convolution = store.add("\(path).convolution", [channels, positions], .uniform(bound: 1 / Float(positions).squareRoot()))
        queryNorm = store.add("\(path).queryNorm.weight", [keyWidth], .ones)
        keyNorm = store.add("\(path).keyNorm.weight", [keyWidth], .ones)
        productKeys = store.add(
            "\(path).productKeys", [2 * heads * configuration.side, keyWidth / 2],
            .normal(standardDeviation: 1 / Float(keyWidth / 2).squareRoot()))
        gates = DeltaGates(store, path, width: width, heads: heads, initializer: initializer)
        let rows = heads * configuration.rows
        var initial = InitialMemory.constant(0)
        switch configuration.start {
        case .zero: (start, startRows, startColumns) = (nil, nil, nil)
        case .learned:
            (start, startRows, startColumns) = (store.add("\(path).start", [rows, valueWidth], .zeros), nil, nil)
            initial = .parameter("\(path).start")
        case .factorized:
            start = nil
            startRows = store.add("\(path).startRowBias", [rows], .zeros)
            startColumns = store.add("\(path).startColumnBias", [heads, valueWidth], .zeros, decays: false)
            initial = .sums(ofRows: "\(path).startRowBias", andColumns: "\(path).startColumnBias")
        }
        reading = GatedReading(
            store, path, width: width, heads: heads, valueWidth: valueWidth, .sigmoid, initializer: initializer,
            outputInitializer: outputInitializer)
        memory = [
            MemoryDeclaration("\(path).memory", [rows, valueWidth], axes: ["row", "column"], lifetime: lifetime, initial: initial),
            MemoryDeclaration("\(path).convolution", [positions - 1, channels], axes: ["position", "channel"], lifetime: lifetime),
        ]
    }

    /// What sequences begin with, [H S, V], on the tape; `nil` is zeros.
    private func startMemory(_ pass: ForwardPass) -> Tensor? {
        if let start { return pass(start) }
        guard let startRows, let startColumns else { return nil }
        let (heads, rows, width) = (configuration.heads, configuration.rows, configuration.valueWidth)
        let sums = pass(startRows).reshaped(to: [heads, rows, 1]) + pass(startColumns).reshaped(to: [heads, 1, width])
        return sums.reshaped(to: [heads * rows, width])
    }

    /// The rows that queries, or keys, [B, T, H K], stand for.
    private func addresses(_ x: Tensor, _ gain: Parameter, count: Int, _ pass: ForwardPass) -> RowAddresses {
        let heads: Shape = [x.shape[0], x.shape[1], configuration.heads, configuration.keyWidth]
        let normal = layerNorm(x.reshaped(to: heads), gain: pass(gain), bias: nil, epsilon: Self.epsilon)
        return productKeyAddresses(normal.reshaped(to: x.shape), keys: pass(productKeys), heads: configuration.heads, count: count)
    }

    func callAsFunction(
        _ x: Tensor, from state: ArraySlice<Tensor>?, _ pass: ForwardPass, layer: Int
    ) -> (outputs: Tensor, state: [Tensor]) {
        let resets = configuration.resetsAtDocuments ? pass.resets : []
        let keys = configuration.heads * configuration.keyWidth
        let channels = causalConvolution(
            convert(projection(x, pass), to: .float32), weight: pass(convolution), from: state?.last, resets: resets)
        let reads = addresses(channels.outputs.slice(0..<keys, axis: 2), queryNorm, count: configuration.reads, pass)
        let writes = addresses(channels.outputs.slice(keys..<2 * keys, axis: 2), keyNorm, count: configuration.writes, pass)
        let values = channels.outputs.slice(2 * keys..<channels.outputs.shape[2], axis: 2)
        let (strengths, logDecays) = gates(x, pass, layer: layer)
        let begins = state == nil || resets.contains(true)
        let (read, last) = sparseDeltaRule(
            values, strengths: strengths, logDecays: logDecays, writes: writes, reads: reads, rows: configuration.rows, from: state?.first,
            start: begins ? startMemory(pass) : nil, resets: resets)
        if let trace = pass.trace {
            record(writes, "written", layer, trace)
            record(reads, "read", layer, trace)
        }
        return (reading(pass.checked(read, gates.rateBias), of: x, pass), [last, channels.state])
    }

    /// Draws which part of each head's rows the first sequence has used up to each step.
    private func record(_ addresses: RowAddresses, _ verb: String, _ layer: Int, _ trace: MemoryTrace) {
        guard addresses.rows.shape[0] > 0 else { return }
        let (steps, heads) = (addresses.rows.shape[1], configuration.heads)
        var used = [Set<Int32>](repeating: [], count: heads)
        let shares = (0..<steps * heads).map { place -> Float in
            for i in 0..<addresses.count { used[place % heads].insert(addresses.rows.integers[place * addresses.count + i]) }
            return Float(used[place % heads].count) / Float(configuration.rows)
        }
        trace.record(
            "rows \(verb) so far, layer \(layer)", rowAxis: "step", columnAxis: "head", rows: steps, columns: heads, values: shares)
    }
}

/// L pre-norm layers of a `SparseDeltaMixer` and a feed-forward block each, and a normalisation behind the last.
///
/// - Source: Cabannes et al., "Sparse Delta Memory: scaling the state of linear RNNs through sparsity", 2026, section 3. There queries and keys go
///   through a batch normalisation, whose statistics see later tokens; here each is normalised by itself.
public struct SparseDeltaNet: SequenceCore {
    public let configuration: SparseDeltaConfiguration
    private let layers: MixerLayers<SparseDeltaMixer>

    /// Declares ``MixerLayers`` of width D: `path.input` where I is not D, each layer under `path.N`, and `path.finalNorm`.
    /// - Precondition: S is a square, K even, and neither reads nor writes are more than S.
    public init(
        _ store: ParameterStore, _ path: String, inputs: Int, _ configuration: SparseDeltaConfiguration, lifetime: MemoryLifetime = .sequence
    ) {
        self.configuration = configuration
        layers = MixerLayers(
            store, path, inputs: inputs, layers: configuration.layers, width: configuration.width, feedForward: configuration.feedForward,
            dropout: configuration.dropout
        ) {
            SparseDeltaMixer(store, $0, configuration, initializer: $1, outputInitializer: $2, lifetime: lifetime)
        }
    }

    public var outputWidth: Int { configuration.width }

    /// Of each layer `path.N.memory` [H S, V] and `path.N.convolution` [W - 1, C].
    public var memory: [MemoryDeclaration] { layers.memory }

    /// - Returns: [B, T, D] in the type of activations, and the state after the last step, float32.
    public func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        layers(x, from: state, pass)
    }
}

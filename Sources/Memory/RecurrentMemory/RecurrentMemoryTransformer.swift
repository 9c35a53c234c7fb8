// The recurrent memory transformer (Bulatov, Kuratov and Burtsev 2022), and its associative form (Rodkin et al. 2024): a Transformer that reads
// segment after segment, and remembers what memory tokens take along.
//
// Legend: B sequences, T steps, I input width, D width, H heads, S positions of a segment, m memory tokens, F features of a key, L layers.

import Diagnostics
import NeuralNetworks
import Tensors

/// The shape of a recurrent memory transformer.
public struct RecurrentMemoryConfiguration: Sendable, Equatable {
    /// L.
    public var layers: Int
    /// D.
    public var width: Int
    /// H, a divisor of D.
    public var heads: Int
    /// S, at least 2.
    public var segment: Int
    /// m.
    public var memoryTokens = 4
    /// Whether each layer has an associative memory; without it the tokens themselves go from segment to segment.
    public var isAssociative = true
    /// The width of an association's key, at least 2.
    public var keyWidth = 64
    /// The inner width of the feed-forward blocks.
    public var feedForward: Int
    /// The rate of dropout on what each block adds.
    public var dropout: Float = 0

    /// Four memory tokens, associative memories, feed-forward blocks of 4 D.
    /// - Precondition: all are positive, S at least 2, and H divides D.
    public init(layers: Int, width: Int, heads: Int, segment: Int) {
        precondition(
            layers > 0 && heads > 0 && width > 0 && width % heads == 0 && segment > 1, "\(layers) layers of \(width), segments of \(segment)")
        (self.layers, self.width, self.heads, self.segment) = (layers, width, heads, segment)
        feedForward = 4 * width
    }
}

/// Pre-norm layers of causal attention within a segment. At a segment's end stand m memory tokens, which see all of it.
///
/// In the associative form they write to an ``AssociativeMemory`` of each layer, of which every position of later segments reads before it attends;
/// in the plain form what they have become behind the last layer stands in front of the next segment. Segments are read as in ``SegmentedCore``.
///
/// - Source: Bulatov, Kuratov and Burtsev, "Recurrent memory transformer", 2022, section 3; here the tokens at the end are learned vectors of their
///   own instead of those in front. Rodkin, Kuratov, Bulatov and Burtsev, "Associative recurrent memory transformer", 2024, section 2.
public struct RecurrentMemoryTransformer: SequenceCore, SegmentedCore {
    public let configuration: RecurrentMemoryConfiguration
    /// Of each layer `path.N.associations` [F, D] and `path.N.normalizer` [F], or `path.memory` [m, D]; then `path.pending` [S - 1, I], the steps of
    /// a segment that is not complete, and `path.pendingCount`, how many they are.
    public let memory: [MemoryDeclaration]
    private let input: Linear?
    let inputs: Int
    private let positions: Parameter
    private let tokens: Parameter
    private let firstTokens: Parameter?
    private let layers: [Layer]
    let finalNorm: LayerNorm

    private struct Layer {
        let attentionNorm: LayerNorm
        let attention: SelfAttention
        let associations: AssociativeMemory?
        let feedForwardNorm: LayerNorm
        let feedForward: FeedForward
    }

    /// Declares `path.input` [D, I] where I is not D, `path.positions` [S, D], `path.memoryTokens` [m, D], `path.firstTokens` [m, D] in the plain
    /// form, of each layer `path.N.attentionNorm`, `path.N.attention`, the associative memory under `path.N`, `path.N.feedForwardNorm` and
    /// `path.N.feedForward`, and `path.finalNorm`. Weights start as the decoder-only Transformer's: N(0, 0.02), and N(0, 0.02 / sqrt(2 L)) where a
    /// block writes to the residual stream.
    public init(
        _ store: ParameterStore, _ path: String, inputs: Int, _ configuration: RecurrentMemoryConfiguration, lifetime: MemoryLifetime = .sequence
    ) {
        self.configuration = configuration
        self.inputs = inputs
        let (width, count) = (configuration.width, configuration.memoryTokens)
        let normal = Initializer.normal(standardDeviation: 0.02)
        let residual = Initializer.normal(standardDeviation: 0.02 / Float(2 * configuration.layers).squareRoot())
        let unit = Initializer.normal(standardDeviation: 1 / Float(inputs).squareRoot())
        input = inputs == width ? nil : Linear(store, "\(path).input", inputs: inputs, outputs: width, initializer: unit)
        positions = store.add("\(path).positions", [configuration.segment, width], normal)
        tokens = store.add("\(path).memoryTokens", [count, width], normal)
        firstTokens = configuration.isAssociative ? nil : store.add("\(path).firstTokens", [count, width], normal)
        layers = (0..<configuration.layers).map { index in
            let layer = "\(path).\(index)"
            return Layer(
                attentionNorm: LayerNorm(store, "\(layer).attentionNorm", width: width),
                attention: SelfAttention(
                    store, "\(layer).attention", width: width, heads: configuration.heads, initializer: normal, outputInitializer: residual,
                    dropoutRate: configuration.dropout),
                associations: configuration.isAssociative
                    ? AssociativeMemory(store, layer, width: width, keyWidth: configuration.keyWidth, initializer: normal) : nil,
                feedForwardNorm: LayerNorm(store, "\(layer).feedForwardNorm", width: width),
                feedForward: FeedForward(
                    store, "\(layer).feedForward", width: width, inner: configuration.feedForward, activation: .gelu, initializer: normal,
                    outputInitializer: residual, dropoutRate: 0))
        }
        finalNorm = LayerNorm(store, "\(path).finalNorm", width: width)
        let own = layers.enumerated().flatMap { index, layer -> [MemoryDeclaration] in
            guard let features = layer.associations?.featureCount else { return [] }
            return [
                MemoryDeclaration("\(path).\(index).associations", [features, width], axes: ["feature", "unit"], lifetime: lifetime),
                MemoryDeclaration("\(path).\(index).normalizer", [features], axes: ["feature"], lifetime: lifetime),
            ]
        }
        memory =
            (configuration.isAssociative
                ? own : [MemoryDeclaration("\(path).memory", [count, width], axes: ["token", "unit"], lifetime: lifetime)])
            + Self.pendingDeclarations(path, segment: configuration.segment, inputs: inputs, lifetime: lifetime)
    }

    public var outputWidth: Int { configuration.width }
    var segment: Int { configuration.segment }

    /// What goes from segment to segment.
    struct Remembered {
        /// By layer; `nil` before the first writing.
        var associations: [AssociativeMemory.State?]
        /// [B, m, D] in the plain form, `nil` before the first segment's end.
        var tokens: Tensor?
    }

    func remembered(_ tensors: [Tensor]?, batch: Int, _ pass: ForwardPass) -> Remembered {
        var remembered = Remembered(associations: layers.map { _ in nil })
        guard let tensors else { return remembered }
        if configuration.isAssociative {
            remembered.associations = layers.indices.map { index in
                let features = tensors[2 * index + 1]
                return AssociativeMemory.State(
                    associations: tensors[2 * index], normalizer: features.reshaped(to: [batch, features.shape[1], 1]))
            }
        } else {
            remembered.tokens = tensors[0]
        }
        return remembered
    }

    func read(_ steps: Tensor, _ remembered: inout Remembered, _ place: SegmentPlace, _ pass: ForwardPass, _ pictures: SegmentPictures?) -> Tensor {
        let (batch, length, count) = (steps.shape[0], steps.shape[1], configuration.memoryTokens)
        let indices = Tensor((0..<batch).flatMap { _ in (0..<count).map { Int32($0) } }, [batch, count])
        let projected = input.map { convert($0(convert(steps, to: $0.weight.activationType), pass), to: .float32) } ?? steps
        var sequence = [addPositions(projected, pass(positions))]
        var first = 0
        if let firstTokens {
            let markers = embedding(pass(firstTokens), indices)
            sequence.insert(remembered.tokens.map { $0 + markers } ?? markers, at: 0)
            first = count
        }
        if place.isComplete { sequence.append(embedding(pass(tokens), indices)) }
        var x = sequence.count == 1 ? sequence[0] : concatenate(sequence, axis: 1)
        let (end, rate) = (first + length, configuration.dropout)
        for (index, layer) in layers.enumerated() {
            if let associations = layer.associations, let state = remembered.associations[index] {
                let found = associations.read(convert(x, to: layer.attentionNorm.weight.activationType), state, pass)
                pictures?.noteRead(found, of: x, layer: index, positions: length)
                x = x + found
            } else {
                pictures?.noteRead(nil, of: x, layer: index, positions: length)
            }
            let mixed = layer.attention(layer.attentionNorm(x, pass), mask: AttentionMask(causal: true), pass)
            x = addDropout(x, mixed, rate: rate, pass.dropout)
            x = addDropout(x, layer.feedForward(layer.feedForwardNorm(x, pass), pass), rate: rate, pass.dropout)
            if place.isComplete, let associations = layer.associations {
                let written = associations.written(
                    by: convert(x.slice(end..<end + count, axis: 1), to: layer.attentionNorm.weight.activationType),
                    remembered.associations[index], pass)
                remembered.associations[index] = written.state
                pictures?.append(
                    "strengths of writing, layer \(index)", columnAxis: "token",
                    Array(UnsafeBufferPointer(start: written.strengths.floats, count: count)))
            }
        }
        if place.isComplete, firstTokens != nil { remembered.tokens = x.slice(end..<end + count, axis: 1) }
        return x.slice(first..<end, axis: 1)
    }

    func tensors(of remembered: Remembered, batch: Int) -> [Tensor] {
        let width = configuration.width
        guard configuration.isAssociative else { return [remembered.tokens ?? Tensor(zeros: [batch, configuration.memoryTokens, width])] }
        return zip(layers, remembered.associations).flatMap { layer, state -> [Tensor] in
            let features = layer.associations?.featureCount ?? 0
            guard let state else { return [Tensor(zeros: [batch, features, width]), Tensor(zeros: [batch, features])] }
            return [state.associations, state.normalizer.reshaped(to: [batch, features])]
        }
    }
}

// Memformer (Wu et al. 2022) as a language model's core: a Transformer that reads segment after segment, and remembers in slots.
//
// Legend: B sequences, T steps, I input width, D width, H heads, S positions of a segment, n of them that are read, k slots, L layers.

import Diagnostics
import NeuralNetworks
import Tensors

/// The shape of a Memformer.
public struct MemformerConfiguration: Sendable, Equatable {
    /// L.
    public var layers: Int
    /// D.
    public var width: Int
    /// H, a divisor of D.
    public var heads: Int
    /// S, at least 2.
    public var segment: Int
    /// k.
    public var slots = 32
    /// tau: below 1 a slot's attention is sharper than that of the layers.
    public var temperature: Float = 0.25
    /// Whether activations are computed again in the backward pass, segment after segment, instead of being kept.
    public var recompute = true
    /// The inner width of the feed-forward blocks.
    public var feedForward: Int
    /// The rate of dropout on what each block adds, and on the attention of positions to positions.
    public var dropout: Float = 0

    /// 32 slots, feed-forward blocks of 4 D.
    /// - Precondition: all are positive, S at least 2, and H divides D.
    public init(layers: Int, width: Int, heads: Int, segment: Int) {
        precondition(
            layers > 0 && heads > 0 && width > 0 && width % heads == 0 && segment > 1, "\(layers) layers of \(width), segments of \(segment)")
        (self.layers, self.width, self.heads, self.segment) = (layers, width, heads, segment)
        feedForward = 4 * width
    }
}

/// Pre-norm layers of three blocks: causal attention within a segment, attention of its positions to k slots, feed-forward. At a segment's end slot
/// attention writes what the next segment reads, a `SlotMemory` that all layers share. Segments are read as in `SegmentedCore`.
///
/// With `recompute` a backward pass goes from segment to segment, from the last one to the first, and computes each again from the slots that it
/// began with: of a call are kept the slots between segments, what these read and gave, and the activations of one segment. Gradients are those of
/// the tape that keeps everything, bit for bit, since what is dropped follows from a segment's place. The last segment of a call, which is the first
/// to run backwards, is kept: a call of one segment computes nothing twice.
///
/// - Source: Wu, Lan, Qian, Gu, Geramifard and Yu, "Memformer: a memory-augmented transformer for sequence modeling", Findings of AACL 2022,
///   section 3, and memory replay back-propagation. There an encoder reads and writes the memory and a decoder predicts; here the layers that predict
///   what follows a position have read its segment up to there, and the slots that earlier segments left.
public struct Memformer: SequenceCore, SegmentedCore {
    public let configuration: MemformerConfiguration
    /// `path.slots` [k, D], then `path.pending` [S - 1, I], the steps of a segment that is not complete, and `path.pendingCount`, how many they are.
    public let memory: [MemoryDeclaration]
    let inputs: Int
    let finalNorm: LayerNorm
    private let input: Linear?
    private let positions: Parameter
    private let layers: [Layer]
    private let slots: SlotMemory

    private struct Layer {
        let attentionNorm: LayerNorm
        let attention: SelfAttention
        let slotAttentionNorm: LayerNorm
        let slotAttention: CrossAttention
        let feedForwardNorm: LayerNorm
        let feedForward: FeedForward
    }

    /// Declares `path.input` [D, I] where I is not D, `path.positions` [S, D], of each layer `path.N.attentionNorm`, `path.N.attention`,
    /// `path.N.slotAttentionNorm`, `path.N.slotAttention`, `path.N.feedForwardNorm` and `path.N.feedForward`, what `SlotMemory` has under `path`, and
    /// `path.finalNorm`. Weights of layers start as the decoder-only Transformer's: N(0, 0.02), and N(0, 0.02 / sqrt(3 L)) where a block writes to
    /// the residual stream.
    public init(
        _ store: ParameterStore, _ path: String, inputs: Int, _ configuration: MemformerConfiguration, lifetime: MemoryLifetime = .sequence
    ) {
        self.configuration = configuration
        self.inputs = inputs
        let (width, heads) = (configuration.width, configuration.heads)
        let normal = Initializer.normal(standardDeviation: 0.02)
        let residual = Initializer.normal(standardDeviation: 0.02 / Float(3 * configuration.layers).squareRoot())
        let unit = Initializer.normal(standardDeviation: 1 / Float(inputs).squareRoot())
        input = inputs == width ? nil : Linear(store, "\(path).input", inputs: inputs, outputs: width, initializer: unit)
        positions = store.add("\(path).positions", [configuration.segment, width], normal)
        layers = (0..<configuration.layers).map { index in
            let layer = "\(path).\(index)"
            return Layer(
                attentionNorm: LayerNorm(store, "\(layer).attentionNorm", width: width),
                attention: SelfAttention(
                    store, "\(layer).attention", width: width, heads: heads, initializer: normal, outputInitializer: residual,
                    dropoutRate: configuration.dropout),
                slotAttentionNorm: LayerNorm(store, "\(layer).slotAttentionNorm", width: width),
                slotAttention: CrossAttention(
                    store, "\(layer).slotAttention", width: width, heads: heads, initializer: normal, outputInitializer: residual, dropoutRate: 0),
                feedForwardNorm: LayerNorm(store, "\(layer).feedForwardNorm", width: width),
                feedForward: FeedForward(
                    store, "\(layer).feedForward", width: width, inner: configuration.feedForward, activation: .gelu, initializer: normal,
                    outputInitializer: residual, dropoutRate: 0))
        }
        slots = SlotMemory(
            store, path, slots: configuration.slots, width: width, heads: heads, temperature: configuration.temperature)
        finalNorm = LayerNorm(store, "\(path).finalNorm", width: width)
        let start = InitialMemory.unitRows(ofParameter: slots.bias.name)
        let own = MemoryDeclaration("\(path).slots", [configuration.slots, width], axes: ["slot", "unit"], lifetime: lifetime, initial: start)
        memory = [own] + Self.pendingDeclarations(path, segment: configuration.segment, inputs: inputs, lifetime: lifetime)
    }

    public var outputWidth: Int { configuration.width }
    var segment: Int { configuration.segment }

    /// The slots.
    func remembered(_ tensors: [Tensor]?, batch: Int, _ pass: ForwardPass) -> Tensor { tensors?[0] ?? slots.start(batch: batch, pass) }
    func tensors(of remembered: Tensor, batch: Int) -> [Tensor] { [remembered] }

    func read(_ steps: Tensor, _ remembered: inout Tensor, _ place: SegmentPlace, _ pass: ForwardPass, _ pictures: SegmentPictures?) -> Tensor {
        let results = pass.part([steps, remembered], recompute: configuration.recompute && !place.isLast) { inputs, pass in
            read(inputs[0], inputs[1], isComplete: place.isComplete, pass, pictures)
        }
        if place.isComplete { remembered = results[1] }
        return results[0]
    }

    /// The outputs of a segment, and of a complete one the slots after it.
    private func read(_ steps: Tensor, _ before: Tensor, isComplete: Bool, _ pass: ForwardPass, _ pictures: SegmentPictures?) -> [Tensor] {
        let (batch, length) = (steps.shape[0], steps.shape[1])
        let projected = input.map { convert($0(convert(steps, to: $0.weight.activationType), pass), to: .float32) } ?? steps
        var x = addPositions(projected, pass(positions))
        let (rate, readable) = (configuration.dropout, slots.readable(before))
        let counts = [Int](repeating: configuration.slots, count: batch)
        for (index, layer) in layers.enumerated() {
            let mixed = layer.attention(layer.attentionNorm(x, pass), mask: AttentionMask(causal: true), pass)
            x = addDropout(x, mixed, rate: rate, pass.dropout)
            let found = layer.slotAttention(
                layer.slotAttentionNorm(x, pass), keysAndValues: layer.slotAttention.project(readable, pass), lengths: counts, pass)
            pictures?.noteRead(convert(found, to: .float32), of: x, layer: index, positions: length)
            x = addDropout(x, found, rate: rate, pass.dropout)
            x = addDropout(x, layer.feedForward(layer.feedForwardNorm(x, pass), pass), rate: rate, pass.dropout)
        }
        guard isComplete else { return [x] }
        let written = slots.written(before, by: x, pass)
        pictures?.noteWritten(written.weights)
        return [x, written.slots]
    }
}

extension SegmentPictures {
    /// Notes what slots kept of themselves and which steps of the segment they took up, the means over heads: [B, H, k, 1 + S].
    fileprivate func noteWritten(_ weights: Tensor) {
        let (heads, count, columns) = (weights.shape[1], weights.shape[2], weights.shape[3])
        func mean(_ slot: Int, _ column: Int) -> Float {
            (0..<heads).reduce(Float(0)) { $0 + weights.floats[($1 * count + slot) * columns + column] } / Float(heads)
        }
        for slot in 0..<count {
            extend("what slots take up", row: slot, of: "slot", by: (1..<columns).map { mean(slot, $0) })
        }
        append("what slots keep of themselves", columnAxis: "slot", (0..<count).map { mean($0, 0) })
    }
}

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
/// in the plain form what they have become behind the last layer stands in front of the next segment. A segment that is not complete is remembered as
/// it was read, and read again with what follows, so that what is given does not depend on how the steps are cut into calls. A gradient flows from
/// segment to segment of one call, and into the memory before it.
///
/// - Source: Bulatov, Kuratov and Burtsev, "Recurrent memory transformer", 2022, section 3; here the tokens at the end are learned vectors of their
///   own instead of those in front. Rodkin, Kuratov, Bulatov and Burtsev, "Associative recurrent memory transformer", 2024, section 2.
public struct RecurrentMemoryTransformer: SequenceCore {
    public let configuration: RecurrentMemoryConfiguration
    /// Of each layer `path.N.associations` [F, D] and `path.N.normalizer` [F], or `path.memory` [m, D]; then `path.pending` [S - 1, I], the steps of
    /// a segment that is not complete, and `path.pendingCount`, how many they are.
    public let memory: [MemoryDeclaration]
    private let input: Linear?
    private let inputs: Int
    private let positions: Parameter
    private let tokens: Parameter
    private let firstTokens: Parameter?
    private let layers: [Layer]
    private let finalNorm: LayerNorm

    /// More sites of dropout than a segment or a call has.
    private static let (sitesOfSegment, sitesOfCall) = (UInt64(1) << 12, UInt64(1) << 40)

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
                ? own : [MemoryDeclaration("\(path).memory", [count, width], axes: ["token", "unit"], lifetime: lifetime)]) + [
                MemoryDeclaration("\(path).pending", [configuration.segment - 1, inputs], axes: ["position", "unit"], lifetime: lifetime),
                MemoryDeclaration("\(path).pendingCount", [], axes: [], lifetime: lifetime),
            ]
    }

    public var outputWidth: Int { configuration.width }

    /// - Returns: [B, T, D] in the type of activations, and the state after the last step, float32.
    public func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        guard let state, let counts = state.tensors.last else { return read(x, nil, pending: 0, pass) }
        let batch = x.shape[0]
        let byCount = Dictionary(grouping: 0..<batch) { Int(counts.floats[$0]) }
        if byCount.count == 1, let pending = byCount.keys.first { return read(x, state, pending: pending, pass) }
        // Sequences that stand at different places of their segments, as in generation.
        require(pass.tape == nil, "sequences that are trained together stand at one place of their segments")
        let steps = x.shape[1]
        let outputs = Tensor(uninitialized: [batch, steps * configuration.width], finalNorm.weight.activationType)
        let next = MemoryState(memory.map { Tensor(uninitialized: Shape([batch] + $0.shape.array)) })
        for (pending, places) in byCount.sorted(by: { $0.key < $1.key }) {
            let part = read(
                x.viewed(as: [batch, steps * inputs]).rows(places).viewed(as: [places.count, steps, inputs]),
                MemoryState(state.tensors.map { $0.rows(places) }), pending: pending, pass)
            outputs.storeRows(places, from: part.outputs.viewed(as: [places.count, steps * configuration.width]))
            for (target, source) in zip(next.tensors, part.state.tensors) { target.storeRows(places, from: source) }
        }
        return (outputs.viewed(as: [batch, steps, configuration.width]), next)
    }

    /// What goes from segment to segment.
    private struct Remembered {
        /// By layer; `nil` before the first writing.
        var associations: [AssociativeMemory.State?]
        /// [B, m, D] in the plain form, `nil` before the first segment's end.
        var tokens: Tensor?
    }

    /// Sequences of whose segments the same number of steps was read already.
    private func read(_ x: Tensor, _ state: MemoryState?, pending count: Int, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        let (batch, steps, segment) = (x.shape[0], x.shape[1], configuration.segment)
        let own = convert(x, to: .float32)
        let before = state.flatMap { count == 0 ? nil : $0.tensors[$0.tensors.count - 2].slice(0..<count, axis: 1).stopGradient() }
        let all = before.map { concatenate([$0, own], axis: 1) } ?? own
        var remembered = Remembered(associations: layers.map { _ in nil })
        if let state {
            if configuration.isAssociative {
                remembered.associations = layers.indices.map { index in
                    let features = state.tensors[2 * index + 1]
                    return AssociativeMemory.State(
                        associations: state.tensors[2 * index], normalizer: features.reshaped(to: [batch, features.shape[1], 1]))
                }
            } else {
                remembered.tokens = state.tensors[0]
            }
        }
        var (place, parts): (Int, [Tensor]) = (0, [])
        var pictures = pass.trace.map { _ in RecurrentMemoryPictures(layers: layers.count) }
        let firstSite = pass.dropout?.site ?? 0
        while place < count + steps {
            let end = min(place + segment, count + steps)
            // Every segment has sites of its own: what is dropped does not depend on how many follow, such as those of padding.
            let dropout = pass.dropout?.copy(at: firstSite + UInt64(parts.count) * Self.sitesOfSegment)
            let part = ForwardPass(
                tape: pass.tape, dropout: dropout, numerics: pass.numerics, isTraining: pass.isTraining, stepsDone: pass.stepsDone)
            parts.append(read(all.slice(place..<end, axis: 1), &remembered, isComplete: end == place + segment, part, &pictures))
            place = end
        }
        pass.dropout?.skip(to: firstSite + Self.sitesOfCall)
        let joined = parts.count == 1 ? parts[0] : concatenate(parts, axis: 1)
        if let trace = pass.trace { pictures?.record(in: trace) }
        let outputs = finalNorm(count == 0 ? joined : joined.slice(count..<count + steps, axis: 1), pass)
        return (outputs, MemoryState(tensors(of: remembered, batch: batch) + pendingTensors(all)))
    }

    /// One segment, or the beginning of one: [B, n, I] to float32 [B, n, D].
    private func read(
        _ steps: Tensor, _ remembered: inout Remembered, isComplete: Bool, _ pass: ForwardPass, _ pictures: inout RecurrentMemoryPictures?
    ) -> Tensor {
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
        if isComplete { sequence.append(embedding(pass(tokens), indices)) }
        var x = sequence.count == 1 ? sequence[0] : concatenate(sequence, axis: 1)
        let (end, rate) = (first + length, configuration.dropout)
        for (index, layer) in layers.enumerated() {
            if let associations = layer.associations, let state = remembered.associations[index] {
                let found = associations.read(convert(x, to: layer.attentionNorm.weight.activationType), state, pass)
                pictures?.noteRead(found, of: x, layer: index, positions: length)
                x = x + found
            } else {
                pictures?.noteNothing(layer: index, positions: length)
            }
            let mixed = layer.attention(layer.attentionNorm(x, pass), mask: AttentionMask(causal: true), pass)
            x = addDropout(x, mixed, rate: rate, pass.dropout)
            x = addDropout(x, layer.feedForward(layer.feedForwardNorm(x, pass), pass), rate: rate, pass.dropout)
            if isComplete, let associations = layer.associations {
                let written = associations.written(
                    by: convert(x.slice(end..<end + count, axis: 1), to: layer.attentionNorm.weight.activationType),
                    remembered.associations[index], pass)
                remembered.associations[index] = written.state
                pictures?.noteWritten(written.strengths, layer: index)
            }
        }
        if isComplete, firstTokens != nil { remembered.tokens = x.slice(end..<end + count, axis: 1) }
        return x.slice(first..<end, axis: 1)
    }

    /// The values of `memory` but the last two.
    private func tensors(of remembered: Remembered, batch: Int) -> [Tensor] {
        let width = configuration.width
        guard configuration.isAssociative else { return [remembered.tokens ?? Tensor(zeros: [batch, configuration.memoryTokens, width])] }
        return zip(layers, remembered.associations).flatMap { layer, state -> [Tensor] in
            let features = layer.associations?.featureCount ?? 0
            guard let state else { return [Tensor(zeros: [batch, features, width]), Tensor(zeros: [batch, features])] }
            return [state.associations, state.normalizer.reshaped(to: [batch, features])]
        }
    }

    /// The steps that are not of a complete segment, off the tape, and their number.
    private func pendingTensors(_ all: Tensor) -> [Tensor] {
        let (batch, count, rest) = (all.shape[0], all.shape[1], all.shape[1] % configuration.segment)
        let pending = Tensor(zeros: [batch, configuration.segment - 1, inputs])
        for sequence in 0..<batch {
            (pending.floats + sequence * (configuration.segment - 1) * inputs).update(
                from: all.floats + ((sequence + 1) * count - rest) * inputs, count: rest * inputs)
        }
        return [pending, Tensor([Float](repeating: Float(rest), count: batch), [batch])]
    }
}

/// What the layers read of their memories, and how strongly tokens wrote to them, of the first sequence.
private struct RecurrentMemoryPictures {
    /// By layer and step: the length of what was read as a part of the length of what it was added to.
    private var shares: [[Float]]
    /// By layer, segment and token.
    private var strengths: [[Float]]
    private var tokens = 0

    init(layers: Int) { (shares, strengths) = ([[Float]](repeating: [], count: layers), [[Float]](repeating: [], count: layers)) }

    mutating func noteNothing(layer: Int, positions: Int) { shares[layer] += [Float](repeating: 0, count: positions) }

    mutating func noteRead(_ found: Tensor, of x: Tensor, layer: Int, positions: Int) {
        let width = x.shape[2]
        func length(_ tensor: Tensor, _ position: Int) -> Float {
            (0..<width).reduce(Float(0)) { $0 + tensor.floats[position * width + $1] * tensor.floats[position * width + $1] }.squareRoot()
        }
        shares[layer] += (0..<positions).map { length(found, $0) / max(length(x, $0), 1e-9) }
    }

    mutating func noteWritten(_ written: Tensor, layer: Int) {
        tokens = written.shape[1]
        strengths[layer] += Array(UnsafeBufferPointer(start: written.floats, count: tokens))
    }

    func record(in trace: MemoryTrace) {
        let labels = shares.indices.map { "layer \($0)" }
        trace.record(
            "what is read, beside what it is added to", rowAxis: "layer", columnAxis: "step", rowLabels: labels, rows: shares.count,
            columns: shares.first?.count ?? 0, values: shares.flatMap { $0 })
        for (layer, values) in strengths.enumerated() where tokens > 0 && !values.isEmpty {
            trace.record(
                "strengths of writing, layer \(layer)", rowAxis: "segment", columnAxis: "token", rows: values.count / tokens, columns: tokens,
                values: values)
        }
    }
}

// Transformer-XL (Dai et al. 2019): a Transformer whose layers also see the hidden states that earlier segments have left.
//
// Legend: B sequences, T positions, M positions remembered, S = M + T, D width, V vocabulary.

import Diagnostics
import Memory
import NeuralNetworks
import Tensors

/// A language model that reads left to right, segment after segment, and remembers the inputs that its layers had at the latest M positions.
///
/// Each layer attends to what it remembers and to the segment, by distance: there are no absolute positions. What is remembered goes on with its
/// lane, without gradient from one segment into the one before; by way of the layers below, layer n thus sees up to n M positions back.
///
/// - Source: Dai et al., "Transformer-XL: Attentive language models beyond a fixed-length context", 2019, section 3.
public final class TransformerXL: RememberingLanguageModel, MemorizingModel {
    public let configuration: TransformerXLConfiguration
    public let vocabularySize: Int
    public let store = ParameterStore()
    public let maximumLength: Int? = nil
    /// `layers.N.memory` [M, D], the inputs of layer N at the latest positions, the latest last, and `remembered`, how many of them are real: the
    /// others come first; nothing where M is 0. Then the stored keys and values of the layer that attends to such, where there is one.
    public let memory: [MemoryDeclaration]
    /// What the output layer reads.
    public var contextVectors: ContextVectors? { ContextVectors(layer: configuration.layers - 1, width: configuration.width) }

    public var memorizing: MemorizingConfiguration? { configuration.memorizing }
    public var pairHeads: Int { configuration.heads }
    public var pairWidth: Int { configuration.width }
    public var pairs: (any PairStore)?

    let output: OutputProjection
    /// Hidden states are remembered, which no gradient goes to.
    let learnsFromState = false
    var carriesMemory: Bool { configuration.memory > 0 }
    var labelSmoothing: Float { configuration.labelSmoothing }

    private let embedding: Embedding
    private let contentBias: Parameter
    private let positionBias: Parameter
    private let layers: [Layer]
    private let finalNorm: LayerNorm?
    /// The encodings of the distances from 0 on, as many as were needed so far.
    private var encodings: Tensor?

    private struct Layer {
        let attention: RelativeSelfAttention
        /// What reads stored pairs beside it.
        let reader: PairReader?
        let attentionNorm: LayerNorm
        let feedForward: FeedForward
        let feedForwardNorm: LayerNorm
    }

    /// Declares the parameters: Xavier-uniform matrices, N(0, 1 / sqrt(D)) embeddings, which the output layer shares, u and v N(0, 0.02). The caller
    /// allocates.
    public init(_ configuration: TransformerXLConfiguration, vocabularySize: Int) {
        self.configuration = configuration
        self.vocabularySize = vocabularySize
        let (store, width) = (store, configuration.width)
        embedding = Embedding(
            store, "embedding", rows: vocabularySize, width: width, initializer: .normal(standardDeviation: 1 / Float(width).squareRoot()),
            gradient: .dense)
        contentBias = store.add("contentBias", [width], .normal(standardDeviation: 0.02))
        positionBias = store.add("positionBias", [width], .normal(standardDeviation: 0.02))
        layers = (0..<configuration.layers).map { index in
            let path = "layers.\(index)"
            return Layer(
                attention: RelativeSelfAttention(
                    store, "\(path).attention", width: width, heads: configuration.heads, initializer: .xavierUniform,
                    dropoutRate: configuration.attentionDropout),
                reader: configuration.memorizing.flatMap {
                    $0.layer == index
                        ? PairReader(
                            store, "\(path).attention", width: width, heads: configuration.heads, positions: max(configuration.memory, $0.nearest),
                            nearest: $0.nearest) : nil
                },
                attentionNorm: LayerNorm(store, "\(path).attentionNorm", width: width),
                feedForward: FeedForward(
                    store, "\(path).feedForward", width: width, inner: configuration.feedForward, activation: .relu, initializer: .xavierUniform,
                    outputInitializer: .xavierUniform, dropoutRate: configuration.dropout),
                feedForwardNorm: LayerNorm(store, "\(path).feedForwardNorm", width: width))
        }
        finalNorm = configuration.preNorm ? LayerNorm(store, "finalNorm", width: width) : nil
        output = OutputProjection(embedding.weight)
        var memory =
            configuration.memory == 0
            ? []
            : (0..<configuration.layers).map {
                MemoryDeclaration("layers.\($0).memory", [configuration.memory, width], axes: ["position", "unit"], lifetime: .lane)
            } + [MemoryDeclaration("remembered", [], axes: [], lifetime: .lane)]
        memory += configuration.memorizing.map {
            [MemoryDeclaration("memorized", [$0.capacity, 2, width], axes: ["pair", "part", "unit"], lifetime: .run)]
        } ?? []
        self.memory = memory
    }

    // MARK: reading

    /// The states before the output layer, dropout applied: int32 [B, T] to [B, T, D].
    ///
    /// - Parameter state: what is remembered, in the order of `memory` but of any number of positions; `nil` for nothing.
    /// - Returns: the states, and what is remembered after the last position: `configuration.memory` positions in training, else
    ///   `configuration.evaluationMemory`; nothing where the model carries no memory.
    public func hidden(_ inputs: Tensor, from state: MemoryState? = nil, _ pass: ForwardPass) -> (hidden: Tensor, state: MemoryState) {
        let capacity = pass.isTraining ? configuration.memory : configuration.evaluationMemory
        let past = state.flatMap { $0.tensors.isEmpty ? nil : $0 }
        let view = SegmentView(
            inputs.shape, remembered: past, resets: configuration.resets ? pass.resets : [],
            window: configuration.sameLength && !pass.isTraining ? capacity : nil, segmentWindow: configuration.window)
        var left: [Tensor] = []
        let hidden = read(inputs, past: past.map { Array($0.tensors.dropLast()) } ?? [], view, pass) { _, x in
            if carriesMemory { left.append(Self.latest(max(capacity, 1), of: x, after: past?.tensors[left.count])) }
        }
        return (hidden, MemoryState(carriesMemory ? left + [view.remembered(capacity)] : []))
    }

    /// The layers, one after the other.
    /// - Parameters:
    ///   - past: what each layer remembers, float32 [B, M, D]; empty for nothing.
    ///   - onInput: gets the number of each layer and its input, [B, T, D].
    ///   - onKeysAndValues: likewise those of the segment, [B, T, 2 D].
    private func read(
        _ inputs: Tensor, past: [Tensor], _ view: SegmentView, _ pass: ForwardPass, onInput: (Int, Tensor) -> Void = { _, _ in },
        onKeysAndValues: ((Int, Tensor) -> Void)? = nil
    ) -> Tensor {
        var x = embed(inputs, pass)
        let encoded = encodedDistances(view.keys, pass)
        let stored = storedPairs
        let pictures = pass.trace.map { _ in RelativePictures(view.past) }
        for (index, layer) in layers.enumerated() {
            onInput(index, x)
            let remembered = past.isEmpty ? nil : past[index].converted(to: x.dataType)
            x = pass.layer([x], recompute: configuration.recompute) { [self] inputs, pass in
                step(
                    inputs[0], layer, past: remembered.map { layer.attention.keyValue(normalized($0, layer.attentionNorm, pass), pass) },
                    distances: layer.attention.distance(encoded, pass), firstKeys: view.firstKeys, window: view.segmentWindow,
                    pairs: layer.reader == nil ? nil : pass.pairs ?? stored, pass, onKeysAndValues: onKeysAndValues.map { body in { body(index, $0) } },
                    onWeights: pass.trace == nil ? nil : pictures?.add)
            }
        }
        if let trace = pass.trace { pictures?.record(in: trace) }
        return dropout(finalNorm.map { $0(x, pass) } ?? x, rate: configuration.dropout, pass.dropout)
    }

    private func embed(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor {
        let x = embedding(inputs, scale: Float(configuration.width).squareRoot(), pass)
        // After a norm the residual stream has the type of activations; before the first norm it starts with it.
        return dropout(configuration.preNorm ? x : convert(x, to: store.activationType), rate: configuration.dropout, pass.dropout)
    }

    /// What a sublayer reads.
    private func normalized(_ x: Tensor, _ norm: LayerNorm, _ pass: ForwardPass) -> Tensor { configuration.preNorm ? norm(x, pass) : x }

    /// One layer over the keys and values of its past.
    private func step(
        _ x: Tensor, _ layer: Layer, past: Tensor?, distances: Tensor, firstKeys: [Int]?, window: Int? = nil, pairs: PairReading?,
        _ pass: ForwardPass, onKeysAndValues: ((Tensor) -> Void)? = nil, onWeights: ((RelativeWeights) -> Void)? = nil
    ) -> Tensor {
        let rate = configuration.dropout
        func sublayer(_ x: Tensor, _ norm: LayerNorm, _ body: (Tensor) -> Tensor) -> Tensor {
            let sum = addDropout(x, body(normalized(x, norm, pass)), rate: rate, pass.dropout)
            return configuration.preNorm ? sum : norm(sum, pass)
        }
        let x = sublayer(x, layer.attentionNorm) {
            layer.attention(
                $0, past: past, distances: distances, biases: (pass(contentBias), pass(positionBias)), firstKeys: firstKeys, window: window, pass,
                mixing: layer.reader.map { reader in { self.mixed($0, queries: $1, own: $2, reader, pairs, pass) } }, onKeysAndValues: onKeysAndValues,
                onWeights: onWeights)
        }
        return sublayer(x, layer.feedForwardNorm) { layer.feedForward($0, pass) }
    }

    /// What a layer attends to, and what it finds among stored pairs; leaves its own.
    private func mixed(
        _ attended: Tensor, queries: Tensor, own: Tensor, _ reader: PairReader, _ pairs: PairReading?, _ pass: ForwardPass
    ) -> Tensor {
        guard let pairs else { return attended }
        let width = configuration.width
        pairs.keep(keys: reader.key(own.slice(0..<width, axis: 2)), values: convert(own.slice(width..<2 * width, axis: 2), to: .float32))
        return reader.mixed(attended, query: reader.query(queries, pass), pass, pairs)
    }

    /// The pairs of the run, for a pass that brings none.
    private var storedPairs: PairReading? { pairs.map { PairReading([$0]) } }

    /// The encodings of the distances S - 1 ... 0, [S, D] in the type of activations, dropout applied: the same mask for all lanes, by distance.
    private func encodedDistances(_ count: Int, _ pass: ForwardPass) -> Tensor {
        let width = configuration.width
        let table =
            encodings.flatMap { $0.shape[0] < count ? nil : $0 }
            ?? RelativeSelfAttention.encodedDistances(count, width: width, clamp: configuration.clamp)
        encodings = table
        let dropped = dropout(table.viewed(as: [1, count, width]), rate: configuration.dropout, pass.dropout?.sharedByLanes())
        return dropped.viewed(as: [count, width]).rows((0..<count).reversed()).converted(to: store.activationType)
    }

    /// The latest positions of [B, T, D] and of what was remembered before, float32 [B, capacity, D]; zeros first where there are too few.
    private static func latest(_ capacity: Int, of x: Tensor, after past: Tensor?) -> Tensor {
        let result = Tensor(zeros: [x.shape[0], capacity, x.shape[2]])
        var end = capacity
        for part in [x, past].compactMap({ $0?.converted(to: .float32) }) {
            let (length, row) = (part.shape[1], x.shape[2])
            let count = min(length, end)
            for b in 0..<x.shape[0] {
                (result.floats + (b * capacity + end - count) * row).update(from: part.floats + ((b + 1) * length - count) * row, count: count * row)
            }
            end -= count
        }
        return result
    }

    // MARK: writing

    public func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder {
        Decoder(self, prompts, maximumNewTokens)
    }

    /// Every position sees itself and as many positions before it as the model remembers in evaluation; where that is none, all of them.
    private final class Decoder: IncrementalDecoder {
        private let model: TransformerXL
        private let pass = ForwardPass()
        private let capacity: Int
        /// What each layer makes of the distances, [capacity + 1, D].
        private let distances: [Tensor]
        /// The keys and values of the latest positions, [B, capacity, 2 D] for each layer.
        private var past: [Tensor]
        /// How many of them are real.
        private var counts: [Int]
        let firstLogits: Tensor?

        init(_ model: TransformerXL, _ prompts: [[Int32]], _ maximumNewTokens: Int) {
            self.model = model
            let (pass, width, type) = (pass, model.configuration.width, model.store.activationType)
            let longest = prompts.map(\.count).max() ?? 0
            let configuration = model.configuration
            let limit = configuration.evaluationMemory > 0 ? configuration.evaluationMemory : configuration.window.map { $0 - 1 }
            let capacity = max(1, limit ?? longest + maximumNewTokens)
            let encoded = model.encodedDistances(capacity + 1, pass)
            let past = model.layers.map { _ in Tensor(zeros: [prompts.count, capacity, 2 * width]).converted(to: type) }
            let last = Tensor(uninitialized: [prompts.count, width], type)
            // Prompts of one length are read together: there is no padding.
            for (length, places) in Dictionary(grouping: prompts.indices, by: { prompts[$0].count }).sorted(by: { $0.key < $1.key }) {
                require(length > 0, "decoding starts from at least one token")
                let inputs = Tensor(places.flatMap { prompts[$0] }, [places.count, length])
                let view = SegmentView(inputs.shape, remembered: nil, resets: [], window: capacity)
                let store = { (index: Int, keysAndValues: Tensor) in
                    let kept = min(length, capacity)
                    for (row, place) in places.enumerated() {
                        let bytes = 2 * width * type.byteCount
                        (past[index].bytes + ((place + 1) * capacity - kept) * bytes).copyMemory(
                            from: keysAndValues.bytes + ((row + 1) * length - kept) * bytes, byteCount: kept * bytes)
                    }
                }
                let hidden = model.read(inputs, past: [], view, pass, onKeysAndValues: store)
                last.storeRows(places, from: hidden.viewed(as: [places.count * length, width]).rows(places.indices.map { ($0 + 1) * length - 1 }))
            }
            distances = model.layers.map { $0.attention.distance(encoded, pass) }
            counts = prompts.map { min($0.count, capacity) }
            firstLogits = model.output(last, pass)
            (self.capacity, self.past) = (capacity, past)
        }

        func advance(_ tokens: [Int32]) -> Tensor {
            var x = model.embed(Tensor(tokens, [tokens.count, 1]), pass)
            let firstKeys = counts.map { capacity - $0 }
            for (index, layer) in model.layers.enumerated() {
                let before = past[index]
                let remember = { [self] (own: Tensor) in
                    past[index] = Self.shifted(before, own)
                }
                x = model.step(x, layer, past: before, distances: distances[index], firstKeys: firstKeys,
                    pairs: layer.reader == nil ? nil : model.storedPairs, pass, onKeysAndValues: remember)
            }
            counts = counts.map { min($0 + 1, capacity) }
            return model.output(model.finalNorm.map { $0(x, pass) } ?? x, pass).viewed(as: [tokens.count, model.vocabularySize])
        }

        /// The latest positions of [B, capacity, C] and one more, [B, 1, C]: the oldest goes.
        private static func shifted(_ past: Tensor, _ own: Tensor) -> Tensor {
            let next = Tensor(uninitialized: past.shape, past.dataType)
            let row = past.shape[2] * past.dataType.byteCount
            let lane = past.shape[1] * row
            for b in 0..<past.shape[0] {
                (next.bytes + b * lane).copyMemory(from: past.bytes + b * lane + row, byteCount: lane - row)
                (next.bytes + (b + 1) * lane - row).copyMemory(from: own.bytes + b * row, byteCount: row)
            }
            return next
        }

        func reorder(_ parents: [Int]) {
            past = past.map { $0.rows(parents) }
            counts = parents.map { counts[$0] }
        }
    }
}

/// What the positions of a segment see of it and of what is remembered.
private struct SegmentView {
    /// M and S.
    let past: Int
    let keys: Int
    /// The first key that each position sees, [B, T]; `nil` where that is key 0 for all.
    let firstKeys: [Int]?
    /// How many positions of the segment a position sees; `nil` for all.
    let segmentWindow: Int?
    private let batch: Int

    /// - Parameters:
    ///   - shape: [B, T].
    ///   - state: what is remembered, the numbers of real positions last.
    ///   - resets: [B, T], true where all before is forgotten; empty for nowhere.
    ///   - window: how many positions before it a position sees; `nil` for all.
    ///   - segmentWindow: how many positions of the segment a position sees; `nil` for all.
    init(_ shape: Shape, remembered state: MemoryState?, resets: [Bool], window: Int?, segmentWindow: Int? = nil) {
        let (batch, positions) = (shape[0], shape[1])
        let past = state?.tensors[0].shape[1] ?? 0
        var first = [Int](repeating: 0, count: batch * positions)
        for b in 0..<batch {
            var start = past - (state.map { Int($0.tensors[$0.tensors.count - 1].floats[b]) } ?? 0)
            for t in 0..<positions {
                if !resets.isEmpty, resets[b * positions + t] { start = past + t }
                first[b * positions + t] = max(start, past + t - (window ?? .max))
            }
        }
        (self.past, keys, self.batch, self.segmentWindow) = (past, past + positions, batch, segmentWindow)
        firstKeys = first.contains { $0 > 0 } ? first : nil
    }

    /// How many of the latest positions are real after the segment, at most `capacity`, of which no window is smaller: float32 [B].
    func remembered(_ capacity: Int) -> Tensor {
        let positions = keys - past
        return Tensor((0..<batch).map { b in Float(min(capacity, keys - (firstKeys?[(b + 1) * positions - 1] ?? 0))) }, [batch])
    }
}

/// How far back the layers looked, and how much of that before the segment.
private final class RelativePictures {
    private let past: Int
    private var weights: [RelativeWeights] = []

    init(_ past: Int) { self.past = past }

    func add(_ weights: RelativeWeights) { self.weights.append(weights) }

    /// Two pictures: the mean weight of distances 0, 1, 2-3, 4-7 and so on, and the weight of what came before the segment at each position.
    func record(in trace: MemoryTrace) {
        guard let first = weights.first else { return }
        var ranges = [0...0]
        while let last = ranges.last, last.upperBound < first.keys - 1 {
            ranges.append(last.upperBound + 1...min(first.keys - 1, max(1, 2 * last.upperBound + 1)))
        }
        let labels = weights.indices.map { "layer \($0)" }
        let byDistance = weights.flatMap { layer in ranges.map(layer.meanWeight) }
        trace.record(
            "attention by distance", rowAxis: "layer", columnAxis: "distance", rowLabels: labels,
            columnLabels: ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }, rows: weights.count,
            columns: ranges.count, values: byDistance)
        guard past > 0 else { return }
        trace.record(
            "attention to what came before the segment", rowAxis: "layer", columnAxis: "step", rowLabels: labels, rows: weights.count,
            columns: first.positions,
            values: weights.flatMap { layer in (0..<layer.positions).map { layer.weight(of: 0..<past, at: $0) } })
    }
}

extension RelativeWeights {
    /// What a position gives to some keys.
    fileprivate func weight(of range: Range<Int>, at position: Int) -> Float {
        range.reduce(0) { $0 + values[position * keys + $1] }
    }

    /// What positions give to the keys that are so far from them, on average.
    fileprivate func meanWeight(of distances: ClosedRange<Int>) -> Float {
        var sum: Float = 0
        for position in 0..<positions {
            let own = keys - positions + position
            sum += weight(of: max(0, own - distances.upperBound)..<max(0, own - distances.lowerBound + 1), at: position)
        }
        return sum / Float(positions)
    }
}

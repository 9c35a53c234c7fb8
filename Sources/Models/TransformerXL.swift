// Transformer-XL (Dai et al. 2019): a Transformer whose layers also see the hidden states that earlier segments have left. Where those that leave its
// memory are compressed, the Compressive Transformer (Rae et al. 2019).
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
/// With `configuration.compression` positions that leave the memory are not forgotten: each layer makes one of every few, and attends to the latest
/// of these as well. They stand before the memory, a distance of 1 apart.
///
/// - Source: Dai et al., "Transformer-XL: Attentive language models beyond a fixed-length context", 2019, section 3; Rae et al., "Compressive
///   Transformers for Long-Range Sequence Modelling", 2019, section 3.
public final class TransformerXL: RememberingLanguageModel, MemorizingModel {
    public let configuration: TransformerXLConfiguration
    public let vocabularySize: Int
    public let store = ParameterStore()
    public let maximumLength: Int? = nil
    /// `layers.N.memory` [M, D], the inputs of layer N at the latest positions, the latest last, and `remembered`, how many of them are real: the
    /// others come first. With compression `layers.N.compressed` [C, D] besides, and `slots`, how many of them are real; the memory then has
    /// room for the positions that do not yet make a group. Where the most used are kept, `layers.N.use` says how much attention each position of
    /// the memory has received. Nothing where M is 0. Then the stored keys and values of the layer that attends to such, where there is one.
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
    let layers: [Layer]
    private let finalNorm: LayerNorm?
    /// The encodings of the distances from 0 on, as many as were needed so far.
    private var encodings: Tensor?

    struct Layer {
        let attention: RelativeSelfAttention
        /// What reads stored pairs beside it.
        let reader: PairReader?
        let attentionNorm: LayerNorm
        let feedForward: FeedForward
        let feedForwardNorm: LayerNorm
        let compression: MemoryCompression?
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
                feedForwardNorm: LayerNorm(store, "\(path).feedForwardNorm", width: width),
                compression: configuration.compression.map {
                    MemoryCompression(store, "\(path).compression", width: width, rate: $0.rate, function: $0.function, loss: $0.loss)
                })
        }
        finalNorm = configuration.preNorm ? LayerNorm(store, "finalNorm", width: width) : nil
        output = OutputProjection(embedding.weight)
        memory = (configuration.memory == 0 ? [] : Self.declarations(configuration)) + (configuration.memorizing.map {
            [MemoryDeclaration("memorized", [$0.capacity, 2, width], axes: ["pair", "part", "unit"], lifetime: .run)]
        } ?? [])
    }

    private static func declarations(_ configuration: TransformerXLConfiguration) -> [MemoryDeclaration] {
        let (compression, width) = (configuration.compression, configuration.width)
        let positions = configuration.memory + (compression.map { $0.rate - 1 } ?? 0)
        let layers = (0..<configuration.layers).flatMap { layer -> [MemoryDeclaration] in
            var parts = [MemoryDeclaration("layers.\(layer).memory", [positions, width], axes: ["position", "unit"], lifetime: .lane)]
            if let compression {
                parts.append(MemoryDeclaration("layers.\(layer).compressed", [compression.slots, width], axes: ["slot", "unit"], lifetime: .lane))
                if compression.function == .mostUsed {
                    parts.append(MemoryDeclaration("layers.\(layer).use", [positions], axes: ["position"], lifetime: .lane))
                }
            }
            return parts
        }
        let counts = (compression == nil ? [] : ["slots"]) + ["remembered"]
        return layers + counts.map { MemoryDeclaration($0, [], axes: [], lifetime: .lane) }
    }

    // MARK: reading

    /// The states before the output layer, dropout applied: int32 [B, T] to [B, T, D].
    ///
    /// - Parameter state: what is remembered, in the order of `memory` but of any number of positions; `nil` for nothing.
    /// - Returns: the states, and what is remembered after the last position: `configuration.memory` positions in training, else
    ///   `configuration.evaluationMemory`; nothing where the model carries no memory.
    public func hidden(_ inputs: Tensor, from state: MemoryState? = nil, _ pass: ForwardPass) -> (hidden: Tensor, state: MemoryState) {
        if let compression = configuration.compression { return compressedHidden(inputs, from: state, compression, pass) }
        let past = state.flatMap { $0.tensors.isEmpty ? nil : $0 }
        var view = SegmentView(
            inputs.shape, past: past?.tensors[0].shape[1] ?? 0, remembered: past.map { Self.counts($0.tensors[$0.tensors.count - 1]) },
            resets: configuration.resets ? pass.resets : [], window: configuration.sameLength && !pass.isTraining ? capacity(pass) : nil)
        view.segmentWindow = configuration.window
        var left: [Tensor] = []
        let hidden = read(inputs, past: past.map { Array($0.tensors.dropLast()) } ?? [], view, pass) { [capacity = max(capacity(pass), 1)] _, x in
            guard carriesMemory else { return }
            let parts = [past?.tensors[left.count], x].compactMap { $0 }
            left.append(latestRows(capacity, of: parts.map { ($0, [Int](repeating: $0.shape[1], count: $0.shape[0])) }))
        }
        return (hidden, MemoryState(carriesMemory ? left + [view.remembered(capacity(pass))] : []))
    }

    /// The latest positions that are remembered after a pass.
    func capacity(_ pass: ForwardPass) -> Int { pass.isTraining ? configuration.memory : configuration.evaluationMemory }

    /// Numbers that are carried as float32 [B].
    static func counts(_ tensor: Tensor) -> [Int] { tensor.array.map { Int($0) } }

    /// The layers, one after the other.
    /// - Parameters:
    ///   - past: what each layer remembers, float32 [B, M, D]; empty for nothing.
    ///   - onInput: gets the number of each layer and its input, [B, T, D].
    ///   - onKeysAndValues: likewise those of the segment, [B, T, 2 D].
    ///   - onReceived: likewise the attention that each key has received, float32 [B, S].
    func read(
        _ inputs: Tensor, past: [Tensor], _ view: SegmentView, _ pass: ForwardPass, onInput: (Int, Tensor) -> Void = { _, _ in },
        onKeysAndValues: ((Int, Tensor) -> Void)? = nil, onReceived: ((Int, Tensor) -> Void)? = nil
    ) -> Tensor {
        var x = embed(inputs, pass)
        let encoded = encodedDistances(view.keys, pass)
        let stored = storedPairs
        let pictures = pass.trace.map { _ in RelativePictures(view.past, compressed: view.compressed) }
        for (index, layer) in layers.enumerated() {
            onInput(index, x)
            let remembered = past.isEmpty ? nil : past[index].converted(to: x.dataType)
            x = pass.layer([x], recompute: configuration.recompute) { [self] inputs, pass in
                step(
                    inputs[0], layer, past: remembered.map { layer.attention.keyValue(normalized($0, layer.attentionNorm, pass), pass) },
                    distances: layer.attention.distance(encoded, pass), firstKeys: view.firstKeys, window: view.segmentWindow,
                    pairs: layer.reader == nil ? nil : pass.pairs ?? stored, pass,
                    onKeysAndValues: onKeysAndValues.map { body in { body(index, $0) } }, onWeights: pass.trace == nil ? nil : pictures?.add,
                    onReceived: onReceived.map { body in { body(index, $0) } })
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
        _ pass: ForwardPass, onKeysAndValues: ((Tensor) -> Void)? = nil, onWeights: ((RelativeWeights) -> Void)? = nil,
        onReceived: ((Tensor) -> Void)? = nil
    ) -> Tensor {
        let rate = configuration.dropout
        func sublayer(_ x: Tensor, _ norm: LayerNorm, _ body: (Tensor) -> Tensor) -> Tensor {
            let sum = addDropout(x, body(normalized(x, norm, pass)), rate: rate, pass.dropout)
            return configuration.preNorm ? sum : norm(sum, pass)
        }
        let x = sublayer(x, layer.attentionNorm) {
            layer.attention(
                $0, past: past, distances: distances, biases: (pass(contentBias), pass(positionBias)), firstKeys: firstKeys, window: window, pass,
                mixing: layer.reader.map { reader in { self.mixed($0, queries: $1, own: $2, reader, pairs, pass) } },
                onKeysAndValues: onKeysAndValues, onWeights: onWeights, onReceived: onReceived)
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

    // MARK: writing

    public func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder {
        if configuration.compression != nil { return rememberingDecoder(prompts) }
        return Decoder(self, prompts, maximumNewTokens)
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
                let view = SegmentView(inputs.shape, past: 0, remembered: nil, resets: [], window: capacity)
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
                x = model.step(
                    x, layer, past: before, distances: distances[index], firstKeys: firstKeys,
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

// The decoder-only Transformer in GPT-2's layout (Radford et al. 2019): pre-norm, learned positions, GELU, tied output.
//
// Legend: B sequences, T positions, D width, V vocabulary.

import Diagnostics
import Memory
import NeuralNetworks
import Tensors

/// A language model that reads left to right.
public final class DecoderOnlyTransformer: MemorizingModel {
    public let configuration: TransformerConfiguration
    public let vocabularySize: Int
    public let store = ParameterStore()
    public var maximumLength: Int? { configuration.context }
    /// The input of the last block's feed-forward layer, behind its normalisation.
    /// - Source: Khandelwal et al. 2020, Generalization through memorization: nearest neighbor language models, section 5 (table 5).
    public var contextVectors: ContextVectors? { ContextVectors(layer: configuration.layers - 1, width: configuration.width) }

    /// The stored keys and values of the layer that attends to earlier segments, where there is one.
    public var memory: [MemoryDeclaration] {
        configuration.memorizing.map {
            [MemoryDeclaration("memorized", [$0.capacity, 2, configuration.width], axes: ["pair", "part", "unit"], lifetime: .run)]
        } ?? []
    }
    public var memorizing: MemorizingConfiguration? { configuration.memorizing }
    public var pairHeads: Int { configuration.heads }
    public var pairWidth: Int { configuration.width }
    public var pairs: (any PairStore)?

    private let tokenEmbedding: Embedding
    private let positionEmbedding: Embedding
    private let blocks: [Block]
    private let finalNorm: LayerNorm
    private let output: OutputProjection

    private struct Block {
        /// What the n-grams own that end at a position; `nil` for layers that read no table.
        let engram: EngramLayer?
        let attentionNorm: LayerNorm
        let attention: SelfAttention
        /// What attends in its place where the layer also sees earlier segments.
        let memorizing: MemorizingAttention?
        let feedForwardNorm: LayerNorm
        let feedForward: FeedForward

        /// The hidden states with what the n-grams own that end there.
        func read(_ hidden: Tensor, _ rows: Tensor?, _ pass: ForwardPass) -> Tensor {
            guard let engram, let rows else { return hidden }
            return addDropout(hidden, engram(hidden, rows: rows, pass), rate: 0, nil)
        }
    }

    /// Declares the parameters: N(0, 0.02), and N(0, 0.02 / sqrt(2 L)) where a block writes to the residual stream. The caller allocates.
    public init(_ configuration: TransformerConfiguration, vocabularySize: Int) {
        self.configuration = configuration
        self.vocabularySize = vocabularySize
        let width = configuration.width
        let normal = Initializer.normal(standardDeviation: 0.02)
        let residual = Initializer.normal(standardDeviation: 0.02 / Float(2 * configuration.layers).squareRoot())
        tokenEmbedding = Embedding(store, "tokenEmbedding", rows: vocabularySize, width: width, initializer: normal, gradient: .dense)
        positionEmbedding = Embedding(store, "positionEmbedding", rows: configuration.context, width: width, initializer: normal, gradient: .dense)
        let engrams = configuration.engram?.makeLayers(
            store, path: { "blocks.\($0).engram" }, width: width, vocabularySize: vocabularySize, initializer: normal, outputInitializer: residual) ?? [:]
        blocks = (0..<configuration.layers).map { [store] index in
            let path = "blocks.\(index)"
            let attentionNorm = LayerNorm(store, "\(path).attentionNorm", width: width)
            let attention = SelfAttention(
                store, "\(path).attention", width: width, heads: configuration.heads, initializer: normal, outputInitializer: residual,
                dropoutRate: configuration.dropout)
            return Block(
                engram: engrams[index], attentionNorm: attentionNorm, attention: attention,
                memorizing: configuration.memorizing.flatMap {
                    $0.layer == index
                        ? MemorizingAttention(store, "\(path).attention", attention, positions: configuration.context, nearest: $0.nearest) : nil
                },
                feedForwardNorm: LayerNorm(store, "\(path).feedForwardNorm", width: width),
                feedForward: FeedForward(
                    store, "\(path).feedForward", width: width, inner: configuration.feedForward, activation: configuration.activation,
                    initializer: normal, outputInitializer: residual, dropoutRate: 0))
        }
        finalNorm = LayerNorm(store, "finalNorm", width: width)
        output = OutputProjection(tokenEmbedding.weight)
    }

    /// The hidden states before the output projection: int32 [B, T] to [B, T, D].
    public func hidden(_ inputs: Tensor, _ pass: ForwardPass, onKeysAndValues: ((Int, Tensor) -> Void)? = nil) -> Tensor {
        var x = addPositions(tokenEmbedding(inputs, pass), pass(positionEmbedding.weight))
        x = dropout(x, rate: configuration.dropout, pass.dropout)
        for (index, block) in blocks.enumerated() {
            let rate = configuration.dropout
            let onKeysAndValues = onKeysAndValues.map { body in { body(index, $0) } }
            let isLast = index == blocks.count - 1
            let stored = storedPairs
            let rows = block.engram?.addresses.rows(of: inputs, resets: pass.resets)
            x = pass.layer([x], recompute: configuration.recompute) { inputs, pass in
                let read = block.read(inputs[0], rows, pass)
                let normal = block.attentionNorm(read, pass)
                let mask = AttentionMask(causal: true)
                let mixed =
                    block.memorizing?(normal, mask: mask, pass, pairs: pass.pairs ?? stored, onKeysAndValues: onKeysAndValues)
                    ?? block.attention(normal, mask: mask, pass, onKeysAndValues: onKeysAndValues)
                let x = addDropout(read, mixed, rate: rate, pass.dropout)
                let normalized = block.feedForwardNorm(x, pass)
                if isLast { pass.onContextVectors?(normalized) }
                return addDropout(x, block.feedForward(normalized, pass), rate: rate, pass.dropout)
            }
        }
        return finalNorm(x, pass)
    }

    /// The pairs of the run, for a pass that brings none.
    private var storedPairs: PairReading? { pairs.map { PairReading([$0]) } }

    /// The logits of every position: int32 [B, T] to [B, T, V].
    public func logits(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor {
        output(hidden(inputs, pass), pass)
    }

    /// The logits of hidden states [.., D], float32 [.., V].
    func logits(ofHidden hidden: Tensor, _ pass: ForwardPass) -> Tensor { output(hidden, pass) }

    public func loss(_ batch: TokenBatch, _ pass: ForwardPass) -> SummedLoss {
        pass.resets = batch.resets
        pass.pairs?.lanes = batch.lanes
        return loss(ofHidden: hidden(batch.inputs, pass), targets: batch.targets, pass)
    }

    /// The loss of hidden states [B, T, D] against the targets int32 [B, T].
    func loss(ofHidden hidden: Tensor, targets: Tensor, _ pass: ForwardPass) -> SummedLoss {
        output.loss(hidden, targets: targets, labelSmoothing: configuration.labelSmoothing, pass)
    }

    public func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder {
        Decoder(self, prompts, maximumNewTokens)
    }

    private final class Decoder: IncrementalDecoder {
        private let model: DecoderOnlyTransformer
        private let cache: KeyValueCache
        private let pass = ForwardPass()
        /// What each sequence has read.
        private var read: [[Int32]]
        let firstLogits: Tensor?

        init(_ model: DecoderOnlyTransformer, _ prompts: [[Int32]], _ maximumNewTokens: Int) {
            self.model = model
            read = prompts
            let lengths = prompts.map(\.count)
            let longest = lengths.max() ?? 0
            let width = model.configuration.width
            let cache = KeyValueCache(
                layers: model.blocks.count, batch: prompts.count, capacity: min(longest + maximumNewTokens, model.configuration.context),
                width: width, heads: model.configuration.heads, model.store.activationType)
            let padded = prompts.flatMap { $0 + [Int32](repeating: 0, count: longest - $0.count) }
            let hidden = model.hidden(Tensor(padded, [prompts.count, longest]), pass) { cache.store(prompt: $1, layer: $0, lengths: lengths) }
            cache.advance(to: lengths)
            for length in lengths { require(length > 0, "decoding starts from at least one token") }
            let last = hidden.viewed(as: [prompts.count * longest, width]).rows(lengths.indices.map { $0 * longest + lengths[$0] - 1 })
            firstLogits = model.output(last, pass)
            self.cache = cache
        }

        func advance(_ tokens: [Int32]) -> Tensor {
            let count = tokens.count
            var x = model.tokenEmbedding(Tensor(tokens, [count, 1]), pass)
            let positions = embedding(pass(model.positionEmbedding.weight), Tensor(cache.lengths.map { Int32($0) }, [count, 1]))
            x = addDropout(x, positions, rate: 0, nil)
            for (index, block) in model.blocks.enumerated() {
                x = block.read(x, block.engram?.addresses.rows(ofNext: tokens, after: read), pass)
                let normal = block.attentionNorm(x, pass)
                let mixed =
                    block.memorizing?.step(normal, pass, pairs: model.storedPairs) { cache.append($0, layer: index) }
                    ?? block.attention.step(normal, pass) { cache.append($0, layer: index) }
                x = addDropout(x, mixed, rate: 0, nil)
                x = addDropout(x, block.feedForward(block.feedForwardNorm(x, pass), pass), rate: 0, nil)
            }
            cache.advance(to: cache.lengths.map { $0 + 1 })
            for (index, token) in tokens.enumerated() { read[index].append(token) }
            return model.output(model.finalNorm(x, pass), pass).viewed(as: [count, model.vocabularySize])
        }

        func reorder(_ parents: [Int]) {
            cache.reorder(parents)
            read = parents.map { read[$0] }
        }
    }
}

// The encoder-decoder Transformer of Vaswani et al. 2017: sinusoidal positions, shared embeddings, post-norm (or pre-norm).
//
// Legend: B pairs, S source positions, U target positions, H heads, K head size, D = H K width, V vocabulary.

import Diagnostics
import Foundation
import NeuralNetworks
import Tensors

/// A model that reads a source and writes a target: translation, summaries, answers.
public final class EncoderDecoderTransformer: PairLanguageModel {
    public let configuration: TransformerConfiguration
    public let vocabularySize: Int
    public let store = ParameterStore()
    public var maximumLength: Int? { configuration.context }

    private let embedding: Embedding
    private let positions: Tensor
    private let encoderLayers: [EncoderLayer]
    private let encoderNorm: LayerNorm?
    private let decoderLayers: [DecoderLayer]
    private let decoderNorm: LayerNorm?
    private let preNorm: Bool
    private let output: OutputProjection

    private struct EncoderLayer {
        let selfAttention: SelfAttention
        let selfAttentionNorm: LayerNorm
        let feedForward: FeedForward
        let feedForwardNorm: LayerNorm
    }

    private struct DecoderLayer {
        let selfAttention: SelfAttention
        let selfAttentionNorm: LayerNorm
        let crossAttention: CrossAttention
        let crossAttentionNorm: LayerNorm
        let feedForward: FeedForward
        let feedForwardNorm: LayerNorm
    }

    /// Declares the parameters: Xavier-uniform matrices, N(0, 1 / sqrt(D)) embeddings shared by source, target and output. The caller allocates.
    /// - Parameter preNorm: normalise before each sublayer instead of after it.
    public init(_ configuration: TransformerConfiguration, preNorm: Bool = false, vocabularySize: Int) {
        self.configuration = configuration
        self.preNorm = preNorm
        self.vocabularySize = vocabularySize
        let (width, heads, rate) = (configuration.width, configuration.heads, configuration.dropout)
        let store = store
        embedding = Embedding(
            store, "embedding", rows: vocabularySize, width: width, initializer: .normal(standardDeviation: 1 / Float(width).squareRoot()),
            gradient: .dense)
        positions = Self.sinusoids(count: configuration.context, width: width)
        func selfAttention(_ path: String) -> SelfAttention {
            SelfAttention(store, path, width: width, heads: heads, initializer: .xavierUniform, outputInitializer: .xavierUniform, dropoutRate: rate)
        }
        func feedForward(_ path: String) -> FeedForward {
            FeedForward(
                store, path, width: width, inner: configuration.feedForward, activation: configuration.activation, initializer: .xavierUniform,
                outputInitializer: .xavierUniform, dropoutRate: rate)
        }
        func norm(_ path: String) -> LayerNorm { LayerNorm(store, path, width: width) }
        encoderLayers = (0..<configuration.layers).map { index in
            let path = "encoder.layers.\(index)"
            return EncoderLayer(
                selfAttention: selfAttention("\(path).selfAttention"), selfAttentionNorm: norm("\(path).selfAttentionNorm"),
                feedForward: feedForward("\(path).feedForward"), feedForwardNorm: norm("\(path).feedForwardNorm"))
        }
        encoderNorm = preNorm ? norm("encoder.finalNorm") : nil
        decoderLayers = (0..<configuration.layers).map { index in
            let path = "decoder.layers.\(index)"
            return DecoderLayer(
                selfAttention: selfAttention("\(path).selfAttention"), selfAttentionNorm: norm("\(path).selfAttentionNorm"),
                crossAttention: CrossAttention(
                    store, "\(path).crossAttention", width: width, heads: heads, initializer: .xavierUniform, outputInitializer: .xavierUniform,
                    dropoutRate: rate), crossAttentionNorm: norm("\(path).crossAttentionNorm"), feedForward: feedForward("\(path).feedForward"),
                feedForwardNorm: norm("\(path).feedForwardNorm"))
        }
        decoderNorm = preNorm ? norm("decoder.finalNorm") : nil
        output = OutputProjection(embedding.weight)
    }

    /// PE[p, 2i] = sin(p / 10000^(2i/D)), PE[p, 2i+1] = cos(the same) (section 3.5), interleaved.
    private static func sinusoids(count: Int, width: Int) -> Tensor {
        let table = Tensor(uninitialized: [count, width])
        for p in 0..<count {
            for i in 0..<width {
                let angle = Double(p) / pow(10_000, Double(i / 2 * 2) / Double(width))
                table.floats[p * width + i] = Float(i % 2 == 0 ? sin(angle) : cos(angle))
            }
        }
        return table
    }

    private func embed(_ tokens: Tensor, _ pass: ForwardPass) -> Tensor {
        let x = addPositions(embedding(tokens, scale: Float(configuration.width).squareRoot(), pass), positions)
        // After a norm the residual stream has the type of activations; before the first norm it starts with it.
        return dropout(preNorm ? x : convert(x, to: store.activationType), rate: configuration.dropout, pass.dropout)
    }

    /// One sublayer with its residual connection, normalised before or after.
    private func sublayer(_ x: Tensor, _ norm: LayerNorm, _ pass: ForwardPass, _ body: (Tensor) -> Tensor) -> Tensor {
        let rate = configuration.dropout
        guard preNorm else { return norm(addDropout(x, body(x), rate: rate, pass.dropout), pass) }
        return addDropout(x, body(norm(x, pass)), rate: rate, pass.dropout)
    }

    /// The encoder's output: int32 [B, S] of which `lengths` are real, to [B, S, D].
    public func encode(_ sources: Tensor, lengths: [Int], _ pass: ForwardPass) -> Tensor {
        let mask = AttentionMask(keyLengths: lengths)
        var x = embed(sources, pass)
        for layer in encoderLayers {
            x = pass.layer([x], recompute: configuration.recompute) { [self] inputs, pass in
                let x = sublayer(inputs[0], layer.selfAttentionNorm, pass) { layer.selfAttention($0, mask: mask, pass) }
                return sublayer(x, layer.feedForwardNorm, pass) { layer.feedForward($0, pass) }
            }
        }
        return encoderNorm.map { $0(x, pass) } ?? x
    }

    /// The decoder's output before the projection: int32 [B, U] over the encoder's [B, S, D], to [B, U, D].
    public func decode(_ targets: Tensor, memory: Tensor, sourceLengths: [Int], _ pass: ForwardPass) -> Tensor {
        var x = embed(targets, pass)
        for layer in decoderLayers {
            x = pass.layer([x, memory], recompute: configuration.recompute) { [self] inputs, pass in
                var x = sublayer(inputs[0], layer.selfAttentionNorm, pass) { layer.selfAttention($0, mask: AttentionMask(causal: true), pass) }
                x = sublayer(x, layer.crossAttentionNorm, pass) {
                    layer.crossAttention($0, keysAndValues: layer.crossAttention.project(inputs[1], pass), lengths: sourceLengths, pass)
                }
                return sublayer(x, layer.feedForwardNorm, pass) { layer.feedForward($0, pass) }
            }
        }
        return decoderNorm.map { $0(x, pass) } ?? x
    }

    /// The logits of every target position, [B, U, V].
    public func logits(_ batch: SequencePairBatch, _ pass: ForwardPass) -> Tensor {
        output(hidden(batch, pass), pass)
    }

    private func hidden(_ batch: SequencePairBatch, _ pass: ForwardPass) -> Tensor {
        let memory = encode(batch.sources, lengths: batch.sourceLengths, pass)
        return decode(batch.targetInputs, memory: memory, sourceLengths: batch.sourceLengths, pass)
    }

    public func loss(_ batch: SequencePairBatch, _ pass: ForwardPass) -> SummedLoss {
        output.loss(hidden(batch, pass), targets: batch.targetOutputs, labelSmoothing: configuration.labelSmoothing, pass)
    }

    public func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder {
        Decoder(self, prompts, maximumNewTokens)
    }

    /// Legend: G groups of k sequences each that share a source (the hypotheses of a beam), n = G k sequences.
    private final class Decoder: IncrementalDecoder {
        private let model: EncoderDecoderTransformer
        private let cache: KeyValueCache
        private let pass = ForwardPass()
        /// The keys and values of each layer's attention over the source, [G, H, S, 2 K]: a group's sequences share them.
        private var crossKeysAndValues: [Tensor]
        /// The real positions of each group's source, [G].
        private var sourceLengths: [Int]
        private var groupSize = 1
        let firstLogits: Tensor? = nil

        init(_ model: EncoderDecoderTransformer, _ sources: [[Int32]], _ maximumNewTokens: Int) {
            self.model = model
            let longest = sources.map(\.count).max() ?? 0
            let padded = sources.flatMap { $0 + [Int32](repeating: 0, count: longest - $0.count) }
            let lengths = sources.map(\.count)
            let memory = model.encode(Tensor(padded, [sources.count, longest]), lengths: lengths, pass)
            crossKeysAndValues = []
            for layer in model.decoderLayers {
                crossKeysAndValues.append(KeyValueCache.byHeads(layer.crossAttention.project(memory, pass), heads: model.configuration.heads))
            }
            sourceLengths = lengths
            cache = KeyValueCache(
                layers: model.decoderLayers.count, batch: sources.count, capacity: min(maximumNewTokens, model.configuration.context),
                width: model.configuration.width, heads: model.configuration.heads, model.store.activationType)
        }

        func advance(_ tokens: [Int32]) -> Tensor {
            let (count, width) = (tokens.count, model.configuration.width)
            require(count == sourceLengths.count * groupSize, "\(count) tokens for \(sourceLengths.count * groupSize) sequences")
            let position = cache.lengths.first ?? 0
            var x = addPositions(
                model.embedding(Tensor(tokens, [count, 1]), scale: Float(width).squareRoot(), pass), model.positions, first: position)
            if !model.preNorm { x = convert(x, to: model.store.activationType) }
            for (index, layer) in model.decoderLayers.enumerated() {
                x = model.sublayer(x, layer.selfAttentionNorm, pass) { layer.selfAttention.step($0, pass) { cache.append($0, layer: index) } }
                x = model.sublayer(x, layer.crossAttentionNorm, pass) { x in
                    let queries = x.reshaped(to: [sourceLengths.count, groupSize, width])
                    return layer.crossAttention.step(queries, memory: crossKeysAndValues[index], lengths: sourceLengths, pass).reshaped(to: x.shape)
                }
                x = model.sublayer(x, layer.feedForwardNorm, pass) { layer.feedForward($0, pass) }
            }
            cache.advance(to: cache.lengths.map { $0 + 1 })
            x = model.decoderNorm.map { $0(x, pass) } ?? x
            return model.output(x, pass).viewed(as: [count, model.vocabularySize])
        }

        func reorder(_ parents: [Int]) {
            cache.reorder(parents)
            let (sources, size) = Self.groups(parents.map { $0 / groupSize })
            groupSize = size
            guard sources != Array(sourceLengths.indices) else { return }
            crossKeysAndValues = crossKeysAndValues.map { $0.rows(sources) }
            sourceLengths = sources.map { sourceLengths[$0] }
        }

        /// The largest groups of one size that runs of equal numbers can be cut into: the number of each group, and the size.
        private static func groups(_ numbers: [Int]) -> (numbers: [Int], size: Int) {
            var (size, start) = (0, 0)
            for index in 1...max(numbers.count, 1) where index >= numbers.count || numbers[index] != numbers[start] {
                var (a, b) = (size, index - start)
                while b != 0 { (a, b) = (b, a % b) }
                size = a
                start = index
            }
            size = max(size, 1)
            return (stride(from: 0, to: numbers.count, by: size).map { numbers[$0] }, size)
        }
    }
}

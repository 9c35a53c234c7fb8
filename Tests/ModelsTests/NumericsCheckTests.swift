// checkNumerics: the first layer whose output is not finite is named.

import Models
import NeuralNetworks
import Tensors
import Testing

@Suite struct NumericsCheckTests {
    private func finding(
        _ kind: ModelKind, poison: String, _ value: Float, recompute: Bool = false, activations: DataType = .float32
    ) throws -> NumericsCheck.Finding? {
        var configuration = TransformerConfiguration(
            kind == .decoderOnly ? .decoderOnly : .encoderDecoder(preNorm: false), layers: 3, width: 24, heads: 3, feedForward: 40)
        (configuration.context, configuration.recompute) = (20, recompute)
        let model = configuration.makeModel(vocabularySize: 31)
        model.store.allocate(seed: 7, activations: activations)
        try #require(model.store[poison]).value.floats[5] = value
        model.store.refreshOperands()
        var random = RandomStream(seed: 5, name: "batch")
        let tokens = padded([randomTokens(9, &random), randomTokens(9, &random)])
        let batch = model.prepared {
            TokenBatch(lanes: [0, 1], inputs: tokens, targets: tokens)
        } pairs: {
            SequencePairBatch(lanes: [0, 1], sources: tokens, sourceLengths: [9, 9], targetInputs: tokens, targetOutputs: tokens)
        }
        let numerics = NumericsCheck()
        _ = batch.loss(ForwardPass(tape: Tape(), numerics: numerics))
        return numerics.finding
    }

    @Test(arguments: [false, true])
    func namesTheLayer(recompute: Bool) throws {
        let first = try #require(try finding(.decoderOnly, poison: "blocks.1.feedForward.output.weight", .nan, recompute: recompute))
        #expect(first == NumericsCheck.Finding(layer: "blocks.1.feedForward.output", value: "nan", shape: [2, 9, 24], operation: "linear"))
        let second = try #require(try finding(.encoderDecoder, poison: "decoder.layers.2.crossAttention.query.bias", .infinity, recompute: recompute))
        #expect(second.layer == "decoder.layers.2.crossAttention.query" && second.value == "inf")
    }

    @Test func bfloat16() throws {
        let found = try #require(try finding(.decoderOnly, poison: "blocks.2.attention.qkv.weight", .nan, activations: .bfloat16))
        #expect(found.layer == "blocks.2.attention.qkv")
    }

    @Test func finiteNumbersAreNotFound() throws {
        let found = try finding(.decoderOnly, poison: "blocks.1.feedForward.output.weight", 0.5)
        #expect(found == nil)
    }
}

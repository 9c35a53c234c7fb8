// Parameter names are part of the checkpoint format: a change here breaks checkpoints that exist.

import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite struct ParameterNameTests {
    /// `name shape` of each parameter, in order.
    private func listing(_ configuration: any ModelConfiguration, vocabularySize: Int) -> [String] {
        configuration.makeModel(vocabularySize: vocabularySize).store.parameters.map { "\($0.name) \($0.shape)" }
    }

    private func pair(_ path: String, _ outputs: Int, _ inputs: Int) -> [String] {
        ["\(path).weight [\(outputs), \(inputs)]", "\(path).bias [\(outputs)]"]
    }

    private func norm(_ path: String) -> [String] { ["\(path).weight [8]", "\(path).bias [8]"] }

    @Test func namesOfTheDecoderOnlyModel() {
        let configuration = changed(TransformerConfiguration(layers: 2, width: 8, heads: 2)) { $0.context = 5 }
        var expected = ["tokenEmbedding.weight [11, 8]", "positionEmbedding.weight [5, 8]"]
        for block in ["blocks.0", "blocks.1"] {
            expected += norm("\(block).attentionNorm")
            expected += pair("\(block).attention.qkv", 24, 8) + pair("\(block).attention.output", 8, 8)
            expected += norm("\(block).feedForwardNorm")
            expected += pair("\(block).feedForward.input", 32, 8) + pair("\(block).feedForward.output", 8, 32)
        }
        #expect(listing(configuration, vocabularySize: 11) == expected + norm("finalNorm"))
    }

    @Test(arguments: [(RecurrentCell.lstm, 32), (.gru, 24)])
    func namesOfTheRecurrentModels(cell: RecurrentCell, gates: Int) {
        var expected = ["tokenEmbedding.weight [11, 8]"]
        for layer in ["layers.0", "layers.1"] {
            expected += [
                "\(layer).inputWeight [\(gates), 8]", "\(layer).hiddenWeight [\(gates), 8]", "\(layer).inputBias [\(gates)]",
                "\(layer).hiddenBias [\(gates)]",
            ]
        }
        let configuration = RecurrentLanguageModel.Configuration(RecurrentLayersConfiguration(cell, layers: 2, units: 8))
        #expect(listing(configuration, vocabularySize: 11) == expected + pair("output", 11, 8))
    }

    @Test(arguments: [false, true])
    func namesOfTheEncoderDecoderModel(preNorm: Bool) {
        let layout = TransformerConfiguration.Layout.encoderDecoder(preNorm: preNorm)
        let configuration = changed(TransformerConfiguration(layout, layers: 1, width: 8, heads: 2, feedForward: 12)) { $0.context = 5 }
        var expected = ["embedding.weight [11, 8]"]
        let encoder = "encoder.layers.0"
        expected += pair("\(encoder).selfAttention.qkv", 24, 8) + pair("\(encoder).selfAttention.output", 8, 8) + norm("\(encoder).selfAttentionNorm")
        expected += pair("\(encoder).feedForward.input", 12, 8) + pair("\(encoder).feedForward.output", 8, 12) + norm("\(encoder).feedForwardNorm")
        if preNorm { expected += norm("encoder.finalNorm") }
        let decoder = "decoder.layers.0"
        expected += pair("\(decoder).selfAttention.qkv", 24, 8) + pair("\(decoder).selfAttention.output", 8, 8) + norm("\(decoder).selfAttentionNorm")
        expected += pair("\(decoder).crossAttention.query", 8, 8) + pair("\(decoder).crossAttention.keyValue", 16, 8)
        expected += pair("\(decoder).crossAttention.output", 8, 8) + norm("\(decoder).crossAttentionNorm")
        expected += pair("\(decoder).feedForward.input", 12, 8) + pair("\(decoder).feedForward.output", 8, 12) + norm("\(decoder).feedForwardNorm")
        if preNorm { expected += norm("decoder.finalNorm") }
        #expect(listing(configuration, vocabularySize: 11) == expected)
    }

    @Test func parameterCountsOfPublishedModels() {
        let before = MemoryPool.shared.statistics.reservedBytes
        let small = TransformerConfiguration(layers: 12, width: 768, heads: 12)
        #expect(small.makeModel(vocabularySize: 50257).store.parameterCount == 124_439_808, "GPT-2 small")
        let medium = TransformerConfiguration(layers: 24, width: 1024, heads: 16)
        #expect(medium.makeModel(vocabularySize: 50257).store.parameterCount == 354_823_168, "GPT-2 medium")
        // Vaswani et al. 2017, base, with the 37,000 symbols of its English-German vocabulary: "65M" with biases and norms.
        let base = TransformerConfiguration(.encoderDecoder(preNorm: false), layers: 6, width: 512, heads: 8).makeModel(vocabularySize: 37_000)
        #expect(base.store.parameterCount == 63_082_496)
        #expect(MemoryPool.shared.statistics.reservedBytes - before < 64 << 20, "counting parameters allocates none of them")
    }

    @Test func weightDecayLeavesBiasesAndNormsAlone() throws {
        for kind in ModelKind.allCases {
            let model = try modelConfiguration(kind, "layers: 2, width: 8, heads: 2, context: 5, preNorm: true").makeModel(vocabularySize: 11)
            for parameter in model.store.parameters {
                #expect(
                    parameter.decays == !(parameter.name.hasSuffix(".bias") || parameter.name.hasSuffix("Bias") || parameter.name.contains("Norm.")),
                    "\(parameter.name)")
            }
        }
    }
}

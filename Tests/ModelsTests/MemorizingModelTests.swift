// A decoder one of whose layers attends to stored pairs: its configuration, decoding with a cache, activations computed again.

import Configuration
import Diagnostics
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("A Transformer that memorizes")
struct MemorizingModelTests {
    private func model(_ keys: String = "memorizing: {nearest: 4}", recompute: Bool = false, activations: DataType = .float32) throws -> DecoderOnlyTransformer {
        let configuration = try modelConfiguration(
            .decoderOnly, "layers: 3, width: 24, heads: 3, feedForward: 40, context: 20, dropout: 0.2, recompute: \(recompute), \(keys)")
        let model = try #require(configuration.makeModel(vocabularySize: 31) as? DecoderOnlyTransformer)
        model.store.allocate(seed: 7, activations: activations)
        model.pairs = PairTable(randomTensor("pairs", [30, 48]), heads: 3, ages: Array(1...30))
        return model
    }

    @Test("the section's defaults, and what it refuses by name")
    func configuration() throws {
        let defaults = try #require(model("memorizing: {}").memorizing)
        #expect(defaults == MemorizingConfiguration(layer: 1))
        #expect(try model("memorizing: {layer: 2, scope: lane, capacity: 64}").memorizing == MemorizingConfiguration(layer: 2, capacity: 64, scope: .lane))
        #expect(try modelConfiguration(.decoderOnly, "layers: 3, width: 24, heads: 3").carriesMemory == false)
        let refused = [
            ("{layer: 3}", "model.memorizing.layer"), ("{nearest: 0}", "model.memorizing.nearest"), ("{lists: 8, scope: lane}", "model.memorizing.lists"),
            ("{lists: 8, capacity: 200}", "model.memorizing.lists"), ("{scope: rank}", "model.memorizing.scope"),
        ]
        for (keys, name) in refused {
            let error = #expect(throws: UserError.self) { try self.model("memorizing: \(keys)") }
            #expect(error?.what.contains(name) == true, "\(String(describing: error))")
        }
    }

    @Test("the parameters are those of a plain model, with a scale and a gate for each head of the layer")
    func parameters() throws {
        let plain = try modelConfiguration(.decoderOnly, "layers: 3, width: 24, heads: 3").makeModel(vocabularySize: 31).store.parameters.map(\.name)
        let added = try model().store.parameters.map(\.name).filter { !plain.contains($0) }
        #expect(added == ["blocks.1.attention.scale", "blocks.1.attention.gate"])
        #expect(try model().memory == [MemoryDeclaration("memorized", [8192, 2, 24], axes: ["pair", "part", "unit"], lifetime: .run)])
    }

    @Test("decoding with a cache reads the same pairs as the full pass", arguments: [DataType.float32, .bfloat16])
    func decoding(activations: DataType) throws {
        let model = try model(activations: activations)
        var random = RandomStream(seed: 5, name: "tokens")
        let tokens = randomTokens(9, &random)
        let decoder = model.startDecoding([Array(tokens.prefix(4))], maximumNewTokens: 5)
        var steps = [try #require(decoder.firstLogits).array]
        for token in tokens.dropFirst(4) { steps.append(decoder.advance([token]).array) }
        let full = model.logits(padded([tokens]), ForwardPass()).array
        let tolerance: Float = activations == .float32 ? 1e-4 : 0.05
        for (index, step) in steps.enumerated() {
            for (one, other) in zip(step, full[(index + 3) * 31..<(index + 4) * 31]) { #expect(abs(one - other) < tolerance) }
        }
        model.pairs = nil
        #expect(model.logits(padded([tokens]), ForwardPass()).array != full, "pairs make a difference")
    }

    @Test("activations computed again leave the same pairs once, and the same gradient", arguments: [DataType.float32, .bfloat16])
    func recomputation(activations: DataType) throws {
        func run(recompute: Bool) throws -> (Float, [Float], [Float], PairStatistics) {
            let model = try model(recompute: recompute, activations: activations)
            var random = RandomStream(seed: 5, name: "batch")
            let tokens = (0..<4).map { _ in randomTokens(11, &random) }
            let batch = TokenBatch(lanes: [0, 1, 2, 3], inputs: padded(tokens), targets: padded(tokens))
            let reading = PairReading([try #require(model.pairs)], collects: true)
            let tape = Tape()
            let loss = model.loss(batch, ForwardPass(tape: tape, dropout: DropoutContext(seed: 1, step: 3, lanes: [0, 1, 2, 3]), pairs: reading)).loss
            tape.backward(from: loss)
            model.store.zeroMissingGradients()
            #expect(reading.lanes == [0, 1, 2, 3])
            return (loss.scalar, Array(model.store.gradients), try #require(reading.segment).array, reading.statistics)
        }
        let (kept, again) = (try run(recompute: false), try run(recompute: true))
        #expect(kept.0 == again.0 && kept.1 == again.1 && kept.2 == again.2 && kept.3 == again.3)
        #expect(kept.3.queries == 4 * 11 * 3)
    }
}

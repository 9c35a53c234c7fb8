// The vectors that a datastore is keyed by, beside the losses of the same forward pass.

import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite struct ContextVectorTests {
    private static let inputs: [Int32] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    private static let targets: [Int32] = [1, 4, 1, 5, -1, 2, 6, 5, 3, 5]

    private func model(_ kind: ModelKind) throws -> (any TextLanguageModel)? {
        let model = try modelConfiguration(kind, "layers: 2, width: 8, heads: 2, rows: 4, segment: 3").makeModel(vocabularySize: 11)
        guard case .text(let text) = model.form else { return nil }
        text.store.allocate(seed: 5)
        return text
    }

    private var batch: TokenBatch { TokenBatch(lanes: [0, 1], inputs: Tensor(Self.inputs, [2, 5]), targets: Tensor(Self.targets, [2, 5])) }

    @Test("asking for context vectors changes no loss, and they have the shape that the model declares", arguments: ModelKind.allCases)
    func besideTheLoss(_ kind: ModelKind) throws {
        guard let model = try model(kind) else { return }
        let form = try #require(model.contextVectors)
        let plain = model.loss(batch, ForwardPass())
        var vectors: [Tensor] = []
        let pass = ForwardPass()
        pass.onContextVectors = { vectors.append($0) }
        let asked = model.loss(batch, pass)
        #expect(asked.negativeLogLikelihood == plain.negativeLogLikelihood && asked.perPosition == plain.perPosition)
        #expect(vectors.count == 1 && vectors[0].shape == [2, 5, form.width] && form.layer >= 0)
        _ = model.logits(batch.inputs, pass)
        #expect(vectors.count == 2 && vectors[0].array == vectors[1].array)
    }

    @Test("a decoder's are the normalised input of its last feed-forward layer")
    func decoder() throws {
        let model = try #require(try model(.decoderOnly))
        #expect(model.contextVectors == ContextVectors(layer: 1, width: 8))
        // With a gain of zero all that is left of them is the bias.
        let bias: [Float] = [1, -2, 3, 0.5, 0, 4, -1, 2]
        for (name, values) in [("weight", [Float](repeating: 0, count: 8)), ("bias", bias)] {
            let parameter = try #require(model.store["blocks.1.feedForwardNorm.\(name)"])
            for (place, value) in values.enumerated() { parameter.value.floats[place] = value }
        }
        let pass = ForwardPass()
        var found: [Float] = []
        pass.onContextVectors = { found = $0.array }
        _ = model.logits(batch.inputs, pass)
        #expect(found == (0..<10).flatMap { _ in bias })
    }

    @Test("a recurrent model's are what its output layer reads")
    func recurrent() throws {
        let model = try #require(try model(.lstm))
        let (weight, bias) = (try #require(model.store["output.weight"]), try #require(model.store["output.bias"]))
        let pass = ForwardPass()
        var vectors: Tensor?
        pass.onContextVectors = { vectors = $0 }
        let logits = model.logits(batch.inputs, pass)
        let given = try #require(vectors)
        for row in 0..<10 {
            for token in 0..<11 {
                let product = (0..<8).reduce(bias.value.floats[token]) {
                    $0 + given.floats[8 * row + $1] * weight.value.floats[8 * token + $1]
                }
                #expect(abs(product - logits.floats[11 * row + token]) < 1e-5)
            }
        }
    }
}

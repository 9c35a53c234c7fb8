// The lookup model against its equations in float64, keys that say the same, and the gradients of both losses together.

import Foundation
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("Lookup language models") struct LookupModelTests {
    private func model(temperature: Float = 0.1, weight: Float = 0.25) -> LookupLanguageModel {
        var transformer = TransformerConfiguration(layers: 1, width: 12, heads: 3)
        transformer.context = 8
        let model = LookupLanguageModel(
            transformer, LookupConfiguration(keyWidth: 5, temperature: temperature, weight: weight), vocabularySize: 17)
        model.store.allocate(seed: 4)
        return model
    }

    /// Two sequences of six tokens with three lookups; five keys of three tokens, of which the last two are found by none.
    private func batch(keys: [Int32] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 4, 9, 9, 9], targets: [Int32] = [2, 3, -1, 5, 6, 7, 8, -1, -1, 11, 12, 13]) -> LookupBatch {
        let inputs: [Int32] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
        return LookupBatch(
            text: TokenBatch(lanes: [0, 1], inputs: Tensor(inputs, [2, 6]), targets: Tensor(targets, [2, 6])), lookups: [2, 7, 8],
            keys: Tensor(keys, [5, 3]))
    }

    /// -log softmax(q . k / temperature) of the right keys, summed, in float64.
    private func choice(_ model: LookupLanguageModel, _ batch: LookupBatch, without excluded: [Int: Set<Int>] = [:]) -> Double {
        let pass = ForwardPass()
        let queries = model.queries(model.decoder.hidden(batch.text.inputs, pass), at: batch.lookups, pass)
        let keys = model.keys(batch.keys, pass)
        let width = queries.shape[1]
        func row(_ tensor: Tensor, _ row: Int) -> [Double] { (0..<width).map { Double(tensor.floats[row * width + $0]) } }
        return (0..<batch.lookups.count).reduce(0.0) { sum, lookup in
            let scores = (0..<keys.shape[0]).map { key in
                zip(row(queries, lookup), row(keys, key)).reduce(0) { $0 + $1.0 * $1.1 } / Double(model.configuration.temperature)
            }
            let others = scores.indices.filter { !(excluded[lookup]?.contains($0) ?? false) }
            return sum + log(others.reduce(0) { $0 + exp(scores[$1]) }) - scores[lookup]
        }
    }

    @Test("queries and keys have length 1, and the loss is that of tokens plus the weighted mean of the choices")
    func loss() {
        let (model, batch) = (model(), batch())
        let pass = ForwardPass()
        for vectors in [model.keys(batch.keys, pass), model.queries(atEndsOf: batch.keys, pass)] {
            for row in 0..<5 { #expect(abs((0..<5).reduce(0) { $0 + pow(Double(vectors.floats[row * 5 + $1]), 2) } - 1) < 1e-5) }
        }
        let tokens = model.decoder.loss(batch.text, pass)
        let sums = model.loss(batch, pass)
        #expect(sums.count == 9 && sums.negativeLogLikelihood == tokens.negativeLogLikelihood && sums.perPosition == tokens.perPosition)
        let expected = Double(tokens.loss.scalar) + 0.25 * 9 / 3 * choice(model, batch)
        #expect(abs(Double(sums.loss.scalar) - expected) < 1e-4 * expected, "\(sums.loss.scalar), not \(expected)")
        let none = LookupBatch(text: batch.text, lookups: [], keys: batch.keys)
        #expect(model.loss(none, pass).loss.scalar == tokens.loss.scalar)
    }

    @Test("a key that says the same as the right one does not count against it")
    func sameKeys() {
        // The first and the third lookup ask for the same; the last key says it too.
        let (model, batch) = (model(), batch(keys: [1, 2, 3, 4, 5, 6, 1, 2, 3, 1, 2, 4, 1, 2, 3]))
        let pass = ForwardPass()
        let expected = choice(model, batch, without: [0: [2, 4], 2: [0, 4]])
        let found = Double(model.loss(batch, pass).loss.scalar - model.decoder.loss(batch.text, pass).loss.scalar)
        #expect(abs(found - 0.75 * expected) < 1e-3, "\(found), not \(0.75 * expected)")
        #expect(abs(0.75 * choice(model, batch) - found) > 0.1, "the test would not notice")
    }

    @Test("gradients of tokens, queries and keys", arguments: [false, true])
    func gradients(repeats: Bool) {
        let model = model(temperature: 0.5)
        let batch = repeats ? batch(keys: [1, 2, 3, 4, 5, 6, 1, 2, 3, 1, 2, 4, 1, 2, 3]) : batch()
        let report = checkGradients(store: model.store, elementLimit: 40) { tape, _ in model.loss(batch, ForwardPass(tape: tape)).loss }
        #expect(report.passes(worst: 2e-2, ofNorm: 3e-3), "\(report)")
        #expect(Set(report.deviations.map(\.name)).isSuperset(of: ["query.weight", "key.weight", "tokenEmbedding.weight"]))
    }

    @Test("the values that are looked up have no part in the loss")
    func values() {
        let model = model()
        var other = batch()
        // Position 2 is followed by a value; what it is changes the text behind it, not the prediction of it.
        other.text.targets = Tensor([2, 3, -1, 5, 6, 7, 8, -1, -1, 11, 12, 13] as [Int32], [2, 6])
        let sums = model.loss(batch(), ForwardPass())
        #expect(sums.perPosition[2] == 0 && sums.perPosition[7] == 0 && sums.perPosition[8] == 0 && sums.perPosition[3] > 0)
    }
}

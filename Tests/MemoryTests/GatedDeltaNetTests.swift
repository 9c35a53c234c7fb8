// The gated delta rule in chunks, and the layers of Gated DeltaNet, against each other and against numpy in float64:
// Golden/generate_gated_deltanet.py made Golden/gated_deltanet.json.

import Foundation
import Memory
import NeuralNetworks
import Reference
import TestSupport
import Tensors
import Testing

private struct GoldenConfiguration: Decodable {
    let layers: Int
    let width: Int
    let heads: Int
    let keyWidth: Int
    let valueWidth: Int
    let convolution: Int
    let feedForward: Int
    let erases: Bool
}

@Suite("Gated DeltaNet")
struct GatedDeltaNetTests {
    @Test("in float64 chunks of any size are the steps", arguments: [1, 2, 5, 16, 23, 64], [true, false])
    func chunkedReference(chunk: Int, erases: Bool) {
        let shape = DeltaRuleShape(heads: 2, keyWidth: 3, valueWidth: 4, erases: erases)
        let inputs = deltaRuleInputs(batch: 1, steps: 23, shape).mapValues { ReferenceArray($0) }
        let (steps, chunks) = (referenceDeltaRule(inputs, shape), referenceDeltaRule(inputs, shape, chunk: chunk))
        for (a, b) in zip(steps, chunks) { #expect(zip(a.values, b.values).allSatisfy { abs($0 - $1) < 1e-10 }) }
    }

    @Test("the size of chunks changes no output and no gradient but by rounding")
    func chunkSizes() {
        let shape = DeltaRuleShape(heads: 2, keyWidth: 8, valueWidth: 6)
        let inputs = deltaRuleInputs(batch: 2, steps: 75, shape)
        func run(_ chunk: Int?) -> [Tensor] {
            let tape = Tape()
            let variables = inputs.mapValues { tape.variable($0) }
            let (outputs, state) = deltaRule(
                variables["associations"]!, strengths: variables["strengths"]!, logDecays: variables["logDecays"]!, from: variables["state"], shape,
                chunk: chunk)
            tape.backward(from: [(outputs, randomTensor("a", outputs.shape)), (state, randomTensor("b", state.shape))])
            return [outputs, state] + variables.sorted { $0.key < $1.key }.compactMap { $0.value.node?.gradient }
        }
        let expected = run(nil)
        #expect(expected.count == 6)
        for chunk in [1, 2, 15, 16, 17, 33, 75, 200] {
            for (a, b) in zip(run(chunk), expected) { #expect(deviation(a.doubles, from: b.doubles).worst < 3e-5, "chunks of \(chunk)") }
        }
    }

    @Test("a sequence in pieces is the sequence, states and gradients flowing between them")
    func pieces() {
        let store = ParameterStore()
        var configuration = GatedDeltaNetConfiguration(layers: 2, width: 6, heads: 2)
        configuration.keyWidth = 5
        let core = GatedDeltaNet(store, "core", inputs: 4, configuration)
        store.allocate(seed: 3)
        let x = randomTensor("x", [2, 30, 4])
        func run(_ lengths: [Int]) -> [[Double]] {
            store.clearGradients()
            let tape = Tape()
            var (outputs, state): ([Tensor], MemoryState?) = ([], nil)
            for piece in x.split(lengths, axis: 1) {
                let found = core(piece, from: state, ForwardPass(tape: tape))
                outputs.append(found.outputs)
                state = found.state
            }
            let all = concatenate(outputs, axis: 1)
            tape.backward(from: [(all, randomTensor("seed", all.shape))])
            return [all.doubles] + (state?.tensors.map(\.doubles) ?? []) + store.parameters.map(\.gradient.doubles)
        }
        let expected = run([30])
        for lengths in [[1, 29], [17, 13], [2, 3, 12, 13]] {
            for (a, b) in zip(run(lengths), expected) { #expect(deviation(a, from: b).worst < 1e-4, "\(lengths)") }
        }
    }

    @Test("starting values lie where the paper has them")
    func starts() throws {
        let store = ParameterStore()
        _ = GatedDeltaNet(store, "core", inputs: 8, GatedDeltaNetConfiguration(layers: 1, width: 8, heads: 200))
        store.allocate(seed: 1)
        let rates = try #require(store["core.0.rateBias"]).value.array.map { exp($0) }
        #expect(rates.allSatisfy { $0 > 0 && $0 <= 16 } && rates.contains { $0 > 12 } && rates.contains { $0 < 4 })
        let steps = try #require(store["core.0.stepBias"]).value.array.map { log1p(exp($0)) }
        #expect(steps.allSatisfy { $0 > 0.00099 && $0 < 0.101 } && steps.count { $0 < 0.01 } > 50 && steps.count { $0 > 0.01 } > 50)
        #expect(["rateBias", "stepBias"].allSatisfy { store["core.0.\($0)"]?.decays == false } && store["core.0.gates.weight"]?.decays == true)
    }

    @Test("outputs, last states and all gradients are numpy's")
    func golden() throws {
        let file = try GoldenCores<GoldenConfiguration>(named: "gated_deltanet")
        #expect(file.cases.count == 3)
        try file.expectAll { store, inputs, settings in
            var configuration = GatedDeltaNetConfiguration(layers: settings.layers, width: settings.width, heads: settings.heads)
            (configuration.keyWidth, configuration.valueWidth) = (settings.keyWidth, settings.valueWidth)
            (configuration.convolution, configuration.feedForward) = (settings.convolution, settings.feedForward)
            configuration.erases = settings.erases
            return GatedDeltaNet(store, "core", inputs: inputs, configuration)
        }
    }
}

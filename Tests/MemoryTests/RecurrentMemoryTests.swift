// Recurrent memory transformers against numpy in float64 (Golden/generate_recurrent_memory.py made Golden/recurrent_memory.json), and what they promise.

import Foundation
import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

private struct GoldenConfiguration: Decodable {
    let layers: Int
    let width: Int
    let heads: Int
    let segment: Int
    let memoryTokens: Int
    let keyWidth: Int
    let feedForward: Int
    let isAssociative: Bool
}

@Suite("Recurrent memory transformer")
struct RecurrentMemoryTests {
    @Test("outputs, last states and all gradients are numpy's")
    func golden() throws {
        let file = try GoldenCores<GoldenConfiguration>(named: "recurrent_memory")
        #expect(file.cases.count == 3)
        try file.expectAll(hasGradient: { !$0.contains("pending") }) { store, inputs, settings in
            var configuration = RecurrentMemoryConfiguration(
                layers: settings.layers, width: settings.width, heads: settings.heads, segment: settings.segment)
            (configuration.memoryTokens, configuration.keyWidth) = (settings.memoryTokens, settings.keyWidth)
            (configuration.feedForward, configuration.isAssociative) = (settings.feedForward, settings.isAssociative)
            return RecurrentMemoryTransformer(store, "core", inputs: inputs, configuration)
        }
    }

    private func core(_ isAssociative: Bool) -> (store: ParameterStore, core: RecurrentMemoryTransformer) {
        let store = ParameterStore()
        var configuration = RecurrentMemoryConfiguration(layers: 2, width: 6, heads: 2, segment: 4)
        (configuration.memoryTokens, configuration.keyWidth, configuration.isAssociative) = (3, 5, isAssociative)
        let core = RecurrentMemoryTransformer(store, "core", inputs: 6, configuration)
        store.allocate(seed: 3)
        // Away from a start at which nothing is remembered.
        for parameter in store.parameters where parameter.shape.rank == 2 {
            let values = randomTensor(parameter.name, parameter.shape, deviation: 0.4)
            parameter.value.floats.update(from: values.floats, count: values.count)
        }
        return (store, core)
    }

    @Test("a sequence in pieces of any length is the sequence, also where sequences stand at different places of a segment", arguments: [true, false])
    func pieces(isAssociative: Bool) {
        let (_, core) = core(isAssociative)
        let x = randomTensor("x", [2, 19, 6])
        func run(_ lengths: [Int], _ x: Tensor) -> (outputs: [Double], state: MemoryState?) {
            var (outputs, state): ([Tensor], MemoryState?) = ([], nil)
            for piece in x.split(lengths, axis: 1) {
                let found = core(piece, from: state, ForwardPass())
                outputs.append(found.outputs)
                state = found.state
            }
            return (concatenate(outputs, axis: 1).doubles, state)
        }
        let expected = run([19], x)
        for lengths in [[4, 4, 4, 4, 3], [1, 18], [7, 2, 10], [Int](repeating: 1, count: 19)] {
            let found = run(lengths, x)
            #expect(deviation(found.outputs, from: expected.outputs).worst < 1e-5, "\(lengths)")
            for (a, b) in zip(found.state?.tensors ?? [], expected.state?.tensors ?? []) {
                #expect(deviation(a.doubles, from: b.doubles).worst < 1e-5, "\(lengths)")
            }
        }
        // The first sequence has read 6 steps, the second 9: both read the same 5 more.
        let parts = [6, 9].map { run([$0], x.slice(0..<$0, axis: 1)).state!.tensors }
        let mixed = MemoryState(core.memory.indices.map { index in concatenate([parts[0][index].rows([0]), parts[1][index].rows([1])], axis: 0) })
        let more = randomTensor("more", [2, 5, 6])
        let found = core(more, from: mixed, ForwardPass())
        for (sequence, count) in [6, 9].enumerated() {
            let whole = concatenate([x.slice(0..<count, axis: 1), more], axis: 1)
            let alone = core(whole, from: nil, ForwardPass()).outputs.slice(count..<count + 5, axis: 1).slice(sequence..<sequence + 1, axis: 0)
            #expect(deviation(found.outputs.slice(sequence..<sequence + 1, axis: 0).doubles, from: alone.doubles).worst < 1e-5)
        }
    }

    @Test("what stood in an earlier segment is seen by way of the memory alone, and a new associative memory changes nothing", arguments: [true, false])
    func memory(isAssociative: Bool) {
        let (store, core) = core(isAssociative)
        let x = randomTensor("x", [1, 12, 6])
        func last(_ x: Tensor) -> [Float] { core(x, from: nil, ForwardPass()).outputs.slice(8..<12, axis: 1).array }
        let changed = x.copied()
        changed.floats[7] += 1
        #expect(last(changed) != last(x))
        guard isAssociative else { return }
        for layer in 0..<2 { store["core.\(layer).memoryValue.weight"]!.value.floats.update(repeating: 0, count: 36) }
        #expect(last(changed) == last(x))
        #expect(last(x) == core(x.slice(8..<12, axis: 1), from: nil, ForwardPass()).outputs.array)
    }

    @Test("pictures show what is read and how strongly memory tokens write")
    func pictures() {
        let trace = MemoryTrace()
        _ = core(true).core(randomTensor("x", [2, 10, 6]), from: nil, ForwardPass(trace: trace))
        #expect(trace.pictures.map(\.name) == ["what is read, beside what it is added to", "strengths of writing, layer 0", "strengths of writing, layer 1"])
        #expect(trace.pictures[0].rows == 2 && trace.pictures[0].columns == 10)
        let shares = trace.pictures[0].values
        // A query whose features no key had finds nothing.
        #expect(shares[..<4].allSatisfy { $0 == 0 } && shares[10..<14].allSatisfy { $0 == 0 }, "\(shares)")
        #expect(shares.allSatisfy { $0 >= 0 && $0.isFinite } && shares[4..<10].contains { $0 > 0 } && shares[14...].contains { $0 > 0 }, "\(shares)")
        #expect(trace.pictures[1].rows == 2 && trace.pictures[1].columns == 3 && trace.pictures[1].values.allSatisfy { $0 > 0 && $0 < 1 })
    }
}

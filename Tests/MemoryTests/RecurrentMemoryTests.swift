// Recurrent memory transformers against numpy in float64 (Golden/generate_recurrent_memory.py made Golden/recurrent_memory.json), and what they promise.

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

    @Test("what stood in an earlier segment is seen by way of the memory alone, and a new associative memory changes nothing")
    func memory() {
        let (store, core) = SmallSegmentedCore.associative.make()
        let x = randomTensor("x", [1, 12, 6])
        func last(_ x: Tensor) -> [Float] { core(x, from: nil, ForwardPass()).outputs.slice(8..<12, axis: 1).array }
        let changed = x.copied()
        changed.floats[7] += 1
        #expect(last(changed) != last(x))
        for layer in 0..<2 { store["core.\(layer).memoryValue.weight"]!.value.floats.update(repeating: 0, count: 36) }
        #expect(last(changed) == last(x))
        #expect(last(x) == core(x.slice(8..<12, axis: 1), from: nil, ForwardPass()).outputs.array)
    }

    @Test("pictures show what is read and how strongly memory tokens write")
    func pictures() {
        let trace = MemoryTrace()
        _ = SmallSegmentedCore.associative.make().core(randomTensor("x", [2, 10, 6]), from: nil, ForwardPass(trace: trace))
        #expect(trace.pictures.map(\.name) == ["what is read, beside what it is added to", "strengths of writing, layer 0", "strengths of writing, layer 1"])
        #expect(trace.pictures[0].rows == 2 && trace.pictures[0].columns == 10)
        let shares = trace.pictures[0].values
        // A query whose features no key had finds nothing.
        #expect(shares[..<4].allSatisfy { $0 == 0 } && shares[10..<14].allSatisfy { $0 == 0 }, "\(shares)")
        #expect(shares.allSatisfy { $0 >= 0 && $0.isFinite } && shares[4..<10].contains { $0 > 0 } && shares[14...].contains { $0 > 0 }, "\(shares)")
        #expect(trace.pictures[1].rows == 2 && trace.pictures[1].columns == 3 && trace.pictures[1].values.allSatisfy { $0 > 0 && $0 < 1 })
    }
}

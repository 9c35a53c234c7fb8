// Sparse Delta Memory against numpy in float64 (Golden/generate_sparse_delta.py made Golden/sparse_delta.json), and what it promises.

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
    let rows: Int
    let writes: Int
    let reads: Int
    let keyWidth: Int
    let valueWidth: Int
    let convolution: Int
    let feedForward: Int
    let start: String
}

@Suite("Sparse Delta Memory")
struct SparseDeltaTests {
    @Test("outputs, last states and all gradients are numpy's")
    func golden() throws {
        let file = try GoldenCores<GoldenConfiguration>(named: "sparse_delta")
        #expect(file.cases.count == 3)
        try file.expectAll { store, inputs, settings in
            var configuration = SparseDeltaConfiguration(layers: settings.layers, width: settings.width, heads: settings.heads)
            (configuration.rows, configuration.writes, configuration.reads) = (settings.rows, settings.writes, settings.reads)
            (configuration.keyWidth, configuration.valueWidth) = (settings.keyWidth, settings.valueWidth)
            (configuration.convolution, configuration.feedForward) = (settings.convolution, settings.feedForward)
            configuration.start = SparseDeltaStart(rawValue: settings.start)!
            configuration.resetsAtDocuments = true
            return SparseDeltaNet(store, "core", inputs: inputs, configuration)
        }
    }

    @Test("of equal scores those are chosen that stand first, whatever the number of rows", arguments: 1...25)
    func ties(count: Int) {
        // Halves have one element, and scores are whole numbers: many pairs have the same sum.
        let (firsts, seconds): ([Float], [Float]) = ([2, 0, 2, 1, 2], [1, 3, 1, 3, 0])
        let queries = Tensor([1, 1, -1, 1, 0, 0] as [Float], [1, 3, 2])
        let found = productKeyAddresses(queries, keys: Tensor(firsts + seconds, [10, 1]), heads: 1, count: count)
        for (t, query) in [(1, 1), (-1, 1), (0, 0)].enumerated() {
            let expected = productKeyAddress(
                ReferenceArray(firsts.map { Double($0) * Double(query.0) }, [5]), ReferenceArray(seconds.map { Double($0) * Double(query.1) }, [5]),
                count: count)
            #expect(found.rows.integerArray[t * count..<(t + 1) * count].map { Int($0) } == expected.rows)
        }
    }

    /// A core with weights that are far from their start, and so many rows that most stay as they are.
    private func make(_ start: SparseDeltaStart, resets: Bool = false) -> (store: ParameterStore, core: SparseDeltaNet) {
        var configuration = SparseDeltaConfiguration(layers: 2, width: 6, heads: 2)
        (configuration.rows, configuration.writes, configuration.reads, configuration.keyWidth) = (49, 3, 5, 4)
        (configuration.start, configuration.resetsAtDocuments) = (start, resets)
        let store = ParameterStore()
        let core = SparseDeltaNet(store, "core", inputs: 4, configuration, lifetime: .lane)
        store.allocate(seed: 3)
        for parameter in store.parameters where parameter.shape.rank == 2 || parameter.name.contains("start") {
            let values = randomTensor(parameter.name, parameter.shape, deviation: 0.5)
            parameter.value.floats.update(from: values.floats, count: values.count)
        }
        return (store, core)
    }

    @Test("a sequence in pieces is the sequence, states and gradients flowing between them", arguments: SparseDeltaStart.allCases, [false, true])
    func pieces(start: SparseDeltaStart, resets: Bool) {
        let (store, core) = make(start, resets: resets)
        let x = randomTensor("x", [2, 21, 4])
        let begins = (0..<42).map { [5, 6, 17, 21, 30].contains($0) }
        func run(_ lengths: [Int]) -> [[Double]] {
            store.clearGradients()
            let tape = Tape()
            var (outputs, state, first): ([Tensor], MemoryState?, Int) = ([], nil, 0)
            for (piece, length) in zip(x.split(lengths, axis: 1), lengths) {
                let pass = ForwardPass(tape: tape)
                pass.resets = (0..<2).flatMap { begins[$0 * 21 + first..<$0 * 21 + first + length] }
                let found = core(piece, from: state, pass)
                outputs.append(found.outputs)
                (state, first) = (found.state, first + length)
            }
            let all = concatenate(outputs, axis: 1)
            tape.backward(from: [(all, randomTensor("seed", all.shape))])
            return [all.doubles] + (state?.tensors.map(\.doubles) ?? []) + store.parameters.map(\.gradient.doubles)
        }
        let expected = run([21])
        if start != .zero { #expect(store.parameters.filter { $0.name.contains("start") }.allSatisfy { $0.gradient.array.contains { $0 != 0 } }) }
        for lengths in [[1, 20], [6, 15], [2, 3, 12, 4]] {
            for (a, b) in zip(run(lengths), expected) { #expect(deviation(a, from: b).worst < 1e-4, "\(lengths)") }
        }
    }

    @Test("behind the beginning of a document nothing is left of what was before it", arguments: SparseDeltaStart.allCases)
    func documents(start: SparseDeltaStart) {
        let (_, core) = make(start, resets: true)
        let x = randomTensor("x", [1, 9, 4])
        let pass = ForwardPass()
        pass.resets = (0..<9).map { $0 == 4 }
        let all = core(x, from: nil, pass)
        let rest = core(x.slice(4..<9, axis: 1), from: nil, ForwardPass())
        #expect(deviation(all.outputs.slice(4..<9, axis: 1).doubles, from: rest.outputs.doubles).worst < 1e-5)
        for (a, b) in zip(all.state.tensors, rest.state.tensors) { #expect(deviation(a.doubles, from: b.doubles).worst < 1e-5) }
    }

    @Test(
        "what declarations say a memory starts with is what sequences start with, and only rows that are written change",
        arguments: SparseDeltaStart.allCases)
    func starts(start: SparseDeltaStart) {
        let (store, core) = make(start)
        let initial = core.memory.map { Tensor($0.initial.values($0.shape, store), Shape([1] + $0.shape.array)) }
        let x = randomTensor("x", [1, 4, 4])
        let (given, begun) = (core(x, from: MemoryState(initial), ForwardPass()), core(x, from: nil, ForwardPass()))
        #expect(given.outputs.array == begun.outputs.array)
        for (a, b) in zip(given.state.tensors, begun.state.tensors) { #expect(a.array == b.array) }
        let width = core.configuration.valueWidth
        let (before, after) = (initial[0].array, given.state.tensors[0].array)
        let changed = (0..<98).filter { row in (0..<width).contains { before[row * width + $0] != after[row * width + $0] } }
        #expect(changed.count >= 6 && changed.count <= 24, "4 steps write 3 rows of each of 2 heads")
    }
}

// What holds for all cores that read a sequence segment after segment.

import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// A core of two layers of 6 units that reads segments of 4 steps, away from a start at which nothing is remembered.
enum SmallSegmentedCore: CaseIterable {
    case associative, memoryTokens, slots

    func make(_ change: (inout MemformerConfiguration) -> Void = { _ in }) -> (store: ParameterStore, core: any SequenceCore) {
        let store = ParameterStore()
        let core: any SequenceCore
        if self == .slots {
            var configuration = MemformerConfiguration(layers: 2, width: 6, heads: 2, segment: 4)
            configuration.slots = 5
            change(&configuration)
            core = Memformer(store, "core", inputs: 6, configuration)
        } else {
            var configuration = RecurrentMemoryConfiguration(layers: 2, width: 6, heads: 2, segment: 4)
            (configuration.memoryTokens, configuration.keyWidth, configuration.isAssociative) = (3, 5, self == .associative)
            core = RecurrentMemoryTransformer(store, "core", inputs: 6, configuration)
        }
        store.allocate(seed: 3)
        for parameter in store.parameters where parameter.shape.rank == 2 {
            let values = randomTensor(parameter.name, parameter.shape, deviation: 0.4)
            parameter.value.floats.update(from: values.floats, count: values.count)
        }
        return (store, core)
    }
}

@Suite("Cores that read segments")
struct SegmentedCoreTests {
    @Test(
        "a sequence in pieces of any length is the sequence, also where sequences stand at different places of a segment",
        arguments: SmallSegmentedCore.allCases)
    func pieces(_ kind: SmallSegmentedCore) {
        let (_, core) = kind.make()
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

    @Test("what stood in an earlier segment is seen, and nothing of what is to come", arguments: SmallSegmentedCore.allCases)
    func sight(_ kind: SmallSegmentedCore) {
        let (_, core) = kind.make()
        let x = randomTensor("x", [1, 12, 6])
        let before = core(x, from: nil, ForwardPass()).outputs.array
        for step in 0..<12 {
            let changed = x.copied()
            changed.floats[step * 6 + 1] += 1
            let after = core(changed, from: nil, ForwardPass()).outputs.array
            #expect(after[..<(step * 6)] == before[..<(step * 6)], "step \(step) is seen before it is there")
            #expect(after[step * 6..<step * 6 + 6] != before[step * 6..<step * 6 + 6], "step \(step) is not seen")
            #expect(after[48...] != before[48...], "step \(step) is not seen in the last segment")
        }
    }
}

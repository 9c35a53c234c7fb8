// Memformers against numpy in float64 (Golden/generate_memformer.py made Golden/memformer.json), and what they promise.

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
    let slots: Int
    let temperature: Float
    let feedForward: Int
}

/// Counts the bytes of what operations have made and somebody still holds.
private final class HeldBytes: OperationObserver {
    private struct Weak {
        weak var storage: Storage?
    }

    private var known: [Weak] = []
    private(set) var most = 0

    private func count() {
        known.removeAll { $0.storage == nil }
        var seen: [ObjectIdentifier: Int] = [:]
        for entry in known { if let storage = entry.storage { seen[ObjectIdentifier(storage)] = storage.byteCount } }
        most = max(most, seen.values.reduce(0, +))
    }

    func recorded(_: Operation, _ outputs: [Tensor]) {
        known += outputs.map { Weak(storage: $0.storage) }
        count()
    }
    func startsBackward(_: Operation) { count() }
    func finishedBackward(_: Operation) { count() }
}

@Suite("Memformer")
struct MemformerTests {
    @Test("outputs, last slots and all gradients are numpy's, whether activations are kept or computed again", arguments: [true, false])
    func golden(recompute: Bool) throws {
        let file = try GoldenCores<GoldenConfiguration>(named: "memformer")
        #expect(file.cases.count == 2)
        try file.expectAll(hasGradient: { !$0.contains("pending") }) { store, inputs, settings in
            var configuration = MemformerConfiguration(
                layers: settings.layers, width: settings.width, heads: settings.heads, segment: settings.segment)
            (configuration.slots, configuration.temperature) = (settings.slots, settings.temperature)
            (configuration.feedForward, configuration.recompute) = (settings.feedForward, recompute)
            return Memformer(store, "core", inputs: inputs, configuration)
        }
    }

    /// A forward and a backward pass over three lanes: all gradients, that of the input last, and the most bytes that results took.
    private func pass(recompute: Bool, steps: Int, activations: DataType = .float32) -> (gradients: [Float], bytes: Int) {
        let (store, tape, held) = (ParameterStore(), Tape(), HeldBytes())
        tape.observer = held
        var configuration = MemformerConfiguration(layers: 2, width: 12, heads: 3, segment: 6)
        (configuration.slots, configuration.dropout, configuration.recompute) = (5, 0.2, recompute)
        let core = Memformer(store, "core", inputs: 7, configuration)
        store.allocate(seed: 5, activations: activations)
        store.clearGradients()
        let dropout = DropoutContext(seed: 3, step: 2, lanes: [4, 0, 9])
        let x = tape.variable(randomTensor("x", [3, steps, 7]))
        let found = core(x, from: nil, ForwardPass(tape: tape, dropout: dropout))
        let results = [found.outputs, found.state.tensors[0]]
        tape.backward(from: results.enumerated().map { ($1, randomTensor("gradient \($0)", $1.shape)) })
        return (store.parameters.flatMap { $0.gradient.array } + (x.node?.gradient?.array ?? []), held.most)
    }

    @Test(
        "segments that are computed again have the gradients of those that are kept, bit for bit, with dropout",
        arguments: [DataType.float32, .bfloat16])
    func replay(activations: DataType) {
        for steps in [5, 6, 20, 36] {
            let kept = pass(recompute: false, steps: steps, activations: activations).gradients
            #expect(pass(recompute: true, steps: steps, activations: activations).gradients == kept, "\(steps) steps")
            #expect(kept.contains { $0 != 0 } && kept.allSatisfy(\.isFinite))
        }
    }

    @Test("of segments that are computed again only what they read, what they gave and their slots are kept")
    func replayedMemory() {
        func bytesPerSegment(_ recompute: Bool) -> Int {
            (pass(recompute: recompute, steps: 6 * 40).bytes - pass(recompute: recompute, steps: 6 * 20).bytes) / 20
        }
        // float32, of three lanes: the inputs of 7 units; outputs of 12 by themselves, joined and normalised; slots.
        let borders = 4 * 3 * (6 * 7 + 3 * 6 * 12 + 5 * 12)
        let (replayed, kept) = (bytesPerSegment(true), bytesPerSegment(false))
        #expect(replayed <= borders + borders / 8 && kept > 6 * borders, "\(replayed) and \(kept) bytes a segment, \(borders) at its borders")
    }

    @Test("a slot is written without a look at the others, and all have length 1")
    func slots() {
        let (store, core) = SmallSegmentedCore.slots.make()
        // What positions read of the slots is left out, so that what is written depends on it no more.
        for layer in 0..<2 { store["core.\(layer).slotAttention.output.weight"]!.value.floats.update(repeating: 0, count: 36) }
        let x = randomTensor("x", [1, 4, 6])
        func written(_ slots: Tensor) -> Tensor {
            core(x, from: MemoryState([slots, Tensor(zeros: [1, 3, 6]), Tensor(zeros: [1])]), ForwardPass()).state.tensors[0]
        }
        let before = unitLength(randomTensor("slots", [1, 5, 6]))
        let after = written(before)
        for slot in 0..<5 {
            let alone = Tensor(zeros: [1, 5, 6])
            (alone.floats + slot * 6).update(from: before.floats + slot * 6, count: 6)
            let own = slot * 6..<slot * 6 + 6
            #expect(written(alone).array[own] == after.array[own] && after.array[own] != before.array[own])
            #expect(abs(after.array[own].reduce(0) { $0 + $1 * $1 } - 1) < 1e-5)
        }
    }

    @Test("a sequence begins with what its declaration says, and a lower temperature sharpens what slots take up")
    func start() {
        let (store, core) = SmallSegmentedCore.slots.make()
        let x = randomTensor("x", [2, 9, 6])
        let initial = core.memory.map { declaration in
            let values = declaration.initial.values(declaration.shape, store)
            return Tensor(values + values, Shape([2] + declaration.shape.array))
        }
        #expect(core.memory[0].initial.description == "core.slotBias, rows of length 1" && initial[0].array.contains { $0 != 0 })
        #expect(core(x, from: nil, ForwardPass()).outputs.array == core(x, from: MemoryState(initial), ForwardPass()).outputs.array)
        func largest(_ temperature: Float) -> Float {
            let trace = MemoryTrace()
            let core = SmallSegmentedCore.slots.make { $0.temperature = temperature }.core
            _ = core(x, from: nil, ForwardPass(trace: trace))
            #expect(trace.pictures.map(\.name) == ["what is read, beside what it is added to", "what slots take up", "what slots keep of themselves"])
            let (read, taken, kept) = (trace.pictures[0], trace.pictures[1], trace.pictures[2])
            #expect(read.rows == 2 && read.columns == 9 && read.rowLabels == ["layer 0", "layer 1"] && read.values.allSatisfy { $0 > 0 })
            #expect(taken.rows == 5 && taken.columns == 8 && kept.rows == 2 && kept.columns == 5)
            for slot in 0..<5 {
                let all = taken.values[slot * 8..<slot * 8 + 8].reduce(0, +) + kept.values[slot] + kept.values[5 + slot]
                #expect(abs(all - 2) < 1e-5, "weights of two segments")
            }
            return (taken.values + kept.values).reduce(0) { $0 + $1 * $1 }
        }
        #expect(largest(0.1) > largest(0.5) && largest(0.5) > largest(4))
    }
}

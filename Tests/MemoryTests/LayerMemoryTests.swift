// Memory that a layer inside a block carries from batch to batch of a lane, computed again or not.

import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("Memory of a layer within a block")
struct LayerMemoryTests {
    private static let declarations = [MemoryDeclaration("layer.sum", [2], axes: ["unit"], lifetime: .lane)]

    /// A layer that adds what its lane remembers: y = w (x + m), and remembers m + 2 x.
    private struct Layer {
        let weight: Parameter

        func callAsFunction(_ x: Tensor, _ pass: ForwardPass) -> Tensor {
            let memory = pass.remembered(declarations)?.tensors[0] ?? Tensor(zeros: x.shape)
            pass.remember(MemoryState([memory + x * 2]), as: declarations)
            return (x + memory) * pass(weight)
        }
    }

    private struct Outcome: Equatable {
        var loss: Float
        var weightGradient: [Float]
        var inputGradient: [Float]?
        var memoryGradient: [Float]?
        var kept: [Float]?
    }

    /// Two such layers in blocks within one another; the second reads the memory that the first has left.
    private func run(recompute: Bool, nested: Bool, carried: CarriedMemory) -> Outcome {
        let store = ParameterStore()
        let layer = Layer(weight: store.add("weight", [2], .constant(3)))
        store.allocate(seed: 1)
        store.clearGradients()
        let tape = Tape()
        let x = tape.variable(Tensor([1, 2, 3, 4] as [Float], [2, 2]))
        let loss: Tensor
        do {
            let pass = ForwardPass(tape: tape, memory: carried)
            let y = pass.layer([x], recompute: recompute) { inputs, pass in
                nested ? pass.layer(inputs, recompute: recompute) { layer($0[0], $1) } : layer(inputs[0], pass)
            }
            loss = (y * y).sum()
        }
        tape.backward(from: loss)
        return Outcome(
            loss: loss.scalar, weightGradient: layer.weight.gradient.array, inputGradient: x.node?.gradient?.array,
            memoryGradient: carried.gradient(of: "layer.sum")?.array, kept: carried.after["layer.sum"]?.array)
    }

    @Test("a layer that is computed again reads and keeps the lanes' memory as one that is not", arguments: [false, true])
    func recomputed(nested: Bool) {
        func carried() -> CarriedMemory { CarriedMemory(["layer.sum": Tensor([10, 20, 30, 40] as [Float], [2, 2])]) }
        let plain = run(recompute: false, nested: nested, carried: carried())
        #expect(plain.kept == [12, 24, 36, 48])
        #expect(plain.loss == 9 * (121 + 484 + 1089 + 1936))
        #expect(plain.memoryGradient == [198, 396, 594, 792])
        #expect(run(recompute: true, nested: nested, carried: carried()) == plain)
    }

    @Test("lanes that begin start from nothing and keep what they have read", arguments: [false, true])
    func beginning(recompute: Bool) {
        let outcome = run(recompute: recompute, nested: false, carried: CarriedMemory([:]))
        #expect(outcome.kept == [2, 4, 6, 8] && outcome.memoryGradient == nil)
    }

    @Test("a later segment's gradient flows back into what an earlier one kept, through layers that are computed again too", arguments: [false, true])
    func acrossSegments(recompute: Bool) {
        let store = ParameterStore()
        let layer = Layer(weight: store.add("weight", [2], .constant(3)))
        store.allocate(seed: 1)
        store.clearGradients()
        let tape = Tape()
        let x = tape.variable(Tensor([1, 2] as [Float], [1, 2]))
        let carried = CarriedMemory([:])
        let y = ForwardPass(tape: tape, memory: carried).layer([x], recompute: recompute) { layer($0[0], $1) }
        let memory = carried.kept["layer.sum"] ?? Tensor(0)
        // As if the next segment had found this gradient of its loss.
        tape.backward(from: [(y, Tensor([1, 1] as [Float], [1, 2])), (memory, Tensor([5, 7] as [Float], [1, 2]))])
        #expect(x.node?.gradient?.array == [3 + 10, 3 + 14])
    }
}

// The delta rule against its equations in float64, central differences, and itself in pieces.

import Foundation
import Kernels
import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("The delta rule")
struct DeltaRuleTests {
    private let heads = 2
    private let keyWidth = 3
    private let valueWidth = 5
    private let inputs = 4

    private func make() -> (store: ParameterStore, memory: DeltaRuleMemory) {
        let store = ParameterStore()
        let memory = DeltaRuleMemory(store, "core", inputs: inputs, heads: heads, keyWidth: keyWidth, valueWidth: valueWidth)
        store.allocate(seed: 7)
        return (store, memory)
    }

    private func state(_ batch: Int) -> MemoryState {
        MemoryState([randomTensor("state", [batch, heads * keyWidth, valueWidth], deviation: 0.5)])
    }

    /// The equations, number by number.
    private func reference(_ store: ParameterStore, _ x: Tensor, _ state: MemoryState) -> (outputs: [Double], memory: [Double]) {
        let (batch, steps) = (x.shape[0], x.shape[1])
        func project(_ name: String, _ row: [Double]) -> [Double] {
            let (weight, bias) = (store["core.\(name).weight"]!.value.array, store["core.\(name).bias"]!.value.array)
            return bias.indices.map { o in row.indices.reduce(Double(bias[o])) { $0 + row[$1] * Double(weight[o * row.count + $1]) } }
        }
        func unit(_ v: ArraySlice<Double>) -> [Double] {
            let length = (v.reduce(0) { $0 + $1 * $1 } + 1e-6).squareRoot()
            return v.map { $0 / length }
        }
        var (outputs, memories): ([Double], [Double]) = ([], [])
        for b in 0..<batch {
            let size = heads * keyWidth * valueWidth
            var s = state.tensors[0].array[b * size..<(b + 1) * size].map(Double.init)
            for t in 0..<steps {
                let row = x.array[(b * steps + t) * inputs..<(b * steps + t + 1) * inputs].map(Double.init)
                let (p, g) = (project("associations", row), project("gates", row))
                for h in 0..<heads {
                    let q = unit(p[h * keyWidth..<(h + 1) * keyWidth])
                    let k = unit(p[(heads + h) * keyWidth..<(heads + h + 1) * keyWidth])
                    let v = p[2 * heads * keyWidth + h * valueWidth..<2 * heads * keyWidth + (h + 1) * valueWidth].map { $0 }
                    let (strength, decay) = (1 / (1 + exp(-g[h])), exp(-log1p(exp(g[heads + h]))))
                    let at = { (i: Int, j: Int) in (h * keyWidth + i) * valueWidth + j }
                    for i in 0..<keyWidth { for j in 0..<valueWidth { s[at(i, j)] *= decay } }
                    let u = (0..<valueWidth).map { j in strength * (v[j] - (0..<keyWidth).reduce(0) { $0 + s[at($1, j)] * k[$1] }) }
                    for i in 0..<keyWidth { for j in 0..<valueWidth { s[at(i, j)] += k[i] * u[j] } }
                    outputs += (0..<valueWidth).map { j in
                        (0..<keyWidth).reduce(0) { $0 + s[at($1, j)] * q[$1] } / Double(keyWidth).squareRoot()
                    }
                }
            }
            memories += s
        }
        return (outputs, memories)
    }

    @Test("outputs and memory are those of the equations in float64")
    func equations() {
        let (store, memory) = make()
        let x = randomTensor("x", [3, 6, inputs])
        let (outputs, last) = memory(x, from: state(3), ForwardPass())
        let expected = reference(store, x, state(3))
        #expect(outputs.shape == [3, 6, heads * valueWidth])
        for (a, b) in [(outputs.array, expected.outputs), (last.tensors[0].array, expected.memory)] {
            #expect(a.count == b.count && zip(a, b).allSatisfy { abs(Double($0) - $1) < 2e-6 * (1 + abs($1)) })
        }
    }

    @Test("gradients of parameters, input and memory are those of central differences")
    func gradients() {
        let (store, memory) = make()
        let report = checkGradients(inputs: [randomTensor("x", [2, 4, inputs]), state(2).tensors[0]], store: store) { tape, inputs in
            let (outputs, last) = memory(inputs[0], from: MemoryState([inputs[1]]), ForwardPass(tape: tape))
            return concatenate([outputs, last.tensors[0]].map { $0.reshaped(to: [$0.count]) }, axis: 0)
        }
        #expect(report.passes(worst: 3e-3, ofNorm: 1e-3), "\(report)")
    }

    @Test("a sequence in two parts is the sequence, bit for bit")
    func parts() {
        let (_, memory) = make()
        let x = randomTensor("x", [2, 7, inputs])
        let whole = memory(x, from: state(2), ForwardPass())
        let pieces = x.split([3, 4], axis: 1)
        let first = memory(pieces[0], from: state(2), ForwardPass())
        let second = memory(pieces[1], from: first.state, ForwardPass())
        #expect(concatenate([first.outputs, second.outputs], axis: 1).array == whole.outputs.array)
        #expect(second.state.tensors[0].array == whole.state.tensors[0].array)
    }

    @Test("within a block, computed again or not, lanes carry it with the same gradients", arguments: [false, true])
    func block(recompute: Bool) {
        func run(_ recompute: Bool) -> [[Float]] {
            let store = ParameterStore()
            let memory = DeltaRuleMemory(store, "core", inputs: inputs, heads: heads, keyWidth: keyWidth, valueWidth: valueWidth, lifetime: .lane)
            store.allocate(seed: 7)
            store.clearGradients()
            let (tape, carried) = (Tape(), CarriedMemory(["core.memory": state(2).tensors[0]]))
            let x = tape.variable(randomTensor("x", [2, 4, inputs]))
            let y = ForwardPass(tape: tape, memory: carried).layer([x], recompute: recompute) { inputs, pass in
                let (outputs, next) = memory(inputs[0], from: pass.remembered(memory.memory), pass)
                pass.remember(next, as: memory.memory)
                return outputs
            }
            tape.backward(from: (y * y).sum())
            return [
                y.array, carried.after["core.memory"]?.array ?? [], carried.gradient(of: "core.memory")?.array ?? [], x.node?.gradient?.array ?? [],
            ] + store.parameters.map(\.gradient.array)
        }
        #expect(run(recompute) == run(false))
        #expect(run(recompute)[2].contains { $0 != 0 })
    }

    @Test("what a key was given last is what it gives back")
    func overwrites() {
        // One head; keys and queries are the first three inputs, the value is the fourth; full strength, no decay.
        let store = ParameterStore()
        let memory = DeltaRuleMemory(store, "core", inputs: 4, heads: 1, keyWidth: 3, valueWidth: 1)
        store.allocate(seed: 1)
        let weight = store["core.associations.weight"]!.value.floats
        for i in 0..<28 { weight[i] = 0 }
        for i in 0..<3 {
            weight[i * 4 + i] = 1
            weight[(3 + i) * 4 + i] = 1
        }
        weight[6 * 4 + 3] = 1
        for i in 0..<8 { store["core.gates.weight"]!.value.floats[i] = 0 }
        (store["core.gates.bias"]!.value.floats[0], store["core.gates.bias"]!.value.floats[1]) = (40, -40)
        let x = Tensor([1, 0, 0, 5, 0, 1, 0, 7, 1, 0, 0, 9, 0, 1, 0, 7] as [Float], [1, 4, 4])
        let outputs = memory(x, from: nil, ForwardPass()).outputs.array.map { $0 * Float(3).squareRoot() }
        #expect(zip(outputs, [5, 7, 9, 7]).allSatisfy { abs($0 - $1) < 1e-4 }, "\(outputs)")
    }

    @Test("results do not depend on the number of threads")
    func threads() async {
        await #expect(processExitsWith: .success) {
            let store = ParameterStore()
            let memory = DeltaRuleMemory(store, "core", inputs: 8, heads: 4, keyWidth: 16, valueWidth: 16)
            store.allocate(seed: 7)
            let x = randomTensor("x", [9, 5, 8])
            let results = (1...3).map { threads in
                Workers.count = threads
                let tape = Tape()
                let variable = tape.variable(x)
                let y = memory(variable, from: nil, ForwardPass(tape: tape)).outputs
                tape.backward(from: y.sum())
                return [y.array, variable.node?.gradient?.array ?? []]
            }
            precondition(results[0] == results[1] && results[0] == results[2])
        }
    }
}

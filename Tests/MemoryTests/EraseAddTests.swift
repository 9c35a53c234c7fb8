// The erase/add memory: what a write does, cut sequences, threads.

import Kernels
import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("Erase/add memory")
struct EraseAddTests {
    private func makeMemory(rows: Int = 5, width: Int = 3, units: Int = 4, inputs: Int = 3) -> (ParameterStore, EraseAddMemory) {
        let store = ParameterStore()
        let memory = EraseAddMemory(store, "core", inputs: inputs, rows: rows, width: width, units: units)
        store.allocate(seed: 4)
        return (store, memory)
    }

    /// Parameters by which a one-hot input addresses its row, with a fixed erase number and a value that the input's last elements hold.
    private func addressByInput(_ store: ParameterStore, rows: Int, width: Int, erase: Float) {
        for parameter in store.parameters { for i in 0..<parameter.shape.count { parameter.value.floats[i] = 0 } }
        let (weight, bias) = (store["core.interface.inputWeight"]!.value, store["core.interface.bias"]!.value)
        let inputs = rows + width
        for i in 0..<rows { weight.floats[i * inputs + i] = 1000 }
        for w in 0..<width {
            bias.floats[rows + w] = erase
            weight.floats[(rows + width + w) * inputs + rows + w] = 1
        }
    }

    /// Inputs that address `row` with `value`, [1, T, rows + width].
    private func writes(_ list: [(row: Int, value: [Float])], rows: Int) -> Tensor {
        var elements: [Float] = []
        for (row, value) in list { elements += (0..<rows).map { $0 == row ? 1 : 0 } + value }
        return Tensor(elements, [1, list.count, rows + list[0].value.count])
    }

    @Test("an address of one row that erases all replaces the row exactly and leaves the others")
    func replaces() {
        let (store, memory) = makeMemory(rows: 5, width: 3, units: 2, inputs: 8)
        addressByInput(store, rows: 5, width: 3, erase: 200)
        let start = randomTensor("memory", [1, 5, 3])
        let state = MemoryState([start, Tensor(zeros: [1, 2])])
        let result = memory(writes([(2, [0.1, 0.7, -0.3]), (4, [9, 8, 7]), (2, [1.1, -2.7, 1e-3])], rows: 5), from: state, ForwardPass())
        let expected = Array(start.array[0..<6]) + [1.1, -2.7, 1e-3] + Array(start.array[9..<12]) + [9, 8, 7]
        #expect(result.state.tensors[0].array == expected)
        // What is read is what was just written.
        #expect(Array(result.outputs.array.suffix(3)) == [1.1, -2.7, 1e-3])
    }

    @Test("erasing nothing accumulates")
    func accumulates() {
        let (store, memory) = makeMemory(rows: 4, width: 2, units: 2, inputs: 6)
        addressByInput(store, rows: 4, width: 2, erase: -200)
        let result = memory(writes([(1, [0.5, 2]), (1, [0.25, -1]), (3, [4, 4]), (1, [1, 1])], rows: 4), from: nil, ForwardPass())
        #expect(result.state.tensors[0].array == [0, 0, 1.75, 2, 0, 0, 4, 4])
    }

    @Test("of a stream of keys and values the latest value of every key is recalled")
    func overwrites() {
        let (rows, width) = (16, 8)
        let (store, memory) = makeMemory(rows: rows, width: width, units: 2, inputs: rows + width)
        addressByInput(store, rows: rows, width: width, erase: 200)
        var random = RandomStream(seed: 3, name: "stream")
        var latest = [[Float]](repeating: [Float](repeating: 0, count: width), count: rows)
        var list: [(row: Int, value: [Float])] = []
        for _ in 0..<500 {
            let row = Int(random.nextUniform() * Float(rows)) % rows
            latest[row] = (0..<width).map { _ in random.nextUniform() < 0.5 ? 0 : 1 }
            list.append((row, latest[row]))
        }
        #expect(memory(writes(list, rows: rows), from: nil, ForwardPass()).state.tensors[0].array == latest.flatMap { $0 })
    }

    @Test("a sequence in two parts is the sequence, and a trace shows its address")
    func parts() {
        let (_, memory) = makeMemory(rows: 7)
        let x = randomTensor("x", [3, 7, 3])
        let trace = MemoryTrace()
        let whole = memory(x, from: nil, ForwardPass(trace: trace))
        let halves = x.split([3, 4], axis: 1)
        let first = memory(halves[0], from: nil, ForwardPass(tape: Tape()))
        let second = memory(halves[1], from: first.state.stopGradient(), ForwardPass())
        let joined = concatenate([first.outputs.stopGradient(), second.outputs.stopGradient()], axis: 1)
        #expect(zip(joined.array, whole.outputs.array).allSatisfy { abs($0 - $1) < 1e-5 })
        for (a, b) in zip(second.state.tensors, whole.state.tensors) { #expect(zip(a.array, b.array).allSatisfy { abs($0 - $1) < 1e-5 }) }
        #expect(trace.pictures.count == 1 && trace.pictures[0].rows == 7 && trace.pictures[0].columns == 7)
        #expect(memory.memory.map(\.name) == ["core.memory", "core.controller.0.hidden"] && memory.outputWidth == 7)
    }

    @Test("1, 2 and 3 threads give the same bits")
    func threads() {
        func bothPasses() -> [Float] {
            let (store, memory) = makeMemory(rows: 70, width: 19, units: 40, inputs: 5)
            let tape = Tape()
            let x = tape.variable(randomTensor("x", [16, 5, 5]))
            let outputs = memory(x, from: nil, ForwardPass(tape: tape)).outputs
            tape.backward(from: outputs, gradient: randomTensor("gradient", outputs.shape))
            return outputs.array + store.parameters.flatMap { $0.gradient.array } + (x.node?.gradient?.array ?? [])
        }
        let one = withThreads(1) { bothPasses() }
        for count in [2, 3] { #expect(withThreads(count) { bothPasses() } == one, "\(count) threads") }
    }
}

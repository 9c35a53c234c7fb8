// The Neural Turing Machine: gradients, cut sequences, threads, recomputation.

import Kernels
import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// A small machine of odd sizes.
func machineConfiguration(
    rows: Int = 5, width: Int = 3, readHeads: Int = 2, writeHeads: Int = 2,
    controller: ControllerConfiguration = ControllerConfiguration(.lstm, width: 4), shifts: ClosedRange<Int> = -1...1
) -> NeuralTuringMachineConfiguration {
    var configuration = NeuralTuringMachineConfiguration()
    (configuration.rows, configuration.width) = (rows, width)
    (configuration.readHeads, configuration.writeHeads) = (readHeads, writeHeads)
    (configuration.controller, configuration.shifts) = (controller, shifts)
    return configuration
}

/// Weights that sum to 1, [B, heads, N].
func randomWeights(_ name: String, _ shape: Shape) -> Tensor { softmax(randomTensor(name, shape)) }

/// A state with a memory of ordinary size: no element is near zero, where the cosine of a short row bends too much for differences.
func machineState(_ configuration: NeuralTuringMachineConfiguration, batch: Int) -> [Tensor] {
    let (rows, width, reads, writes) = (configuration.rows, configuration.width, configuration.readHeads, configuration.writeHeads)
    let memory = randomTensor("memory", [batch, rows, width])
    for i in 0..<memory.count { memory.floats[i] += memory.floats[i] < 0 ? -0.4 : 0.4 }
    var state = [
        memory, randomWeights("read weights", [batch, reads, rows]),
        randomWeights("write weights", [batch, writes, rows]), randomTensor("reads", [batch, reads, width]),
    ]
    let controller = configuration.controller
    if controller.kind != .feedForward {
        for layer in 0..<controller.layers {
            state.append(randomTensor("hidden \(layer)", [batch, controller.width], deviation: 0.5))
            if controller.kind == .lstm { state.append(randomTensor("cell \(layer)", [batch, controller.width], deviation: 0.5)) }
        }
    }
    return state
}

/// Gives a parameter normal random values.
func randomize(_ store: ParameterStore, _ name: String) {
    guard let parameter = store[name] else { preconditionFailure("no parameter \(name)") }
    let values = randomTensor(name, parameter.shape).array
    for (i, value) in values.enumerated() { parameter.value.floats[i] = value }
}

/// Outputs and last state in one row.
func flattened(_ outputs: Tensor, _ state: MemoryState) -> Tensor {
    concatenate(([outputs] + state.tensors).map { $0.reshaped(to: [$0.count]) }, axis: 0)
}

@Suite("Neural Turing Machine")
struct TuringMachineTests {
    @Test("gradients of a learned initial state are those of central differences")
    func learnedStart() {
        var configuration = machineConfiguration()
        (configuration.learnsInitialReads, configuration.learnsInitialMemory, configuration.initialMemory) = (true, true, 0.5)
        let store = ParameterStore()
        let machine = NeuralTuringMachine(store, "core", inputs: 3, configuration)
        store.allocate(seed: 3)
        for name in ["core.interface.bias", "core.initialMemory"] { randomize(store, name) }
        let names = ["core.initialMemory", "core.initialReads", "core.initialReadWeights", "core.initialWriteWeights"]
        let report = checkGradients(inputs: [randomTensor("x", [3, 4, 3])], store: store, names: names) { tape, inputs in
            machine(inputs[0], from: nil, ForwardPass(tape: tape)).outputs
        }
        #expect(report.deviations.count == 5 && report.passes(worst: 1e-2, ofNorm: 3e-3), "\(report)")
        let initial = machine.memory.prefix(4).map(\.initial)
        #expect(
            initial == [
                .parameter("core.initialMemory"), .softmax(ofParameter: "core.initialReadWeights"), .softmax(ofParameter: "core.initialWriteWeights"),
                .parameter("core.initialReads"),
            ])
    }

    @Test("the declarations fit the state, and their initial values are those of a sequence without a state")
    func declarations() {
        let configuration = machineConfiguration()
        let store = ParameterStore()
        let machine = NeuralTuringMachine(store, "core", inputs: 3, configuration)
        store.allocate(seed: 3)
        let x = randomTensor("x", [2, 3, 3])
        let result = machine(x, from: nil, ForwardPass())
        #expect(
            machine.memory.map(\.name) == [
                "core.memory", "core.readWeights", "core.writeWeights", "core.reads", "core.controller.0.hidden", "core.controller.0.cell",
            ])
        #expect(result.outputs.shape == [2, 3, machine.outputWidth] && result.state.tensors.count == machine.memory.count)
        let initial = zip(machine.memory, result.state.tensors).map { declaration, last in
            let shape = Shape([2] + (0..<declaration.shape.rank).map { declaration.shape[$0] })
            #expect(last.shape == shape, "\(declaration.name)")
            let tensor = Tensor(zeros: shape)
            if case .constant(let value) = declaration.initial { for i in 0..<tensor.count { tensor.floats[i] = value } }
            if case .oneHot(let index) = declaration.initial {
                for row in 0..<tensor.count / shape[-1] { tensor.floats[row * shape[-1] + index] = 1 }
            }
            return tensor
        }
        let explicit = machine(x, from: MemoryState(initial), ForwardPass())
        #expect(explicit.outputs.array == result.outputs.array)
    }

    @Test("a sequence in two parts is the sequence, with and without a tape", arguments: [false, true])
    func parts(_ isTraining: Bool) {
        let configuration = machineConfiguration(rows: 19, width: 6, controller: ControllerConfiguration(.lstm, width: 9))
        let store = ParameterStore()
        let machine = NeuralTuringMachine(store, "core", inputs: 3, configuration)
        store.allocate(seed: 3)
        let x = randomTensor("x", [3, 7, 3])
        let pass = ForwardPass(tape: isTraining ? Tape() : nil)
        let whole = machine(x, from: nil, pass)
        let halves = x.split([3, 4], axis: 1)
        let first = machine(halves[0], from: nil, pass)
        let second = machine(halves[1], from: first.state, pass)
        let joined = concatenate([first.outputs.stopGradient(), second.outputs.stopGradient()], axis: 1)
        #expect(zip(joined.array, whole.outputs.array).allSatisfy { abs($0 - $1) < 1e-5 })
        for (a, b) in zip(second.state.tensors, whole.state.tensors) { #expect(zip(a.array, b.array).allSatisfy { abs($0 - $1) < 1e-5 }) }
    }

    /// The outputs, the last state and all gradients, in one row.
    private func bothPasses(_ configuration: NeuralTuringMachineConfiguration, steps: Int) -> [Float] {
        let store = ParameterStore()
        let machine = NeuralTuringMachine(store, "core", inputs: 5, configuration)
        store.allocate(seed: 3)
        let tape = Tape()
        let inputs = ([randomTensor("x", [16, steps, 5])] + machineState(configuration, batch: 16)).map { tape.variable($0) }
        let result = machine(inputs[0], from: MemoryState(Array(inputs.dropFirst())), ForwardPass(tape: tape))
        let all = flattened(result.outputs, result.state)
        tape.backward(from: all, gradient: randomTensor("gradient", all.shape))
        return all.array + store.parameters.flatMap { $0.gradient.array } + inputs.flatMap { $0.node?.gradient?.array ?? [] }
    }

    @Test("1, 2 and 3 threads give the same bits")
    func threads() {
        let configuration = machineConfiguration(rows: 70, width: 19, controller: ControllerConfiguration(.lstm, width: 65))
        let one = withThreads(1) { bothPasses(configuration, steps: 6) }
        #expect(one.allSatisfy { $0.isFinite })
        for count in [2, 3] { #expect(withThreads(count) { bothPasses(configuration, steps: 6) } == one, "\(count) threads") }
    }

    @Test("computing segments again gives the same bits", arguments: [1, 2, 9, 10, 11])
    func recompute(_ steps: Int) {
        withThreads(1) {
            var configuration = machineConfiguration(rows: 18, width: 5)
            let kept = bothPasses(configuration, steps: steps)
            configuration.recompute = true
            #expect(bothPasses(configuration, steps: steps) == kept)
        }
    }

    @Test("a trace gets the weights of every head over time, and changes nothing")
    func trace() {
        let configuration = machineConfiguration(rows: 6, readHeads: 1, writeHeads: 2)
        let store = ParameterStore()
        let machine = NeuralTuringMachine(store, "core", inputs: 3, configuration)
        store.allocate(seed: 3)
        let trace = MemoryTrace()
        let x = randomTensor("x", [2, 4, 3])
        let result = machine(x, from: nil, ForwardPass(trace: trace))
        #expect(result.outputs.array == machine(x, from: nil, ForwardPass(tape: Tape())).outputs.array)
        #expect(trace.pictures.map(\.name) == ["read weights", "write weights, head 1", "write weights, head 2"])
        for (index, picture) in trace.pictures.enumerated() {
            #expect(picture.rows == 6 && picture.columns == 4 && picture.rowAxis == "row" && picture.columnAxis == "step")
            for t in 0..<4 { #expect(abs((0..<6).reduce(0) { $0 + picture.values[$1 * 4 + t] } - 1) < 1e-5) }
            let last = result.state.tensors[index == 0 ? 1 : 2]
            for i in 0..<6 { #expect(picture.values[i * 4 + 3] == last.floats[max(0, index - 1) * 6 + i]) }
        }
    }

    /// In a process of its own, since the pool's counters belong to the process.
    @Test("after the second step nothing is asked of the system, whatever the length")
    func steadyState() async {
        await #expect(processExitsWith: .success) {
            SystemMemory.keepFreedMemory()
            let store = ParameterStore()
            let machine = NeuralTuringMachine(store, "core", inputs: 5, machineConfiguration(rows: 33, width: 7))
            store.allocate(seed: 3)
            var blocks: [Int: Int] = [:]
            for number in 1...12 {
                let before = MemoryPool.shared.statistics
                let steps = number % 2 == 0 ? 40 : 20
                let x = randomTensor("x", [6, steps, 5])
                let tape = Tape()
                let outputs = machine(x, from: nil, ForwardPass(tape: tape)).outputs
                let inUse = MemoryPool.shared.statistics.usedBytes
                tape.backward(from: outputs.sum())
                blocks[steps] = inUse - before.usedBytes
                precondition(number <= 4 || MemoryPool.shared.statistics.systemAllocations == before.systemAllocations, "blocks in step \(number)")
            }
            // What is kept grows with the steps and with nothing else.
            precondition(blocks[40]! < blocks[20]! * 5 / 2, "\(blocks)")
        }
    }

    /// Random input and parameters of every size, so that the numbers of heads reach both limits and stay there.
    @Test("1,000,000 steps of random input stay finite, with extreme numbers for the heads", arguments: [Float(20), nil])
    func fuzz(_ limit: Float?) {
        withThreads(1) {
            var configuration = machineConfiguration(
                rows: 5, width: 3, readHeads: 1, writeHeads: 1, controller: ControllerConfiguration(.feedForward, width: 4))
            configuration.limit = limit
            configuration.squashesAdditions = limit == nil
            let store = ParameterStore()
            let machine = NeuralTuringMachine(store, "core", inputs: 2, configuration)
            store.allocate(seed: 3)
            var state: MemoryState?
            var random = RandomStream(seed: 1, name: "fuzz")
            let (batch, steps) = (4, 500)
            for round in 0..<500 {
                for parameter in store.parameters {
                    let scale = [0.1, 1, 30, 1000][Int(random.nextUniform() * 4) % 4] as Float
                    for i in 0..<parameter.shape.count { parameter.value.floats[i] = scale * random.nextNormal() }
                }
                let x = Tensor(uninitialized: [batch, steps, 2])
                for i in 0..<x.count { x.floats[i] = random.nextNormal() * (random.nextUniform() < 0.01 ? 1e4 : 1) }
                let result = machine(x, from: state, ForwardPass())
                #expect(result.outputs.array.allSatisfy { $0.isFinite }, "outputs of round \(round)")
                for (declaration, tensor) in zip(machine.memory, result.state.tensors) {
                    #expect(tensor.array.allSatisfy { $0.isFinite }, "\(declaration.name) after round \(round)")
                }
                for b in 0..<batch {
                    #expect(abs((0..<5).reduce(0) { $0 + result.state.tensors[1].floats[b * 5 + $1] } - 1) < 1e-4, "round \(round)")
                }
                // Every tenth round also backwards, over a short stretch: gradients through many steps of parameters of a thousand overflow by right.
                if round % 10 == 0 {
                    let tape = Tape()
                    let outputs = machine(x.split([8, steps - 8], axis: 1)[0], from: state, ForwardPass(tape: tape)).outputs
                    store.clearGradients()
                    tape.backward(from: outputs.sum())
                    for parameter in store.parameters {
                        #expect(!parameter.gradient.array.contains { $0.isNaN }, "gradient of \(parameter.name) in round \(round)")
                    }
                }
                state = result.state.stopGradient()
            }
        }
    }
}

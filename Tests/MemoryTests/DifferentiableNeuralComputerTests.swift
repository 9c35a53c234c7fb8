// The Differentiable Neural Computer: gradients, states, threads, recomputation, memory, and what it does with freed rows.

import Foundation
import Kernels
import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

private typealias Configuration = DifferentiableNeuralComputerConfiguration

private func configuration(
    rows: Int = 5, width: Int = 3, heads: Int = 2, units: Int = 4, _ kind: ControllerConfiguration.Kind = .lstm,
    _ edit: (inout Configuration) -> Void = { _ in }
) -> Configuration {
    var result = Configuration(rows: rows, width: width, readHeads: heads, controller: ControllerConfiguration(kind, width: units))
    edit(&result)
    return result
}

/// A core with its parameters; those of the interface are large enough to make gates differ.
private func makeCore(_ configuration: Configuration, inputs: Int, scale: Float = 2) -> (core: DifferentiableNeuralComputer, store: ParameterStore) {
    let store = ParameterStore()
    let core = DifferentiableNeuralComputer(store, "core", inputs: inputs, configuration)
    store.allocate(seed: 3)
    for parameter in store.parameters where parameter.name.hasPrefix("core.interface.") {
        let values = randomTensor(parameter.name, parameter.shape, deviation: parameter.shape.rank == 1 ? 0.5 : scale / 2)
        parameter.value.floats.update(from: values.floats, count: values.count)
    }
    return (core, store)
}

/// A state in which no two rows are used alike.
private func makeState(_ core: DifferentiableNeuralComputer, batch: Int) -> [Tensor] {
    let rows = core.configuration.rows
    return core.memory.map { declaration in
        let shape = Shape([batch] + (0..<declaration.shape.rank).map { declaration.shape[$0] })
        switch declaration.name.split(separator: ".").last {
        case "usage": return Tensor((0..<batch * rows).map { (Float(($0 * 7 + 3) % rows) + 0.5) / (Float(rows) + 0.5) }, shape)
        case "precedence", "writeWeights", "readWeights": return randomTensor(declaration.name, shape, in: 0...(0.8 / Float(rows)))
        case "links":
            let links = randomTensor(declaration.name, shape, in: 0...(0.8 / Float(rows)))
            for b in 0..<batch { for i in 0..<rows { links.floats[(b * rows + i) * rows + i] = 0 } }
            return links
        default: return randomTensor(declaration.name, shape, deviation: 0.5)
        }
    }
}

/// Outputs and last state in one tensor, so that a gradient arrives at all of them.
private func flat(_ result: (outputs: Tensor, state: MemoryState)) -> Tensor {
    concatenate(([result.outputs] + result.state.tensors).map { $0.flattened() }, axis: 0)
}

/// One forward and backward pass: all outputs, and the gradients of the input, the state and the parameters.
private func pass(_ core: DifferentiableNeuralComputer, _ store: ParameterStore, _ x: Tensor, _ state: [Tensor]?) -> [[Float]] {
    store.clearGradients()
    let tape = Tape()
    let (x, state) = (tape.variable(x), state?.map { tape.variable($0) })
    let output = flat(core(x, from: state.map { MemoryState($0) }, ForwardPass(tape: tape)))
    tape.backward(from: output, gradient: randomTensor("seed", output.shape))
    store.zeroMissingGradients()
    return [output.array] + ([x] + (state ?? [])).map { $0.node?.gradient?.array ?? [] } + store.parameters.map { $0.gradient.array }
}

@Suite("The Differentiable Neural Computer", .serialized)
struct DifferentiableNeuralComputerTests {
    // MARK: gradients

    private static let options: [(name: String, configuration: Configuration)] = [
        ("plain", configuration()),
        (
            "two layers",
            {
                var c = configuration()
                c.controller.layers = 2
                return c
            }()
        ),
        ("more rows than a register", configuration(rows: 17, width: 2, heads: 1, units: 3)),
        ("five heads", configuration(rows: 3, width: 2, heads: 5, units: 3, .recurrent)),
        ("one row", configuration(rows: 1, width: 1, heads: 1, units: 2, .feedForward)),
        ("softplus", configuration { $0.strength = .softplus }),
        ("masked keys", configuration { $0.masksKeys = true }),
        ("freed rows erased", configuration { $0.erasesFreedRows = true }),
        ("sharpened links", configuration { $0.sharpensLinks = true }),
        ("normalised interface", configuration { $0.normalizesInterface = true }),
        (
            "everything",
            configuration(heads: 3) {
                $0.masksKeys = true
                $0.erasesFreedRows = true
                $0.sharpensLinks = true
                $0.normalizesInterface = true
                $0.bypassDropout = 0.4
                $0.recompute = true
            }
        ),
    ]

    @Test("gradients through bypass dropout are those of central differences")
    func gradients() {
        let (_, configuration) = Self.options[Self.options.count - 1]
        #expect(configuration.bypassDropout > 0)
        let (core, store) = makeCore(configuration, inputs: 3)
        let state = makeState(core, batch: 2)
        // Rows must not change their order by usage within a step.
        let step: Float = configuration.rows > 10 ? 0.005 : 0.01
        let report = checkGradients(inputs: [randomTensor("x", [2, 3, 3])] + state, store: store, step: step, elementLimit: 40) { tape, inputs in
            let dropout = DropoutContext(seed: 1, step: 1, lanes: [0, 1])
            return flat(core(inputs[0], from: MemoryState(Array(inputs[1...])), ForwardPass(tape: tape, dropout: dropout)))
        }
        for deviation in report.deviations { #expect(deviation.worst < 2e-2 && deviation.ofNorm < 3e-3, "\(deviation)") }
    }

    @Test("gradients without an initial state, over a longer sequence")
    func gradientsFromZero() {
        let (core, store) = makeCore(configuration(rows: 4), inputs: 2)
        let report = checkGradients(inputs: [randomTensor("x", [1, 7, 2])], store: store, step: 0.01, elementLimit: 40) { tape, inputs in
            core(inputs[0], from: nil, ForwardPass(tape: tape)).outputs
        }
        #expect(report.passes(worst: 2e-2, ofNorm: 3e-3), "\(report)")
    }

    // MARK: state

    @Test("a sequence in two parts, with the state between them, is the whole sequence")
    func parts() {
        for (_, configuration) in Self.options where configuration.bypassDropout == 0 {
            let (core, _) = makeCore(configuration, inputs: 3)
            let x = randomTensor("x", [3, 11, 3])
            let whole = core(x, from: nil, ForwardPass())
            let first = core(x.slice(0..<6, axis: 1), from: nil, ForwardPass())
            let second = core(x.slice(6..<11, axis: 1), from: first.state, ForwardPass())
            expectNear(concatenate([first.outputs, second.outputs], axis: 1), whole.outputs)
            for (a, b) in zip(second.state.tensors, whole.state.tensors) { expectNear(a, b) }
        }
    }

    @Test("gradients flow through the state from part to part")
    func gradientsThroughState() throws {
        let (core, store) = makeCore(configuration(), inputs: 3)
        let (x, seed) = (randomTensor("x", [2, 6, 3]), randomTensor("seed", [2, 6, core.outputWidth]))
        func gradients(_ run: (Tensor, ForwardPass) -> Tensor) -> [Tensor] {
            store.clearGradients()
            let tape = Tape()
            let input = tape.variable(x)
            let output = run(input, ForwardPass(tape: tape))
            tape.backward(from: output, gradient: seed)
            return [input.node?.gradient ?? Tensor(0)] + store.parameters.map { $0.gradient.copied() }
        }
        let whole = gradients { core($0, from: nil, $1).outputs }
        let cut = gradients { x, pass in
            let first = core(x.slice(0..<2, axis: 1), from: nil, pass)
            return concatenate([first.outputs, core(x.slice(2..<6, axis: 1), from: first.state, pass).outputs], axis: 1)
        }
        for (a, b) in zip(cut, whole) { expectNear(a, b, 1e-4) }
    }

    @Test("what is declared is what comes back")
    func declarations() {
        let (core, _) = makeCore(configuration(), inputs: 3)
        #expect(
            core.memory.map(\.name) == [
                "core.matrix", "core.usage", "core.precedence", "core.links", "core.readWeights", "core.writeWeights", "core.reads",
                "core.controller.0.hidden", "core.controller.0.cell",
            ])
        let state = core(randomTensor("x", [2, 3, 3]), from: nil, ForwardPass()).state
        for (tensor, declaration) in zip(state.tensors, core.memory) { #expect(tensor.count == 2 * declaration.shape.count && tensor.shape[0] == 2) }
        #expect(core.outputWidth == 4 + 2 * 3)
    }

    // MARK: the same numbers

    @Test("one, two and three threads give the same bits")
    func threads() {
        let (core, store) = makeCore(configuration(rows: 40, width: 12, heads: 3, units: 16), inputs: 3)
        let x = randomTensor("x", [7, 5, 3])
        let results = [1, 2, 3].map { count in withThreads(count) { pass(core, store, x, makeState(core, batch: 7)) } }
        #expect(results[0] == results[1] && results[0] == results[2])
    }

    @Test("recomputed steps give the same bits", arguments: [1, 2, 9, 10])
    func recomputation(_ steps: Int) {
        for (_, configuration) in Self.options where configuration.bypassDropout == 0 {
            var (kept, again) = (configuration, configuration)
            (kept.recompute, again.recompute) = (false, true)
            let x = randomTensor("x", [2, steps, 3])
            let (first, firstStore) = makeCore(kept, inputs: 3)
            let (second, secondStore) = makeCore(again, inputs: 3)
            let state = makeState(first, batch: 2)
            #expect(pass(first, firstStore, x, state) == pass(second, secondStore, x, state))
        }
    }

    @Test("without a tape the numbers are those with one")
    func evaluation() {
        let (core, _) = makeCore(configuration(rows: 18), inputs: 3)
        let (x, state) = (randomTensor("x", [2, 8, 3]), MemoryState(makeState(core, batch: 2)))
        let tape = Tape()
        let recorded = flat(core(x, from: state, ForwardPass(tape: tape))).array
        #expect(flat(core(x, from: state, ForwardPass())).array == recorded)
        _ = consume tape
    }

    @Test("bypass dropout touches what passes the memory by, and nothing else")
    func bypass() {
        let (plain, _) = makeCore(configuration(), inputs: 3)
        let (dropped, _) = makeCore(configuration { $0.bypassDropout = 0.5 }, inputs: 3)
        let x = randomTensor("x", [2, 20, 3])
        let expected = plain(x, from: nil, ForwardPass()).outputs
        let actual = dropped(x, from: nil, ForwardPass(dropout: DropoutContext(seed: 1, step: 1, lanes: [0, 1]))).outputs
        var zeros = 0
        for row in 0..<40 {
            for column in 0..<plain.outputWidth {
                let (a, e) = (actual.floats[row * plain.outputWidth + column], expected.floats[row * plain.outputWidth + column])
                let kept = column < 4 ? 2 * e : e
                if column < 4, a == 0 { zeros += 1 } else { #expect(a == kept) }
            }
        }
        #expect(zeros > 40 && zeros < 120)
        #expect(dropped(x, from: nil, ForwardPass()).outputs.array == expected.array)
    }

    // MARK: what the memory does

    /// A core whose interface is the same at every step: `set` writes the values before their functions.
    private func constantCore(_ configuration: Configuration, _ set: (MemoryParts, UnsafeMutablePointer<Float>) -> Void)
        -> DifferentiableNeuralComputer
    {
        let (core, store) = makeCore(configuration, inputs: 1)
        for parameter in store.parameters where parameter.name.hasPrefix("core.interface.") {
            parameter.value.floats.update(repeating: 0, count: parameter.shape.count)
            if parameter.shape.rank == 1 { set(MemoryParts(configuration), parameter.value.floats) }
        }
        return core
    }

    /// Where the parts of an interface vector lie, as documented.
    private struct MemoryParts {
        let writeKey, writeVector, erase, freeGates, allocationGate, writeGate, strengths, modes: Int

        init(_ c: Configuration) {
            writeKey = c.readHeads * c.width
            writeVector = writeKey + c.width
            erase = writeVector + c.width
            freeGates = erase + c.width
            allocationGate = freeGates + c.readHeads
            writeGate = allocationGate + 1
            strengths = writeGate + 1
            modes = strengths + c.readHeads + 1
        }
    }

    @Test("rows that are freed are written again, others are not", arguments: [true, false])
    func freeing(frees: Bool) throws {
        let core = constantCore(configuration(rows: 4, width: 3, heads: 1)) { parts, z in
            z.update(repeating: 1, count: 3)
            for i in 0..<3 { z[parts.writeVector + i] = 1 }
            for i in 0..<3 { z[parts.erase + i] = 20 }
            z[parts.freeGates] = frees ? 20 : -20
            (z[parts.allocationGate], z[parts.writeGate]) = (20, 20)
            (z[parts.strengths], z[parts.strengths + 1]) = (20, 20)
            z[parts.modes + 1] = 20
        }
        let trace = MemoryTrace()
        _ = core(Tensor(zeros: [1, 12, 1]), from: nil, ForwardPass(trace: trace))
        let usage = try #require(trace.pictures.first { $0.name == "usage" })
        let totals = (0..<12).map { step in (0..<4).reduce(Float(0)) { $0 + usage.values[$1 * 12 + step] } }
        // Every step writes a whole row and reads what it has written.
        if frees {
            #expect(totals.allSatisfy { $0 < 2 }, "\(totals)")
        } else {
            #expect(totals[4] > 3.9 && totals[11] > 3.9, "\(totals)")
        }
    }

    @Test("pictures of the memory at work")
    func pictures() throws {
        let (core, _) = makeCore(configuration(rows: 6, heads: 2), inputs: 3)
        let trace = MemoryTrace()
        let result = core(randomTensor("x", [2, 9, 3]), from: nil, ForwardPass(trace: trace))
        #expect(
            trace.pictures.map(\.name) == [
                "write weights", "read weights of head 1", "read weights of head 2", "usage", "gates", "read modes of head 1", "read modes of head 2",
                "links after the last step",
            ])
        for picture in trace.pictures.dropLast() { #expect(picture.columns == 9 && picture.columnAxis == "step") }
        // The last column of the pictures is the state after the last step.
        let parts = ["usage": 1, "write weights": 5, "read weights of head 1": 4]
        for (name, index) in parts {
            let picture = try #require(trace.pictures.first { $0.name == name })
            let last: [Float] = (0..<6).map { row in picture.values[row * 9 + 8] }
            let expected = Array(result.state.tensors[index].array[0..<6])
            #expect(last == expected)
        }
        let links = Array(result.state.tensors[3].array[0..<36])
        #expect(trace.pictures.last?.values == links)
        let modes = trace.pictures[5]
        for step in 0..<9 {
            let sum: Float = modes.values[step] + modes.values[9 + step] + modes.values[18 + step]
            #expect(abs(sum - 1) < 1e-5)
        }
    }

    // MARK: endurance

    @Test("finite over a million steps of random input and an extreme controller", arguments: [Float(20), nil])
    func finite(clip: Float?) {
        for variant in 0..<2 {
            let (core, _) = makeCore(
                configuration(rows: 5, width: 3, heads: 2, units: 6) {
                    $0.interfaceClip = clip
                    if variant == 1 { ($0.masksKeys, $0.erasesFreedRows, $0.sharpensLinks) = (true, true, true) }
                }, inputs: 4, scale: 400)
            var state: MemoryState?
            var random = RandomStream(seed: 5, name: "fuzz")
            for round in 0..<100 {
                let scale: Float = [0, 1e-20, 1, 50, 1e4][round % 5]
                let x = Tensor((0..<10 * 1000 * 4).map { _ in scale * (2 * random.nextUniform() - 1) }, [10, 1000, 4])
                let result = core(x, from: state, ForwardPass())
                state = result.state
                let isFinite = ([result.outputs] + result.state.tensors).allSatisfy { Kernels.active.isFinite($0.floats, $0.count) }
                #expect(isFinite, "round \(round)")
                if !isFinite { break }
                let usage = result.state.tensors[1]
                #expect(usage.array.allSatisfy { $0 >= 0 && $0 <= 1.00001 })
            }
        }
    }

    @Test("gradients stay finite with an extreme controller")
    func finiteGradients() {
        for (_, configuration) in Self.options where configuration.bypassDropout == 0 {
            let (core, store) = makeCore(configuration, inputs: 3, scale: 400)
            let results = pass(core, store, randomTensor("x", [2, 40, 3], deviation: 30), nil)
            #expect(results.allSatisfy { $0.allSatisfy(\.isFinite) })
        }
    }

    // MARK: memory

    /// In a process of its own, since the pool's counters belong to the process.
    @Test("after the second sequence nothing is asked of the system", arguments: [false, true])
    func steadyState(recompute: Bool) async {
        await #expect(processExitsWith: .success) { [recompute] in
            SystemMemory.keepFreedMemory()
            let (core, store) = makeCore(configuration(rows: 24, width: 8, heads: 4, units: 16) { $0.recompute = recompute }, inputs: 3)
            let x = randomTensor("x", [4, 40, 3])
            for number in 1...10 {
                let (blocks, pages) = (MemoryPool.shared.statistics.systemAllocations, SystemMemory.pageFaultsOfThread)
                store.clearGradients()
                let tape = Tape()
                let outputs = core(tape.variable(x), from: nil, ForwardPass(tape: tape)).outputs
                tape.backward(from: outputs.sum())
                precondition(number <= 2 || MemoryPool.shared.statistics.systemAllocations == blocks, "blocks in sequence \(number)")
                precondition(number <= 3 || SystemMemory.pageFaultsOfThread == pages, "pages in sequence \(number)")
            }
        }
    }

    @Test("recomputation keeps a few times the square root of the frames")
    func peak() async {
        await #expect(processExitsWith: .success) {
            func used(recompute: Bool) -> Int {
                let (core, _) = makeCore(configuration(rows: 48, width: 8, heads: 4, units: 8) { $0.recompute = recompute }, inputs: 3)
                let before = MemoryPool.shared.statistics.usedBytes
                let tape = Tape()
                let outputs = core(randomTensor("x", [2, 400, 3]), from: nil, ForwardPass(tape: tape)).outputs
                let used = MemoryPool.shared.statistics.usedBytes - before
                tape.backward(from: outputs, gradient: outputs)
                return used
            }
            let (kept, again) = (used(recompute: false), used(recompute: true))
            precondition(again * 5 < kept, "\(again) and \(kept) bytes")
        }
    }

    private func expectNear(_ a: Tensor, _ b: Tensor, _ tolerance: Float = 2e-5) {
        let scale = max(1e-3, b.array.reduce(0) { max($0, abs($1)) })
        let worst = zip(a.array, b.array).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) } / scale
        #expect(a.count == b.count && worst < tolerance, "\(worst)")
    }
}

// The table of memories. What must hold of every line is in MemoryReferenceTests.

import Memory
import NeuralNetworks
import Reference
import TestSupport
import Tensors

/// Memories with all their options at small and odd sizes, and at sizes where sequences are divided between threads.
let memoryOperations: [OperationCase] =
    eraseAddCases + turingMachineCases + neuralComputerCases + endToEndCases + slidingCases + keyValueCases + deltaRuleCases + sparseDeltaCases

// MARK: cores

/// A core over a sequence, beside a reference of one step. Inputs are `x` [B, T, I], the parts of the state, which are called `state.` and then as
/// the core declares them, and the parameters by their names.
private func coreCase(
    _ name: String, golden: String? = nil, batch: Int = 2, steps: Int = 3, inputs: Int = 3, spread: Float = 1,
    state: @escaping @Sendable (_ part: String, Shape) -> Tensor,
    _ make: @escaping @Sendable (ParameterStore) -> any SequenceCore,
    step: @escaping @Sendable (_ x: ReferenceArray, _ state: inout NamedArrays, _ parameters: NamedArrays) -> ReferenceArray
) -> OperationCase {
    let values: @Sendable () -> [String: Tensor] = {
        let store = ParameterStore()
        let core = make(store)
        var result = ["x": randomTensor("x", [batch, steps, inputs])]
        for declaration in core.memory {
            let part = String(declaration.name.dropFirst("core.".count))
            result["state." + part] = state(part, Shape([batch] + declaration.shape.extents))
        }
        for parameter in store.parameters {
            let fanIn = parameter.shape.rank == 1 ? 1 : parameter.shape[-1]
            result[parameter.name] = randomTensor(parameter.name, parameter.shape, deviation: spread * max(1 / Float(fanIn).squareRoot(), 0.3))
        }
        return result
    }
    var result = OperationCase(name, golden: golden, values()) { tape, inputs in
        let store = ParameterStore()
        let core = make(store)
        store.allocate(seed: 1)
        for parameter in store.parameters { parameter.value.floats.update(from: inputs[parameter.name]!.floats, count: parameter.shape.count) }
        let state = MemoryState(core.memory.map { inputs["state." + $0.name.dropFirst("core.".count)]! })
        let result = core(inputs["x"]!, from: state, ForwardPass(tape: tape))
        return OperationCase.Outcome([result.outputs] + result.state.tensors, store: store)
    } reference: { inputs in
        func named(_ prefix: String) -> NamedArrays {
            inputs.reduce(into: [:]) { if $1.key.hasPrefix(prefix) { $0[String($1.key.dropFirst(prefix.count))] = $1.value } }
        }
        let parameters = named("core.")
        let result = scan(inputs["x"]!, from: named("state.")) { step($0, &$1, parameters) }
        return [result.outputs] + make(ParameterStore()).memory.map { result.state[String($0.name.dropFirst("core.".count))]! }
    }
    result.checkedElements = batch > 2 ? 3 : 8
    return result
}

private func function(of configuration: ControllerConfiguration) -> @Sendable (ReferenceArray) -> ReferenceArray {
    let isRectified = configuration.activation == .rectifier
    return { (x: ReferenceArray) -> ReferenceArray in isRectified ? rectifier(x) : tanh(x) }
}

extension ControllerConfiguration {
    /// The same as the references know it.
    fileprivate var reference: ReferenceController {
        switch kind {
        case .lstm: .lstm
        case .recurrent: .recurrent(function(of: self))
        case .feedForward: .feedForward(function(of: self))
        }
    }
}

private let eraseAddCases: [OperationCase] = [(5, 3, 4, 2), (17, 2, 3, 2), (2, 5, 6, 1), (70, 20, 33, 9)].map { extents -> OperationCase in
    let (rows, width, units, batch): (Int, Int, Int, Int) = extents
    return coreCase("erase/add memory of \(rows) x \(width)", batch: batch, steps: 4, state: { randomTensor($0, $1, deviation: 0.5) }) { store in
        EraseAddMemory(store, "core", inputs: 3, rows: rows, width: width, units: units)
    } step: { x, state, parameters in
        eraseAddStep(x, &state, parameters)
    }
}

private let turingMachineCases: [OperationCase] = {
    let variants: [(NeuralTuringMachineConfiguration, batch: Int)] = [
        (machineConfiguration(), 2), (machineConfiguration(rows: 17, width: 2, readHeads: 1, writeHeads: 1, shifts: -2...1), 2),
        (
            machineConfiguration(
                rows: 3, width: 5, readHeads: 1, writeHeads: 3, controller: ControllerConfiguration(.feedForward, width: 6), shifts: 0...1), 2
        ),
        (
            machineConfiguration(
                rows: 4, width: 3, readHeads: 3, writeHeads: 1, controller: ControllerConfiguration(.recurrent, width: 5, layers: 2)), 1
        ),
        (machineConfiguration(rows: 50, width: 20, controller: ControllerConfiguration(.lstm, width: 33)), 7),
    ]
    return variants.flatMap { configuration, batch in
        [(true, false, false), (false, true, false), (true, true, true)].map { squashesKeys, squashesAdditions, recompute in
            var configuration = configuration
            (configuration.squashesKeys, configuration.squashesAdditions, configuration.recompute) = (squashesKeys, squashesAdditions, recompute)
            let fixed = configuration
            let name = "Turing machine of \(fixed.rows) x \(fixed.width), squashes keys \(squashesKeys), additions \(squashesAdditions), "
                + "recomputes \(recompute)"
            return coreCase(name, golden: "turing_machine", batch: batch, steps: 4, state: machinePart) {
                NeuralTuringMachine($0, "core", inputs: 3, fixed)
            } step: {
                var machine = ReferenceTuringMachine()
                (machine.controller, machine.layers) = (fixed.controller.reference, fixed.controller.layers)
                (machine.shifts, machine.squashesKeys, machine.squashesAdditions) = (fixed.shifts, squashesKeys, squashesAdditions)
                (machine.limit, machine.epsilon) = (fixed.limit.map { Double($0) } ?? .infinity, Double(fixed.epsilon))
                return machine.step($0, &$1, $2)
            }
        }
    }
}()

/// Weights sum to 1; no element of the memory is near zero.
@Sendable private func machinePart(_ part: String, _ shape: Shape) -> Tensor {
    if part.hasSuffix("Weights") { return randomWeights(part, shape) }
    let values = randomTensor(part, shape, deviation: part == "memory" ? 1 : 0.5)
    guard part == "memory" else { return values }
    return Tensor(values.array.map { $0 < 0 ? $0 - 0.4 : $0 + 0.4 }, shape)
}

private let neuralComputerCases: [OperationCase] = {
    func variant(
        _ name: String, rows: Int = 5, width: Int = 3, heads: Int = 2, units: Int = 4, layers: Int = 1, batch: Int = 2,
        _ kind: ControllerConfiguration.Kind = .lstm, edit: (inout DifferentiableNeuralComputerConfiguration) -> Void = { _ in }
    ) -> OperationCase {
        var configuration = DifferentiableNeuralComputerConfiguration(
            rows: rows, width: width, readHeads: heads, controller: ControllerConfiguration(kind, width: units, layers: layers))
        edit(&configuration)
        let fixed = configuration
        return coreCase(
            "neural computer, \(name)", golden: "differentiable_neural_computer", batch: batch, spread: 1.5, state: computerPart
        ) {
            DifferentiableNeuralComputer($0, "core", inputs: 3, fixed)
        } step: {
            var computer = ReferenceNeuralComputer()
            (computer.controller, computer.layers) = (fixed.controller.reference, fixed.controller.layers)
            (computer.hasOnePlusStrengths, computer.clip) = (fixed.strength == .onePlus, fixed.interfaceClip.map { Double($0) } ?? .infinity)
            (computer.masksKeys, computer.erasesFreedRows, computer.sharpensLinks) = (fixed.masksKeys, fixed.erasesFreedRows, fixed.sharpensLinks)
            return computer.step($0, &$1, $2)
        }
    }
    func everything(_ c: inout DifferentiableNeuralComputerConfiguration) {
        (c.masksKeys, c.erasesFreedRows, c.sharpensLinks, c.normalizesInterface, c.recompute) = (true, true, true, true, true)
    }
    return [
        variant("plain"), variant("two layers", layers: 2), variant("more rows than a register", rows: 17, width: 2, heads: 1, units: 3),
        variant("five heads", rows: 3, width: 2, heads: 5, units: 3, .recurrent),
        variant("one row", rows: 1, width: 1, heads: 1, units: 2, .feedForward), variant("softplus strengths") { $0.strength = .softplus },
        variant("masked keys") { $0.masksKeys = true }, variant("freed rows erased") { $0.erasesFreedRows = true },
        variant("sharpened links") { $0.sharpensLinks = true }, variant("normalised interface") { $0.normalizesInterface = true },
        variant("everything, recomputed", heads: 3, edit: everything), variant("threads", rows: 37, width: 9, units: 20, batch: 6, edit: everything),
    ]
}()

/// A state in which no two rows are used alike.
@Sendable private func computerPart(_ part: String, _ shape: Shape) -> Tensor {
    let rows = shape[-1]
    switch part {
    case "usage": return Tensor((0..<shape.count).map { (Float(($0 * 7 + 3) % rows) + 0.5) / (Float(rows) + 0.5) }, shape)
    case "precedence", "writeWeights", "readWeights": return randomTensor(part, shape, in: 0...(0.8 / Float(rows)))
    case "links":
        let links = randomTensor(part, shape, in: 0...(0.8 / Float(rows)))
        for i in 0..<shape.count where i / rows % rows == i % rows { links.floats[i] = 0 }
        return links
    default: return randomTensor(part, shape, deviation: 0.5)
    }
}

// MARK: end-to-end memories

/// Tensors of a list as inputs whose names keep their order.
private func numbered(_ tensors: [Tensor]) -> [String: Tensor] {
    tensors.enumerated().reduce(into: [:]) { $0["table \($1.offset + 10)"] = $1.element }
}

private func ordered<Value>(_ inputs: [String: Value]) -> [Value] { inputs.sorted { $0.key < $1.key }.map(\.value) }

private let endToEndCases: [OperationCase] = EndToEndVariant.all.map { variant in
    OperationCase("end-to-end memory, \(variant.testDescription)", numbered(variant.inputs)) {
        variant.memory(endToEndStories, variant.tables(ordered($0)), isLinear: variant.isLinear).state
    } reference: {
        let stories = endToEndStories
        func sentence(_ words: [Int32], _ starts: [Int32], _ i: Int) -> [Int] { words[Int(starts[i])..<Int(starts[i + 1])].map { Int($0) } }
        let inputs = ordered($0)
        let (memoryTables, transition) = (variant.isLayerWise ? 2 : variant.hops + 1, variant.hasTransition ? inputs.last : nil)
        let words = memoryTables + (variant.isLayerWise ? 1 : 0)
        var hops = ReferenceHops(hops: (0..<variant.hops).map { variant.isLayerWise ? (0, 1) : ($0, $0 + 1) }, transition: transition)
        (hops.rectifiedUnits, hops.isLinear) = (variant.rectified, variant.isLinear)
        let encoding: ReferenceEncoding =
            switch variant.encoding {
            case .bag: .bag
            case .position: .position
            case .releasedPosition(let places): .releasedPosition(places: places)
            }
        return .stacked(
            (0..<stories.count).map { story in
                let sentences = Int(stories.storyStarts[story])..<Int(stories.storyStarts[story + 1])
                var hops = hops
                hops.emptySlots = max(0, (variant.capacity ?? 0) - sentences.count)
                let memories = (0..<memoryTables).map { table in
                    let rows = sentences.map { i in
                        encoding.sum(
                            sentence(stories.words, stories.sentenceStarts, i), inputs[table],
                            time: variant.hasTimes ? inputs[words + table][min(Int(stories.ages[i]), 4) - 1] : nil)
                    }
                    return ReferenceArray(rows.flatMap(\.values), [rows.count, variant.width])
                }
                let question = sentence(stories.questionWords, stories.questionStarts, story)
                return hops.run(encoding.sum(question, inputs[variant.isLayerWise ? 2 : 0]), memories)
            })
    }
}

private let slidingCases: [OperationCase] = SlidingVariant.all.map { variant in
    var result = OperationCase("sliding memory, \(variant.testDescription)", numbered(variant.inputs)) {
        variant.output(ordered($0)).state
    } reference: {
        let (inputs, count) = (ordered($0), variant.tables)
        var hops = ReferenceHops(
            hops: (0..<variant.hops).map { variant.isLayerWise ? (0, 1) : ($0, $0 + 1) }, transition: variant.hasTransition ? inputs.last : nil)
        hops.rectifiedUnits = variant.rectified
        return .stacked(
            variant.empty.enumerated().map { b, empty in
                slidingMemory(
                    hops, words: inputs[..<count].map { $0[b] }, times: Array(inputs[count..<2 * count]), positions: variant.positions, empty: empty)
            })
    }
    result.checkedElements = 10
    return result
}

// The Neural Turing Machine and the erase/add memory against PyTorch in float64. Golden/generate_turing_machine.py made Golden/turing_machine.json.

import Foundation
import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

private struct GoldenConfiguration: Decodable {
    let rows: Int
    let width: Int
    let units: Int
    let readHeads: Int?
    let writeHeads: Int?
    let shifts: [Int]?
    let limit: Float?
    let epsilon: Float?
    let squashesKeys: Bool?
    let squashesAdditions: Bool?
    let controller: String?

    var machine: NeuralTuringMachineConfiguration? {
        guard let readHeads, let writeHeads, let shifts, let epsilon, let squashesKeys, let squashesAdditions, let controller,
            let kind = ControllerConfiguration.Kind(rawValue: controller)
        else { return nil }
        var result = NeuralTuringMachineConfiguration()
        (result.rows, result.width, result.readHeads, result.writeHeads) = (rows, width, readHeads, writeHeads)
        (result.shifts, result.limit, result.epsilon) = (shifts[0]...shifts[shifts.count - 1], limit, epsilon)
        (result.squashesKeys, result.squashesAdditions) = (squashesKeys, squashesAdditions)
        result.controller = ControllerConfiguration(kind, width: units)
        return result
    }
}

private struct GoldenCase: Decodable {
    let name: String
    let configuration: GoldenConfiguration
    let inputs: [String: GoldenTensor]
    let state: [String]
    let output: GoldenTensor
    let outputGradient: GoldenTensor
    let gradients: [String: GoldenTensor]
}

private struct GoldenFile: Decodable {
    let cases: [GoldenCase]
}

@Suite("Golden vectors of memories")
struct GoldenMemoryTests {
    /// Compares lengths, then values relative to the largest of the tensor.
    private func compare(_ actual: [Float], _ expected: [Double], _ what: String) {
        #expect(actual.count == expected.count, "\(what)")
        let largest = expected.reduce(1e-6) { max($0, abs($1)) }
        var (worst, place) = (0.0, 0)
        for (index, (a, e)) in zip(actual, expected).enumerated() {
            let error = a.isNaN ? .infinity : abs(Double(a) - e) / largest
            if error > worst { (worst, place) = (error, index) }
        }
        #expect(worst < 3e-5, "\(what): \(worst) of the largest at \(place)")
    }

    @Test("outputs, last states and all gradients are PyTorch's")
    func golden() throws {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/turing_machine.json")
        let file = try JSONDecoder().decode(GoldenFile.self, from: Data(contentsOf: url))
        #expect(file.cases.count == 5)
        for (number, one) in file.cases.enumerated() {
            let store = ParameterStore()
            let x = try #require(one.inputs["x"]).tensor
            let core: any SequenceCore
            if let configuration = one.configuration.machine {
                core = NeuralTuringMachine(store, "core", inputs: x.shape[2], configuration)
            } else {
                core = EraseAddMemory(
                    store, "core", inputs: x.shape[2], rows: one.configuration.rows, width: one.configuration.width, units: one.configuration.units)
            }
            store.allocate(seed: 1)
            for parameter in store.parameters {
                let values = try #require(one.inputs[parameter.name], "\(parameter.name)").tensor
                #expect(values.shape == parameter.shape)
                parameter.value.floats.update(from: values.floats, count: values.count)
            }
            let tape = Tape()
            let variable = tape.variable(x)
            let state = try one.state.map { tape.variable(try #require(one.inputs["state.\($0)"]).tensor) }
            let result = core(variable, from: MemoryState(state), ForwardPass(tape: tape))
            let all = flattened(result.outputs, result.state)
            compare(all.array, one.output.values, "\(number) \(one.name): output")
            tape.backward(from: all, gradient: one.outputGradient.tensor.reshaped(to: all.shape))
            for parameter in store.parameters {
                compare(parameter.gradient.array, one.gradients[parameter.name]?.values ?? [], "\(number) \(one.name): gradient of \(parameter.name)")
            }
            for (name, tensor) in zip(one.state.map { "state.\($0)" } + ["x"], state + [variable]) {
                let gradient = try #require(tensor.node?.gradient, "\(name)")
                compare(gradient.array, one.gradients[name]?.values ?? [], "\(number) \(one.name): gradient of \(name)")
            }
        }
    }
}

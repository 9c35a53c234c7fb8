// The Differentiable Neural Computer against PyTorch in float64: outputs, last state and all gradients.
// Golden/generate_differentiable_neural_computer.py made Golden/differentiable_neural_computer.json.

import Foundation
import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

private struct GoldenCase: Decodable {
    struct Sizes: Decodable {
        let units: Int
        let rows: Int
        let width: Int
        let heads: Int
        let inputs: Int
    }

    let name: String
    let options: [String]
    let clip: Double
    let controller: String
    let sizes: Sizes
    let inputs: [String: GoldenTensor]
    let output: GoldenTensor
    let outputGradient: GoldenTensor
    let gradients: [String: GoldenTensor]

    var configuration: DifferentiableNeuralComputerConfiguration {
        let controller = ControllerConfiguration(controller == "lstm" ? .lstm : .feedForward, width: sizes.units)
        var result = DifferentiableNeuralComputerConfiguration(
            rows: sizes.rows, width: sizes.width, readHeads: sizes.heads, controller: controller)
        result.strength = options.contains("softplus") ? .softplus : .onePlus
        result.interfaceClip = Float(clip)
        result.stopsUsageGradient = options.contains("stopsUsageGradient")
        result.masksKeys = options.contains("masksKeys")
        result.erasesFreedRows = options.contains("erasesFreedRows")
        result.sharpensLinks = options.contains("sharpensLinks")
        result.normalizesInterface = options.contains("normalizesInterface")
        return result
    }
}

private struct GoldenFile: Decodable {
    let cases: [GoldenCase]
}

@Suite("The Differentiable Neural Computer against PyTorch")
struct DifferentiableNeuralComputerGoldenTests {
    private static let states = ["matrix", "usage", "precedence", "links", "readWeights", "writeWeights", "reads", "hidden", "cell"]

    @Test("outputs, states and gradients of every option", arguments: [false, true])
    func golden(recompute: Bool) throws {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/differentiable_neural_computer.json")
        let file = try JSONDecoder().decode(GoldenFile.self, from: Data(contentsOf: url))
        #expect(file.cases.count == 11)
        for one in file.cases {
            let store = ParameterStore()
            var configuration = one.configuration
            configuration.recompute = recompute
            let core = DifferentiableNeuralComputer(store, "core", inputs: one.sizes.inputs, configuration)
            store.allocate(seed: 1)
            for parameter in store.parameters {
                let values = try #require(one.inputs[parameter.name], "\(one.name): \(parameter.name)").tensor
                #expect(values.count == parameter.shape.count, "\(one.name): \(parameter.name)")
                parameter.value.floats.update(from: values.floats, count: values.count)
            }
            let tape = Tape()
            let x = tape.variable(try #require(one.inputs["x"]).tensor)
            let state = Self.states.compactMap { one.inputs["state.\($0)"].map { tape.variable($0.tensor) } }
            let (outputs, last) = core(x, from: MemoryState(state), ForwardPass(tape: tape))
            let all = concatenate(([outputs] + last.tensors).map { $0.flattened() }, axis: 0)
            compare(all, one.output, "\(one.name): output")
            tape.backward(from: all, gradient: Tensor(one.outputGradient.values.map { Float($0) }, all.shape))
            compare(try #require(x.node?.gradient), try #require(one.gradients["x"]), "\(one.name): gradient of x")
            for (name, tensor) in zip(Self.states, state) {
                compare(
                    tensor.node?.gradient ?? Tensor(zeros: tensor.shape), try #require(one.gradients["state.\(name)"]),
                    "\(one.name): gradient of \(name)")
            }
            for parameter in store.parameters {
                compare(parameter.gradient, try #require(one.gradients[parameter.name]), "\(one.name): gradient of \(parameter.name)")
            }
        }
    }

    /// Worst |actual - expected| / max(|expected|, root mean square of expected).
    private func compare(_ actual: Tensor, _ expected: GoldenTensor, _ what: String) {
        guard actual.count == expected.values.count else {
            Issue.record("\(what): \(actual.count) values, expected \(expected.values.count)")
            return
        }
        let typical = (expected.values.reduce(0) { $0 + $1 * $1 } / Double(max(expected.values.count, 1))).squareRoot()
        var (worst, place) = (0.0, 0)
        for (index, value) in expected.values.enumerated() {
            let error = abs(Double(actual.floats[index]) - value) / max(abs(value), typical, 1e-6)
            if error.isNaN || error > worst { (worst, place) = (error.isNaN ? .infinity : error, index) }
        }
        #expect(worst < 5e-5, "\(what): \(worst) at \(place): \(actual.floats[place]), expected \(expected.values[place])")
    }
}

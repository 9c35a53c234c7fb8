// What an independent program computed of a core: outputs, last states and all gradients, by the names of parameters and of what is remembered.

import Foundation
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// A file of cases, each with the configuration that its generator gave it.
struct GoldenCores<Configuration: Decodable>: Decodable {
    struct Case: Decodable {
        let name: String
        let configuration: Configuration
        /// `x`, the parameters, and `state.` with what is remembered; without any of the latter sequences begin.
        let inputs: [String: GoldenTensor]
        let outputs: [GoldenTensor]
        let outputGradients: [GoldenTensor]
        let gradients: [String: GoldenTensor]
        /// Where documents begin.
        let resets: [Bool]?
    }

    let cases: [Case]

    init(named name: String) throws {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/\(name).json")
        self = try JSONDecoder().decode(Self.self, from: Data(contentsOf: url))
    }

    /// Expects of every case what the program found.
    /// - Parameters:
    ///   - hasGradient: false for what is remembered without a gradient.
    ///   - make: declares the core under `core`, for inputs of that width.
    func expectAll(
        hasGradient: (_ memory: String) -> Bool = { _ in true },
        _ make: (ParameterStore, _ inputs: Int, Configuration) -> any SequenceCore
    ) throws {
        for one in cases {
            let (store, tape) = (ParameterStore(), Tape())
            let x = tape.variable(try #require(one.inputs["x"]).tensor)
            let core = make(store, x.shape[2], one.configuration)
            store.allocate(seed: 1)
            store.clearGradients()
            for parameter in store.parameters {
                let values = try #require(one.inputs[parameter.name], "\(parameter.name)").tensor
                #expect(values.shape == parameter.shape, "\(parameter.name)")
                parameter.value.floats.update(from: values.floats, count: values.count)
            }
            let begins = !one.inputs.keys.contains { $0.hasPrefix("state.") }
            let state = try begins ? [] : core.memory.map { tape.variable(try #require(one.inputs["state.\($0.name)"], "\($0.name)").tensor) }
            let pass = ForwardPass(tape: tape)
            pass.resets = one.resets ?? []
            let found = core(x, from: begins ? nil : MemoryState(state), pass)
            let outputs = [found.outputs] + found.state.tensors
            #expect(outputs.count == one.outputs.count)
            func compare(_ actual: Tensor?, _ expected: GoldenTensor?, _ what: String) {
                let error = deviation(actual?.doubles ?? [], from: expected?.values ?? [.nan]).worst
                #expect(error < 5e-5, "\(one.name): \(what) is off by \(error)")
            }
            for (index, output) in outputs.enumerated() { compare(output, one.outputs[index], "output \(index)") }
            tape.backward(from: zip(outputs, one.outputGradients).map { ($0, $1.tensor) })
            for parameter in store.parameters { compare(parameter.gradient, one.gradients[parameter.name], "gradient of \(parameter.name)") }
            compare(x.node?.gradient, one.gradients["x"], "gradient of x")
            for (declaration, value) in zip(core.memory, state) where hasGradient(declaration.name) {
                compare(value.node?.gradient, one.gradients["state.\(declaration.name)"], "gradient of \(declaration.name)")
            }
        }
    }
}

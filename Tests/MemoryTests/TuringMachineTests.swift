// The Neural Turing Machine: gradients, cut sequences, threads, recomputation.

import Kernels
import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// A small machine of odd sizes.
func machineConfiguration(
    rows: Int = 5, width: Int = 3, readHeads: Int = 2, writeHeads: Int = 2, controller: ControllerConfiguration = ControllerConfiguration(.lstm, width: 4),
    shifts: ClosedRange<Int> = -1...1
) -> NeuralTuringMachineConfiguration {
    var configuration = NeuralTuringMachineConfiguration()
    (configuration.rows, configuration.width) = (rows, width)
    (configuration.readHeads, configuration.writeHeads) = (readHeads, writeHeads)
    (configuration.controller, configuration.shifts) = (controller, shifts)
    return configuration
}

/// Weights that sum to 1, [B, heads, N].
func randomWeights(_ name: String, _ shape: Shape) -> Tensor { softmax(randomTensor(name, shape)) }

/// A state with a memory of ordinary size.
func machineState(_ configuration: NeuralTuringMachineConfiguration, batch: Int) -> [Tensor] {
    let (rows, width, reads, writes) = (configuration.rows, configuration.width, configuration.readHeads, configuration.writeHeads)
    var state = [
        randomTensor("memory", [batch, rows, width]), randomWeights("read weights", [batch, reads, rows]),
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

/// Outputs and last state in one row.
func flattened(_ outputs: Tensor, _ state: MemoryState) -> Tensor {
    concatenate(([outputs] + state.tensors).map { $0.reshaped(to: [$0.count]) }, axis: 0)
}

@Suite("Neural Turing Machine")
struct TuringMachineTests {
    @Test(
        "gradients of parameters, input and initial state are those of central differences",
        arguments: [
            machineConfiguration(), machineConfiguration(rows: 17, width: 2, readHeads: 1, writeHeads: 1, shifts: -2...1),
            machineConfiguration(rows: 3, width: 5, readHeads: 1, writeHeads: 3, controller: ControllerConfiguration(.feedForward, width: 6), shifts: 0...1),
            machineConfiguration(rows: 4, width: 3, readHeads: 3, writeHeads: 1, controller: ControllerConfiguration(.recurrent, width: 5, layers: 2)),
        ])
    func gradients(_ configuration: NeuralTuringMachineConfiguration) {
        var configuration = configuration
        for squashes in [false, true] {
            (configuration.squashesKeys, configuration.squashesAdditions) = (squashes, !squashes)
            let store = ParameterStore()
            let machine = NeuralTuringMachine(store, "core", inputs: 3, configuration)
            store.allocate(seed: 3)
            // Keys of ordinary length: near zero the cosine bends too much for differences.
            let bias = store["core.interface.bias"]!.value
            bias.floats.update(from: randomTensor("bias", bias.shape).floats, count: bias.count)
            let inputs = [randomTensor("x", [2, 4, 3])] + machineState(configuration, batch: 2)
            let report = checkGradients(inputs: inputs, store: store) { tape, inputs in
                let result = machine(inputs[0], from: MemoryState(Array(inputs.dropFirst())), ForwardPass(tape: tape))
                return flattened(result.outputs, result.state)
            }
            #expect(report.passes(worst: 1e-2, ofNorm: 1e-3), "\(report)")
        }
    }
}

// The engine of controllers against layers of the tape, and its gradients against central differences.

import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// A controller alone: what it reads at step t > 0 is a fixed function of its output at t - 1, a running sum scaled by 0.3, cut or repeated to the
/// width.
private func run(_ controller: Controller, _ x: Tensor, _ firstRead: Tensor, _ state: [Tensor]?, _ pass: ForwardPass) -> Tensor {
    let sequence = ControllerSequence(controller, x, from: state, pass)
    let (batch, steps, width, reads) = (sequence.batch, sequence.steps, sequence.width, sequence.reads)
    for t in 0..<steps {
        for b in 0..<batch {
            for v in 0..<reads {
                sequence.readRow(t, b)[v] = t == 0 ? firstRead.floats[b * reads + v] : 0.3 * sequence.output(t - 1)[b * width + v % width]
            }
        }
        sequence.step(t)
    }
    let outputs = Tensor(uninitialized: [batch, steps, width])
    for t in 0..<steps {
        for b in 0..<batch { (outputs.floats + (b * steps + t) * width).update(from: sequence.output(t) + b * width, count: width) }
    }
    let result = Operation("controller").record(outputs, from: sequence.dependencies + [firstRead]) { gradient in
        let step = Tensor(zeros: [batch, width])
        for t in (0..<steps).reversed() {
            for b in 0..<batch {
                for h in 0..<width {
                    step.floats[b * width + h] = gradient.floats[(b * steps + t) * width + h]
                }
                if t < steps - 1 {
                    for v in 0..<reads { step.floats[b * width + v % width] += 0.3 * sequence.readGradientRow(b)[v] }
                }
            }
            sequence.stepGradient(t, step.floats)
        }
        firstRead.node?.withZeroedGradient { target in
            for b in 0..<batch { for v in 0..<reads { target[b * reads + v] += sequence.readGradientRow(b)[v] } }
        }
        sequence.accumulateGradients()
    }
    let last = sequence.lastState.enumerated().map { index, tensor in
        Operation("controller").record(tensor, from: result) { gradient in
            sequence.setLastStateGradient(index, gradient)
            result.node?.withZeroedGradient { _ in }
        }
    }
    return concatenate(([result] + last).map { $0.reshaped(to: [$0.count]) }, axis: 0)
}

@Suite("Controllers")
struct ControllerTests {
    @Test(
        "gradients of parameters, input, reads and states are those of central differences",
        arguments: [
            ControllerConfiguration(.lstm, width: 5), ControllerConfiguration(.lstm, width: 3, layers: 2),
            ControllerConfiguration(.recurrent, width: 5, layers: 2), ControllerConfiguration(.feedForward, width: 5, layers: 2),
        ])
    func gradients(_ configuration: ControllerConfiguration) {
        let store = ParameterStore()
        let controller = Controller(store, "controller", inputs: 3, reads: 4, configuration)
        store.allocate(seed: 3)
        let count = controller.memory("controller").count
        let state = (0..<count).map { randomTensor("state \($0)", [2, configuration.width], deviation: 0.5) }
        let inputs = [randomTensor("x", [2, 4, 3]), randomTensor("read", [2, 4])] + state
        let report = checkGradients(inputs: inputs, store: store) { tape, inputs in
            run(controller, inputs[0], inputs[1], Array(inputs.dropFirst(2)), ForwardPass(tape: tape))
        }
        #expect(report.passes(worst: 3e-3, ofNorm: 1e-3), "\(report)")
    }

    @Test("a rectified controller has the gradient of its slopes")
    func rectifier() {
        let store = ParameterStore()
        let controller = Controller(store, "controller", inputs: 2, reads: 1, ControllerConfiguration(.feedForward, width: 7, activation: .rectifier))
        store.allocate(seed: 8)
        let report = checkGradients(inputs: [randomTensor("x", [3, 3, 2]), randomTensor("read", [3, 1])], store: store, step: 1e-3) { tape, inputs in
            run(controller, inputs[0], inputs[1], nil, ForwardPass(tape: tape))
        }
        #expect(report.passes(worst: 2e-2, ofNorm: 1e-2), "\(report)")
    }

    @Test("an LSTM controller that reads zeros is the LSTM layer")
    func layer() {
        let store = ParameterStore()
        let controller = Controller(store, "controller", inputs: 3, reads: 2, ControllerConfiguration(.lstm, width: 6))
        store.allocate(seed: 3)
        let x = randomTensor("x", [2, 5, 3])
        let sequence = ControllerSequence(controller, x, from: nil, ForwardPass())
        for t in 0..<5 {
            for b in 0..<2 { sequence.readRow(t, b).update(repeating: 0, count: 2) }
            sequence.step(t)
        }
        let recurrent = store["controller.0.recurrentWeight"]!.value.split([2, 6], axis: 1)[1]
        let expected = lstm(
            x, inputWeight: store["controller.0.inputWeight"]!.value, hiddenWeight: recurrent, bias: store["controller.0.bias"]!.value)
        for t in 0..<5 {
            for b in 0..<2 {
                for h in 0..<6 { #expect(abs(sequence.output(t)[b * 6 + h] - expected.outputs.floats[(b * 5 + t) * 6 + h]) < 1e-6) }
            }
        }
        #expect(zip(sequence.lastState[1].array, expected.cell!.array).allSatisfy { abs($0 - $1) < 1e-6 })
    }
}

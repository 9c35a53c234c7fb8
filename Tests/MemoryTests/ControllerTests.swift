// The engine of controllers against layers of the tape, and its gradients against central differences.

import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// A controller alone, as a cell: what it reads at step t > 0 is a fixed function of its output at t - 1, scaled by 0.3, cut or repeated to the width.
private final class ControllerAlone: Cell {
    private let work: ControllerSteps
    private let firstRead: Tensor
    private let gradient: Tensor
    let initialState: CellState

    init(_ controller: Controller, _ x: Tensor, _ firstRead: Tensor, _ state: CellState, _ pass: ForwardPass) {
        work = ControllerSteps(controller, x, from: state, pass)
        (self.firstRead, initialState, gradient) = (firstRead, state, Tensor(zeros: [work.batch, work.width]))
    }

    let operation = Operation("controller")
    var batch: Int { work.batch }
    var steps: Int { work.steps }
    var outputWidth: Int { work.width }
    var outputType: DataType { .float32 }
    var state: [StatePart] { work.state }
    var inputs: [Tensor] { work.inputs + [firstRead] }

    func step(_ t: Int, into outputs: StepRows) {
        for b in 0..<batch {
            for v in 0..<work.reads {
                work.readRow(t, b)[v] = t == 0 ? firstRead.floats[b * work.reads + v] : 0.3 * work.output(t - 1)[b * work.width + v % work.width]
            }
        }
        work.step(t)
        for b in 0..<batch { outputs.floats(b).update(from: work.output(t) + b * work.width, count: work.width) }
    }

    func lastState(_ outputs: Tensor) -> CellState { work.lastState() }
    func startBackward(_ lastState: CellState) { work.startBackward(lastState) }

    func stepBackward(_ t: Int, from outputs: StepRows) {
        for b in 0..<batch {
            let row = gradient.floats + b * work.width
            row.update(from: outputs.floats(b), count: work.width)
            if t < steps - 1 { for v in 0..<work.reads { row[v % work.width] += 0.3 * work.readGradientRow(b)[v] } }
        }
        work.stepBackward(t, gradient.floats)
    }

    func finishBackward() {
        firstRead.node?.withZeroedGradient { target in
            for b in 0..<batch { for v in 0..<work.reads { target[b * work.reads + v] += work.readGradientRow(b)[v] } }
        }
        work.finishBackward()
    }
}

private func run(_ controller: Controller, _ x: Tensor, _ firstRead: Tensor, _ state: [Tensor], _ pass: ForwardPass) -> Tensor {
    let declarations = controller.memory("core.controller")
    let before = state.isEmpty ? [:] : MemoryState(state).cellState(of: declarations, path: "core")
    let (outputs, last) = scan(ControllerAlone(controller, x, firstRead, before, pass))
    let parts = [outputs] + MemoryState(last, as: declarations, path: "core").tensors
    return concatenate(parts.map { $0.reshaped(to: [$0.count]) }, axis: 0)
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
            run(controller, inputs[0], inputs[1], [], ForwardPass(tape: tape))
        }
        #expect(report.passes(worst: 2e-2, ofNorm: 1e-2), "\(report)")
    }

    @Test("an LSTM controller that reads zeros is the LSTM layer")
    func layer() {
        let store = ParameterStore()
        let controller = Controller(store, "controller", inputs: 3, reads: 2, ControllerConfiguration(.lstm, width: 6))
        store.allocate(seed: 3)
        let x = randomTensor("x", [2, 5, 3])
        let sequence = ControllerSteps(controller, x, from: [:], ForwardPass())
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
        let (cell, expectedCell) = (sequence.lastState()["controller.0.cell"]?.array ?? [], expected.state["cell"]?.array ?? [])
        #expect(cell.count == 12 && expectedCell.count == 12 && zip(cell, expectedCell).allSatisfy { abs($0 - $1) < 1e-6 })
    }
}

// A controller at work, step by step, with its backward pass: the engine inside cells that read and write a memory.
//
// Legend: B sequences, T steps, I input width, V width of all reads, H units, D what a layer reads from below (V or H).
// Rows are in the order [T, B]: those of a step lie together.

import Diagnostics
import Kernels
import NeuralNetworks
import Tensors

/// The layers of a controller over B sequences. Everything is float32, and no step allocates memory.
///
/// Forwards, for rising t: write what the lowest layer reads to `readRow(t, b)`, then `step(t)`. Backwards: `startBackward`, then for falling t
/// `stepBackward(t, ...)` with the gradient of the output, after which `readGradientRow(b)` holds that of what was read; at the end
/// `finishBackward()`. Results do not depend on the number of threads.
package final class ControllerSteps {
    package let batch: Int
    package let steps: Int
    /// H.
    package let width: Int
    /// V.
    package let reads: Int
    private let layers: [RecurrentLayer]
    /// [T B, H]: of the last layer.
    package let outputs: Tensor

    /// - Parameters:
    ///   - x: [B, T, I], float32.
    ///   - state: `controller.N.hidden` and `controller.N.cell`, [B, H] each; a missing one is zeros.
    package init(_ controller: Controller, _ x: Tensor, from state: CellState, _ pass: ForwardPass) {
        require(
            x.shape.rank == 3 && x.shape[1] > 0 && x.shape[2] == controller.inputs, "controller: \(x.shape) is not [B, T, \(controller.inputs)]")
        let (batch, steps, configuration) = (x.shape[0], x.shape[1], controller.configuration)
        (self.batch, self.steps, width, reads) = (batch, steps, configuration.width, controller.reads)
        outputs = Tensor(uninitialized: [batch * steps, configuration.width])
        layers = controller.layers.enumerated().map { index, layer in
            var given = RecurrentInputs(
                x: index == 0 ? x : nil, inputWeight: layer.inputWeight.map { pass($0) }, recurrentWeight: pass(layer.recurrentWeight),
                bias: pass(layer.bias), state: Self.layerState(index, state))
            given.below = index == 0 ? controller.reads : configuration.width
            given.hasHiddenState = configuration.hasHiddenState
            if configuration.kind == .lstm { return LSTMLayer(given, batch: batch, steps: steps) }
            return ElmanLayer(
                given, function: configuration.activation == .rectifier ? .rectifier : .hyperbolicTangent, batch: batch, steps: steps)
        }
    }

    private static let parts = ["hidden", "cell"]
    private static func name(_ layer: Int, _ part: String) -> String { "controller.\(layer).\(part)" }

    private static func layerState(_ layer: Int, _ state: CellState) -> CellState {
        parts.reduce(into: [:]) { result, part in result[part] = state[name(layer, part)] }
    }

    /// The parts of its state.
    package var state: [StatePart] {
        layers.enumerated().flatMap { index, layer in layer.state.map { StatePart(Self.name(index, $0.name), $0.shape) } }
    }

    /// The tensors that an operation with this controller depends on, but for the state.
    package var inputs: [Tensor] { layers.flatMap(\.inputs) }

    /// Where what sequence b has read goes before step t, [V].
    @inline(__always)
    package func readRow(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { layers[0].operand(t, b).address.assumingMemoryBound(to: Float.self) }

    /// The gradient of what sequence b had read before the step whose gradient was computed last, [V].
    @inline(__always)
    package func readGradientRow(_ b: Int) -> UnsafeMutablePointer<Float> { layers[0].operandGradient(b) }

    /// The output of step t, [B, H], rows close together.
    @inline(__always)
    package func output(_ t: Int) -> UnsafeMutablePointer<Float> { outputs.floats + t * batch * width }

    /// Computes the output of step t.
    package func step(_ t: Int) {
        for (index, layer) in layers.enumerated() {
            let isLast = index == layers.count - 1
            layer.step(t, into: isLast ? StepRows(Elements(output(t)), stride: width) : layers[index + 1].operandRows(t))
        }
    }

    /// The state after the last step.
    package func lastState() -> CellState {
        var result = CellState()
        for (index, layer) in layers.enumerated() {
            let last = layer.lastStateOfOperands()
            for part in Self.parts { if let value = last[part] { result[Self.name(index, part)] = value } }
        }
        return result
    }

    /// Takes the gradients of the state after the last step; what has no gradient is missing.
    package func startBackward(_ lastState: CellState) {
        for (index, layer) in layers.enumerated() { layer.startBackward(Self.layerState(index, lastState)) }
    }

    /// Goes back through step t, from the gradient of its output, [B, H], rows close together. Steps come in falling order.
    package func stepBackward(_ t: Int, _ outputGradient: UnsafeMutablePointer<Float>) {
        for index in layers.indices.reversed() {
            let isLast = index == layers.count - 1
            layers[index].stepBackward(t, from: isLast ? StepRows(Elements(outputGradient), stride: width) : layers[index + 1].operandGradientRows)
        }
    }

    /// Adds the gradients of the parameters, of x and of the initial states, after the gradient of step 0.
    package func finishBackward() { for layer in layers { layer.finishBackward() } }
}

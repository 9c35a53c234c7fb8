// A controller over a whole sequence, step by step, with its backward pass: the engine inside operations that read and write a memory.
//
// Legend: B sequences, T steps, I input width, V width of all reads, H units, G rows of a layer's weights, D what a layer reads from below (V or H).
// Rows are in the order [T, B]: those of a step lie together.

import Kernels
import NeuralNetworks
import Tensors

/// What the two passes of a controller share. Everything is float32; buffers are made once for all steps, and no step allocates memory.
///
/// Forwards, for rising t: write what the lowest layer reads to `readRow(t, b)`, then `step(t)`. Backwards, for falling t: `stepGradient(t, ...)`
/// with the gradient of the output, after which `readGradientRow(b)` holds that of what was read; at the end `accumulateGradients()`. Results do not
/// depend on the number of threads.
package final class ControllerSequence {
    package let batch: Int
    package let steps: Int
    /// H.
    package let width: Int
    /// V.
    package let reads: Int
    private let configuration: ControllerConfiguration
    private let layers: [LayerSequence]
    private let x: Tensor
    /// [T B, I].
    private let timeMajorX: Tensor
    /// [T B, H]: of the last layer.
    private let outputs: Tensor
    private var isGradientReady = false

    /// One layer and what it keeps.
    private struct LayerSequence {
        let inputWeight: Tensor?
        let recurrentWeight: Tensor
        let bias: Tensor
        /// D.
        let below: Int
        /// D + H, or D.
        let columns: Int
        /// G.
        let gates: Int
        /// [T B, G]: sums of products, then values of the functions, then gradients of the sums.
        let values: Tensor
        /// [(T + 1) B, D + H]: what the recurrent weight is multiplied with.
        let operands: Tensor
        /// [(T + 1) B, H] of an LSTM, from c[-1] on.
        let cells: Tensor?
        /// For the steps.
        let packed: PackedMatrix
        /// The states before the first step, where gradients are wanted for them.
        let initialHidden: Tensor?
        let initialCell: Tensor?
        /// Of the states after the last step, as they come in.
        var lastHiddenGradient: Tensor?
        var lastCellGradient: Tensor?
        // For the backward pass:
        var packedGradient: PackedMatrix?
        /// [B, D + H].
        var operandGradient: Tensor?
        /// [B, H].
        var cellGradient: Tensor?
    }

    private var backward: [LayerSequence]
    /// [B, 2 H].
    private let scratch: Tensor

    /// - Parameters:
    ///   - x: [B, T, I], float32.
    ///   - state: as `Controller.memory` declares it, [B, H] each; `nil` is zeros.
    package init(_ controller: Controller, _ x: Tensor, from state: [Tensor]?, _ pass: ForwardPass) {
        precondition(
            x.shape.rank == 3 && x.shape[1] > 0 && x.shape[2] == controller.inputs, "controller: \(x.shape) is not [B, T, \(controller.inputs)]")
        let (batch, steps) = (x.shape[0], x.shape[1])
        let configuration = controller.configuration
        let (width, rows) = (configuration.width, batch * steps)
        (self.batch, self.steps, self.width, self.configuration, self.x, reads) = (batch, steps, width, configuration, x, controller.reads)
        timeMajorX = reordered(x, [rows, controller.inputs], from: batch, steps)
        outputs = Tensor(uninitialized: [rows, width])
        scratch = Tensor(uninitialized: [batch, 2 * width])
        let perLayer = configuration.kind == .lstm ? 2 : configuration.hasHiddenState ? 1 : 0
        precondition(state == nil || state!.count == perLayer * controller.layers.count, "controller: \(state!.count) states")
        for tensor in state ?? [] { precondition(tensor.shape == [batch, width], "controller: state \(tensor.shape) is not [\(batch), \(width)]") }
        var layers: [LayerSequence] = []
        for (index, layer) in controller.layers.enumerated() {
            let weight = pass(layer.recurrentWeight)
            let (gates, columns) = (weight.shape[0], weight.shape[1])
            let below = index == 0 ? controller.reads : width
            let values = Tensor(uninitialized: [rows, gates])
            let bias = pass(layer.bias)
            let inputWeight = layer.inputWeight.map { pass($0) }
            if let inputWeight {
                multiplyMatrices(
                    into: MatrixOperand(values), MatrixOperand(timeMajorX), MatrixOperand(inputWeight, .transposed), m: rows, n: gates,
                    k: controller.inputs, bias: bias.floats)
            } else {
                for row in 0..<rows { (values.floats + row * gates).update(from: bias.floats, count: gates) }
            }
            let operands = Tensor(uninitialized: [rows + batch, columns])
            let hidden = perLayer > 0 ? state?[index * perLayer] : nil
            if configuration.hasHiddenState { copyRows(hidden, to: operands.floats + below, stride: columns, rows: batch, width) }
            let cell = perLayer > 1 ? state?[index * perLayer + 1] : nil
            let cells = perLayer > 1 ? Tensor(uninitialized: [rows + batch, width]) : nil
            if let cells { copyRows(cell, to: cells.floats, stride: width, rows: batch, width) }
            layers.append(
                LayerSequence(
                    inputWeight: inputWeight, recurrentWeight: weight, bias: bias, below: below, columns: columns, gates: gates, values: values,
                    operands: operands, cells: cells,
                    packed: PackedMatrix(MatrixOperand(weight, .transposed), rows: batch, k: columns, n: gates, isAdding: true, uses: steps),
                    initialHidden: hidden, initialCell: cell))
        }
        self.layers = layers
        backward = layers
    }

    /// The tensors that an operation with this controller depends on.
    package var dependencies: [Tensor] {
        [x] + layers.flatMap { [$0.inputWeight, $0.recurrentWeight, $0.bias, $0.initialHidden, $0.initialCell].compactMap { $0 } }
    }

    /// Where what sequence b has read goes before step t, [V].
    @inline(__always)
    package func readRow(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { layers[0].operands.floats + (t * batch + b) * layers[0].columns }

    /// The output of step t, [B, H], rows close together.
    @inline(__always)
    package func output(_ t: Int) -> UnsafeMutablePointer<Float> { outputs.floats + t * batch * width }

    /// The outputs of all steps, [T B, H].
    package var allOutputs: Tensor { outputs }

    /// Runs `body` on ranges of the B rows of a step.
    @inline(__always)
    private func forRows(_ body: (Range<Int>) -> Void) { Workers.parallel(batch, minimum: max(1, (1 << 12) / width), body) }

    /// Computes the output of step t.
    package func step(_ t: Int) {
        for index in layers.indices {
            let layer = layers[index]
            let first = t * batch
            layer.packed.multiply(into: layer.values.floats + first * layer.gates, layer.operands.floats + first * layer.columns)
            let isLast = index == layers.count - 1
            // The output goes to the layer above, or out.
            let targetStride = isLast ? width : layers[index + 1].columns
            let target = (isLast ? outputs : layers[index + 1].operands).floats + first * targetStride
            forRows { rows in
                for b in rows {
                    let (row, next) = (first + b, first + batch + b)
                    let values = layer.values.floats + row * layer.gates
                    let output = target + b * targetStride
                    if let cells = layer.cells {
                        kernels.lstmCell(Elements(output), cell: cells.floats + next * width, gates: values, previousCell: cells.floats + row * width, width)
                    } else {
                        kernels.unary(configuration.activation == .rectifier ? .rectifier : .hyperbolicTangent, values, values, width)
                        output.update(from: values, count: width)
                    }
                    if configuration.hasHiddenState {
                        (layer.operands.floats + next * layer.columns + layer.below).update(from: output, count: width)
                    }
                }
            }
        }
    }

    // MARK: the state after the last step

    /// The state after the last step, as `Controller.memory` declares it; off the tape.
    package var lastState: [Tensor] {
        guard configuration.hasHiddenState else { return [] }
        return layers.flatMap { layer -> [Tensor] in
            let hidden = Tensor(uninitialized: [batch, width])
            for b in 0..<batch {
                (hidden.floats + b * width).update(from: layer.operands.floats + (steps * batch + b) * layer.columns + layer.below, count: width)
            }
            return [hidden] + (layer.cells.map { [$0.viewed(as: [batch, width], offset: steps * batch * width).copied()] } ?? [])
        }
    }

    /// Takes the gradient of a state after the last step, before the backward pass. `index` is its place in `lastState`.
    package func setLastStateGradient(_ index: Int, _ gradient: Tensor) {
        if configuration.kind == .lstm {
            if index % 2 == 0 { backward[index / 2].lastHiddenGradient = gradient } else { backward[index / 2].lastCellGradient = gradient }
        } else {
            backward[index].lastHiddenGradient = gradient
        }
    }

    // MARK: backwards

    private func prepareGradient() {
        isGradientReady = true
        for index in backward.indices {
            let layer = backward[index]
            backward[index].packedGradient = PackedMatrix(
                MatrixOperand(layer.recurrentWeight), rows: batch, k: layer.gates, n: layer.columns, isAdding: false, uses: steps)
            let operandGradient = Tensor(zeros: [batch, layer.columns])
            if configuration.hasHiddenState {
                copyRows(layer.lastHiddenGradient, to: operandGradient.floats + layer.below, stride: layer.columns, rows: batch, width)
            }
            backward[index].operandGradient = operandGradient
            if layer.cells != nil { backward[index].cellGradient = layer.lastCellGradient?.copied() ?? Tensor(zeros: [batch, width]) }
        }
    }

    /// The gradient of what sequence b had read before the step whose gradient was computed last, [V].
    @inline(__always)
    package func readGradientRow(_ b: Int) -> UnsafeMutablePointer<Float> { backward[0].operandGradient!.floats + b * backward[0].columns }

    /// Goes back through step t, from the gradient of its output, [B, H], rows close together. Steps must come in falling order.
    package func stepGradient(_ t: Int, _ outputGradient: UnsafePointer<Float>) {
        if !isGradientReady { prepareGradient() }
        for index in backward.indices.reversed() {
            let layer = backward[index]
            guard let operandGradient = layer.operandGradient, let packedGradient = layer.packedGradient else { preconditionFailure("not prepared") }
            let first = t * batch
            let isLast = index == backward.count - 1
            let sourceStride = isLast ? width : backward[index + 1].columns
            let source = isLast ? outputGradient : UnsafePointer(backward[index + 1].operandGradient!.floats)
            let d = operandGradient.floats
            forRows { rows in
                for b in rows {
                    let (row, next) = (first + b, first + batch + b)
                    let values = layer.values.floats + row * layer.gates
                    let hiddenGradient = d + b * layer.columns + layer.below
                    if let cells = layer.cells, let cellGradient = layer.cellGradient {
                        kernels.lstmCellGradient(
                            Elements(values), cellGradient: cellGradient.floats + b * width, gates: values, cell: cells.floats + next * width,
                            previousCell: cells.floats + row * width, outputGradient: Elements(source + b * sourceStride),
                            hiddenGradient: hiddenGradient, width)
                    } else {
                        activationGradient(
                            values, source + b * sourceStride, configuration.hasHiddenState ? hiddenGradient : nil, scratch.floats + b * 2 * width)
                    }
                }
            }
            packedGradient.multiply(into: d, layer.values.floats + first * layer.gates)
        }
    }

    /// values = (a + b) f'(values), where values are those of f; b may be nil.
    private func activationGradient(
        _ values: UnsafeMutablePointer<Float>, _ a: UnsafePointer<Float>, _ b: UnsafeMutablePointer<Float>?, _ scratch: UnsafeMutablePointer<Float>
    ) {
        var total = a
        if let b {
            kernels.add(scratch, a, b, width)
            total = UnsafePointer(scratch)
        }
        if configuration.activation == .rectifier {
            return kernels.rectifierGradient(Elements(values), outputGradient: Elements(total), output: Elements(values), width)
        }
        let result = scratch + width
        kernels.fill(result, 0, width)
        kernels.unaryGradient(.hyperbolicTangent, result, outputGradient: total, input: values, output: values, width)
        values.update(from: result, count: width)
    }

    /// Adds the gradients of the parameters, of x and of the initial states, after the gradient of step 0.
    package func accumulateGradients() {
        let rows = batch * steps
        for layer in backward {
            layer.recurrentWeight.node?.withGradientTensor { target, accumulate in
                multiplyMatrices(
                    into: MatrixOperand(target, leading: layer.columns), MatrixOperand(layer.values, .transposed), MatrixOperand(layer.operands),
                    m: layer.gates, n: layer.columns, k: rows, beta: accumulate ? 1 : 0)
            }
            layer.bias.node?.withZeroedGradient { kernels.accumulateColumnSums($0, layer.values.elements, rows: rows, columns: layer.gates) }
            guard let inputWeight = layer.inputWeight else { continue }
            inputWeight.node?.withGradientTensor { target, accumulate in
                multiplyMatrices(
                    into: MatrixOperand(target, leading: inputWeight.shape[1]), MatrixOperand(layer.values, .transposed), MatrixOperand(timeMajorX),
                    m: layer.gates, n: inputWeight.shape[1], k: rows, beta: accumulate ? 1 : 0)
            }
            guard let node = x.node else { continue }
            let part = Tensor(uninitialized: [rows, inputWeight.shape[1]])
            multiplyMatrices(
                into: MatrixOperand(part), MatrixOperand(layer.values), MatrixOperand(inputWeight), m: rows, n: inputWeight.shape[1], k: layer.gates)
            node.accumulate(reordered(part, [batch, steps, inputWeight.shape[1]], from: steps, batch))
        }
        for layer in backward {
            if let node = layer.initialHidden?.node, let gradient = layer.operandGradient {
                let hidden = Tensor(uninitialized: [batch, width])
                for b in 0..<batch { (hidden.floats + b * width).update(from: gradient.floats + b * layer.columns + layer.below, count: width) }
                node.accumulate(hidden)
            }
            if let gradient = layer.cellGradient { layer.initialCell?.node?.accumulate(gradient) }
        }
    }
}

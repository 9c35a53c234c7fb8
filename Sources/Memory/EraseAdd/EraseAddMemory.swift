// The plain erase/add memory: one soft address a step, where a network writes and then reads.
//
// Legend: B sequences, T steps, I input width, H units, N memory rows, W their width, P = N + 2 W numbers of a step.

import Kernels
import NeuralNetworks
import Tensors

/// A recurrent network with N rows of memory that it addresses by a softmax over the rows themselves, without keys.
///
/// From u = [x[t], h[t-1]] one linear layer gives scores s [N], erase e [W] and value v [W]. With w = softmax(s) the memory becomes
/// M[t] = M[t-1] * (1 - w sigmoid(e)^T) + w v^T; then r[t] = M[t]^T w is read, after the write, and h[t] = f(W [r[t], h[t-1]; x[t]] + b) is the step
/// of reasoning. Erasing nothing accumulates; erasing all overwrites a row by as much as it is addressed. Everything is float32.
public struct EraseAddMemory: SequenceCore {
    /// N.
    public let rows: Int
    /// W.
    public let width: Int
    /// The network whose reads are r[t]: H units, `recurrent`.
    public let controller: Controller
    private let path: String
    private let lifetime: MemoryLifetime
    private let inputWeight: Parameter
    private let hiddenWeight: Parameter
    private let bias: Parameter

    /// Declares `path.controller.*`, `path.interface.inputWeight` [P, I], `.hiddenWeight` [P, H] and `.bias` [P] (zeros). The numbers of a step are
    /// scores, erase, value.
    /// - Parameter lifetime: `lane` for memory that goes on from batch to batch.
    public init(
        _ store: ParameterStore, _ path: String, inputs: Int, rows: Int, width: Int, units: Int,
        activation: ControllerConfiguration.Activation = .hyperbolicTangent, lifetime: MemoryLifetime = .sequence
    ) {
        precondition(rows > 0 && width > 0, "a memory of \(rows) x \(width)")
        (self.rows, self.width, self.path, self.lifetime) = (rows, width, path, lifetime)
        controller = Controller(
            store, "\(path).controller", inputs: inputs, reads: width, ControllerConfiguration(.recurrent, width: units, activation: activation))
        let count = rows + 2 * width
        let uniform = Initializer.uniform(bound: 1 / Float(inputs + units).squareRoot())
        inputWeight = store.add("\(path).interface.inputWeight", [count, inputs], uniform)
        hiddenWeight = store.add("\(path).interface.hiddenWeight", [count, units], uniform)
        bias = store.add("\(path).interface.bias", [count], .zeros)
    }

    /// H + W: h[t], then r[t].
    public var outputWidth: Int { controller.configuration.width + width }

    /// `path.memory` [N, W], which starts with zeros, and the network's hidden state.
    public var memory: [MemoryDeclaration] {
        [MemoryDeclaration("\(path).memory", [rows, width], axes: ["row", "column"], lifetime: lifetime)]
            + controller.memory("\(path).controller", lifetime: lifetime)
    }

    /// - Complexity: a step costs 2 B (H (H + W) + P H) flops of products and passes over B N W numbers: two forwards, five backwards. Keeps T B (N W
    ///   + N) numbers for the backward pass.
    public func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        let step = EraseAddStep(rows: rows, width: width)
        let interface = SteeringLayer(weight: pass(hiddenWeight), bias: pass(bias), inputWeight: pass(inputWeight))
        let picture = pass.trace.map { _ in WeightPicture(heads: 1, rows: rows, steps: x.shape[1]) }
        let stride = AddressedMemoryShape(rows: rows, width: width).stride
        let (outputs, last) = scan(
            MemoryScan(
                step, controller, interface, convert(x, to: .float32), from: state?.cellState(of: memory, path: path) ?? [:],
                pass.tape == nil ? .none : .all, operationsPerStep: 2 * stride * (width + 1), pass,
                observe: picture.map { picture in { t, frame in picture.record(t, frame + step.weights, stride: stride) } }))
        if let trace = pass.trace { picture?.show(trace, names: ["weights"]) }
        return (convert(pass.checked(outputs, inputWeight), to: x.dataType), MemoryState(last, as: memory, path: path))
    }
}

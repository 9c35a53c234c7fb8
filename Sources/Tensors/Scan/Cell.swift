// A network that is stepped over time, and the operation that steps it.
//
// Legend: B sequences, T steps, F output width.

import Diagnostics
import Kernels

/// One named part of what a cell remembers from step to step.
public struct StatePart: Sendable, Equatable {
    /// Such as `hidden`, `cell`, `memory`, `usage`.
    public let name: String
    /// The extents for one sequence.
    public let shape: Shape

    /// A part called `name` of these extents for one sequence.
    public init(_ name: String, _ shape: Shape) { (self.name, self.shape) = (name, shape) }
}

/// Values of the parts of a state by name, [B, shape...] each, or their gradients. A part that is missing has its initial value, or no gradient.
public struct CellState: ExpressibleByDictionaryLiteral {
    private var values: [String: Tensor] = [:]

    /// No part.
    public init() {}

    public init(dictionaryLiteral elements: (String, Tensor)...) { for (name, value) in elements { values[name] = value } }

    /// The value of a part.
    public subscript(name: String) -> Tensor? {
        get { values[name] }
        set { values[name] = newValue }
    }

    /// Takes over all parts of another state.
    package mutating func merge(_ other: CellState) { values.merge(other.values) { $1 } }
}

/// The rows of one step in memory of [B, ..., F]: what a cell puts out, or the gradient of it.
package struct StepRows {
    private let first: Elements
    private let stride: Int

    /// Rows of which the first is `first` and which lie `stride` elements apart.
    @inline(__always)
    package init(_ first: Elements, stride: Int) { (self.first, self.stride) = (first, stride) }

    /// Step t of [B, T, F].
    init(_ tensor: Tensor, step t: Int) {
        self.init(tensor.elements + t * tensor.shape[2], stride: tensor.shape[1] * tensor.shape[2])
    }

    /// The row of sequence b.
    @inline(__always)
    package subscript(b: Int) -> Elements { first + b * stride }

    /// The row of sequence b of float32 memory.
    @inline(__always)
    package func floats(_ b: Int) -> UnsafeMutablePointer<Float> { self[b].address.assumingMemoryBound(to: Float.self) }
}

/// A network that is stepped over time, at work on B sequences: what `scan` runs.
///
/// A cell names the parts of its state, lists the tensors that it computes from, and goes one step forwards or backwards for all B sequences together.
/// What it keeps for the backward pass it allocates when it is made, so that no step allocates memory.
package protocol Cell: AnyObject {
    /// What it is called on the tape.
    var operation: Operation { get }
    /// B.
    var batch: Int { get }
    /// T, at least 1.
    var steps: Int { get }
    /// F.
    var outputWidth: Int { get }
    /// The type of what it puts out.
    var outputType: DataType { get }
    /// What it remembers.
    var state: [StatePart] { get }
    /// What it started from; parts that are missing had their initial values.
    var initialState: CellState { get }
    /// The input and the weights.
    var inputs: [Tensor] { get }

    /// Computes step t and stores what it puts out. Steps come in rising order.
    func step(_ t: Int, into outputs: StepRows)
    /// All parts of the state after the last step, in memory of their own. `outputs`: [B, T, F], what all steps put out.
    func lastState(_ outputs: Tensor) -> CellState

    /// Takes the gradients of the state after the last step; a missing one is zero.
    func startBackward(_ lastState: CellState)
    /// Goes back through step t from the gradient of what it put out. Steps come in falling order.
    func stepBackward(_ t: Int, from outputs: StepRows)
    /// Adds the gradients of the input, the weights and the initial state to theirs.
    func finishBackward()
}

/// Runs a cell over all steps, as one operation.
///
/// - Returns: what the steps put out, [B, T, F], and the state after the last step: ordinary results of one operation, each with its gradient.
package func scan(_ cell: some Cell) -> (outputs: Tensor, state: CellState) {
    let (batch, steps, parts) = (cell.batch, cell.steps, cell.state)
    for part in parts {
        guard let initial = cell.initialState[part.name] else { continue }
        cell.operation.require(
            initial.count == batch * part.shape.count && initial.shape[0] == batch,
            "\(part.name) of shape \(initial.shape) for \(batch) sequences of \(part.shape)")
    }
    let outputs = Tensor(uninitialized: [batch, steps, cell.outputWidth], cell.outputType)
    for t in 0..<steps { cell.step(t, into: StepRows(outputs, step: t)) }
    let last = cell.lastState(outputs)
    let values = [outputs] + parts.map { part -> Tensor in
        guard let value = last[part.name] else { preconditionFailure("\(cell.operation) has no \(part.name) after its last step") }
        return value
    }
    let results = cell.operation.record(values, from: cell.inputs + parts.compactMap { cell.initialState[$0.name] }) { gradients in
        var lastState = CellState()
        for (part, gradient) in zip(parts, gradients.dropFirst()) { lastState[part.name] = gradient }
        cell.startBackward(lastState)
        let outputGradient = gradients[0] ?? zeros(outputs.shape, outputs.dataType)
        for t in (0..<steps).reversed() { cell.stepBackward(t, from: StepRows(outputGradient, step: t)) }
        cell.finishBackward()
    }
    var state = CellState()
    for (part, result) in zip(parts, results.dropFirst()) { state[part.name] = result }
    return (results[0], state)
}

/// A tensor of zeros of either floating type.
private func zeros(_ shape: Shape, _ type: DataType) -> Tensor {
    let result = Tensor(uninitialized: shape, type)
    result.bytes.initializeMemory(as: UInt8.self, repeating: 0, count: result.count * type.byteCount)
    return result
}

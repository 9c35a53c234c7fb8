// A value's place on a tape, where its gradient gathers.

import Diagnostics
import Kernels

/// A value's place on a tape: where its gradient gathers.
public final class Node {
    /// The entries of the tape it was recorded on. No reference: a value is of no use to operations once its tape is gone.
    let recording: UnsafeMutablePointer<Recording>
    /// Which of the tapes that used that memory one after another it belongs to.
    @exclusivity(unchecked) private(set) var generation: UInt32
    /// The shape of the value, and of its gradient.
    @exclusivity(unchecked) public private(set) var shape: Shape
    /// What the elements of the gradient are: those of the value, float32 for a parameter.
    @exclusivity(unchecked) public private(set) var dataType: DataType
    /// What has gathered so far; `nil` before the first contribution.
    @exclusivity(unchecked) var gathered: Tensor?
    /// The parameter whose value this is, if it is one.
    let parameter: Parameter?
    @exclusivity(unchecked) private var isUsed = false

    @inline(__always)
    init(_ recording: UnsafeMutablePointer<Recording>, shape: Shape, dataType: DataType = .float32, parameter: Parameter? = nil) {
        self.recording = recording
        generation = recording.pointee.generation
        self.shape = shape
        self.dataType = dataType
        self.parameter = parameter
    }

    /// Makes the node of another value of the same memory.
    @inline(__always)
    func reuse(shape: Shape, dataType: DataType) {
        generation = recording.pointee.generation
        self.shape = shape
        self.dataType = dataType
        isUsed = false
    }

    /// Notes that the operation that is being recorded uses this value.
    @inline(__always)
    func markUsed() {
        require(generation == recording.pointee.generation, "a value of a tape that is gone, or that has run backwards")
        if isUsed { return }
        isUsed = true
        if let parameter { recording.pointee.noteFirstUse(of: parameter) }
    }

    /// The gradient that has gathered, which the node forgets.
    @inline(__always)
    func takeGathered() -> Tensor? {
        let gradient = gathered
        gathered = nil
        return gradient
    }

    /// The gradient after `Tape.backward`, for inputs made by `Tape.variable` and for parameters.
    public var gradient: Tensor? { parameter?.gradient ?? gathered }

    /// Adds `contribution` (this node's count of elements, of either floating type) to the gradient. The first one is kept without a copy.
    public func accumulate(_ contribution: Tensor) {
        require(contribution.count == shape.count, "a gradient of shape \(contribution.shape) for a value of shape \(shape)")
        guard let parameter else { return gather(contribution) }
        parameter.makeGradientDense()
        if parameter.hasGradient {
            addElements(parameter.denseGradient, contribution)
        } else {
            contribution.convert(to: parameter.denseGradient.floats)
            parameter.hasGradient = true
        }
    }

    private func gather(_ contribution: Tensor) {
        guard var existing = gathered else {
            let typed = contribution.dataType == dataType ? contribution.stopGradient() : contribution.converted(to: dataType)
            gathered = typed.shape == shape ? typed : typed.viewed(as: shape)
            return
        }
        gathered = nil
        if !existing.hasOwnStorage() { existing = existing.copied() }
        addElements(existing, contribution)
        gathered = existing
    }

    /// As `withGradient`, with the gradient as a tensor of `dataType`.
    @inline(__always)
    package func withGradientTensor(_ body: (_ gradient: Tensor, _ accumulate: Bool) -> Void) {
        if let parameter {
            parameter.makeGradientDense()
            body(parameter.denseGradient, parameter.hasGradient)
            parameter.hasGradient = true
            return
        }
        guard var existing = gathered else {
            let fresh = Tensor(uninitialized: shape, dataType)
            body(fresh, false)
            gathered = consume fresh
            return
        }
        gathered = nil
        if !existing.hasOwnStorage() { existing = existing.copied() }
        body(existing, true)
        gathered = existing
    }

    /// Calls `body` with the gradient's memory. `accumulate` false: the memory is undefined, store every element; true: add to it.
    /// A bfloat16 gradient is handed out as float32 and rounded afterwards.
    @inline(__always)
    public func withGradient(_ body: (_ gradient: UnsafeMutablePointer<Float>, _ accumulate: Bool) -> Void) {
        if dataType != .float32 {
            let contribution = Tensor(uninitialized: shape)
            body(contribution.floats, false)
            return accumulate(contribution)
        }
        if let parameter {
            parameter.makeGradientDense()
            body(parameter.denseGradient.floats, parameter.hasGradient)
            parameter.hasGradient = true
            return
        }
        guard var existing = gathered else {
            let fresh = Tensor(uninitialized: shape)
            let pointer = fresh.floats
            gathered = consume fresh
            body(pointer, false)
            return
        }
        gathered = nil
        if !existing.hasOwnStorage() { existing = existing.copied() }
        body(existing.floats, true)
        gathered = existing
    }

    /// As `withGradient`, with memory that holds zeros or what has gathered: for contributions that touch only some elements.
    public func withZeroedGradient(_ body: (_ gradient: UnsafeMutablePointer<Float>) -> Void) {
        let count = shape.count
        withGradient { gradient, accumulate in
            if !accumulate { kernels.fill(gradient, 0, count) }
            body(gradient)
        }
    }
    /// As `withZeroedGradient`, for a table [V, D] to some of whose rows `body` adds: a parameter whose gradient is rows gets those rows alone.
    public func withGradientRows(_ body: (_ rows: GradientRowTarget) -> Void) {
        if let rows = parameter?.gatheringRows() { return body(GradientRowTarget(rows)) }
        withZeroedGradient { body(GradientRowTarget(dense: $0, width: shape.columns)) }
    }
}

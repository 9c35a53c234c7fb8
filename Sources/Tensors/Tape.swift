// Reverse-mode differentiation: a tape of operations, each with a hand-written gradient.

import Diagnostics
import Kernels

/// The kernels of this machine's instruction set.
let kernels: any KernelSet = Kernels.active

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
        require(generation == recording.pointee.generation, "a value of a tape that is gone")
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
        let gradient = parameter.gradient.floats
        if parameter.hasGradient {
            addElements(parameter.gradient, contribution)
        } else {
            contribution.convert(to: gradient)
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
            body(parameter.gradient, parameter.hasGradient)
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
            body(parameter.gradient.floats, parameter.hasGradient)
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
}

/// Records operations and runs them backwards.
///
/// A tape is for one forward and one backward pass, by one thread. Values that come from `variable` or `parameter`, and everything
/// computed from them, are on the tape; anything else is a constant and costs nothing.
public final class Tape {
    private let recording: UnsafeMutablePointer<Recording>
    private var parameterNodes: [Int: Node] = [:]

    /// Called during `backward` for each parameter as soon as its gradient is complete, and once between any two operations (with
    /// `nil`) so that communication can make progress.
    public var onProgress: ((Parameter?) -> Void)?

    /// Makes an empty tape.
    public init() {
        recording = SpareRecordings.take()
    }

    deinit {
        recording.pointee.clear()
        SpareRecordings.put(recording)
    }

    /// The parameters that operations on this tape have used, by rising index.
    var usedParameters: [Parameter] { parameterNodes.sorted { $0.key < $1.key }.compactMap(\.value.parameter) }

    /// The number of operations recorded.
    public var count: Int { recording.pointee.count }

    /// A value on the tape whose gradient is wanted.
    public func variable(_ value: Tensor) -> Tensor {
        var result = value.stopGradient()
        result.node = Node(recording, shape: value.shape, dataType: value.dataType)
        return result
    }

    /// A parameter's value on the tape. Its gradient gathers in place in `Parameter.gradient`.
    public func parameter(_ parameter: Parameter) -> Tensor {
        var result = parameter.value
        if let node = parameterNodes[parameter.index] {
            result.node = node
        } else {
            let node = Node(recording, shape: parameter.shape, parameter: parameter)
            parameterNodes[parameter.index] = node
            result.node = node
        }
        return result
    }

    /// A parameter as operand of a matrix product: its value in the type of activations. The gradient is the parameter's, in float32.
    public func operand(_ parameter: Parameter) -> Tensor {
        var result = parameter.operand
        result.node = self.parameter(parameter).node
        return result
    }

    /// Puts an operation on the tape of its inputs.
    ///
    /// - Parameters:
    ///   - value: the operation's result.
    ///   - inputs: its inputs. With none on a tape, `value` is returned as it is and `backward` is dropped.
    ///   - backward: takes the gradient with respect to `value` and adds to the gradients of the inputs' nodes.
    public static func record(_ value: consuming Tensor, from inputs: Tensor..., backward: @escaping (Tensor) -> Void) -> Tensor {
        record(value, from: inputs, backward: backward)
    }

    /// The same for one input, without an array.
    public static func record(_ value: consuming Tensor, from input: Tensor, backward: consuming @escaping (Tensor) -> Void) -> Tensor {
        guard let node = input.node else { return value }
        node.markUsed()
        node.recording.pointee.append(&value, node.recording, backward)
        return value
    }

    /// The same for two inputs, without an array.
    public static func record(
        _ value: consuming Tensor, from first: Tensor, _ second: Tensor, backward: consuming @escaping (Tensor) -> Void
    ) -> Tensor {
        guard let a = first.node else { return record(value, from: second, backward: backward) }
        guard let b = second.node else { return record(value, from: first, backward: backward) }
        require(a.recording == b.recording, "two tapes meet in one operation")
        a.markUsed()
        b.markUsed()
        a.recording.pointee.append(&value, a.recording, backward)
        return value
    }

    /// The same for a list of inputs.
    public static func record(_ value: consuming Tensor, from inputs: [Tensor], backward: consuming @escaping (Tensor) -> Void) -> Tensor {
        var recording: UnsafeMutablePointer<Recording>?
        for input in inputs {
            guard let node = input.node else { continue }
            require(recording == nil || recording == node.recording, "two tapes meet in one operation")
            recording = node.recording
            node.markUsed()
        }
        guard let recording else { return value }
        recording.pointee.append(&value, recording, backward)
        return value
    }

    /// Runs the tape backwards from a scalar, and empties it. Memory of the forward pass is released on the way.
    ///
    /// - Parameters:
    ///   - loss: a one-element tensor on this tape.
    ///   - seed: the gradient of the loss with respect to itself.
    public func backward(from loss: Tensor, seed: Float = 1) {
        require(loss.count == 1, "backward starts from a scalar, not from shape \(loss.shape)")
        backward(from: loss, gradient: Tensor(repeating: seed, loss.shape))
    }

    /// Runs the tape backwards from any value, given the gradient with respect to it.
    public func backward(from output: Tensor, gradient: Tensor) {
        guard let start = output.node, start.recording == recording, start.generation == recording.pointee.generation else {
            preconditionFailure("the value is not on this tape")
        }
        start.accumulate(gradient)
        while recording.pointee.count > 0 {
            let entry = recording.pointee.removeLast()
            if let gradient = entry.output.takeGathered() { entry.backward(gradient) }
            recording.pointee.keep(entry.output)
            while let parameter = recording.pointee.nextCompletion() { onProgress?(parameter) }
            onProgress?(nil)
        }
        parameterNodes.removeAll(keepingCapacity: true)
    }
}

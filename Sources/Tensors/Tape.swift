// Reverse-mode differentiation: a tape of operations, each with a hand-written gradient.

import Diagnostics
import Kernels

/// The kernels of this machine's instruction set.
let kernels: any KernelSet = Kernels.active

/// Watches the operations of a tape: for a profile, or to find the first result that is not finite.
public protocol OperationObserver: AnyObject {
    /// An operation was computed and recorded.
    func recorded(_ operation: Operation, _ outputs: [Tensor])
    /// The gradient of an operation is about to be computed.
    func startsBackward(_ operation: Operation)
    /// The gradient of an operation was computed.
    func finishedBackward(_ operation: Operation)
}

/// Records operations and runs them backwards.
///
/// A tape is for one forward and one backward pass, by one thread: after `backward` it takes nothing more. Values that come from `variable` or
/// `parameter`, and everything computed from them, are on the tape; anything else is a constant and costs nothing.
public final class Tape {
    private let recording: UnsafeMutablePointer<Recording>
    /// A place for each parameter, which may belong to several stores.
    private var parameterNodes: [ObjectIdentifier: Node] = [:]
    /// What a recomputation takes from outside: the parameters in the order of their first use, and values of the outer tape.
    private(set) var usedParameters: [Parameter] = []
    private(set) var adopted: [(outer: Tensor, inner: Node)] = []
    private var isSpent = false

    /// Called during `backward` for each parameter as soon as its gradient is complete, and once between any two operations (with
    /// `nil`) so that communication can make progress. A complete gradient is never undefined: without a contribution it is zero.
    public var onProgress: ((Parameter?) -> Void)?

    /// Makes an empty tape.
    public init() {
        recording = SpareRecordings.take()
    }

    deinit {
        recording.pointee.clear()
        SpareRecordings.put(recording)
    }

    /// Watches the operations; `nil` when nobody does.
    public var observer: (any OperationObserver)? {
        get { recording.pointee.observer }
        set { recording.pointee.observer = newValue }
    }

    /// The number of operations recorded.
    public var count: Int { recording.pointee.count }

    /// A value on the tape whose gradient is wanted.
    public func variable(_ value: Tensor) -> Tensor {
        require(value.dataType != .int32, "integers have no gradient")
        return place(value, Node(recording, shape: value.shape, dataType: value.dataType))
    }

    /// A parameter's value on the tape. Its gradient gathers in place in `Parameter.gradient`.
    public func parameter(_ parameter: Parameter) -> Tensor { place(parameter.value, node(of: parameter)) }

    /// A parameter as operand of a matrix product: its value in the type of activations. The gradient is the parameter's, in float32.
    public func operand(_ parameter: Parameter) -> Tensor { place(parameter.operand, node(of: parameter)) }

    /// A value of another tape as an input of what this tape records: `recomputed` carries its gradient back to the other tape. A value that is
    /// given twice gathers one gradient; a constant stays one.
    public func adopt(_ value: Tensor) -> Tensor {
        guard let outer = value.node, outer.recording != recording else { return value }
        if let known = adopted.first(where: { $0.outer.node === outer }) { return place(value, known.inner) }
        let inner = Node(recording, shape: value.shape, dataType: outer.dataType)
        adopted.append((value, inner))
        return place(value, inner)
    }

    private func place(_ value: Tensor, _ node: Node) -> Tensor {
        require(!isSpent, "a tape that has run backwards takes nothing more")
        var result = value
        result.node = node
        return result
    }

    private func node(of parameter: Parameter) -> Node {
        if let node = parameterNodes[ObjectIdentifier(parameter)] { return node }
        let node = Node(recording, shape: parameter.shape, parameter: parameter)
        parameterNodes[ObjectIdentifier(parameter)] = node
        usedParameters.append(parameter)
        return node
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
    public func backward(from output: Tensor, gradient: Tensor) { backward(from: [(output, gradient)]) }

    /// Runs the tape backwards from several values at once, given the gradient with respect to each: a loss and the memory that a later segment has
    /// read, for example. Values that are not on the tape are passed over, as long as one is.
    public func backward(from outputs: [(value: Tensor, gradient: Tensor)]) {
        require(!isSpent, "a tape runs backwards once")
        var isStarted = false
        for (value, gradient) in outputs {
            guard let start = value.node, start.recording == recording, start.generation == recording.pointee.generation else { continue }
            start.accumulate(gradient)
            isStarted = true
        }
        require(isStarted, "the value is not on this tape")
        while recording.pointee.count > 0 {
            Recording.runLast(of: recording)
            while let parameter = recording.pointee.nextCompletion() {
                parameter.zeroMissingGradient()
                onProgress?(parameter)
            }
            onProgress?(nil)
        }
        recording.pointee.retire()
        isSpent = true
        parameterNodes.removeAll()
    }
}

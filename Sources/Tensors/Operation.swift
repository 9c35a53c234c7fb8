// An operation: the unit of what a tape records.

import Diagnostics

/// A named step of a computation with any number of inputs and outputs, recorded as one entry of the tape.
///
/// The rules of every operation: it never changes its inputs; an output has the type of the first input unless the operation says otherwise, and
/// float32 sums inside; the gradient of an output arrives in the output's type and shape, a missing one only where the operation has several
/// outputs; what it adds to an input has that input's shape, and `Node` brings it into that input's type (float32 for parameters). Shapes that do not
/// fit stop the program with the operation's name.
public struct Operation: @unchecked Sendable {
    /// A literal of the program, which lives as long as it.
    private let start: UnsafePointer<UInt8>

    /// - Parameter name: a literal, as it stands in errors, findings and profiles.
    @inline(__always)
    public init(_ name: StaticString) { start = name.utf8Start }

    /// What it is called.
    public var name: String { String(cString: start) }

    /// Stops the program with the operation's name when inputs do not fit it.
    @inline(__always)
    public func require(_ condition: Bool, _ message: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line) {
        Diagnostics.require(condition, "\(name): \(message())", file: file, line: line)
    }

    /// Puts the operation on the tape of its inputs.
    ///
    /// - Parameters:
    ///   - value: the result.
    ///   - input: where it is on no tape, `value` is returned as it is and `backward` is dropped.
    ///   - backward: takes the gradient with respect to `value` and adds to the gradients of the inputs' nodes.
    @inline(__always)
    public func record(_ value: consuming Tensor, from input: Tensor, backward: consuming @escaping (Tensor) -> Void) -> Tensor {
        guard let node = input.node else { return value }
        node.markUsed()
        node.recording.pointee.append(self, &value, node.recording, backward)
        return value
    }

    /// The same for two inputs, without an array.
    @inline(__always)
    public func record(
        _ value: consuming Tensor, from first: Tensor, _ second: Tensor, backward: consuming @escaping (Tensor) -> Void
    ) -> Tensor {
        guard let a = first.node else { return record(value, from: second, backward: backward) }
        guard let b = second.node else { return record(value, from: first, backward: backward) }
        require(a.recording == b.recording, "two tapes meet in one operation")
        a.markUsed()
        b.markUsed()
        a.recording.pointee.append(self, &value, a.recording, backward)
        return value
    }

    /// The same for three inputs.
    public func record(
        _ value: consuming Tensor, from first: Tensor, _ second: Tensor, _ third: Tensor, backward: consuming @escaping (Tensor) -> Void
    ) -> Tensor {
        record(value, from: [first, second, third], backward: backward)
    }

    /// The same for a list of inputs.
    public func record(_ value: consuming Tensor, from inputs: [Tensor], backward: consuming @escaping (Tensor) -> Void) -> Tensor {
        guard let recording = markUsed(inputs) else { return value }
        recording.pointee.append(self, &value, recording, backward)
        return value
    }

    /// Puts an operation with several outputs on the tape of its inputs.
    ///
    /// - Parameters:
    ///   - values: the results, at least one.
    ///   - inputs: as above.
    ///   - backward: takes the gradients with respect to the results, `nil` for a result that nothing was computed from; called when there is any.
    /// - Returns: the results, on the tape.
    public func record(
        _ values: consuming [Tensor], from inputs: [Tensor], backward: consuming @escaping (_ gradients: [Tensor?]) -> Void
    ) -> [Tensor] {
        guard let recording = markUsed(inputs) else { return values }
        recording.pointee.append(self, &values, recording, backward)
        return values
    }

    /// Marks the inputs that are on a tape as used, and returns its recording.
    private func markUsed(_ inputs: [Tensor]) -> UnsafeMutablePointer<Recording>? {
        var recording: UnsafeMutablePointer<Recording>?
        for input in inputs {
            guard let node = input.node else { continue }
            require(recording == nil || recording == node.recording, "two tapes meet in one operation")
            recording = node.recording
            node.markUsed()
        }
        return recording
    }
}

extension Operation: Hashable, CustomStringConvertible {
    public static func == (a: Operation, b: Operation) -> Bool { a.start == b.start || a.name == b.name }
    public func hash(into hasher: inout Hasher) { hasher.combine(name) }
    public var description: String { name }
}

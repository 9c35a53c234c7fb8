// Memory on its way from one batch of a lane to the next.
//
// Legend: B sequences of a batch, one a lane.

import Diagnostics
import Tensors

/// The memory that the lanes of one batch bring with them, and what they take away.
public final class CarriedMemory {
    private let before: [String: Tensor]
    /// What was given out on a tape.
    private var given: [(name: String, variable: Tensor)] = []
    /// What was kept, by declaration, as an ordinary result of the pass: on its tape where there is one, so that a later segment's gradient can flow
    /// back into it.
    public private(set) var kept: [String: Tensor] = [:]

    /// - Parameter before: [B, shape...] of each declaration with lifetime `lane`; empty for lanes that begin.
    public init(_ before: [String: Tensor]) { self.before = before }

    /// What was kept, by declaration, off the tape: what the next batch brings.
    public var after: [String: Tensor] { kept.mapValues { $0.stopGradient() } }

    /// The values of some declarations; `nil` where lanes begin. A name that the lanes do not carry stops the program.
    /// - Parameter tape: given, the values are variables of this tape, the same ones at every call: the backward pass also computes the loss's gradient
    ///   with respect to what the lanes brought with them. None of it flows into earlier batches by itself.
    public func state(of declarations: [MemoryDeclaration], on tape: Tape? = nil) -> MemoryState? {
        if before.isEmpty { return nil }
        return MemoryState(
            declarations.map { declaration in
                guard let value = before[declaration.name] else {
                    require(false, "the lanes carry no memory \(declaration.name), but \(before.keys.sorted().joined(separator: ", "))")
                    return Tensor(0)
                }
                guard let tape else { return value }
                if let known = given.first(where: { $0.name == declaration.name }) { return known.variable }
                given.append((declaration.name, tape.variable(value)))
                return given[given.count - 1].variable
            })
    }

    /// After the backward pass, the loss's gradient with respect to what the lanes brought under this name, [B, shape...]; `nil` where it was not given
    /// out on a tape, or nothing was computed from it.
    public func gradient(of name: String) -> Tensor? { given.first { $0.name == name }?.variable.node?.gradient }

    /// After the backward pass, the sum of squares of the loss's gradient by all that was given out on the tape; `nil` where nothing was.
    public var gradientSquares: Double? {
        if given.isEmpty { return nil }
        return given.reduce(0) { sum, entry in
            guard let gradient = entry.variable.node?.gradient else { return sum }
            return UnsafeBufferPointer(start: gradient.floats, count: gradient.count).reduce(sum) { $0 + Double($1) * Double($1) }
        }
    }

    /// Keeps values for the next batch.
    public func keep(_ state: MemoryState, of declarations: [MemoryDeclaration]) {
        require(state.tensors.count == declarations.count, "\(state.tensors.count) values for \(declarations.count) declarations")
        for (declaration, tensor) in zip(declarations, state.tensors) { kept[declaration.name] = tensor }
    }
}

// Memory on its way from one batch of a lane to the next.
//
// Legend: B sequences of a batch, one a lane.

import Tensors

/// The memory that the lanes of one batch bring with them, and what they take away.
public final class CarriedMemory {
    private let before: [String: Tensor]
    /// What was kept, by declaration; off the tape.
    public private(set) var after: [String: Tensor] = [:]
    /// What was given out on a tape.
    private var variables: [Tensor] = []

    /// - Parameter before: [B, shape...] of each declaration with lifetime `lane`.
    public init(_ before: [String: Tensor]) { self.before = before }

    /// The values of some declarations; `nil` when any of them is missing.
    /// - Parameter tape: given, the values are variables of this tape: the backward pass also computes the loss's gradient by what the lanes brought
    ///   with them, for `gradientSquares`. None of it flows into earlier batches.
    public func state(of declarations: [MemoryDeclaration], on tape: Tape? = nil) -> MemoryState? {
        let tensors = declarations.compactMap { before[$0.name] }
        guard tensors.count == declarations.count else { return nil }
        guard let tape else { return MemoryState(tensors) }
        let state = MemoryState(tensors.map { tape.variable($0) })
        variables += state.tensors
        return state
    }

    /// After the backward pass, the sum of squares of the loss's gradient by all that was given out on the tape; `nil` where nothing was.
    public var gradientSquares: Double? {
        guard !variables.isEmpty else { return nil }
        return variables.reduce(0) { sum, variable in
            guard let gradient = variable.node?.gradient else { return sum }
            return UnsafeBufferPointer(start: gradient.floats, count: gradient.count).reduce(sum) { $0 + Double($1) * Double($1) }
        }
    }

    /// Keeps values for the next batch.
    public func keep(_ state: MemoryState, of declarations: [MemoryDeclaration]) {
        precondition(state.tensors.count == declarations.count, "\(state.tensors.count) values for \(declarations.count) declarations")
        for (declaration, tensor) in zip(declarations, state.tensors) { after[declaration.name] = tensor.stopGradient() }
    }
}

// Memory on its way from one batch of a lane to the next.
//
// Legend: B sequences of a batch, one a lane.

import Tensors

/// The memory that the lanes of one batch bring with them, and what they take away.
public final class CarriedMemory {
    private let before: [String: Tensor]
    /// What was kept, by declaration; off the tape.
    public private(set) var after: [String: Tensor] = [:]

    /// - Parameter before: [B, shape...] of each declaration with lifetime `lane`.
    public init(_ before: [String: Tensor]) { self.before = before }

    /// The values of some declarations; `nil` when any of them is missing.
    public func state(of declarations: [MemoryDeclaration]) -> MemoryState? {
        let tensors = declarations.compactMap { before[$0.name] }
        return tensors.count == declarations.count ? MemoryState(tensors) : nil
    }

    /// Keeps values for the next batch.
    public func keep(_ state: MemoryState, of declarations: [MemoryDeclaration]) {
        precondition(state.tensors.count == declarations.count, "\(state.tensors.count) values for \(declarations.count) declarations")
        for (declaration, tensor) in zip(declarations, state.tensors) { after[declaration.name] = tensor.stopGradient() }
    }
}

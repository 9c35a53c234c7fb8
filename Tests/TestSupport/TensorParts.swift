// Parts of tensors, as tests want them; on the tape.

import Tensors

extension Tensor {
    /// One position of an axis, without that axis: a step of a sequence.
    public func selecting(_ index: Int, axis: Int) -> Tensor { slice(index..<index + 1, axis: axis).reshaped(to: shape.removing(axis)) }

    /// Consecutive parts of one axis with the given extents.
    public func split(_ extents: [Int], axis: Int) -> [Tensor] {
        var first = 0
        return extents.map { extent in
            defer { first += extent }
            return slice(first..<first + extent, axis: axis)
        }
    }
}

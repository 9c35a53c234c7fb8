// Operations that rearrange elements: reshaping, permuting, slicing, joining.
//
// All take float32 and int32 tensors, joining and reshaping bfloat16 ones as well. A result whose elements lie together in the input's memory shares it.

import Diagnostics
import Kernels

extension Tensor {
    /// The same elements under another shape of the same count. Costs nothing.
    public func reshaped(to shape: Shape) -> Tensor {
        require(shape.count == count, "reshaped: \(self.shape) has not the elements of \(shape)")
        return Operation("reshape").record(viewed(as: shape), from: self) { [node] gradient in node?.accumulate(gradient) }
    }

    /// All elements in one axis.
    public func flattened() -> Tensor { reshaped(to: [count]) }

    /// Axis i of the result is axis `axes[i]` of this tensor.
    public func permuted(_ axes: Int...) -> Tensor { permuted(axes) }

    /// The same for a list of axes.
    public func permuted(_ axes: [Int]) -> Tensor {
        require(axes.count == shape.rank, "permuted: \(axes.count) axes for shape \(shape)")
        let strides = shape.inlineStrides
        var permutedShape = shape
        var permutedStrides = InlineArray<6, Int>(repeating: 0)
        var seen = 0
        for (i, axis) in axes.enumerated() {
            let source = shape.normalized(axis)
            seen |= 1 << source
            permutedShape[i] = shape[source]
            permutedStrides[i] = strides[source]
        }
        require(seen == (1 << shape.rank) - 1, "permuted: \(axes) is not a permutation of the axes of \(shape)")
        return strided(permutedShape, permutedStrides, meetsEachOnce: true)
    }

    /// The part of one axis that lies in `range`.
    public func slice(_ range: Range<Int>, axis: Int) -> Tensor {
        let axis = shape.normalized(axis)
        require(range.lowerBound >= 0 && range.upperBound <= shape[axis], "slice: \(range) of axis \(axis) of \(shape)")
        let strides = shape.inlineStrides
        var part = shape
        part[axis] = range.count
        return strided(part, strides, first: range.lowerBound * strides[axis])
    }
}

/// Tensors joined along an existing axis; the other extents must agree.
///
/// - Returns: the sum of the extents along `axis`.
public func concatenate(_ tensors: [Tensor], axis: Int) -> Tensor {
    require(!tensors.isEmpty, "concatenate: no tensors")
    let axis = tensors[0].shape.normalized(axis)
    var shape = tensors[0].shape
    shape[axis] = 0
    for tensor in tensors {
        var other = tensor.shape
        require(other.rank == shape.rank, "concatenate: \(tensors[0].shape) and \(other) along axis \(axis)")
        let extent = other[axis]
        other[axis] = shape[axis]
        require(other == shape, "concatenate: \(tensors[0].shape) and \(tensor.shape) along axis \(axis)")
        shape[axis] += extent
    }
    return join(tensors, shape, axis: axis)
}

/// Lays tensors side by side: each gives one piece of every row of blocks before `axis`.
private func join(_ tensors: [Tensor], _ shape: Shape, axis: Int) -> Tensor {
    let y = Tensor(uninitialized: shape, tensors[0].dataType)
    let outer = shape.count(from: 0, to: axis)
    let block = outer == 0 ? 0 : shape.count / outer
    var first = 0
    for tensor in tensors {
        require(tensor.dataType == y.dataType, "tensors of types \(y.dataType) and \(tensor.dataType) do not join")
        let piece = outer == 0 ? 0 : tensor.count / outer
        let size = y.dataType.byteCount
        for o in 0..<outer { (y.bytes + (first + o * block) * size).copyMemory(from: tensor.bytes + o * piece * size, byteCount: piece * size) }
        first += piece
    }
    return Operation("concatenate").record(y, from: tensors) { gradient in
        let gradient = gradient.converted(to: .float32)
        var first = 0
        for tensor in tensors {
            let piece = outer == 0 ? 0 : tensor.count / outer
            let start = first
            first += piece
            guard let node = tensor.node else { continue }
            if outer == 1 {
                node.accumulate(gradient.viewed(as: tensor.shape, offset: start))
                continue
            }
            let g = gradient.floats + start
            node.withGradient { target, accumulate in
                for o in 0..<outer {
                    let (to, from) = (target + o * piece, g + o * block)
                    if accumulate { kernels.add(to, to, from, piece) } else { to.update(from: from, count: piece) }
                }
            }
        }
    }
}

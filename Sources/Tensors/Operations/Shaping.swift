// Operations that rearrange elements: reshaping, permuting, slicing, joining, expanding, reversing, rolling.
//
// All take float32 and int32 tensors. A result whose elements lie together in the input's memory shares it.

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

    /// The same elements with one more axis of extent 1 before `axis` (0 ... rank; a negative axis counts from the end of the result).
    public func insertingAxis(at axis: Int) -> Tensor {
        reshaped(to: shape.inserting(1, at: axis < 0 ? axis + shape.rank + 1 : axis))
    }

    /// The same elements without `axis`, whose extent must be 1.
    public func removingAxis(_ axis: Int) -> Tensor {
        require(shape[axis] == 1, "removingAxis: axis \(axis) of \(shape) is not 1")
        return reshaped(to: shape.removing(axis))
    }

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

    /// Two axes exchanged; the last two when none are named.
    public func transposed(_ first: Int = -2, _ second: Int = -1) -> Tensor {
        var (swappedShape, strides) = (shape, shape.inlineStrides)
        let (a, b) = (shape.normalized(first), shape.normalized(second))
        (swappedShape[a], swappedShape[b]) = (shape[b], shape[a])
        (strides[a], strides[b]) = (strides[b], strides[a])
        return strided(swappedShape, strides, meetsEachOnce: true)
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

    /// A block: the part of each axis that lies in its range; `nil` takes the whole axis, and so do axes beyond the list.
    public func slice(_ ranges: [Range<Int>?]) -> Tensor {
        require(ranges.count <= shape.rank, "slice: \(ranges.count) ranges for shape \(shape)")
        let strides = shape.inlineStrides
        var (part, first) = (shape, 0)
        for (axis, range) in ranges.enumerated() {
            guard let range else { continue }
            require(range.lowerBound >= 0 && range.upperBound <= shape[axis], "slice: \(range) of axis \(axis) of \(shape)")
            part[axis] = range.count
            first += range.lowerBound * strides[axis]
        }
        return strided(part, strides, first: first)
    }

    /// One position of an axis, without that axis: a step of a sequence, a head.
    public func selecting(_ index: Int, axis: Int) -> Tensor {
        let axis = shape.normalized(axis)
        require(index >= 0 && index < shape[axis], "selecting: position \(index) of axis \(axis) of \(shape)")
        let all = shape.inlineStrides
        var (part, strides) = (shape.removing(axis), all)
        for i in axis..<part.rank { strides[i] = all[i + 1] }
        return strided(part, strides, first: index * all[axis])
    }

    /// Consecutive parts of one axis with the given extents, which must add up to it.
    public func split(_ extents: [Int], axis: Int) -> [Tensor] {
        require(extents.reduce(0, +) == shape[axis], "split: extents \(extents) of axis \(axis) of \(shape)")
        var first = 0
        return extents.map { extent in
            defer { first += extent }
            return slice(first..<first + extent, axis: axis)
        }
    }

    /// `parts` equal parts of one axis.
    public func split(into parts: Int, axis: Int) -> [Tensor] {
        require(parts > 0 && shape[axis] % parts == 0, "split: axis \(axis) of \(shape) into \(parts) parts")
        return split([Int](repeating: shape[axis] / parts, count: parts), axis: axis)
    }

    /// The elements repeated along axes of extent 1 and along new leading axes, by NumPy's broadcasting rule.
    public func broadcast(to shape: Shape) -> Tensor {
        if shape == self.shape { return self }
        require(self.shape.rank <= shape.rank, "broadcast: \(self.shape) to \(shape)")
        return strided(shape, self.shape.broadcastStrides(to: shape))
    }

    /// The order of the elements along one axis reversed.
    public func reversed(axis: Int) -> Tensor {
        let axis = shape.normalized(axis)
        if count == 0 { return self }
        var strides = shape.inlineStrides
        let first = (shape[axis] - 1) * strides[axis]
        strides[axis] = -strides[axis]
        return strided(shape, strides, first: first, meetsEachOnce: true)
    }

    /// The elements moved by `shift` positions along one axis; those that leave at the end come back at the start.
    public func rolled(by shift: Int, axis: Int = -1) -> Tensor {
        let axis = shape.normalized(axis)
        let extent = shape[axis]
        if count == 0 { return self }
        let move = ((shift % extent) + extent) % extent
        let (outer, inner) = (shape.count(from: 0, to: axis), shape.count(from: axis + 1, to: shape.rank))
        let (block, head) = (extent * inner, move * inner)
        let y = Tensor(uninitialized: shape, dataType)
        let (input, output) = (words, y.words)
        for o in 0..<outer {
            (output + o * block + head).update(from: input + o * block, count: block - head)
            (output + o * block).update(from: input + o * block + block - head, count: head)
        }
        return Operation("pad").record(y, from: self) { [node] gradient in
            let g = gradient.floats
            node?.withZeroedGradient { target in
                for o in 0..<outer {
                    let (to, from) = (target + o * block, g + o * block)
                    kernels.add(to, to, from + head, block - head)
                    kernels.add(to + block - head, to + block - head, from, head)
                }
            }
        }
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

/// Tensors of one shape joined along a new axis before `axis`.
///
/// - Returns: the shape with `tensors.count` inserted at `axis`.
public func stack(_ tensors: [Tensor], axis: Int = 0) -> Tensor {
    require(!tensors.isEmpty, "stack: no tensors")
    let part = tensors[0].shape
    let axis = axis < 0 ? axis + part.rank + 1 : axis
    for tensor in tensors { require(tensor.shape == part, "stack: \(part) and \(tensor.shape)") }
    return join(tensors, part.inserting(tensors.count, at: axis), axis: axis)
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
        let (from, to) = (tensor.words, y.words + first)
        for o in 0..<outer { (to + o * block).update(from: from + o * piece, count: piece) }
        first += piece
    }
    return Operation("concatenate").record(y, from: tensors) { gradient in
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

extension Shape {
    /// The strides with which a tensor of this shape is read as `shape`: 0 along the axes that repeat.
    func broadcastStrides(to shape: Shape) -> InlineArray<6, Int> {
        var result = InlineArray<6, Int>(repeating: 0)
        var step = 1
        for back in stride(from: 1, through: rank, by: 1) {
            let extent = self[-back]
            require(extent == shape[-back] || extent == 1, "broadcast: \(self) to \(shape)")
            if extent != 1 { result[shape.rank - back] = step }
            step *= extent
        }
        return result
    }
}

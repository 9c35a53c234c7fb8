// Orders along the last axis. Values carry gradients, through the elements that were chosen; permutations are constants.

import Diagnostics
import Kernels

/// The elements of each row of the last axis in order, and where they came from.
///
/// Equal elements keep their order, so every rank and every run gets the same permutation. NaN counts as the largest value.
///
/// - Parameter x: [..., C].
/// - Returns: the sorted values, whose gradient goes to the elements' old places, and int32 `permutation` [..., C]: element i of the result
///   is element `permutation[i]` of x.
/// - Complexity: O(C log C) a row.
public func sorted(_ x: Tensor, descending: Bool = false) -> (values: Tensor, permutation: Tensor) {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    let permutation = Tensor(uninitialized: x.shape, .int32)
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: columns) { buffer in
        var keys = buffer
        for row in 0..<rows {
            for i in 0..<columns { keys[i] = orderKey(x.floats[row * columns + i], i, descending: descending) }
            keys.sort()
            for i in 0..<columns { permutation.integers[row * columns + i] = Int32(truncatingIfNeeded: keys[i] & 0xFFFF_FFFF) }
        }
    }
    return (takeAlongLastAxis(x, permutation), permutation)
}

/// The `count` largest elements of each row of the last axis, largest first; of equal elements the first.
///
/// - Parameter x: [..., C], C at least `count`.
/// - Returns: values [..., count], whose gradient goes to the chosen elements, and their int32 indices.
/// - Complexity: O(C log count) a row.
public func topK(_ x: Tensor, _ count: Int) -> (values: Tensor, indices: Tensor) {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    require(count >= 0 && count <= columns, "topK: \(count) of \(columns)")
    let indices = Tensor(uninitialized: x.shape.replacingColumns(count), .int32)
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: max(count, 1)) { heap in
        for row in 0..<rows where count > 0 {
            for i in 0..<columns {
                let key = orderKey(x.floats[row * columns + i], i, descending: true)
                if i < count {
                    heap[i] = key
                    if i == count - 1 { for parent in stride(from: count / 2 - 1, through: 0, by: -1) { siftDown(heap, parent, count) } }
                } else if key < heap[0] {
                    heap[0] = key
                    siftDown(heap, 0, count)
                }
            }
            var chosen = UnsafeMutableBufferPointer(rebasing: heap[0..<count])
            chosen.sort()
            for i in 0..<count { indices.integers[row * count + i] = Int32(truncatingIfNeeded: chosen[i] & 0xFFFF_FFFF) }
        }
    }
    return (takeAlongLastAxis(x, indices), indices)
}

/// The index of the largest element of each row of the last axis; of equal elements the first. No gradient.
///
/// - Parameter x: [..., C].
/// - Returns: int32 [...].
public func argmax(_ x: Tensor) -> Tensor {
    let (rows, columns) = (x.shape.rows, x.shape.columns)
    require(columns > 0, "argmax of shape \(x.shape)")
    let y = Tensor(uninitialized: x.shape.removing(-1), .int32)
    for row in 0..<rows {
        let values = x.floats + row * columns
        var best = 0
        for i in 1..<columns where values[i] > values[best] { best = i }
        y.integers[row] = Int32(truncatingIfNeeded: best)
    }
    return y
}

/// A value and its index as one integer whose order is that of the values, then of the indices.
@inline(__always)
private func orderKey(_ value: Float, _ index: Int, descending: Bool) -> UInt64 {
    let bits = (value + 0).bitPattern  // -0 becomes +0
    var order = bits >> 31 == 1 ? ~bits : bits | 0x8000_0000
    if value.isNaN { order = .max }
    if descending { order = ~order }
    return UInt64(order) << 32 | UInt64(truncatingIfNeeded: index)
}

/// Restores the heap order (largest key first) below `parent`.
@inline(__always)
private func siftDown(_ heap: UnsafeMutableBufferPointer<UInt64>, _ parent: Int, _ count: Int) {
    var parent = parent
    while true {
        var child = 2 * parent + 1
        if child >= count { return }
        if child + 1 < count && heap[child + 1] > heap[child] { child += 1 }
        if heap[child] <= heap[parent] { return }
        heap.swapAt(child, parent)
        parent = child
    }
}

// Masks: int32 tensors of 1 (true) and 0 (false), and choosing by them.

import Diagnostics
import Kernels

extension Tensor {
    /// The elements of `replacement` where the mask is not 0, of this tensor elsewhere.
    ///
    /// - Parameters:
    ///   - replacement: float32; broadcasts against this tensor.
    ///   - mask: int32; broadcasts to the shape of both.
    /// - Returns: the broadcast shape. Each gradient flows to the side that was chosen.
    public func replacing(with replacement: Tensor, where mask: Tensor) -> Tensor {
        let plan = BroadcastPlan(shape, replacement.shape)
        let chosen = mask.expandedMask(to: plan.shape)
        let y = Tensor(uninitialized: plan.shape)
        let (a, b, out, flag, run) = (floats, replacement.floats, y.floats, chosen.integers, plan.run)
        let (stepA, stepB) = (plan.movesA ? 1 : 0, plan.movesB ? 1 : 0)
        plan.forEachRun { first, i, j in
            for k in 0..<run { out[first + k] = flag[first + k] != 0 ? b[j + k * stepB] : a[i + k * stepA] }
        }
        return Operation("replace where").record(y, from: self, replacement) { [node] gradient in
            if node != nil { plan.accumulate(zeroing(gradient, where: chosen, isTrue: true), toFirst: node) }
            if replacement.node != nil { plan.accumulate(zeroing(gradient, where: chosen, isTrue: false), toSecond: replacement.node) }
        }
    }

    /// `value` where the mask is not 0, this tensor elsewhere.
    public func replacing(with value: Float, where mask: Tensor) -> Tensor { replacing(with: Tensor(value), where: mask) }

    /// The mask of the first `lengths[b]` of `columns` positions of each row: 1 for real positions, 0 for padding.
    public static func lengthMask(_ lengths: [Int], columns: Int) -> Tensor {
        let result = Tensor(uninitialized: [lengths.count, columns], .int32)
        for (row, length) in lengths.enumerated() {
            for column in 0..<columns { result.integers[row * columns + column] = column < length ? 1 : 0 }
        }
        return result
    }

    /// 1 where this mask is 0, else 0.
    public func inverted() -> Tensor { compared(integers, 0) { $0 == $1 } }

    /// The mask as float32 numbers, off the tape; int32 values in general.
    public func asFloats() -> Tensor {
        let result = Tensor(uninitialized: shape)
        let (input, output) = (integers, result.floats)
        for i in 0..<count { output[i] = Float(input[i]) }
        return result
    }

    /// The mask of the elements above a number.
    public static func .> (x: Tensor, c: Float) -> Tensor { x.compared(x.floats, c) { $0 > $1 } }
    /// The mask of the elements below a number.
    public static func .< (x: Tensor, c: Float) -> Tensor { x.compared(x.floats, c) { $0 < $1 } }
    /// The mask of the elements of at least a number.
    public static func .>= (x: Tensor, c: Float) -> Tensor { x.compared(x.floats, c) { $0 >= $1 } }
    /// The mask of the elements of at most a number.
    public static func .<= (x: Tensor, c: Float) -> Tensor { x.compared(x.floats, c) { $0 <= $1 } }
    /// The mask of the elements that equal a number.
    public static func .== (x: Tensor, c: Int32) -> Tensor { x.compared(x.integers, c) { $0 == $1 } }
    /// The mask of the elements that differ from a number, such as a padding index.
    public static func .!= (x: Tensor, c: Int32) -> Tensor { x.compared(x.integers, c) { $0 != $1 } }

    @inline(__always)
    private func compared<Element>(_ x: UnsafeMutablePointer<Element>, _ c: Element, _ isTrue: (Element, Element) -> Bool) -> Tensor {
        let result = Tensor(uninitialized: shape, .int32)
        let output = result.integers
        for i in 0..<count { output[i] = isTrue(x[i], c) ? 1 : 0 }
        return result
    }

    /// An int32 mask under a shape that it broadcasts to.
    func expandedMask(to shape: Shape) -> Tensor {
        require(dataType == .int32, "a mask is an int32 tensor, not \(dataType)")
        return broadcast(to: shape)
    }
}

/// A copy of x with zeros where the mask is true, or where it is false.
private func zeroing(_ x: Tensor, where mask: Tensor, isTrue: Bool) -> Tensor {
    let result = Tensor(uninitialized: x.shape)
    let (input, output, flag) = (x.floats, result.floats, mask.integers)
    for i in 0..<x.count { output[i] = (flag[i] != 0) == isTrue ? 0 : input[i] }
    return result
}

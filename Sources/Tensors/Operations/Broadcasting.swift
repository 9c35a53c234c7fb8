// How two operands of different shapes walk together: NumPy's broadcasting rule, reduced to as few and as long runs as possible.

import Kernels

/// The joint walk of two row-major operands over the shape that they broadcast to.
///
/// Neighbouring axes that both operands cross in one piece are merged, so that equal shapes become a single run, and a row or a column
/// against a matrix becomes one run a row. Within a run each operand moves by 0 or 1.
struct BroadcastPlan {
    /// The result's shape.
    let shape: Shape
    /// The number of merged axes, innermost first; at least 1.
    private var rank = 0
    private var extents = EightIntegers(repeating: 1)
    private var stridesA = EightIntegers(repeating: 0)
    private var stridesB = EightIntegers(repeating: 0)

    init(_ a: Shape, _ b: Shape) {
        if a == b {
            shape = a
            append(a.count, 1, 1)
            return
        }
        shape = Shape.broadcast(a, b)
        var (stepA, stepB) = (1, 1)
        for axis in stride(from: 1, through: shape.rank, by: 1) {
            let extent = shape[-axis]
            let extentA = axis <= a.rank ? a[-axis] : 1
            let extentB = axis <= b.rank ? b[-axis] : 1
            if extent != 1 { append(extent, extentA == 1 ? 0 : stepA, extentB == 1 ? 0 : stepB) }
            stepA *= extentA
            stepB *= extentB
        }
        if rank == 0 { append(1, 1, 1) }
    }

    private mutating func append(_ extent: Int, _ strideA: Int, _ strideB: Int) {
        if rank > 0 {
            let last = Int(extents[rank - 1])
            if strideA == Int(stridesA[rank - 1]) * last, strideB == Int(stridesB[rank - 1]) * last {
                extents[rank - 1] = UInt32(last * extent)
                return
            }
        }
        extents[rank] = UInt32(extent)
        stridesA[rank] = UInt32(strideA)
        stridesB[rank] = UInt32(strideB)
        rank += 1
    }

    /// The elements of one run.
    var run: Int { Int(extents[0]) }
    /// True when the first operand moves along a run, false when one element of it serves the whole run.
    var movesA: Bool { stridesA[0] == 1 }
    /// The same for the second operand.
    var movesB: Bool { stridesB[0] == 1 }

    /// Calls `body` with the first index of each run in the result and in both operands.
    @inline(__always)
    func forEachRun(_ body: (_ out: Int, _ a: Int, _ b: Int) -> Void) {
        if shape.count == 0 { return }
        if rank == 1 { return body(0, 0, 0) }
        var counters = EightIntegers(repeating: 0)
        var (out, a, b) = (0, 0, 0)
        while true {
            body(out, a, b)
            out += run
            var axis = 1
            while axis < rank {
                counters[axis] += 1
                a += Int(stridesA[axis])
                b += Int(stridesB[axis])
                if counters[axis] < extents[axis] { break }
                a -= Int(stridesA[axis]) * Int(extents[axis])
                b -= Int(stridesB[axis]) * Int(extents[axis])
                counters[axis] = 0
                axis += 1
            }
            if axis >= rank { return }
        }
    }

    /// Adds `scale` * `gradient` (the result's shape) to an operand's node, summed over the axes along which the operand was stretched.
    func accumulate(_ gradient: Tensor, scale: Float = 1, toFirst node: Node?) {
        accumulate(gradient, scale: scale, to: node, isFirst: true)
    }

    /// The same for the second operand.
    func accumulate(_ gradient: Tensor, scale: Float = 1, toSecond node: Node?) {
        accumulate(gradient, scale: scale, to: node, isFirst: false)
    }

    private func accumulate(_ gradient: Tensor, scale: Float, to node: Node?, isFirst: Bool) {
        guard let node else { return }
        if node.shape.count == shape.count {
            if scale == 1 { node.accumulate(gradient) } else { node.accumulateScaled(gradient, scale) }
            return
        }
        let (source, length, moves) = (gradient.floats, run, isFirst ? movesA : movesB)
        node.withZeroedGradient { target in
            forEachRun { out, a, b in
                let index = isFirst ? a : b
                if moves {
                    kernels.addScaled(target + index, source + out, scale: scale, length)
                } else {
                    target[index] += scale * Float(kernels.sum(source + out, length))
                }
            }
        }
    }
}

extension Node {
    /// Adds `scale` * `contribution` to the gradient.
    func accumulateScaled(_ contribution: Tensor, _ scale: Float) {
        let count = shape.count
        withGradient { target, accumulate in
            if accumulate {
                kernels.addScaled(target, contribution.floats, scale: scale, count)
            } else {
                kernels.affine(target, contribution.floats, scale: scale, offset: 0, count)
            }
        }
    }

    /// Adds `contribution` * `factor`, which has as many elements, to the gradient.
    func accumulateProduct(_ contribution: Tensor, _ factor: KeptValues) {
        let count = shape.count
        withGradient { target, accumulate in
            if accumulate {
                kernels.addProduct(target, contribution.floats, factor.floats, count)
            } else {
                kernels.multiply(target, contribution.floats, factor.floats, count)
            }
        }
    }
}

/// Eight 32-bit integers in a row. Unlike a SIMD vector it asks for the alignment of a word only: objects of a greater alignment come from
/// a slower allocator.
private struct EightIntegers {
    private var words: (UInt64, UInt64, UInt64, UInt64)

    @inline(__always)
    init(repeating value: UInt32) {
        let word = UInt64(value) << 32 | UInt64(value)
        words = (word, word, word, word)
    }

    @inline(__always)
    subscript(index: Int) -> UInt32 {
        get { unsafeBitCast(words, to: SIMD8<UInt32>.self)[index] }
        set {
            var vector = unsafeBitCast(words, to: SIMD8<UInt32>.self)
            vector[index] = newValue
            words = unsafeBitCast(vector, to: (UInt64, UInt64, UInt64, UInt64).self)
        }
    }
}

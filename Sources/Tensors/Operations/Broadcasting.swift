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
    private var extents = InlineArray<6, Int>(repeating: 1)
    private var stridesA = InlineArray<6, Int>(repeating: 0)
    private var stridesB = InlineArray<6, Int>(repeating: 0)

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
        if rank > 0, strideA == stridesA[rank - 1] * extents[rank - 1], strideB == stridesB[rank - 1] * extents[rank - 1] {
            extents[rank - 1] *= extent
            return
        }
        extents[rank] = extent
        stridesA[rank] = strideA
        stridesB[rank] = strideB
        rank += 1
    }

    /// The elements of one run.
    var run: Int { extents[0] }
    /// True when the first operand moves along a run, false when one element of it serves the whole run.
    var movesA: Bool { stridesA[0] == 1 }
    /// The same for the second operand.
    var movesB: Bool { stridesB[0] == 1 }

    /// Calls `body` with the first index of each run in the result and in both operands.
    @inline(__always)
    func forEachRun(_ body: (_ out: Int, _ a: Int, _ b: Int) -> Void) {
        if shape.count == 0 { return }
        var counters = InlineArray<6, Int>(repeating: 0)
        var (out, a, b) = (0, 0, 0)
        while true {
            body(out, a, b)
            out += extents[0]
            var axis = 1
            while axis < rank {
                counters[axis] += 1
                a += stridesA[axis]
                b += stridesB[axis]
                if counters[axis] < extents[axis] { break }
                a -= stridesA[axis] * extents[axis]
                b -= stridesB[axis] * extents[axis]
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
}

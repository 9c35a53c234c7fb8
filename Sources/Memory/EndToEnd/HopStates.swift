// What the hops of end-to-end memories do to their states beside reading: the transition and the rectifier, and the gradients of both.
//
// Legend: R rows (a state each), D width.

import Tensors

/// The form of the states of all stories, or of all positions, at one hop: R rows of D units.
struct HopStates {
    /// R.
    let rows: Int
    /// D.
    let width: Int
    /// Elements between rows.
    let stride: Int
    /// The last units of a row that go through the rectifier.
    let rectifiedUnits: Int

    private var rectified: Range<Int> { width - rectifiedUnits..<width }

    /// next = state H^T.
    func multiply(_ next: UnsafeMutablePointer<Float>, _ state: UnsafeMutablePointer<Float>, by transition: Tensor) {
        multiplyMatrices(
            next, leadingC: stride, state, leadingA: stride, transition.floats, .transposed, leadingB: width, m: rows, n: width, k: width)
    }

    /// before = after H, and adds the gradient of H.
    /// - Parameters:
    ///   - after: the gradient of the states after the hop.
    ///   - before: gets that of the states before it.
    ///   - state: the states before the hop.
    func multiplyGradient(
        _ transition: Tensor, state: UnsafeMutablePointer<Float>, after: UnsafeMutablePointer<Float>, before: UnsafeMutablePointer<Float>
    ) {
        multiplyMatrices(before, leadingC: stride, after, leadingA: stride, transition.floats, leadingB: width, m: rows, n: width, k: width)
        transition.node?.withGradient { target, accumulate in
            multiplyMatrices(
                target, leadingC: width, after, .transposed, leadingA: stride, state, leadingB: stride, m: width, n: width, k: rows,
                beta: accumulate ? 1 : 0)
        }
    }

    /// Rectifies one row.
    @inline(__always)
    func rectify(row: UnsafeMutablePointer<Float>) {
        for unit in rectified where row[unit] < 0 { row[unit] = 0 }
    }

    /// Rectifies all rows.
    func rectify(_ state: UnsafeMutablePointer<Float>) {
        if rectifiedUnits == 0 { return }
        for row in 0..<rows { rectify(row: state + row * stride) }
    }

    /// Where the rectifier gave 0 no gradient goes through.
    func rectifyGradient(_ gradient: UnsafeMutablePointer<Float>, of state: UnsafeMutablePointer<Float>) {
        if rectifiedUnits == 0 { return }
        for row in 0..<rows {
            let (values, target) = (state + row * stride, gradient + row * stride)
            for unit in rectified where values[unit] <= 0 { target[unit] = 0 }
        }
    }
}

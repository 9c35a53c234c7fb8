// How a row-major tensor maps to elements at regular strides: what slices, permutations, reversals, expansions and sums have in common.

import Diagnostics
import Kernels

/// For each axis of a shape, the distance in memory between neighbours on the other side of a copy.
///
/// One side of a copy is contiguous and row-major over `shape`; the other side is strided. A stride of 0 reads one element several times
/// (expansion) or sums several into one (reduction); a negative stride reverses. Axes that can be crossed in one piece are merged.
struct StridedLayout {
    /// The elements on the contiguous side.
    let count: Int
    private var rank = 0
    private var extents = InlineArray<6, Int>(repeating: 1)
    private var strides = InlineArray<6, Int>(repeating: 0)

    /// Side of the square blocks that a transposition moves.
    private static let block = 16

    init(_ shape: Shape, strides axisStrides: InlineArray<6, Int>) {
        count = shape.count
        for axis in stride(from: shape.rank - 1, through: 0, by: -1) where shape[axis] != 1 { append(shape[axis], axisStrides[axis]) }
        if rank == 0 { append(1, 1) }
    }

    private mutating func append(_ extent: Int, _ stride: Int) {
        if rank > 0, stride == strides[rank - 1] * extents[rank - 1] {
            extents[rank - 1] *= extent
            return
        }
        extents[rank] = extent
        strides[rank] = stride
        rank += 1
    }

    /// True when the strided side is contiguous and row-major too.
    var isContiguous: Bool { rank == 1 && strides[0] == 1 }
    /// The elements of one run along the innermost merged axis.
    var run: Int { extents[0] }
    /// The stride within a run.
    var runStride: Int { strides[0] }

    /// Calls `body` with the first index of each run on both sides.
    @inline(__always)
    func forEachRun(_ body: (_ contiguous: Int, _ strided: Int) -> Void) { forEach(from: 1, body) }

    /// Walks the merged axes `first...`, one call for each position.
    @inline(__always)
    private func forEach(from first: Int, _ body: (_ contiguous: Int, _ strided: Int) -> Void) {
        if count == 0 { return }
        var step = 1
        for axis in 0..<first { step *= extents[axis] }
        var counters = InlineArray<6, Int>(repeating: 0)
        var (contiguous, strided) = (0, 0)
        while true {
            body(contiguous, strided)
            contiguous += step
            var axis = first
            while axis < rank {
                counters[axis] += 1
                strided += strides[axis]
                if counters[axis] < extents[axis] { break }
                strided -= strides[axis] * extents[axis]
                counters[axis] = 0
                axis += 1
            }
            if axis >= rank { return }
        }
    }

    /// True when the two innermost axes are a matrix transposition.
    private var isTransposition: Bool { rank >= 2 && strides[1] == 1 && strides[0] != 0 && extents[0] > 1 && extents[1] >= 4 }

    /// out[i] = source[strided i].
    func copy<Element: BitwiseCopyable>(to out: UnsafeMutablePointer<Element>, from source: UnsafePointer<Element>) {
        let (n, s) = (run, runStride)
        if isTransposition {
            let m = extents[1]
            forEach(from: 2) { contiguous, strided in
                for first in stride(from: 0, to: m, by: Self.block) {
                    let last = min(first + Self.block, m)
                    for i in 0..<n {
                        let (from, to) = (source + strided + i * s, out + contiguous + i)
                        for j in first..<last { to[j * n] = from[j] }
                    }
                }
            }
            return
        }
        forEachRun { contiguous, strided in
            let (from, to) = (source + strided, out + contiguous)
            switch s {
            case 1: to.update(from: from, count: n)
            case 0: to.update(repeating: from[0], count: n)
            default: for i in 0..<n { to[i] = from[i * s] }
            }
        }
    }

    /// target[strided i] = source[i], for layouts that meet no element twice.
    func scatter(from source: UnsafePointer<Float>, to target: UnsafeMutablePointer<Float>) {
        let (n, s) = (run, runStride)
        if isTransposition {
            let m = extents[1]
            forEach(from: 2) { contiguous, strided in
                for first in stride(from: 0, to: m, by: Self.block) {
                    let last = min(first + Self.block, m)
                    for i in 0..<n {
                        let (from, to) = (source + contiguous + i, target + strided + i * s)
                        for j in first..<last { to[j] = from[j * n] }
                    }
                }
            }
            return
        }
        forEachRun { contiguous, strided in
            let (from, to) = (source + contiguous, target + strided)
            if s == 1 {
                to.update(from: from, count: n)
            } else {
                for i in 0..<n { to[i * s] = from[i] }
            }
        }
    }

    /// target[strided i] += source[i]; with strides of 0 this sums.
    func scatterAdd(from source: UnsafePointer<Float>, to target: UnsafeMutablePointer<Float>) {
        let (n, s) = (run, runStride)
        if isTransposition {
            let m = extents[1]
            forEach(from: 2) { contiguous, strided in
                for first in stride(from: 0, to: m, by: Self.block) {
                    let last = min(first + Self.block, m)
                    for i in 0..<n {
                        let (from, to) = (source + contiguous + i, target + strided + i * s)
                        for j in first..<last { to[j] += from[j * n] }
                    }
                }
            }
            return
        }
        forEachRun { contiguous, strided in
            let (from, to) = (source + contiguous, target + strided)
            switch s {
            case 1: kernels.add(to, to, from, n)
            case 0: to[0] += Float(kernels.sum(from, n))
            default: for i in 0..<n { to[i * s] += from[i] }
            }
        }
    }
}

extension Shape {
    /// Elements between neighbours along each axis, row-major, held inline.
    var inlineStrides: InlineArray<6, Int> {
        var result = InlineArray<6, Int>(repeating: 0)
        var step = 1
        for axis in stride(from: rank - 1, through: 0, by: -1) {
            result[axis] = step
            step *= self[axis]
        }
        return result
    }
}

extension Tensor {
    /// The first element of a tensor of any 32-bit type, as bits.
    var words: UnsafeMutablePointer<UInt32> {
        require(dataType != .bfloat16, "a tensor of 32-bit elements was expected, not \(dataType)")
        return storage.pointer.assumingMemoryBound(to: UInt32.self) + offset
    }

    /// The elements that `layout` picks, starting at `first`, on the tape. Shares storage where the elements are contiguous.
    ///
    /// - Parameter meetsEachOnce: the layout is a permutation of all elements.
    func strided(_ shape: Shape, _ strides: InlineArray<6, Int>, first: Int = 0, meetsEachOnce: Bool = false) -> Tensor {
        let layout = StridedLayout(shape, strides: strides)
        var y: Tensor
        if layout.isContiguous {
            y = viewed(as: shape, offset: first)
        } else {
            y = Tensor(uninitialized: shape, dataType)
            layout.copy(to: y.words, from: words + first)
        }
        return Operation("reorder").record(y, from: self) { [node] gradient in
            guard let node else { return }
            if layout.isContiguous && gradient.count == node.shape.count {
                node.accumulate(gradient)
            } else if meetsEachOnce {
                node.withGradient { target, accumulate in
                    let start = target + first
                    if accumulate { layout.scatterAdd(from: gradient.floats, to: start) } else { layout.scatter(from: gradient.floats, to: start) }
                }
            } else {
                node.withZeroedGradient { layout.scatterAdd(from: gradient.floats, to: $0 + first) }
            }
        }
    }
}

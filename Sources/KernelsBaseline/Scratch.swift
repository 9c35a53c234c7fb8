// Results in float32 on their way to bfloat16.
//
// Legend: n elements, W the number of lanes of a vector.
// Rounding at the end of a long chain of dependent instructions costs the processor four times what it costs in a loop of its own: its window of
// waiting instructions is short. So long functions are computed for 16 vectors into first-level cache, and then rounded.

import KernelTypes

/// Room for twice 16 vectors.
struct Scratch {
    private var vectors = (Half(), Half())

    /// Elements that half a scratch holds.
    @_transparent static var count: Int { 16 &* laneCount }
}

/// Room for 16 vectors.
private struct Half {
    private var vectors = (
        Vector.zero, Vector.zero, Vector.zero, Vector.zero, Vector.zero, Vector.zero, Vector.zero, Vector.zero, Vector.zero, Vector.zero, Vector.zero,
        Vector.zero, Vector.zero, Vector.zero, Vector.zero, Vector.zero
    )
}

/// The runs of at most `Scratch.count` elements of 0 ..< n: their first elements and their lengths.
struct ScratchRuns: Sequence, IteratorProtocol {
    private var offset = 0
    private let end: Int

    @_transparent
    init(_ n: Int) { end = n }

    @_transparent
    mutating func next() -> (start: Int, count: Int)? {
        if offset >= end { return nil }
        let start = offset
        offset &+= Scratch.count
        return (start, Swift.min(Scratch.count, end &- start))
    }
}

/// out = a, rounded.
@inline(__always)
func narrowRow(_ out: BFloatOutput, _ a: FloatInput, _ n: Int) {
    for i in blocks(n).full { store(out, i, load(a, i)) }
    if let i = blocks(n).rest { store(out, i, load(a, i)) }
}

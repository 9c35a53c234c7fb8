// Dropout by a counter-based random number generator (the idea of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
//
// Legend: n elements, W lanes.
// The 32-bit number of counter c is the half number c mod 2 (0 the lower one) of the 64-bit word f(seed + (c div 2) * golden), where
// seed = f(key + golden), golden = 2^64 / phi made odd, and f is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
// pseudorandom number generators", 2014; constants of variant 13 by D. Stafford), a bijection that lets each input bit flip each output bit
// with probability near one half. Everything wraps modulo 2^64, so any part of a mask can be made alone, at any width.

import KernelTypes

private let golden: UInt64 = 0x9E37_79B9_7F4A_7C15
private let firstMultiplier: UInt64 = 0xBF58_476D_1CE4_E5B9
private let secondMultiplier: UInt64 = 0x94D0_49BB_1331_11EB

/// The finaliser f.
@inline(__always)
private func finalized(_ word: UInt64) -> UInt64 {
    var z = word
    z = (z ^ (z &>> 30)) &* firstMultiplier
    z = (z ^ (z &>> 27)) &* secondMultiplier
    return z ^ (z &>> 31)
}

/// The finaliser f, on W / 2 words.
@inline(__always)
private func finalized(_ word: WordVector) -> WordVector {
    var z = word
    z = (z ^ (z &>> WordVector(repeating: 30))) &* WordVector(repeating: firstMultiplier)
    z = (z ^ (z &>> WordVector(repeating: 27))) &* WordVector(repeating: secondMultiplier)
    return z ^ (z &>> WordVector(repeating: 31))
}

/// Calls body(offset, count, keep) for every vector; the first element goes alone when `first` is odd, so that words are never split.
@inline(__always)
private func forEachMask(key: UInt64, first: UInt64, keepThreshold: UInt32, _ n: Int, _ body: (_ offset: Int, _ count: Int, _ keep: Mask) -> Void) {
    if n == 0 { return }
    let seed = finalized(key &+ golden)
    // Signed comparison with both sides shifted by 2^31 is unsigned comparison.
    let threshold = splat(Int32(bitPattern: keepThreshold ^ 0x8000_0000))
    var steps = WordVector.zero
    for lane in 0..<width / 2 { steps[lane] = UInt64(truncatingIfNeeded: lane) &* golden }
    var start = 0
    if first & 1 == 1 {
        let pattern = UInt32(truncatingIfNeeded: finalized(seed &+ (first &>> 1) &* golden) &>> 32)
        let kept: Int32 = pattern < keepThreshold ? 1 : 0
        body(0, 1, splat(kept) .== splat(Int32(1)))
        start = 1
    }
    var word = seed &+ ((first &+ UInt64(truncatingIfNeeded: start)) &>> 1) &* golden
    var i = start
    while i < n {
        let hash = unsafeBitCast(finalized(WordVector(repeating: word) &+ steps), to: IntegerVector.self)
        let keep = (hash ^ splat(Int32.min)) .< threshold
        if i &+ width <= n { body(i, width, keep) } else { body(i, n &- i, keep) }
        word = word &+ UInt64(truncatingIfNeeded: width / 2) &* golden
        i &+= width
    }
}

extension VariantKernels {
    public func dropout(_ out: FloatOutput, _ a: FloatInput, key: UInt64, first: UInt64, keepThreshold: UInt32, scale: Float, _ n: Int) {
        let s = splat(scale)
        forEachMask(key: key, first: first, keepThreshold: keepThreshold, n) { i, count, keep in
            store(out + i, Vector.zero.replacing(with: load(a + i, count: count) * s, where: keep), count: count)
        }
    }

    public func addDropout(_ out: FloatOutput, _ a: FloatInput, key: UInt64, first: UInt64, keepThreshold: UInt32, scale: Float, _ n: Int) {
        let s = splat(scale)
        forEachMask(key: key, first: first, keepThreshold: keepThreshold, n) { i, count, keep in
            let kept = Vector.zero.replacing(with: load(a + i, count: count) * s, where: keep)
            store(out + i, load(out + i, count: count) + kept, count: count)
        }
    }
}

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
@_transparent
private func finalized(_ word: UInt64) -> UInt64 {
    var z = word
    z = (z ^ (z &>> 30)) &* firstMultiplier
    z = (z ^ (z &>> 27)) &* secondMultiplier
    return z ^ (z &>> 31)
}

/// The finaliser f, on W / 2 words.
@_transparent
private func finalized(_ word: WordVector) -> WordVector {
    var z = word
    z = (z ^ (z &>> WordVector(repeating: 30))) &* WordVector(repeating: firstMultiplier)
    z = (z ^ (z &>> WordVector(repeating: 27))) &* WordVector(repeating: secondMultiplier)
    return z ^ (z &>> WordVector(repeating: 31))
}

/// The masks of successive blocks.
private struct MaskGenerator {
    private let threshold: IntegerVector
    private let seed: UInt64
    private let steps: WordVector
    private var word: UInt64 = 0

    @_transparent
    init(key: UInt64, first: UInt64, keepThreshold: UInt32) {
        // Signed comparison with both sides shifted by 2^31 is unsigned comparison.
        threshold = splat(Int32(bitPattern: keepThreshold ^ 0x8000_0000))
        seed = finalized(key &+ golden)
        var steps = WordVector.zero
        for lane in 0..<width / 2 { steps[lane] = UInt64(truncatingIfNeeded: lane) &* golden }
        self.steps = steps
        word = seed &+ (first &>> 1) &* golden
    }

    /// The mask of the next W counters, of which the first is even.
    @_transparent
    mutating func next() -> Mask {
        let hash = unsafeBitCast(finalized(WordVector(repeating: word) &+ steps), to: IntegerVector.self)
        word = word &+ UInt64(truncatingIfNeeded: width / 2) &* golden
        return (hash ^ splat(Int32.min)) .< threshold
    }
}

/// Whether the element of one counter is kept.
@_transparent
private func isKept(key: UInt64, counter: UInt64, keepThreshold: UInt32) -> Bool {
    let word = finalized(finalized(key &+ golden) &+ (counter &>> 1) &* golden)
    return UInt32(truncatingIfNeeded: word &>> ((counter & 1) &* 32)) < keepThreshold
}

/// v in the lanes that are kept, 0 in the others. (As a choice between v and 0 the mask would go into the load that v comes from, and a load that
/// waits for its mask is one that memory is not asked for early.)
@_transparent
private func kept(_ v: Vector, _ mask: Mask) -> Vector {
    floats(bits(v) & integers(mask))
}

/// r + v in the lanes that are kept, r in the others.
@_transparent
private func added(_ r: Vector, _ v: Vector, _ mask: Mask) -> Vector {
    r.replacing(with: r + v, where: mask)
}

/// out = dropped a
@inline(never)
private func drop<Out: VectorElement, A: VectorElement>(
    _ out: UnsafeMutablePointer<Out>, _ a: UnsafePointer<A>, _ key: UInt64, _ first: UInt64, _ keepThreshold: UInt32, _ scale: Float, _ n: Int
) {
    let s = splat(scale)
    var start = 0
    // A first element with an odd counter goes alone, so that no word is split between blocks.
    if first & 1 == 1 && n > 0 {
        let one = Block(offset: 0, count: 1)
        store(out, one, isKept(key: key, counter: first, keepThreshold: keepThreshold) ? load(a, one) * s : Vector.zero)
        start = 1
    }
    var masks = MaskGenerator(key: key, first: first &+ UInt64(truncatingIfNeeded: start), keepThreshold: keepThreshold)
    let all = Blocks(from: start, to: n)
    for i in all.full { store(out, i, kept(load(a, i) * s, masks.next())) }
    if let i = all.rest { store(out, i, kept(load(a, i) * s, masks.next())) }
}

/// out = residual + dropped a
@inline(never)
private func addDropped<Out: VectorElement, R: VectorElement, A: VectorElement>(
    _ out: UnsafeMutablePointer<Out>, _ residual: UnsafePointer<R>, _ a: UnsafePointer<A>, _ key: UInt64, _ first: UInt64, _ keepThreshold: UInt32,
    _ scale: Float, _ n: Int
) {
    let s = splat(scale)
    var start = 0
    if first & 1 == 1 && n > 0 {
        let one = Block(offset: 0, count: 1)
        let r = load(residual, one)
        store(out, one, isKept(key: key, counter: first, keepThreshold: keepThreshold) ? r + load(a, one) * s : r)
        start = 1
    }
    var masks = MaskGenerator(key: key, first: first &+ UInt64(truncatingIfNeeded: start), keepThreshold: keepThreshold)
    let all = Blocks(from: start, to: n)
    for i in all.full { store(out, i, added(load(residual, i), load(a, i) * s, masks.next())) }
    if let i = all.rest { store(out, i, added(load(residual, i), load(a, i) * s, masks.next())) }
}

extension VariantKernels {
    public func dropout(_ out: Elements, _ a: Elements, key: UInt64, first: UInt64, keepThreshold: UInt32, scale: Float, _ n: Int) {
        switch (out.type, a.type) {
        case (.float32, .float32): drop(out.floats, a.floats, key, first, keepThreshold, scale, n)
        case (.float32, .bfloat16): drop(out.floats, a.bfloats, key, first, keepThreshold, scale, n)
        case (.bfloat16, .float32): drop(out.bfloats, a.floats, key, first, keepThreshold, scale, n)
        case (.bfloat16, .bfloat16): drop(out.bfloats, a.bfloats, key, first, keepThreshold, scale, n)
        default: refuseTypes("dropout", out.type, a.type)
        }
    }

    public func addDropout(
        _ out: Elements, _ residual: Elements, _ a: Elements, key: UInt64, first: UInt64, keepThreshold: UInt32, scale: Float, _ n: Int
    ) {
        switch (out.type, residual.type, a.type) {
        case (.float32, .float32, .float32): addDropped(out.floats, residual.floats, a.floats, key, first, keepThreshold, scale, n)
        case (.float32, .float32, .bfloat16): addDropped(out.floats, residual.floats, a.bfloats, key, first, keepThreshold, scale, n)
        case (.float32, .bfloat16, .float32): addDropped(out.floats, residual.bfloats, a.floats, key, first, keepThreshold, scale, n)
        case (.float32, .bfloat16, .bfloat16): addDropped(out.floats, residual.bfloats, a.bfloats, key, first, keepThreshold, scale, n)
        case (.bfloat16, .bfloat16, .bfloat16): addDropped(out.bfloats, residual.bfloats, a.bfloats, key, first, keepThreshold, scale, n)
        default: refuseTypes("addDropout", out.type, residual.type, a.type)
        }
    }
}

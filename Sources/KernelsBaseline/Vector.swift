// The vector type of this instruction set, its loads and stores, and the loops that every kernel is written in.
//
// Legend: n elements, W the number of lanes of a vector.
// A remainder of fewer than W elements is copied into a padded vector and goes through the same arithmetic as a full one, so element i
// does not depend on n or on alignment.
//
// What the compiler turns into single instructions here, and what not, was read from the emitted code: comparison, `replacing`, bit casts and
// shifts are instructions; `squareRoot` is one with -fno-math-errno; conversions between vector types, `any`, `min()` and unsigned
// comparison become calls of shared unspecialised functions, which must not appear in this module at all: the linker would keep one copy of
// such a function for the whole program, perhaps the one compiled for the largest instruction set.

import KernelTypes

#if MNEME_AVX512
    /// The natural vector of the instruction set.
    typealias Vector = SIMD16<Float>
    /// A vector of the same size, seen as integers.
    typealias IntegerVector = SIMD16<Int32>
    /// A vector of the same size, seen as 64-bit words.
    typealias WordVector = SIMD8<UInt64>
    /// Lanes of a vector.
    @inline(__always) var width: Int { 16 }
#elseif MNEME_FMA
    typealias Vector = SIMD8<Float>
    typealias IntegerVector = SIMD8<Int32>
    typealias WordVector = SIMD4<UInt64>
    @inline(__always) var width: Int { 8 }
#else
    typealias Vector = SIMD4<Float>
    typealias IntegerVector = SIMD4<Int32>
    typealias WordVector = SIMD2<UInt64>
    @inline(__always) var width: Int { 4 }
#endif

/// True or false in each lane.
typealias Mask = SIMDMask<IntegerVector>

// MARK: loads and stores

/// W elements from p.
@inline(__always)
func load(_ p: FloatInput) -> Vector {
    UnsafeRawPointer(p).loadUnaligned(as: Vector.self)
}

/// W elements to p.
@inline(__always)
func store(_ p: FloatOutput, _ v: Vector) {
    UnsafeMutableRawPointer(p).storeBytes(of: v, as: Vector.self)
}

/// `count` elements from p, the other lanes `padding`.
@inline(__always)
func load(_ p: FloatInput, count: Int, padding: Float = 0) -> Vector {
    if count == width { return load(p) }
    var v = Vector(repeating: padding)
    withUnsafeMutableBytes(of: &v) { $0.baseAddress.unsafelyUnwrapped.copyMemory(from: p, byteCount: count &* 4) }
    return v
}

/// The first `count` lanes to p.
@inline(__always)
func store(_ p: FloatOutput, _ v: Vector, count: Int) {
    if count == width { return store(p, v) }
    withUnsafeBytes(of: v) { UnsafeMutableRawPointer(p).copyMemory(from: $0.baseAddress.unsafelyUnwrapped, byteCount: count &* 4) }
}

// MARK: loops

/// Calls `body(offset, count)` for every vector of 0 ..< n: count is W, but for the last, which may be shorter.
@inline(__always)
func forEachVector(_ n: Int, _ body: (_ offset: Int, _ count: Int) -> Void) {
    var i = 0
    while i &+ width <= n {
        body(i, width)
        i &+= width
    }
    if i < n { body(i, n &- i) }
}

/// out[i] = function(a[i])
@inline(__always)
func map(_ out: FloatOutput, _ a: FloatInput, _ n: Int, _ function: (Vector) -> Vector) {
    forEachVector(n) { store(out + $0, function(load(a + $0, count: $1)), count: $1) }
}

/// out[i] = function(a[i], b[i])
@inline(__always)
func map(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int, _ function: (Vector, Vector) -> Vector) {
    forEachVector(n) { store(out + $0, function(load(a + $0, count: $1), load(b + $0, count: $1)), count: $1) }
}

/// Elements that are summed in float32 before the partial sums are combined in float64.
@inline(__always) var sumBlock: Int { 4096 }

/// The sum of the vectors term(offset, count), which must be 0 in the lanes beyond count: four float32 accumulators over blocks of 4,096 elements,
/// blocks combined in float64.
@inline(__always)
func sumOfVectors(_ n: Int, _ term: (_ offset: Int, _ count: Int) -> Vector) -> Double {
    var total = 0.0
    var start = 0
    while start < n {
        let end = min(start &+ sumBlock, n)
        var s0 = Vector.zero, s1 = Vector.zero, s2 = Vector.zero, s3 = Vector.zero
        var i = start
        while i &+ 4 &* width <= end {
            s0 += term(i, width)
            s1 += term(i &+ width, width)
            s2 += term(i &+ 2 &* width, width)
            s3 += term(i &+ 3 &* width, width)
            i &+= 4 &* width
        }
        while i &+ width <= end {
            s0 += term(i, width)
            i &+= width
        }
        if i < end { s1 += term(i, end &- i) }
        total += horizontalSum((s0 + s1) + (s2 + s3))
        start = end
    }
    return total
}

// MARK: lanes

/// The lanes added as a tree: halves in float32 down to four, those in float64.
@inline(__always)
func horizontalSum(_ v: Vector) -> Double {
    #if MNEME_AVX512
        let half = v.lowHalf + v.highHalf
        let four = half.lowHalf + half.highHalf
    #elseif MNEME_FMA
        let four = v.lowHalf + v.highHalf
    #else
        let four = v
    #endif
    return (Double(four.x) + Double(four.y)) + (Double(four.z) + Double(four.w))
}

/// The largest lane; a NaN may be lost.
@inline(__always)
func horizontalMaximum(_ v: Vector) -> Float {
    #if MNEME_AVX512
        let half = v.lowHalf.replacing(with: v.highHalf, where: v.highHalf .> v.lowHalf)
        let four = half.lowHalf.replacing(with: half.highHalf, where: half.highHalf .> half.lowHalf)
    #elseif MNEME_FMA
        let four = v.lowHalf.replacing(with: v.highHalf, where: v.highHalf .> v.lowHalf)
    #else
        let four = v
    #endif
    let a = four.x > four.y ? four.x : four.y
    let b = four.z > four.w ? four.z : four.w
    return a > b ? a : b
}

/// True when any bit of any lane is set.
@inline(__always)
func anyBit(_ v: IntegerVector) -> Bool {
    #if MNEME_AVX512
        let half = v.lowHalf | v.highHalf
        let four = half.lowHalf | half.highHalf
    #elseif MNEME_FMA
        let four = v.lowHalf | v.highHalf
    #else
        let four = v
    #endif
    return (four.x | four.y) | (four.z | four.w) != 0
}

/// The mask as integers: all bits set where true.
@inline(__always)
func integers(_ mask: Mask) -> IntegerVector {
    unsafeBitCast(mask, to: IntegerVector.self)
}

/// The bit patterns of the lanes.
@inline(__always)
func bits(_ v: Vector) -> IntegerVector {
    unsafeBitCast(v, to: IntegerVector.self)
}

/// The lanes with these bit patterns.
@inline(__always)
func floats(_ v: IntegerVector) -> Vector {
    unsafeBitCast(v, to: Vector.self)
}

/// `value` in every lane.
@inline(__always)
func splat(_ value: Float) -> Vector {
    Vector(repeating: value)
}

/// `value` in every lane.
@inline(__always)
func splat(_ value: Int32) -> IntegerVector {
    IntegerVector(repeating: value)
}

/// a * b + c, rounded once where the instruction set can.
@inline(__always)
func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector {
    #if MNEME_FMA
        return c.addingProduct(a, b)
    #else
        return a * b + c
    #endif
}

/// c - a * b, rounded once where the instruction set can.
@inline(__always)
func multiplySubtract(_ a: Vector, _ b: Vector, from c: Vector) -> Vector {
    #if MNEME_FMA
        return c.addingProduct(-a, b)
    #else
        return c - a * b
    #endif
}

/// The larger of v and `bound`; NaN stays.
@inline(__always)
func atLeast(_ v: Vector, _ bound: Float) -> Vector {
    v.replacing(with: splat(bound), where: v .< splat(bound))
}

/// The smaller of v and `bound`; NaN stays.
@inline(__always)
func atMost(_ v: Vector, _ bound: Float) -> Vector {
    v.replacing(with: splat(bound), where: v .> splat(bound))
}

/// The larger lane of the two; a NaN in `b` is passed over.
@inline(__always)
func larger(_ a: Vector, _ b: Vector) -> Vector {
    a.replacing(with: b, where: b .> a)
}

/// |v|
@inline(__always)
func magnitude(_ v: Vector) -> Vector {
    floats(bits(v) & splat(0x7FFF_FFFF))
}

/// |v| with the sign of s.
@inline(__always)
func withSign(_ v: Vector, of s: Vector) -> Vector {
    floats((bits(v) & splat(0x7FFF_FFFF)) | (bits(s) & splat(Int32.min)))
}

/// 0, 1, 2, ... in the lanes.
@inline(__always)
var laneIndices: IntegerVector {
    #if MNEME_AVX512
        IntegerVector(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    #elseif MNEME_FMA
        IntegerVector(0, 1, 2, 3, 4, 5, 6, 7)
    #else
        IntegerVector(0, 1, 2, 3)
    #endif
}

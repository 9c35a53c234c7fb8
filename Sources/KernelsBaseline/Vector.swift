// The vector type of this instruction set, its loads and stores, and the loops that every kernel is written in.
//
// Legend: n elements, W the number of lanes of a vector.
// A remainder of fewer than W elements is copied into a padded vector and goes through the same arithmetic as a full one, so element i
// does not depend on n or on alignment.
//
// What the compiler turns into single instructions here, and what not, was read from the emitted code. Comparison, `replacing`, bit casts and
// shifts are instructions, and `squareRoot` is one with -fno-math-errno. Conversions between vector types, `any`, `min()`, `lowHalf` and unsigned
// comparison become calls of specialised library functions that carry no module in their names. Such a function must not appear in this module at
// all: the linker keeps one copy for the whole program, perhaps the one compiled for the largest instruction set. KernelsTests looks for them.
// So every helper is transparent, loops take no closures, and no function is so large that the compiler stops inlining in it.

import KernelTypes

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

#if MNEME_AVX512
    /// The natural vector of the instruction set.
    typealias Vector = SIMD16<Float>
    /// A vector of the same size, seen as integers.
    typealias IntegerVector = SIMD16<Int32>
    /// A vector of the same size, seen as 64-bit words.
    typealias WordVector = SIMD8<UInt64>
    /// Lanes of a vector.
    @_transparent var laneCount: Int { 16 }
#elseif MNEME_FMA
    typealias Vector = SIMD8<Float>
    typealias IntegerVector = SIMD8<Int32>
    typealias WordVector = SIMD4<UInt64>
    @_transparent var laneCount: Int { 8 }
#else
    typealias Vector = SIMD4<Float>
    typealias IntegerVector = SIMD4<Int32>
    typealias WordVector = SIMD2<UInt64>
    @_transparent var laneCount: Int { 4 }
#endif

/// True or false in each lane.
typealias Mask = SIMDMask<IntegerVector>

// MARK: loads and stores

/// W elements from p.
@_transparent
func load(_ p: FloatInput) -> Vector {
    UnsafeRawPointer(p).loadUnaligned(as: Vector.self)
}

/// W elements to p.
@_transparent
func store(_ p: FloatOutput, _ v: Vector) {
    UnsafeMutableRawPointer(p).storeBytes(of: v, as: Vector.self)
}

/// The elements of block i of p; lanes beyond the block are `padding`.
@_transparent
func load(_ p: FloatInput, _ i: Block, padding: Float = 0) -> Vector {
    if i.isFull { return load(p + i.offset) }
    var v = Vector(repeating: padding)
    memcpy(&v, p + i.offset, i.count &* 4)
    return v
}

/// The lanes of block i to p.
@_transparent
func store(_ p: FloatOutput, _ i: Block, _ v: Vector) {
    if i.isFull { return store(p + i.offset, v) }
    var lanes = v
    memcpy(p + i.offset, &lanes, i.count &* 4)
}

// MARK: loops

/// A run of W elements, or of fewer at the end of an array.
struct Block {
    /// The first element.
    let offset: Int
    /// Elements: 1 ... W.
    let count: Int
    /// True for W elements.
    @_transparent var isFull: Bool { count == laneCount }
}

/// The blocks of W elements of a range, the last of them perhaps shorter: `for i in blocks(n) { store(out, i, -load(a, i)) }`.
struct Blocks: Sequence, IteratorProtocol {
    var offset: Int
    let end: Int

    @_transparent
    init(from start: Int, to end: Int) {
        offset = start
        self.end = end
    }

    @_transparent
    mutating func next() -> Block? {
        if offset >= end { return nil }
        let block = Block(offset: offset, count: Swift.min(laneCount, end &- offset))
        offset &+= laneCount
        return block
    }
}

/// The blocks of W elements of a range, without a remainder. A loop over these holds no call, so that accumulators stay in registers; its body is
/// repeated for `Blocks.rest` by hand, which pays where a loop carries several sums.
struct FullBlocks: Sequence, IteratorProtocol {
    var offset: Int
    let end: Int

    @_transparent
    init(_ blocks: Blocks) {
        offset = blocks.offset
        end = blocks.end
    }

    @_transparent
    mutating func next() -> Block? {
        if offset &+ laneCount > end { return nil }
        let block = Block(offset: offset, count: laneCount)
        offset &+= laneCount
        return block
    }
}

extension Blocks {
    /// All but a remainder.
    @_transparent var full: FullBlocks { FullBlocks(self) }

    /// The remainder; nil when the range is a multiple of W.
    @_transparent var rest: Block? {
        let count = (end &- offset) % laneCount
        return count == 0 ? nil : Block(offset: end &- count, count: count)
    }
}

/// The blocks of 0 ..< n.
@_transparent
func blocks(_ n: Int) -> Blocks {
    Blocks(from: 0, to: n)
}

/// The sum of vectors: float32 accumulators, combined in float64 after every 4,096 elements, so that the error of a long sum stays that of a
/// short one.
/// Four accumulators take turns, so that additions need not wait for one another.
struct VectorSum {
    private var s0 = Vector.zero, s1 = Vector.zero, s2 = Vector.zero, s3 = Vector.zero

    @_transparent
    init() {}

    /// Adds v, which must be 0 in lanes that do not count.
    @_transparent
    mutating func add(_ v: Vector) {
        let oldest = s0
        s0 = s1
        s1 = s2
        s2 = s3
        s3 = oldest + v
    }

    /// The sum of all lanes.
    @_transparent
    var total: Double { horizontalSum((s0 + s1) + (s2 + s3)) }
}

/// The largest of vectors; a NaN is passed over. Four take turns, as in `VectorSum`.
struct VectorMaximum {
    private var m0 = splat(-Float.infinity), m1 = splat(-Float.infinity), m2 = splat(-Float.infinity), m3 = splat(-Float.infinity)

    @_transparent
    init() {}

    /// Takes v into account.
    @_transparent
    mutating func add(_ v: Vector) {
        let oldest = m0
        m0 = m1
        m1 = m2
        m2 = m3
        m3 = larger(oldest, v)
    }

    /// The largest lane; -infinity when there was none.
    @_transparent
    var largest: Float { horizontalMaximum(larger(larger(m0, m1), larger(m2, m3))) }
}

/// Elements that are summed in float32 before the partial sum is added in float64.
@_transparent var sumSpan: Int { 4096 }

/// The spans of at most 4,096 elements of 0 ..< n.
struct Spans: Sequence, IteratorProtocol {
    var offset = 0
    let end: Int

    @_transparent
    init(_ n: Int) {
        end = n
    }

    @_transparent
    mutating func next() -> Blocks? {
        if offset >= end { return nil }
        let stop = Swift.min(offset &+ sumSpan, end)
        let span = Blocks(from: offset, to: stop)
        offset = stop
        return span
    }
}

// MARK: lanes

/// The lower and the upper lanes. (`lowHalf` and `highHalf` may become calls of shared functions.)
@_transparent
func halves(_ v: SIMD16<Float>) -> (SIMD8<Float>, SIMD8<Float>) {
    unsafeBitCast(v, to: (SIMD8<Float>, SIMD8<Float>).self)
}

/// The lower and the upper lanes.
@_transparent
func halves(_ v: SIMD8<Float>) -> (SIMD4<Float>, SIMD4<Float>) {
    unsafeBitCast(v, to: (SIMD4<Float>, SIMD4<Float>).self)
}

/// Halves of the lanes added in float32 until four are left.
@_transparent
func sumsOfHalves(_ v: Vector) -> SIMD4<Float> {
    #if MNEME_AVX512
        let (low, high) = halves(v)
        let (first, second) = halves(low + high)
        return first + second
    #elseif MNEME_FMA
        let (first, second) = halves(v)
        return first + second
    #else
        return v
    #endif
}

/// The lanes added as a tree: halves in float32 down to four, those in float64.
@_transparent
func horizontalSum(_ v: Vector) -> Double {
    let four = sumsOfHalves(v)
    return (Double(four.x) + Double(four.y)) + (Double(four.z) + Double(four.w))
}

/// The lanes added as a tree in float32, where float64 is not needed.
@_transparent
func laneSum(_ v: Vector) -> Float {
    let four = sumsOfHalves(v)
    return (four.x + four.z) + (four.y + four.w)
}

/// The largest lane; a NaN may be lost.
@_transparent
func horizontalMaximum(_ v: Vector) -> Float {
    #if MNEME_AVX512
        let (low, high) = halves(v)
        let (first, second) = halves(low.replacing(with: high, where: high .> low))
        let four = first.replacing(with: second, where: second .> first)
    #elseif MNEME_FMA
        let (first, second) = halves(v)
        let four = first.replacing(with: second, where: second .> first)
    #else
        let four = v
    #endif
    let a = four.x > four.y ? four.x : four.y
    let b = four.z > four.w ? four.z : four.w
    return a > b ? a : b
}

/// True when any bit of any lane is set.
@_transparent
func anyBit(_ v: IntegerVector) -> Bool {
    #if MNEME_AVX512
        let (low, high) = unsafeBitCast(v, to: (SIMD8<Int32>, SIMD8<Int32>).self)
        let (first, second) = unsafeBitCast(low | high, to: (SIMD4<Int32>, SIMD4<Int32>).self)
        let four = first | second
    #elseif MNEME_FMA
        let (first, second) = unsafeBitCast(v, to: (SIMD4<Int32>, SIMD4<Int32>).self)
        let four = first | second
    #else
        let four = v
    #endif
    return (four.x | four.y) | (four.z | four.w) != 0
}

/// The mask as integers: all bits set where true.
@_transparent
func integers(_ mask: Mask) -> IntegerVector {
    unsafeBitCast(mask, to: IntegerVector.self)
}

/// The bit patterns of the lanes.
@_transparent
func bits(_ v: Vector) -> IntegerVector {
    unsafeBitCast(v, to: IntegerVector.self)
}

/// The lanes with these bit patterns.
@_transparent
func floats(_ v: IntegerVector) -> Vector {
    unsafeBitCast(v, to: Vector.self)
}

/// `value` in every lane.
@_transparent
func splat(_ value: Float) -> Vector {
    Vector(repeating: value)
}

/// `value` in every lane.
@_transparent
func splat(_ value: Int32) -> IntegerVector {
    IntegerVector(repeating: value)
}

/// a * b + c, rounded once where the instruction set can.
@_transparent
func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector {
    #if MNEME_FMA
        return c.addingProduct(a, b)
    #else
        return a * b + c
    #endif
}

/// c - a * b, rounded once where the instruction set can.
@_transparent
func multiplySubtract(_ a: Vector, _ b: Vector, from c: Vector) -> Vector {
    #if MNEME_FMA
        return c.addingProduct(negated(a), b)
    #else
        return c - a * b
    #endif
}

/// The larger of v and `bound`; NaN stays.
@_transparent
func atLeast(_ v: Vector, _ bound: Float) -> Vector {
    v.replacing(with: splat(bound), where: v .< splat(bound))
}

/// The smaller of v and `bound`; NaN stays.
@_transparent
func atMost(_ v: Vector, _ bound: Float) -> Vector {
    v.replacing(with: splat(bound), where: v .> splat(bound))
}

/// The larger lane of the two; a NaN in `b` is passed over.
@_transparent
func larger(_ a: Vector, _ b: Vector) -> Vector {
    a.replacing(with: b, where: b .> a)
}

/// -v, by its sign bit: the operator would subtract from zero, an instruction more, and 0 for 0.
@_transparent
func negated(_ v: Vector) -> Vector {
    floats(bits(v) ^ splat(Int32.min))
}

/// |v|
@_transparent
func magnitude(_ v: Vector) -> Vector {
    floats(bits(v) & splat(0x7FFF_FFFF))
}

/// |v| with the sign of s.
@_transparent
func withSign(_ v: Vector, of s: Vector) -> Vector {
    floats((bits(v) & splat(0x7FFF_FFFF)) | (bits(s) & splat(Int32.min)))
}

/// 0, 1, 2, ... in the lanes.
@_transparent
var laneIndices: IntegerVector {
    #if MNEME_AVX512
        IntegerVector(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    #elseif MNEME_FMA
        IntegerVector(0, 1, 2, 3, 4, 5, 6, 7)
    #else
        IntegerVector(0, 1, 2, 3)
    #endif
}

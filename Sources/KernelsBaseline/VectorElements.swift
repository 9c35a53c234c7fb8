// The element types of arrays, as the vectors of float32 that every kernel computes in.
//
// Legend: W the number of lanes of a vector.
// A kernel that serves several element types is one generic function over pointers, which the compiler specialises for each; the kernel itself looks at
// the types of its arrays and calls it. Where all arrays of a kernel have one type, `floatingType` says which.
// The lane-wise loops below become one widening load (vpmovzxwd and a shift; punpcklwd on SSE2) and one narrowing store (vpmovdw, vpackusdw,
// packssdw), read from the emitted code on all instruction sets. The conversions of the SIMD types themselves would become shared functions.

import KernelTypes

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

#if MNEME_AVX512
    /// As many bfloat16 bit patterns as a vector has lanes.
    typealias HalfVector = SIMD16<UInt16>
#elseif MNEME_FMA
    typealias HalfVector = SIMD8<UInt16>
#else
    typealias HalfVector = SIMD4<UInt16>
#endif

/// What arrays hold: float32, or bfloat16 as bit patterns.
protocol VectorElement {
    /// W elements from p.
    static func vector(_ p: UnsafePointer<Self>) -> Vector
    /// The elements of block i of p; lanes beyond the block are `padding`.
    static func vector(_ p: UnsafePointer<Self>, _ i: Block, padding: Float) -> Vector
    /// W elements to p, rounded to nearest even.
    static func put(_ p: UnsafeMutablePointer<Self>, _ v: Vector)
    /// The lanes of block i to p, rounded to nearest even.
    static func put(_ p: UnsafeMutablePointer<Self>, _ i: Block, _ v: Vector)
    /// Where results for p are put in float32: p itself, or `scratch`.
    static func workspace(_ p: UnsafeMutablePointer<Self>, or scratch: FloatOutput) -> FloatOutput
    /// Brings n elements from the workspace to p.
    static func finish(_ p: UnsafeMutablePointer<Self>, from workspace: FloatInput, _ n: Int)
}

extension Float: VectorElement {
    @inline(__always)
    static func vector(_ p: FloatInput) -> Vector { load(p) }
    @inline(__always)
    static func vector(_ p: FloatInput, _ i: Block, padding: Float) -> Vector { load(p, i, padding: padding) }
    @inline(__always)
    static func put(_ p: FloatOutput, _ v: Vector) { store(p, v) }
    @inline(__always)
    static func put(_ p: FloatOutput, _ i: Block, _ v: Vector) { store(p, i, v) }
    @inline(__always)
    static func workspace(_ p: FloatOutput, or scratch: FloatOutput) -> FloatOutput { p }
    @inline(__always)
    static func finish(_ p: FloatOutput, from workspace: FloatInput, _ n: Int) {}
}

extension UInt16: VectorElement {
    @inline(__always)
    static func vector(_ p: BFloatInput) -> Vector { load(p) }
    @inline(__always)
    static func vector(_ p: BFloatInput, _ i: Block, padding: Float) -> Vector { load(p, i, padding: padding) }
    @inline(__always)
    static func put(_ p: BFloatOutput, _ v: Vector) { store(p, v) }
    @inline(__always)
    static func put(_ p: BFloatOutput, _ i: Block, _ v: Vector) { store(p, i, v) }
    @inline(__always)
    static func workspace(_ p: BFloatOutput, or scratch: FloatOutput) -> FloatOutput { scratch }
    @inline(__always)
    static func finish(_ p: BFloatOutput, from workspace: FloatInput, _ n: Int) { narrowRow(p, workspace, n) }
}

// MARK: bfloat16

/// The bfloat16 patterns as float32.
@_transparent
func widened(_ h: HalfVector) -> Vector {
    var v = IntegerVector.zero
    for lane in 0..<width { v[lane] = Int32(truncatingIfNeeded: h[lane]) }
    return floats(v &<< splat(Int32(16)))
}

/// The bfloat16 patterns nearest to the lanes, ties to even; a NaN becomes quiet and keeps its sign and upper payload.
@_transparent
func narrowed(_ v: Vector) -> HalfVector {
    let pattern = bits(v)
    // Adding 0x7FFF and the lowest kept bit carries exactly when the dropped half is above one half, or at one half with an odd rest.
    let odd = (pattern &>> splat(Int32(16))) & splat(Int32(1))
    let sum = pattern &+ odd &+ splat(Int32(0x7FFF))
    let rounded = sum.replacing(with: pattern | splat(Int32(0x0040_0000)), where: v .!= v)
    var h = HalfVector.zero
    for lane in 0..<width { h[lane] = UInt16(truncatingIfNeeded: rounded[lane] &>> 16) }
    return h
}

/// W elements from p.
@_transparent
func load(_ p: BFloatInput) -> Vector {
    widened(UnsafeRawPointer(p).loadUnaligned(as: HalfVector.self))
}

/// W elements to p.
@_transparent
func store(_ p: BFloatOutput, _ v: Vector) {
    UnsafeMutableRawPointer(p).storeBytes(of: narrowed(v), as: HalfVector.self)
}

/// The elements of block i of p; lanes beyond the block are `padding`.
@_transparent
func load(_ p: BFloatInput, _ i: Block, padding: Float = 0) -> Vector {
    if i.isFull { return load(p + i.offset) }
    var h = HalfVector.zero
    memcpy(&h, p + i.offset, i.count &* 2)
    return widened(h).replacing(with: splat(padding), where: laneIndices .>= splat(Int32(truncatingIfNeeded: i.count)))
}

/// The lanes of block i to p.
@_transparent
func store(_ p: BFloatOutput, _ i: Block, _ v: Vector) {
    if i.isFull { return store(p + i.offset, v) }
    var lanes = narrowed(v)
    memcpy(p + i.offset, &lanes, i.count &* 2)
}

// MARK: either type

/// W elements from p.
@inline(__always)
func load<Element: VectorElement>(_ p: UnsafePointer<Element>) -> Vector {
    Element.vector(p)
}

/// W elements to p.
@inline(__always)
func store<Element: VectorElement>(_ p: UnsafeMutablePointer<Element>, _ v: Vector) {
    Element.put(p, v)
}

/// The elements of block i of p; lanes beyond the block are `padding`.
@inline(__always)
func load<Element: VectorElement>(_ p: UnsafePointer<Element>, _ i: Block, padding: Float = 0) -> Vector {
    Element.vector(p, i, padding: padding)
}

/// The lanes of block i to p.
@inline(__always)
func store<Element: VectorElement>(_ p: UnsafeMutablePointer<Element>, _ i: Block, _ v: Vector) {
    Element.put(p, i, v)
}

// MARK: the choice of the type

/// The type of a kernel's array; int32 stops the program.
@_transparent
func floatingType(_ kernel: StaticString, _ a: Elements) -> FloatingType {
    switch a.type {
    case .float32: return .float32
    case .bfloat16: return .bfloat16
    case .int32: refuseTypes(kernel, a.type)
    }
}

/// The type of two arrays of a kernel; different ones stop the program.
@_transparent
func floatingType(_ kernel: StaticString, _ a: Elements, _ b: Elements) -> FloatingType {
    switch (a.type, b.type) {
    case (.float32, .float32): return .float32
    case (.bfloat16, .bfloat16): return .bfloat16
    default: refuseTypes(kernel, a.type, b.type)
    }
}

/// The type of three arrays of a kernel; different ones stop the program.
@_transparent
func floatingType(_ kernel: StaticString, _ a: Elements, _ b: Elements, _ c: Elements) -> FloatingType {
    switch (a.type, b.type, c.type) {
    case (.float32, .float32, .float32): return .float32
    case (.bfloat16, .bfloat16, .bfloat16): return .bfloat16
    default: refuseTypes(kernel, a.type, b.type, c.type)
    }
}

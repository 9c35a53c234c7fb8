// The kernels of a search among vectors.
//
// Legend: n elements, W the number of lanes of a vector.

import KernelTypes

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

// MARK: scores in float64

/// Eight lanes on every instruction set, so that the order of additions is the same on all.
private typealias DoubleVector = SIMD8<Double>

/// What exact scores are made from.
private protocol ExactElement {
    /// Eight elements from p.
    static func doubles(_ p: UnsafePointer<Self>) -> DoubleVector
    /// `count` elements from p, and zeros.
    static func doubles(_ p: UnsafePointer<Self>, _ count: Int) -> DoubleVector
}

@_transparent
private func widened(_ f: SIMD8<Float>) -> DoubleVector {
    var d = DoubleVector.zero
    for lane in 0..<8 { d[lane] = Double(f[lane]) }
    return d
}

@_transparent
private func widened(_ h: SIMD8<UInt16>) -> DoubleVector {
    var d = DoubleVector.zero
    for lane in 0..<8 { d[lane] = Double(Float(bitPattern: UInt32(truncatingIfNeeded: h[lane]) &<< 16)) }
    return d
}

extension Float: ExactElement {
    @inline(__always)
    fileprivate static func doubles(_ p: FloatInput) -> DoubleVector { widened(UnsafeRawPointer(p).loadUnaligned(as: SIMD8<Float>.self)) }
    @inline(__always)
    fileprivate static func doubles(_ p: FloatInput, _ count: Int) -> DoubleVector {
        var lanes = SIMD8<Float>.zero
        memcpy(&lanes, p, count &* 4)
        return widened(lanes)
    }
}

extension UInt16: ExactElement {
    @inline(__always)
    fileprivate static func doubles(_ p: BFloatInput) -> DoubleVector { widened(UnsafeRawPointer(p).loadUnaligned(as: SIMD8<UInt16>.self)) }
    @inline(__always)
    fileprivate static func doubles(_ p: BFloatInput, _ count: Int) -> DoubleVector {
        var lanes = SIMD8<UInt16>.zero
        memcpy(&lanes, p, count &* 2)
        return widened(lanes)
    }
}

/// The lanes as a tree.
@_transparent
private func total(_ first: DoubleVector, _ second: DoubleVector) -> Double {
    let s = first + second
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

@inline(never)
private func dotProduct<Element: ExactElement>(_ a: FloatInput, _ b: UnsafePointer<Element>, _ n: Int) -> Double {
    var (first, second) = (DoubleVector.zero, DoubleVector.zero)
    var i = 0
    while i &+ 16 <= n {
        first += Float.doubles(a + i) * Element.doubles(b + i)
        second += Float.doubles(a + i + 8) * Element.doubles(b + i + 8)
        i &+= 16
    }
    if i &+ 8 <= n {
        first += Float.doubles(a + i) * Element.doubles(b + i)
        i &+= 8
        if i < n { second += Float.doubles(a + i, n &- i) * Element.doubles(b + i, n &- i) }
    } else if i < n {
        first += Float.doubles(a + i, n &- i) * Element.doubles(b + i, n &- i)
    }
    return total(first, second)
}

@_transparent
private func squared(_ v: DoubleVector) -> DoubleVector { v * v }

@inline(never)
private func squaredDistance<Element: ExactElement>(_ a: FloatInput, _ b: UnsafePointer<Element>, _ n: Int) -> Double {
    var (first, second) = (DoubleVector.zero, DoubleVector.zero)
    var i = 0
    while i &+ 16 <= n {
        first += squared(Float.doubles(a + i) - Element.doubles(b + i))
        second += squared(Float.doubles(a + i + 8) - Element.doubles(b + i + 8))
        i &+= 16
    }
    if i &+ 8 <= n {
        first += squared(Float.doubles(a + i) - Element.doubles(b + i))
        i &+= 8
        if i < n { second += squared(Float.doubles(a + i, n &- i) - Element.doubles(b + i, n &- i)) }
    } else if i < n {
        first += squared(Float.doubles(a + i, n &- i) - Element.doubles(b + i, n &- i))
    }
    return total(first, second)
}

// MARK: large scores

/// Scores as they are, or with a scale and an offset.
private struct Scores {
    let scores: FloatInput
    let scale: FloatInput
    let offset: FloatInput

    @_transparent
    func vector(_ i: Int, _ isAdjusted: Bool) -> Vector {
        isAdjusted ? load(scores + i) * load(scale + i) + load(offset + i) : load(scores + i)
    }

    @_transparent
    func value(_ i: Int, _ isAdjusted: Bool) -> Float { isAdjusted ? scores[i] * scale[i] + offset[i] : scores[i] }
}

/// What was found so far.
private struct Found {
    let places: UnsafeMutablePointer<Int32>
    let values: FloatOutput
    let limit: Int
    var count = 0

    /// Looks at elements one by one; the next one to look at, `end` unless there is no more room.
    @_transparent
    mutating func scan(_ scores: Scores, _ threshold: Float, _ isAdjusted: Bool, from start: Int, to end: Int) -> Int {
        var i = start
        while i < end {
            let value = scores.value(i, isAdjusted)
            if value >= threshold {
                if count == limit { return i }
                places[count] = Int32(truncatingIfNeeded: i)
                values[count] = value
                count &+= 1
            }
            i &+= 1
        }
        return i
    }
}

@inline(__always)
private func select(_ found: inout Found, _ scores: Scores, _ threshold: Float, _ isAdjusted: Bool, first: Int, _ n: Int) -> Int {
    let bound = splat(threshold)
    var i = first
    while i &+ 4 &* laneCount <= n {
        let a = integers(scores.vector(i, isAdjusted) .>= bound)
        let b = integers(scores.vector(i &+ laneCount, isAdjusted) .>= bound)
        let c = integers(scores.vector(i &+ 2 &* laneCount, isAdjusted) .>= bound)
        let d = integers(scores.vector(i &+ 3 &* laneCount, isAdjusted) .>= bound)
        let end = i &+ 4 &* laneCount
        if anyBit((a | b) | (c | d)) {
            // Of four vectors mostly one has something to find.
            if !anyBit(a | b) { i &+= 2 &* laneCount }
            i = found.scan(scores, threshold, isAdjusted, from: i, to: end)
            if i < end { return i }
        }
        i = end
    }
    while i &+ laneCount <= n {
        let end = i &+ laneCount
        if anyBit(integers(scores.vector(i, isAdjusted) .>= bound)) {
            i = found.scan(scores, threshold, isAdjusted, from: i, to: end)
            if i < end { return i }
        }
        i = end
    }
    return found.scan(scores, threshold, isAdjusted, from: i, to: n)
}

@inline(never)
private func selectPlain(_ found: inout Found, _ scores: Scores, _ threshold: Float, first: Int, _ n: Int) -> Int {
    select(&found, scores, threshold, false, first: first, n)
}

@inline(never)
private func selectAdjusted(_ found: inout Found, _ scores: Scores, _ threshold: Float, first: Int, _ n: Int) -> Int {
    select(&found, scores, threshold, true, first: first, n)
}

// MARK: the kernels

extension VariantKernels {
    public func exactDot(_ a: FloatInput, _ b: Elements, _ n: Int) -> Double {
        switch floatingType("exactDot", b) {
        case .float32: dotProduct(a, FloatInput(b.floats), n)
        case .bfloat16: dotProduct(a, BFloatInput(b.bfloats), n)
        }
    }

    public func exactSquaredDistance(_ a: FloatInput, _ b: Elements, _ n: Int) -> Double {
        switch floatingType("exactSquaredDistance", b) {
        case .float32: squaredDistance(a, FloatInput(b.floats), n)
        case .bfloat16: squaredDistance(a, BFloatInput(b.bfloats), n)
        }
    }

    public func selectScores(
        _ places: UnsafeMutablePointer<Int32>, _ values: FloatOutput, _ scores: FloatInput, scale: FloatInput?, offset: FloatInput?, threshold: Float,
        first: Int, limit: Int, _ n: Int
    ) -> (found: Int, next: Int) {
        var found = Found(places: places, values: values, limit: limit)
        let next: Int
        if let scale, let offset {
            next = selectAdjusted(&found, Scores(scores: scores, scale: scale, offset: offset), threshold, first: first, n)
        } else {
            next = selectPlain(&found, Scores(scores: scores, scale: scores, offset: scores), threshold, first: first, n)
        }
        return (found.count, next)
    }

    public func quantizeRow(_ bytes: UnsafeMutablePointer<Int8>, _ a: FloatInput, _ n: Int) -> Float {
        var largest: UInt32 = 0
        for i in 0..<n {
            let magnitude = a[i].bitPattern & 0x7FFF_FFFF
            largest = magnitude > largest ? magnitude : largest
        }
        let scale = Float(bitPattern: largest) / 127
        // Where the inverse is not a number everything is as good as zero.
        let inverse = scale > 0x1p-120 ? 1 / scale : 0
        for i in 0..<n {
            // The last bits of this sum are those of the nearest integer, which the division's rounding may have brought to 128.
            let rounded = Int32(truncatingIfNeeded: (a[i] * inverse + 12_582_912).bitPattern) &- 0x4B40_0000
            let integer = rounded > 127 ? 127 : rounded
            bytes[i] = Int8(truncatingIfNeeded: integer < -127 ? -127 : integer)
        }
        return inverse == 0 ? 0 : scale
    }

    public func widenBytes(_ out: Elements, _ bytes: UnsafePointer<Int8>, _ n: Int) {
        switch floatingType("widenBytes", out) {
        case .float32:
            let floats = out.floats
            for i in 0..<n { floats[i] = Float(bytes[i]) }
        case .bfloat16:
            let bfloats = out.bfloats
            for i in 0..<n { bfloats[i] = UInt16(truncatingIfNeeded: Float(bytes[i]).bitPattern &>> 16) }
        }
    }

    public func addFixedPoint(_ sums: UnsafeMutablePointer<Int64>, _ a: FloatInput, scale: Double, _ n: Int) {
        // The last bits of the sum with this number are those of the nearest integer.
        let whole = 6_755_399_441_055_744.0
        for i in 0..<n { sums[i] &+= Int64(bitPattern: (Double(a[i]) * scale + whole).bitPattern) &- 0x4338_0000_0000_0000 }
    }
}

// Numbers of 8 bits that share a scale. Source: see `SharedScaleKernels`.
//
// Legend: n elements in blocks of 32; x values, q integers of -127 ... 127, s the scale of a block.
// The loops below are plain ones over elements, which the compiler turns into vectors: what is done to an element depends on its block alone.

import KernelTypes

/// The scale of a block.
private struct BlockScale {
    /// Of s, as in float32; 0 for a block of zeros, 255 for one that is NaN.
    let exponent: Int32
    let value: Float
    /// 1 / s.
    let inverse: Float

    /// - Parameter largest: the bits of the largest absolute value; those of what is not finite are larger than all others.
    @_transparent
    init(largest: Int32) {
        if largest == 0 {
            (exponent, value, inverse) = (0, 0, 0)
        } else if largest > 0x7f7e_0000 {
            (exponent, value, inverse) = (255, .nan, .nan)
        } else {
            // 127 is 1.984375 times 2 to the 6th.
            let least = (largest &>> 23) &- (largest & 0x7f_ffff <= 0x7e_0000 ? 6 : 5)
            exponent = least < 1 ? 1 : least
            value = Float(bitPattern: UInt32(truncatingIfNeeded: exponent) &<< 23)
            inverse = Float(bitPattern: UInt32(truncatingIfNeeded: 254 &- exponent) &<< 23)
        }
    }
}

/// Elements of a block.
@_transparent private var blockWidth: Int { 32 }
/// Adding this number leaves no bits behind the point: the sum's last bits are the nearest integer's.
@_transparent private var wholeNumber: Float { 12_582_912 }

@_transparent
private func magnitude(_ x: Float) -> Int32 { Int32(bitPattern: x.bitPattern & 0x7fff_ffff) }

@_transparent
private func largestMagnitude(_ x: FloatInput, _ n: Int) -> Int32 {
    var largest: Int32 = 0
    for i in 0..<n {
        let bits = magnitude(x[i])
        largest = bits > largest ? bits : largest
    }
    return largest
}

/// A number between -1/2 and 1/2, without the ends.
@_transparent
private func noise(_ key: UInt32, _ counter: UInt32) -> Float {
    var bits = counter &* 0x9e37_79b9 &+ key
    bits = (bits ^ (bits &>> 16)) &* 0x7feb_352d
    bits = (bits ^ (bits &>> 15)) &* 0x846c_a68b
    // 2^7 and a fraction of 16 bits.
    return (Float(bitPattern: (bits &>> 16) | 0x4300_0000) - 128.5) + 1 / 131_072
}

@inline(never)
private func roundBlock(_ x: FloatOutput, _ n: Int) {
    let scale = BlockScale(largest: largestMagnitude(x, n))
    for i in 0..<n { x[i] = ((x[i] * scale.inverse + wholeNumber) - wholeNumber) * scale.value }
}

@inline(never)
private func roundBlock(_ x: FloatOutput, _ residual: FloatOutput, _ n: Int) {
    for i in 0..<n { x[i] += residual[i] }
    let scale = BlockScale(largest: largestMagnitude(x, n))
    if scale.exponent == 255 {
        for i in 0..<n { x[i] = .nan }
        return
    }
    for i in 0..<n {
        let sent = ((x[i] * scale.inverse + wholeNumber) - wholeNumber) * scale.value
        residual[i] = x[i] - sent
        x[i] = sent
    }
}

@inline(never)
private func addBlock(_ sum: FloatOutput, _ x: FloatInput, _ key: UInt32, _ first: UInt32, _ n: Int) {
    for i in 0..<n { sum[i] += x[i] }
    let scale = BlockScale(largest: largestMagnitude(sum, n))
    for i in 0..<n {
        let random = noise(key, first &+ UInt32(truncatingIfNeeded: i))
        sum[i] = ((sum[i] * scale.inverse + random + wholeNumber) - wholeNumber) * scale.value
    }
}

@inline(never)
private func packBlock(_ bytes: UnsafeMutablePointer<UInt8>, _ x: FloatInput, _ n: Int) {
    let scale = BlockScale(largest: largestMagnitude(x, n))
    bytes[0] = UInt8(truncatingIfNeeded: scale.exponent)
    for i in 0..<n { bytes[i &+ 1] = UInt8(truncatingIfNeeded: (x[i] * scale.inverse + wholeNumber).bitPattern) }
}

@inline(never)
private func unpackBlock(_ x: FloatOutput, _ bytes: UnsafePointer<UInt8>, _ n: Int) {
    let exponent = UInt32(truncatingIfNeeded: bytes[0])
    let scale = exponent == 255 ? Float.nan : Float(bitPattern: exponent &<< 23)
    // The low bits of the number that stands for no integer are zero: an integer is added to them.
    let whole = Int32(bitPattern: wholeNumber.bitPattern)
    for i in 0..<n {
        let integer = Int32(truncatingIfNeeded: Int8(truncatingIfNeeded: bytes[i &+ 1]))
        x[i] = (Float(bitPattern: UInt32(bitPattern: whole &+ integer)) - wholeNumber) * scale
    }
}

extension VariantKernels {
    public func roundBlocks(_ values: FloatOutput, residual: FloatOutput?, _ n: Int) {
        var i = 0
        while i < n {
            let count = n &- i < blockWidth ? n &- i : blockWidth
            if let residual { roundBlock(values + i, residual + i, count) } else { roundBlock(values + i, count) }
            i &+= blockWidth
        }
    }

    public func addBlocks(_ sum: FloatOutput, _ values: FloatInput, key: UInt32, first: Int, _ n: Int) {
        var i = 0
        while i < n {
            addBlock(sum + i, values + i, key, UInt32(truncatingIfNeeded: first &+ i), n &- i < blockWidth ? n &- i : blockWidth)
            i &+= blockWidth
        }
    }

    public func packBlocks(_ bytes: UnsafeMutablePointer<UInt8>, _ values: FloatInput, _ n: Int) {
        var (i, out) = (0, bytes)
        while i < n {
            let count = n &- i < blockWidth ? n &- i : blockWidth
            packBlock(out, values + i, count)
            i &+= blockWidth
            out += count &+ 1
        }
    }

    public func unpackBlocks(_ values: FloatOutput, _ bytes: UnsafePointer<UInt8>, _ n: Int) {
        var (i, source) = (0, bytes)
        while i < n {
            let count = n &- i < blockWidth ? n &- i : blockWidth
            unpackBlock(values + i, source, count)
            i &+= blockWidth
            source += count &+ 1
        }
    }
}

// Strict UTF-8 as Unicode 15 defines it in table 3-7: no overlong form, no surrogate, nothing above U+10FFFF.

import Glibc

/// The offset of the first byte that is not part of well-formed UTF-8, or `nil` when all of `bytes` is.
///
/// Runs of ASCII are checked 32 bytes at a time. A sequence cut off by the end of `bytes` is ill-formed; its lead byte is reported.
/// - Complexity: one pass.
package func firstInvalidUTF8(_ bytes: UnsafeBufferPointer<UInt8>) -> Int? {
    guard let base = UnsafeRawPointer(bytes.baseAddress) else { return nil }
    let count = bytes.count
    let highBits: UInt64 = 0x8080_8080_8080_8080
    var i = 0
    while i < count {
        while i + 32 <= count {
            let a = base.loadUnaligned(fromByteOffset: i, as: UInt64.self) | base.loadUnaligned(fromByteOffset: i + 8, as: UInt64.self)
            let b = base.loadUnaligned(fromByteOffset: i + 16, as: UInt64.self) | base.loadUnaligned(fromByteOffset: i + 24, as: UInt64.self)
            if (a | b) & highBits != 0 { break }
            i &+= 32
        }
        let block = min(i &+ 32, count)
        while i < block {
            let lead = bytes[i]
            if lead < 0x80 {
                i &+= 1
                continue
            }
            let length = wellFormedLength(bytes, at: i, lead: lead)
            if length == 0 { return i }
            i &+= length
        }
    }
    return nil
}

/// The first byte that no text holds: one that is not UTF-8, or a NUL, which UTF-16 taken for UTF-8 is full of; `nil` where all are text.
package func firstByteOfNoText(_ bytes: UnsafeBufferPointer<UInt8>) -> (offset: Int, what: String, question: String)? {
    guard let base = bytes.baseAddress else { return nil }
    let zero = memchr(base, 0, bytes.count).map { UnsafeRawPointer($0) - UnsafeRawPointer(base) }
    if let offset = firstInvalidUTF8(bytes), offset < zero ?? .max { return (offset, "not UTF-8: byte 0x" + String(bytes[offset], radix: 16), "") }
    return zero.map { ($0, "byte 0x00", ": is it UTF-16, or no text?") }
}

/// The length in bytes, 2 to 4, of the well-formed sequence at `i`, whose first byte is `lead` (not ASCII); 0 when it is ill-formed.
@inline(__always)
private func wellFormedLength(_ bytes: UnsafeBufferPointer<UInt8>, at i: Int, lead: UInt8) -> Int {
    let left = bytes.count &- i
    @inline(__always) func continues(_ offset: Int) -> Bool { bytes[i &+ offset] & 0xc0 == 0x80 }
    switch lead {
    case 0xc2...0xdf:
        return left >= 2 && continues(1) ? 2 : 0
    case 0xe0...0xef:
        guard left >= 3, continues(1), continues(2) else { return 0 }
        let second = bytes[i &+ 1]
        if lead == 0xe0 && second < 0xa0 { return 0 }
        if lead == 0xed && second > 0x9f { return 0 }
        return 3
    case 0xf0...0xf4:
        guard left >= 4, continues(1), continues(2), continues(3) else { return 0 }
        let second = bytes[i &+ 1]
        if lead == 0xf0 && second < 0x90 { return 0 }
        if lead == 0xf4 && second > 0x8f { return 0 }
        return 4
    default:
        return 0
    }
}

// SHA-256 (FIPS 180-4): the fingerprint of tokenizers, options and corpora.

import Storage

/// An incremental SHA-256.
///
/// Feed bytes in any portions with `update`, then read `finalized()`. About 0.3 GB/s; for files of corpus size see `XXHash64`.
public struct SHA256: Sendable {
    private var state: [UInt32] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19]
    private var pending: [UInt8] = []
    private var byteCount: UInt64 = 0

    /// The digest of no bytes yet.
    public init() {
        pending.reserveCapacity(64)
    }

    /// The digest of `bytes` as 64 lower-case hexadecimal digits.
    public static func hexadecimalDigest(of bytes: [UInt8]) -> String {
        var hash = SHA256()
        bytes.withUnsafeBytes { hash.update($0) }
        return hash.finalized()
    }

    /// Adds bytes to what is hashed.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        byteCount &+= UInt64(bytes.count)
        var rest = bytes[...]
        if !pending.isEmpty {
            let missing = min(64 - pending.count, rest.count)
            pending.append(contentsOf: rest.prefix(missing))
            rest = rest.dropFirst(missing)
            guard pending.count == 64 else { return }
            pending.withUnsafeBytes { Self.compress(&state, blocks: $0) }
            pending.removeAll(keepingCapacity: true)
        }
        let whole = rest.count & ~63
        if whole > 0 {
            Self.compress(&state, blocks: UnsafeRawBufferPointer(rebasing: rest.prefix(whole)))
        }
        pending.append(contentsOf: rest.dropFirst(whole))
    }

    /// The digest of everything added so far, as 64 lower-case hexadecimal digits. More bytes may follow.
    public func finalized() -> String {
        var state = state
        var tail = pending
        tail.append(0x80)
        while tail.count % 64 != 56 { tail.append(0) }
        let bitCount = byteCount &* 8
        for shift in stride(from: 56, through: 0, by: -8) { tail.append(UInt8(truncatingIfNeeded: bitCount >> UInt64(shift))) }
        tail.withUnsafeBytes { Self.compress(&state, blocks: $0) }
        return state.map { hexadecimal(UInt64($0), digits: 8) }.joined()
    }

    /// Runs the compression function over whole blocks of 64 bytes (section 6.2.2 of the standard).
    private static func compress(_ state: inout [UInt32], blocks: UnsafeRawBufferPointer) {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { schedule in
            roundConstants.withUnsafeBufferPointer { constants in
                for block in stride(from: 0, to: blocks.count, by: 64) {
                    for t in 0..<16 {
                        schedule[t] = UInt32(bigEndian: blocks.loadUnaligned(fromByteOffset: block + 4 * t, as: UInt32.self))
                    }
                    for t in 16..<64 {
                        let x = schedule[t - 15]
                        let y = schedule[t - 2]
                        let low = rotated(x, 7) ^ rotated(x, 18) ^ (x >> 3)
                        let high = rotated(y, 17) ^ rotated(y, 19) ^ (y >> 10)
                        schedule[t] = schedule[t - 16] &+ low &+ schedule[t - 7] &+ high
                    }
                    var (a, b, c, d, e, f, g, h) = (state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7])
                    for t in 0..<64 {
                        let choice = (e & f) ^ (~e & g)
                        let majority = (a & b) ^ (a & c) ^ (b & c)
                        let first = h &+ (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) &+ choice &+ constants[t] &+ schedule[t]
                        let second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) &+ majority
                        (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
                    }
                    for (index, value) in [a, b, c, d, e, f, g, h].enumerated() { state[index] &+= value }
                }
            }
        }
    }

    @inline(__always)
    private static func rotated(_ value: UInt32, _ count: UInt32) -> UInt32 {
        (value >> count) | (value << (32 &- count))
    }

    /// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (section 4.2.2), computed exactly in integers.
    private static let roundConstants: [UInt32] = {
        var constants: [UInt32] = []
        var candidate: UInt64 = 2
        while constants.count < 64 {
            if (2..<candidate).allSatisfy({ candidate % $0 != 0 }) { constants.append(fractionOfCubeRoot(candidate)) }
            candidate += 1
        }
        return constants
    }()

    /// The largest x with x^3 <= n * 2^96 is the cube root of n scaled by 2^32; its low 32 bits are the fraction.
    private static func fractionOfCubeRoot(_ n: UInt64) -> UInt32 {
        var low: UInt64 = 0
        var high: UInt64 = 8 << 32
        while high - low > 1 {
            let middle = (low + high) / 2
            if cube(middle, isAtMost: n) { low = middle } else { high = middle }
        }
        return UInt32(truncatingIfNeeded: low)
    }

    /// Whether x^3 <= n * 2^96, for x < 2^36.
    private static func cube(_ x: UInt64, isAtMost n: UInt64) -> Bool {
        let square = x.multipliedFullWidth(by: x)
        let low = square.low.multipliedFullWidth(by: x)
        let upper = square.high &* x &+ low.high
        return upper < n << 32 || (upper == n << 32 && low.low == 0)
    }
}

/// `value` in lower-case hexadecimal with leading zeros.
package func hexadecimal(_ value: UInt64, digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
}

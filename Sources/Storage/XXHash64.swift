// XXH64, the 64-bit hash of Yann Collet's xxHash specification: tells at memory speed whether an input file has changed.

/// An incremental XXH64 with seed 0; `xxhsum -H1 FILE` prints the same digits.
///
/// Detects accidental changes; it is no defence against a forger. Several GB/s.
public struct XXHash64: Sendable {
    private static let prime1: UInt64 = 0x9e37_79b1_85eb_ca87
    private static let prime2: UInt64 = 0xc2b2_ae3d_27d4_eb4f
    private static let prime3: UInt64 = 0x1656_67b1_9e37_79f9
    private static let prime4: UInt64 = 0x85eb_ca77_c2b2_ae63
    private static let prime5: UInt64 = 0x27d4_eb2f_1656_67c5

    private var lanes = SIMD4<UInt64>(prime1 &+ prime2, prime2, 0, 0 &- prime1)
    /// The first bytes of it wait until there are 32.
    private var pending = SIMD4<UInt64>()
    private var pendingCount = 0
    private var byteCount: UInt64 = 0

    /// The hash of no bytes yet, seed 0.
    public init() {}

    /// Adds bytes to what is hashed.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        byteCount &+= UInt64(bytes.count)
        var rest = bytes
        if pendingCount > 0 {
            let missing = min(32 - pendingCount, rest.count)
            keep(UnsafeRawBufferPointer(rebasing: rest[..<missing]))
            guard pendingCount == 32 else { return }
            let block = pending
            withUnsafeBytes(of: block) { Self.consume($0, into: &lanes) }
            pendingCount = 0
            rest = UnsafeRawBufferPointer(rebasing: rest[missing...])
        }
        let whole = rest.count & ~31
        if whole > 0 { Self.consume(UnsafeRawBufferPointer(rebasing: rest[..<whole]), into: &lanes) }
        keep(UnsafeRawBufferPointer(rebasing: rest[whole...]))
    }

    /// Adds bytes to those that wait; there is room for them.
    private mutating func keep(_ bytes: UnsafeRawBufferPointer) {
        let start = pendingCount
        withUnsafeMutableBytes(of: &pending) { UnsafeMutableRawBufferPointer(rebasing: $0[start...]).copyMemory(from: bytes) }
        pendingCount += bytes.count
    }

    /// The hash of everything added so far. More bytes may follow.
    public func finalized() -> UInt64 {
        var hash: UInt64
        if byteCount >= 32 {
            hash = Self.rotated(lanes[0], 1) &+ Self.rotated(lanes[1], 7) &+ Self.rotated(lanes[2], 12) &+ Self.rotated(lanes[3], 18)
            for lane in 0..<4 { hash = (hash ^ Self.mixed(0, lanes[lane])) &* Self.prime1 &+ Self.prime4 }
        } else {
            hash = Self.prime5
        }
        hash &+= byteCount
        let waiting = pending
        withUnsafeBytes(of: waiting) { waiting in
            let tail = UnsafeRawBufferPointer(rebasing: waiting[..<pendingCount])
            var offset = 0
            while offset + 8 <= tail.count {
                hash ^= Self.mixed(0, UInt64(littleEndian: tail.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
                hash = Self.rotated(hash, 27) &* Self.prime1 &+ Self.prime4
                offset += 8
            }
            if offset + 4 <= tail.count {
                hash ^= UInt64(UInt32(littleEndian: tail.loadUnaligned(fromByteOffset: offset, as: UInt32.self))) &* Self.prime1
                hash = Self.rotated(hash, 23) &* Self.prime2 &+ Self.prime3
                offset += 4
            }
            while offset < tail.count {
                hash ^= UInt64(tail[offset]) &* Self.prime5
                hash = Self.rotated(hash, 11) &* Self.prime1
                offset += 1
            }
        }
        hash = (hash ^ (hash >> 33)) &* Self.prime2
        hash = (hash ^ (hash >> 29)) &* Self.prime3
        return hash ^ (hash >> 32)
    }

    private static func consume(_ blocks: UnsafeRawBufferPointer, into lanes: inout SIMD4<UInt64>) {
        var (a, b, c, d) = (lanes[0], lanes[1], lanes[2], lanes[3])
        for offset in stride(from: 0, to: blocks.count, by: 32) {
            a = mixed(a, UInt64(littleEndian: blocks.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
            b = mixed(b, UInt64(littleEndian: blocks.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self)))
            c = mixed(c, UInt64(littleEndian: blocks.loadUnaligned(fromByteOffset: offset + 16, as: UInt64.self)))
            d = mixed(d, UInt64(littleEndian: blocks.loadUnaligned(fromByteOffset: offset + 24, as: UInt64.self)))
        }
        lanes = SIMD4(a, b, c, d)
    }

    @inline(__always)
    private static func mixed(_ accumulator: UInt64, _ input: UInt64) -> UInt64 {
        rotated(accumulator &+ input &* prime2, 31) &* prime1
    }

    @inline(__always)
    private static func rotated(_ value: UInt64, _ count: UInt64) -> UInt64 {
        (value << count) | (value >> (64 &- count))
    }
}

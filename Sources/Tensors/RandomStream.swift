// Random numbers as a function of a key and a counter: nothing global, nothing hidden, and the state is two integers.

import Foundation

/// Mixes 64 bits into 64 well-spread bits (the finalizer of SplitMix64: Steele, Lea and Flood 2014).
@inline(__always)
public func mixBits(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
}

/// One key out of several, order-sensitive.
public func mixKeys(_ keys: UInt64...) -> UInt64 {
    keys.reduce(0x6D6E_656D_65) { mixBits($0 ^ mixBits($1)) }
}

/// A stream of random numbers that depends on its key alone.
public struct RandomStream: RandomNumberGenerator, Sendable {
    /// What the stream is a function of.
    public let key: UInt64
    /// How many numbers were drawn.
    public private(set) var counter: UInt64

    /// The stream of `key` from its number `counter` on.
    public init(key: UInt64, counter: UInt64 = 0) {
        self.key = key
        self.counter = counter
    }

    /// The stream of a seed and a name.
    public init(seed: UInt64, name: String) {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        self.init(key: mixKeys(seed, hash))
    }

    public mutating func next() -> UInt64 {
        defer { counter &+= 1 }
        return mixBits(key &+ counter &* 0xD134_2543_DE82_EF95)
    }

    /// Uniform on 0 ..< 1, 24 bits.
    public mutating func nextUniform() -> Float { Float(next() >> 40) * 0x1p-24 }

    /// Standard normal (Box and Muller 1958).
    public mutating func nextNormal() -> Float {
        let u = (Double(next() >> 11) + 1) * 0x1p-53
        let v = Double(next() >> 11) * 0x1p-53
        return Float((-2 * log(u)).squareRoot() * cos(2 * .pi * v))
    }
}

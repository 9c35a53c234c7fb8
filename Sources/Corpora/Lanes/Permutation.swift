// Shuffling without a table: a keyed permutation of 0 ..< n in constant memory.

/// A pseudo-random permutation of 0 ..< `count`, fixed by its key.
///
/// A Feistel network over the smallest even number of bits that holds `count` values; values outside the range are sent through again
/// until they fall inside (cycle walking), at most four times on average.
/// - Source: Black and Rogaway, "Ciphers with arbitrary finite domains", 2002.
public struct Permutation: Sendable, Equatable {
    /// The number of values.
    public let count: Int
    private let halfBits: UInt64
    private let mask: UInt64
    private let keys: SIMD8<UInt64>

    /// - Parameters:
    ///   - count: the number of values, at least 1.
    ///   - seed: of the run.
    ///   - stream: what is permuted, and in which epoch: different numbers give independent permutations.
    public init(count: Int, seed: UInt64, stream: UInt64) {
        precondition(count >= 1, "a permutation of \(count) values")
        self.count = count
        let bits = UInt64.bitWidth - (UInt64(count) - 1).leadingZeroBitCount
        halfBits = UInt64(max(1, (bits + 1) / 2))
        mask = (1 << halfBits) - 1
        var state = mixedBits(seed ^ mixedBits(stream))
        var keys = SIMD8<UInt64>()
        for round in 0..<8 {
            state = mixedBits(state)
            keys[round] = state
        }
        self.keys = keys
    }

    /// The place of `index` in the permutation.
    /// - Precondition: `index` is in 0 ..< `count`.
    /// - Complexity: O(1) on average.
    public subscript(index: Int) -> Int {
        precondition(index >= 0 && index < count, "index \(index) of a permutation of \(count)")
        var value = UInt64(index)
        repeat {
            var left = value >> halfBits
            var right = value & mask
            for round in 0..<8 {
                (left, right) = (right, left ^ (mixedBits(right ^ keys[round]) & mask))
            }
            value = left << halfBits | right
        } while value >= UInt64(count)
        return Int(value)
    }
}

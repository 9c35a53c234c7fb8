// Tokens as small integers, so that counting compares integers.

/// Gives every distinct byte string a number: 0, 1, 2 in the order of first appearance.
///
/// Bytes are compared, not characters, so texts that are canonically equivalent but written differently stay different.
struct TokenInterner {
    private var arena: [UInt8] = []
    private var ends: [Int] = []
    private var slots = [Int32](repeating: -1, count: 1024)

    /// How many distinct tokens there are.
    var count: Int { ends.count }

    /// The number of a token, new or known.
    ///
    /// - Complexity: amortised O(length of the token).
    mutating func number(of token: UnsafeBufferPointer<UInt8>) -> Int32 {
        if ends.count * 2 >= slots.count { grow() }
        var slot = Int(truncatingIfNeeded: Self.hash(token)) & (slots.count - 1)
        while slots[slot] >= 0 {
            if isEqual(token, slots[slot]) { return slots[slot] }
            slot = (slot + 1) & (slots.count - 1)
        }
        let number = Int32(ends.count)
        slots[slot] = number
        arena.append(contentsOf: token)
        ends.append(arena.count)
        return number
    }

    /// The bytes of a known token.
    func bytes(of number: Int32) -> ArraySlice<UInt8> {
        arena[range(of: number)]
    }

    private func range(of number: Int32) -> Range<Int> {
        (number == 0 ? 0 : ends[Int(number) - 1])..<ends[Int(number)]
    }

    private func isEqual(_ token: UnsafeBufferPointer<UInt8>, _ number: Int32) -> Bool {
        let range = range(of: number)
        return range.count == token.count && range.indices.elementsEqual(token.indices) { arena[$0] == token[$1] }
    }

    private mutating func grow() {
        slots = [Int32](repeating: -1, count: slots.count * 2)
        arena.withUnsafeBufferPointer { arena in
            for number in 0..<Int32(ends.count) {
                var slot = Int(truncatingIfNeeded: Self.hash(UnsafeBufferPointer(rebasing: arena[range(of: number)]))) & (slots.count - 1)
                while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
                slots[slot] = number
            }
        }
    }

    /// FNV-1a over the bytes, with a final mix so that the low bits depend on all of them.
    private static func hash(_ token: UnsafeBufferPointer<UInt8>) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in token { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return hash ^ (hash >> 32)
    }
}

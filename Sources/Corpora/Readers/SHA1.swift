// SHA-1 (FIPS 180-4, section 6.1), by which CNN/DailyMail names a story after its URL. For naming only: it protects nothing.

/// A SHA-1 digest, 160 bits.
package struct SHA1Digest: Sendable, Hashable {
    private var high: UInt64
    private var middle: UInt64
    private var low: UInt32

    /// The digest of `message`.
    package init(of message: some Collection<UInt8>) {
        var state: (UInt32, UInt32, UInt32, UInt32, UInt32) = (0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0)
        var padded = Array(message)
        let bits = UInt64(padded.count) * 8
        padded.append(0x80)
        while padded.count % 64 != 56 { padded.append(0) }
        for shift in stride(from: 56, through: 0, by: -8) { padded.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift))) }
        var schedule = [UInt32](repeating: 0, count: 80)
        for block in stride(from: 0, to: padded.count, by: 64) {
            Self.compress(padded[block..<(block + 64)], &schedule, &state)
        }
        high = UInt64(state.0) << 32 | UInt64(state.1)
        middle = UInt64(state.2) << 32 | UInt64(state.3)
        low = state.4
    }

    /// The digest that 40 hexadecimal digits write; `nil` for anything else.
    package init?(hexadecimal text: some StringProtocol) {
        let digits = Array(text.utf8)
        guard digits.count == 40 else { return nil }
        var values: [UInt64] = []
        for range in [0..<16, 16..<32, 32..<40] {
            var value: UInt64 = 0
            for digit in digits[range] {
                guard let number = Character(Unicode.Scalar(digit)).hexDigitValue else { return nil }
                value = value << 4 | UInt64(number)
            }
            values.append(value)
        }
        high = values[0]
        middle = values[1]
        low = UInt32(values[2])
    }

    /// 40 hexadecimal digits in lower case.
    package var hexadecimal: String {
        func padded(_ value: UInt64, digits: Int) -> String {
            let text = String(value, radix: 16)
            return String(repeating: "0", count: digits - text.count) + text
        }
        return padded(high, digits: 16) + padded(middle, digits: 16) + padded(UInt64(low), digits: 8)
    }

    private static func compress(_ block: ArraySlice<UInt8>, _ schedule: inout [UInt32], _ state: inout (UInt32, UInt32, UInt32, UInt32, UInt32)) {
        func rotated(_ value: UInt32, _ bits: UInt32) -> UInt32 { value << bits | value >> (32 - bits) }
        for word in 0..<16 {
            schedule[word] = (0..<4).reduce(0) { $0 << 8 | UInt32(block[block.startIndex + word * 4 + $1]) }
        }
        for word in 16..<80 {
            schedule[word] = rotated(schedule[word - 3] ^ schedule[word - 8] ^ schedule[word - 14] ^ schedule[word - 16], 1)
        }
        var (a, b, c, d, e) = state
        for round in 0..<80 {
            let mixed: UInt32
            switch round / 20 {
            case 0: mixed = ((b & c) | (~b & d)) &+ 0x5a82_7999
            case 1: mixed = (b ^ c ^ d) &+ 0x6ed9_eba1
            case 2: mixed = ((b & c) | (b & d) | (c & d)) &+ 0x8f1b_bcdc
            default: mixed = (b ^ c ^ d) &+ 0xca62_c1d6
            }
            let next = rotated(a, 5) &+ mixed &+ e &+ schedule[round]
            (a, b, c, d, e) = (next, a, rotated(b, 30), c, d)
        }
        state = (state.0 &+ a, state.1 &+ b, state.2 &+ c, state.3 &+ d, state.4 &+ e)
    }
}

// Which characters are white space, as bytes of UTF-8.

/// Which characters count as white space.
public enum WhiteSpace: String, Sendable, CaseIterable, Codable, Hashable {
    /// The six of ASCII: space, tab, line feed, vertical tab, form feed, carriage return. Corpora of before this was recorded were cleaned by these.
    case ascii
    /// Those of Unicode as Python's `str.isspace` and `str.split` have them: the six, U+001C to U+001F, U+0085, U+00A0, and the spaces and line
    /// separators beyond. A zero-width space and a byte order mark are none.
    case unicode

    /// Bytes of the white-space character that begins at `i`; 0 where none does. `text` need not be UTF-8.
    @inline(__always)
    package func length(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> Int {
        let byte = text[i]
        if byte < 0x80 { return byte.isASCIIWhitespace || self == .unicode && (byte & 0xfc) == 0x1c ? 1 : 0 }
        return self == .unicode ? WhiteSpace.wideLength(text, at: i) : 0
    }

    /// Bytes of the white-space character that ends before `end`; 0 where none does.
    func length(_ text: UnsafeBufferPointer<UInt8>, before end: Int) -> Int {
        for count in 1...3 where count <= end && length(text, at: end - count) == count { return count }
        return 0
    }

    /// Bytes of the white-space character outside of ASCII that begins at `i`; 0 where none does.
    private static func wideLength(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> Int {
        switch text[i] {
        case 0xc2:
            // U+0085, U+00A0
            return i + 1 < text.count && (text[i + 1] == 0x85 || text[i + 1] == 0xa0) ? 2 : 0
        case 0xe1, 0xe2, 0xe3:
            guard i + 2 < text.count else { return 0 }
            let last = text[i + 2]
            switch (text[i], text[i + 1]) {
            case (0xe1, 0x9a): return last == 0x80 ? 3 : 0  // U+1680
            case (0xe2, 0x80): return last >= 0x80 && last <= 0x8a || last == 0xa8 || last == 0xa9 || last == 0xaf ? 3 : 0  // U+2000 to 200A, 2028, 2029, 202F
            case (0xe2, 0x81): return last == 0x9f ? 3 : 0  // U+205F
            case (0xe3, 0x80): return last == 0x80 ? 3 : 0  // U+3000
            default: return 0
            }
        default: return 0
        }
    }

    /// Whether a text holds white space that is not one of ASCII's six: only there `unicode` differs from `ascii`.
    /// - Complexity: one pass, 8 bytes at a time over ASCII.
    static func isBeyondASCII(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        guard let base = UnsafeRawPointer(text.baseAddress) else { return false }
        let (ones, highs): (UInt64, UInt64) = (0x0101_0101_0101_0101, 0x8080_8080_8080_8080)
        var i = 0
        while i < text.count {
            if i &+ 8 <= text.count {
                let word = base.loadUnaligned(fromByteOffset: i, as: UInt64.self)
                // A byte of `separators` is 0 where the text has one of 1C to 1F.
                let separators = (word ^ 0x1c1c_1c1c_1c1c_1c1c) & 0xfcfc_fcfc_fcfc_fcfc
                if (word | ((separators &- ones) & ~separators)) & highs == 0 {
                    i &+= 8
                    continue
                }
            }
            let end = min(i &+ 8, text.count)
            while i < end {
                let byte = text[i]
                if byte < 0x80 ? byte & 0xfc == 0x1c : byte >= 0xc2 && byte <= 0xe3 && wideLength(text, at: i) > 0 { return true }
                i &+= 1
            }
        }
        return false
    }

    /// Whether a text is nothing but white space.
    package func isBlank(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        var i = 0
        while i < text.count {
            let length = length(text, at: i)
            if length == 0 { return false }
            i += length
        }
        return true
    }
}

extension UnsafeBufferPointer<UInt8> {
    /// The same bytes without the white space of Unicode at both ends.
    package var trimmed: UnsafeBufferPointer<UInt8> { trimmed { _ in true } }

    /// The same, but tabs stay: they separate fields.
    package var trimmedBetweenTabs: UnsafeBufferPointer<UInt8> { trimmed { $0 != 0x09 } }

    private func trimmed(where isTrimmed: (UInt8) -> Bool) -> UnsafeBufferPointer<UInt8> {
        var (low, high) = (0, count)
        while low < high, isTrimmed(self[low]) {
            let length = WhiteSpace.unicode.length(self, at: low)
            if length == 0 { break }
            low += length
        }
        while high > low, isTrimmed(self[high - 1]) {
            let length = WhiteSpace.unicode.length(self, before: high)
            if length == 0 || high - length < low { break }
            high -= length
        }
        return UnsafeBufferPointer(rebasing: self[low..<high])
    }

    /// The runs of bytes between white space.
    package func words(_ whiteSpace: WhiteSpace = .unicode) -> [UnsafeBufferPointer<UInt8>] {
        var words: [UnsafeBufferPointer<UInt8>] = []
        var (start, i) = (0, 0)
        while i < count {
            let length = whiteSpace.length(self, at: i)
            if length > 0, i > start { words.append(UnsafeBufferPointer(rebasing: self[start..<i])) }
            i += Swift.max(length, 1)
            if length > 0 { start = i }
        }
        if count > start { words.append(UnsafeBufferPointer(rebasing: self[start..<count])) }
        return words
    }
}

extension UInt8 {
    /// Space, tab, line feed, vertical tab, form feed, carriage return.
    @inline(__always)
    package var isASCIIWhitespace: Bool { self == 0x20 || (self >= 0x09 && self <= 0x0d) }
}

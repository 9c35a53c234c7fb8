// Characters as the reference programs of the field see them: white space, lower case and code points.
//
// The reference scorers are Python programs. Swift's `Character` and canonical equivalence would count differently, so
// everything here works on UTF-8 bytes and Unicode scalars.

/// Character classes and case mapping that agree with Python's `str`.
enum MetricText {
    /// Whether `str.split()` splits at this scalar.
    static func isWhitespace(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
        default: false
        }
    }

    /// The number of bytes of the white-space character that begins at `index`, or 0 where there is none.
    @inline(__always)
    static func whitespaceLength(_ bytes: UnsafeBufferPointer<UInt8>, at index: Int) -> Int {
        let byte = bytes[index]
        if byte < 0x80 { return (0x09...0x0D).contains(byte) || (0x1C...0x20).contains(byte) ? 1 : 0 }
        if byte == 0xC2 { return index + 1 < bytes.count && (bytes[index + 1] == 0x85 || bytes[index + 1] == 0xA0) ? 2 : 0 }
        guard byte == 0xE1 || byte == 0xE2 || byte == 0xE3, index + 2 < bytes.count else { return 0 }
        let value = UInt32(byte & 0x0F) << 12 | UInt32(bytes[index + 1] & 0x3F) << 6 | UInt32(bytes[index + 2] & 0x3F)
        return Unicode.Scalar(value).map(isWhitespace) == true ? 3 : 0
    }

    /// Whether the byte is one of the 32 punctuation marks of ASCII.
    @inline(__always)
    static func isASCIIPunctuation(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: true
        default: false
        }
    }

    /// Calls `body` with every maximal run of bytes that holds no white space.
    static func forEachWord(in bytes: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        var start = 0
        var index = 0
        while index < bytes.count {
            let length = whitespaceLength(bytes, at: index)
            if length == 0 {
                index += 1
            } else {
                if index > start { body(UnsafeBufferPointer(rebasing: bytes[start..<index])) }
                index += length
                start = index
            }
        }
        if index > start { body(UnsafeBufferPointer(rebasing: bytes[start..<index])) }
    }

    /// The text without white space at its end.
    static func trimmingEnd(_ text: String) -> String {
        let scalars = text.unicodeScalars
        guard let last = scalars.last, isWhitespace(last) else { return text }
        let end = scalars.lastIndex { !isWhitespace($0) }.map { scalars.index(after: $0) } ?? scalars.startIndex
        return String(scalars[..<end])
    }

    /// The text without white space at both ends.
    static func trimming(_ text: String) -> String {
        let scalars = text.unicodeScalars
        return trimmingEnd(String(scalars[(scalars.firstIndex { !isWhitespace($0) } ?? scalars.endIndex)...]))
    }

    /// Full Unicode lower case, with the final form of a capital sigma at the end of a word (Unicode 3.13, Final_Sigma).
    static func lowercased(_ text: String) -> String {
        let capitalSigma = Unicode.Scalar(0x3A3 as UInt16)
        guard let capitalSigma, text.unicodeScalars.contains(capitalSigma) else { return text.lowercased() }
        let scalars = Array(text.unicodeScalars)
        var result = ""
        for (index, scalar) in scalars.enumerated() {
            guard scalar == capitalSigma else {
                result += scalar.properties.lowercaseMapping
                continue
            }
            let before = scalars[..<index].last { !$0.properties.isCaseIgnorable }
            let after = scalars[(index + 1)...].first { !$0.properties.isCaseIgnorable }
            let isFinal = before?.properties.isCased == true && after?.properties.isCased != true
            result += isFinal ? "ς" : "σ"
        }
        return result
    }
}

// Strings of one JSON object, taken from its bytes without building a tree (RFC 8259).

/// What is wrong with a JSON text, and at which byte of it.
struct JSONSyntaxError: Error {
    var what: String
    var offset: Int
}

/// Reads chosen members of one JSON object.
enum JSONMembers {
    /// The values of the top-level members `names` that are strings, in that order; `nil` where there is none. Of members with the same name the last
    /// counts. The whole text is checked, numbers too: `01`, `+1`, `.5`, `1.`, `NaN` and `Infinity` are none.
    /// - Throws: `JSONSyntaxError` when `text` is not exactly one JSON object.
    /// - Complexity: one pass.
    static func strings(named names: [String], in text: UnsafeBufferPointer<UInt8>) throws(JSONSyntaxError) -> [[UInt8]?] {
        var scanner = JSONScanner(text: text)
        return try scanner.members(named: names.map { Array($0.utf8) })
    }
}

private struct JSONScanner {
    let text: UnsafeBufferPointer<UInt8>
    var position = 0
    /// How deep values may nest: deeper text is refused rather than overflow the stack.
    private static let maximumDepth = 128

    init(text: UnsafeBufferPointer<UInt8>) {
        self.text = text
    }

    mutating func members(named names: [[UInt8]]) throws(JSONSyntaxError) -> [[UInt8]?] {
        var values = [[UInt8]?](repeating: nil, count: names.count)
        skipWhitespace()
        try expect(UInt8(ascii: "{"))
        skipWhitespace()
        if peek() == UInt8(ascii: "}") {
            position += 1
        } else {
            while true {
                skipWhitespace()
                let key = try string()
                skipWhitespace()
                try expect(UInt8(ascii: ":"))
                skipWhitespace()
                let index = names.firstIndex(of: key)
                if let index, peek() == UInt8(ascii: "\"") {
                    values[index] = try string()
                } else {
                    try skipValue(depth: 1)
                    if let index { values[index] = nil }
                }
                skipWhitespace()
                if peek() == UInt8(ascii: ",") {
                    position += 1
                    continue
                }
                try expect(UInt8(ascii: "}"))
                break
            }
        }
        skipWhitespace()
        if position < text.count { throw fail("text after the JSON object") }
        return values
    }

    private func peek() -> UInt8? { position < text.count ? text[position] : nil }

    private func fail(_ what: String) -> JSONSyntaxError { JSONSyntaxError(what: what, offset: position) }

    private mutating func skipWhitespace() {
        while let byte = peek(), byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d { position += 1 }
    }

    private mutating func expect(_ byte: UInt8) throws(JSONSyntaxError) {
        guard peek() == byte else {
            let wanted = Character(Unicode.Scalar(byte))
            throw fail(position == text.count ? "JSON ends where \"\(wanted)\" was expected" : "not JSON: \"\(wanted)\" was expected")
        }
        position += 1
    }

    private mutating func string() throws(JSONSyntaxError) -> [UInt8] {
        try expect(UInt8(ascii: "\""))
        var output: [UInt8] = []
        while true {
            let run = position
            while position < text.count, text[position] != UInt8(ascii: "\""), text[position] != UInt8(ascii: "\\"), text[position] >= 0x20 {
                position += 1
            }
            output.append(contentsOf: text[run..<position])
            guard let byte = peek() else { throw fail("a JSON string does not end") }
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                return output
            case UInt8(ascii: "\\"):
                position += 1
                try escape(into: &output)
            default:
                throw fail("a control character in a JSON string")
            }
        }
    }

    private mutating func escape(into output: inout [UInt8]) throws(JSONSyntaxError) {
        guard let byte = peek() else { throw fail("a JSON string does not end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): output.append(byte)
        case UInt8(ascii: "b"): output.append(0x08)
        case UInt8(ascii: "f"): output.append(0x0c)
        case UInt8(ascii: "n"): output.append(0x0a)
        case UInt8(ascii: "r"): output.append(0x0d)
        case UInt8(ascii: "t"): output.append(0x09)
        case UInt8(ascii: "u"): try unicodeEscape(into: &output)
        default: throw fail("an unknown escape in a JSON string")
        }
    }

    private mutating func unicodeEscape(into output: inout [UInt8]) throws(JSONSyntaxError) {
        var value = try fourDigits()
        if value & 0xfc00 == 0xd800, peek() == UInt8(ascii: "\\"), position + 1 < text.count, text[position + 1] == UInt8(ascii: "u") {
            position += 2
            let low = try fourDigits()
            guard low & 0xfc00 == 0xdc00 else { throw fail("half a surrogate pair in a JSON string") }
            value = 0x10000 + (value & 0x3ff) << 10 + (low & 0x3ff)
        }
        guard let scalar = Unicode.Scalar(value) else { throw fail("half a surrogate pair in a JSON string") }
        output.append(contentsOf: Character(scalar).utf8)
    }

    private mutating func fourDigits() throws(JSONSyntaxError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek(), let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw fail("an unfinished \\u escape in a JSON string")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    private mutating func skipValue(depth: Int) throws(JSONSyntaxError) {
        if depth > Self.maximumDepth { throw fail("JSON nested deeper than \(Self.maximumDepth) levels") }
        switch peek() {
        case UInt8(ascii: "\""):
            _ = try string()
        case UInt8(ascii: "{"):
            try skipSequence(closing: UInt8(ascii: "}"), depth: depth, hasKeys: true)
        case UInt8(ascii: "["):
            try skipSequence(closing: UInt8(ascii: "]"), depth: depth, hasKeys: false)
        case UInt8(ascii: "t"): try skipWord("true")
        case UInt8(ascii: "f"): try skipWord("false")
        case UInt8(ascii: "n"): try skipWord("null")
        default:
            try skipNumber()
        }
    }

    private mutating func skipSequence(closing: UInt8, depth: Int, hasKeys: Bool) throws(JSONSyntaxError) {
        position += 1
        skipWhitespace()
        if peek() == closing {
            position += 1
            return
        }
        while true {
            skipWhitespace()
            if hasKeys {
                _ = try string()
                skipWhitespace()
                try expect(UInt8(ascii: ":"))
                skipWhitespace()
            }
            try skipValue(depth: depth + 1)
            skipWhitespace()
            if peek() == UInt8(ascii: ",") {
                position += 1
                continue
            }
            return try expect(closing)
        }
    }

    private mutating func skipWord(_ word: String) throws(JSONSyntaxError) {
        for byte in word.utf8 { try expect(byte) }
    }

    /// `-`, digits without a leading zero, a fraction, an exponent (RFC 8259, section 6).
    private mutating func skipNumber() throws(JSONSyntaxError) {
        let begin = position
        if peek() == UInt8(ascii: "-") { position += 1 }
        let isZero = peek() == UInt8(ascii: "0")
        var isNumber = skipDigits()
        if isZero, position > begin + (text[begin] == UInt8(ascii: "-") ? 2 : 1) { isNumber = false }
        if isNumber, peek() == UInt8(ascii: ".") {
            position += 1
            isNumber = skipDigits()
        }
        if isNumber, let byte = peek(), byte | 0x20 == UInt8(ascii: "e") {
            position += 1
            if let sign = peek(), sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { position += 1 }
            isNumber = skipDigits()
        }
        if isNumber { return }
        position = begin
        let word = text[begin...].prefix(16).prefix { "+-.".utf8.contains($0) || ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7a) || ($0 >= 0x30 && $0 <= 0x39) }
        throw fail(word.isEmpty ? "not JSON: a value was expected" : "not JSON: '\(String(decoding: word, as: UTF8.self))' is no value of RFC 8259")
    }

    /// Passes over digits.
    /// - Returns: false where there is none.
    private mutating func skipDigits() -> Bool {
        let begin = position
        while let byte = peek(), byte >= 0x30, byte <= 0x39 { position += 1 }
        return position > begin
    }
}

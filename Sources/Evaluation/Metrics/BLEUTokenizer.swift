// How BLEU cuts a segment into words.

/// The tokenizers of BLEU, by the names that sacreBLEU gives them.
public enum BLEUTokenizer: String, CaseIterable, Sendable {
    /// The tokenizer of NIST's `mteval-v13a`: for Western languages, the default.
    case mteval13a = "13a"
    /// The text is tokenized already: white space separates the words.
    case none
    /// Every code point that is not white space is a word.
    case character = "char"

    /// The words of a segment, numbered.
    func tokens(of segment: String, interner: inout TokenInterner) -> [Int32] {
        var numbers: [Int32] = []
        switch self {
        case .mteval13a: Self.appendWords(of: Self.spacedOut(Array(segment.utf8)), to: &numbers, interner: &interner)
        case .none: Self.appendWords(of: Array(segment.utf8), to: &numbers, interner: &interner)
        case .character:
            // A scalar is a number already, and scalars and word numbers never meet in one run.
            numbers = segment.unicodeScalars.compactMap { MetricText.isWhitespace($0) ? nil : Int32($0.value) }
        }
        return numbers
    }

    private static func appendWords(of bytes: [UInt8], to numbers: inout [Int32], interner: inout TokenInterner) {
        bytes.withUnsafeBufferPointer { bytes in
            MetricText.forEachWord(in: bytes) { numbers.append(interner.number(of: $0)) }
        }
    }

    // MARK: mteval-v13a

    /// The segment with spaces between its words, after the rules of `mteval-v13a` in their order.
    ///
    /// Only ASCII characters are rules' business, so the rules work on bytes; a match consumes its bytes, so that in a run of
    /// periods every second one is looked at, as with the regular expressions of the original.
    private static func spacedOut(_ segment: [UInt8]) -> [UInt8] {
        var bytes = segment
        bytes = replacing("<skipped>", by: "", in: bytes)
        bytes = replacing("-\n", by: "", in: bytes)
        bytes = replacing("\n", by: " ", in: bytes)
        if bytes.contains(UInt8(ascii: "&")) {
            for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
                bytes = replacing(entity, by: character, in: bytes)
            }
        }
        bytes = surroundingSymbols(in: [space] + bytes + [space])
        bytes = rewritingPairs(in: bytes) { first, second in !isDigit(first) && isPoint(second) ? [first, space, second, space] : nil }
        bytes = rewritingPairs(in: bytes) { first, second in isPoint(first) && !isDigit(second) ? [space, first, space, second] : nil }
        return rewritingPairs(in: bytes) { first, second in isDigit(first) && second == UInt8(ascii: "-") ? [first, space, second, space] : nil }
    }

    private static let space = UInt8(ascii: " ")

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    private static func isPoint(_ byte: UInt8) -> Bool { byte == UInt8(ascii: ".") || byte == UInt8(ascii: ",") }

    /// Puts spaces around every symbol save apostrophe, comma, hyphen and period.
    private static func surroundingSymbols(in bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count * 2)
        for byte in bytes {
            switch byte {
            case 0x7B...0x7E, 0x5B...0x60, 0x20...0x26, 0x28...0x2B, 0x3A...0x40, 0x2F:
                result.append(space)
                result.append(byte)
                result.append(space)
            default: result.append(byte)
            }
        }
        return result
    }

    /// Replaces neighbouring bytes from left to right wherever `rewrite` has an answer; both are consumed then.
    private static func rewritingPairs(in bytes: [UInt8], _ rewrite: (UInt8, UInt8) -> InlineArray<4, UInt8>?) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count * 2)
        var index = 0
        while index < bytes.count {
            if index + 1 < bytes.count, let replacement = rewrite(bytes[index], bytes[index + 1]) {
                for position in replacement.indices { result.append(replacement[position]) }
                index += 2
            } else {
                result.append(bytes[index])
                index += 1
            }
        }
        return result
    }

    private static func replacing(_ pattern: String, by replacement: String, in bytes: [UInt8]) -> [UInt8] {
        let pattern = Array(pattern.utf8)
        guard bytes.count >= pattern.count, bytes.contains(pattern[0]) else { return bytes }
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index...].starts(with: pattern) {
                result += replacement.utf8
                index += pattern.count
            } else {
                result.append(bytes[index])
                index += 1
            }
        }
        return result
    }
}

// Bytes of text: where lines begin, how many words there are, portions of a long text.

import Foundation

extension UnsafeBufferPointer where Element == UInt8 {
    /// The first place of `byte` at or after `start`.
    @inline(__always)
    func firstByte(_ byte: UInt8, from start: Int) -> Int? {
        guard start < count, let base = baseAddress, let found = memchr(base + start, Int32(byte), count - start) else { return nil }
        return UnsafeRawPointer(found) - UnsafeRawPointer(base)
    }
}

/// Portions of a text, in order. Every portion but the first begins with a line break; a portion is no shorter than `longest`
/// bytes unless it is the last, and ends at the first line break after that.
struct TextPortions: Sequence, IteratorProtocol {
    private let text: UnsafeBufferPointer<UInt8>
    private let longest: Int
    private var position = 0

    init(_ text: UnsafeBufferPointer<UInt8>, longest: Int) {
        self.text = text
        self.longest = longest
    }

    mutating func next() -> UnsafeBufferPointer<UInt8>? {
        guard position < text.count else { return nil }
        let start = position
        let end = text.count - start > longest ? text.firstByte(UInt8(ascii: "\n"), from: start + longest) ?? text.count : text.count
        position = end
        return UnsafeBufferPointer(rebasing: text[start..<end])
    }
}

/// Counts words and line breaks of a text in one pass.
package enum WordCount {
    /// The number of words between white space, and the number of line feeds.
    package static func words(in text: UnsafeBufferPointer<UInt8>) -> (words: Int, lineBreaks: Int) {
        if WhiteSpace.isBeyondASCII(text) { return (text.words().count, text.count { $0 == 0x0a }) }
        var words = 0
        var lineBreaks = 0
        var afterSpace: UInt8 = 1
        for byte in text {
            let isSpace: UInt8 = byte == 0x20 || (byte &- 9) <= 4 ? 1 : 0
            words &+= Int(afterSpace & (isSpace ^ 1))
            lineBreaks &+= byte == 0x0a ? 1 : 0
            afterSpace = isSpace
        }
        return (words, lineBreaks)
    }

    /// What perplexity per word divides by: the words of a whole text, and one end for each line. A last line without a line break has an end too.
    package static func wordsAndLineEnds(in text: UnsafeBufferPointer<UInt8>) -> Int {
        let counted = words(in: text)
        return counted.words + counted.lineBreaks + (text.last.map { $0 == 0x0a ? 0 : 1 } ?? 0)
    }
}

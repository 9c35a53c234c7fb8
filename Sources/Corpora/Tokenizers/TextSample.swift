// A bounded sample of the sentences of a corpus, from which a tokenizer is trained.

/// Sentences of a corpus up to a number of bytes, chosen evenly over the whole input and always the same ones for the same input.
///
/// Each sentence's ordinal is hashed; while everything fits, all sentences are kept, and whenever the limit is passed those with the highest
/// hashes are let go. Memory is bounded by the limit.
public struct TextSample {
    /// The bytes the sample may hold.
    public let limit: Int
    /// The number of sentences kept.
    public var count: Int { ends.count }
    /// The number of bytes kept.
    public var byteCount: Int { bytes.count }
    /// The number of sentences seen.
    public private(set) var sentencesSeen = 0

    private var bytes: [UInt8] = []
    private var ends: [Int] = []
    private var keys: [UInt64] = []
    private var highestKey = UInt64.max

    /// The trainer's tables hold word positions in 16 bits: longer stretches are cut.
    private static let longestSentence = 4096

    /// - Parameter limit: bytes of text to keep at most.
    public init(limit: Int) {
        self.limit = limit
    }

    /// Adds the lines of a text, without their line breaks. Long lines are cut between words where possible, never inside a character.
    public mutating func add(_ text: UnsafeBufferPointer<UInt8>) {
        var start = 0
        while start < text.count {
            let end = text.firstByte(UInt8(ascii: "\n"), from: start) ?? text.count
            var from = start
            while from < end {
                let to = Self.cut(text, from: from, end: end)
                addSentence(UnsafeBufferPointer(rebasing: text[from..<to]))
                from = to < end && text[to] == UInt8(ascii: " ") ? to + 1 : to
            }
            start = end + 1
        }
    }

    /// Calls `body` with each sentence kept, in input order.
    public func forEach(_ body: (UnsafeBufferPointer<UInt8>) throws -> Void) rethrows {
        for index in 0..<count { try withSentence(index, body) }
    }

    func withSentence<Result>(_ index: Int, _ body: (UnsafeBufferPointer<UInt8>) throws -> Result) rethrows -> Result {
        let start = index == 0 ? 0 : ends[index - 1]
        return try bytes.withUnsafeBufferPointer { try body(UnsafeBufferPointer(rebasing: $0[start..<ends[index]])) }
    }

    /// Where a sentence that begins at `from` ends: at the line's end, or at the last space that keeps it short, or before a character.
    private static func cut(_ text: UnsafeBufferPointer<UInt8>, from: Int, end: Int) -> Int {
        guard end - from > longestSentence else { return end }
        let furthest = from + longestSentence
        if let space = text[(from + 1)...furthest].lastIndex(of: UInt8(ascii: " ")) { return space }
        var boundary = furthest
        while boundary > from + 1 && text[boundary] & 0xc0 == 0x80 { boundary -= 1 }
        return boundary
    }

    private mutating func addSentence(_ sentence: UnsafeBufferPointer<UInt8>) {
        let key = mixedBits(UInt64(sentencesSeen))
        sentencesSeen += 1
        guard key <= highestKey else { return }
        bytes.append(contentsOf: sentence)
        ends.append(bytes.count)
        keys.append(key)
        while bytes.count > limit && highestKey > 0 { thin() }
    }

    /// Lets an eighth of the sentences go.
    private mutating func thin() {
        highestKey -= highestKey / 8 + 1
        var kept = 0
        var length = 0
        var start = 0
        for index in ends.indices {
            let end = ends[index]
            if keys[index] <= highestKey {
                let count = end - start
                if length != start {
                    bytes.withUnsafeMutableBufferPointer { buffer in
                        for offset in 0..<count { buffer[length + offset] = buffer[start + offset] }
                    }
                }
                length += count
                keys[kept] = keys[index]
                ends[kept] = length
                kept += 1
            }
            start = end
        }
        bytes.removeLast(bytes.count - length)
        ends.removeLast(ends.count - kept)
        keys.removeLast(keys.count - kept)
    }
}

/// A fixed bijection of 64-bit integers whose outputs look random (the finalizer of SplitMix64; Steele, Lea and Flood, 2014).
@inline(__always)
package func mixedBits(_ value: UInt64) -> UInt64 {
    var mixed = value &+ 0x9e37_79b9_7f4a_7c15
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
}

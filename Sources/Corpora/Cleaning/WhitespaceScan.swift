// Counting words and normalising white space, as bytes of UTF-8.

/// What one pass over a text tells of its white space.
package struct WhitespaceScan {
    /// Runs of bytes that are not white space.
    package var words = 0
    /// The length of the text.
    package var bytes: Int
    /// True when the only white space is single spaces between words.
    package var isNormal = true

    /// - Complexity: one pass, 16 bytes at a time, after one that looks for white space beyond ASCII.
    package init(_ text: [UInt8], _ whiteSpace: WhiteSpace = .unicode) {
        bytes = text.count
        text.withUnsafeBufferPointer {
            if whiteSpace == .unicode, WhiteSpace.isBeyondASCII($0) {
                scanWide($0)
            } else {
                scan(UnsafeRawBufferPointer($0))
            }
        }
    }

    /// Any text, byte by byte.
    private mutating func scanWide(_ text: UnsafeBufferPointer<UInt8>) {
        words = text.words().count
        // White space beyond ASCII is none of the single spaces.
        isNormal = false
    }

    private mutating func scan(_ text: UnsafeRawBufferPointer) {
        guard let base = text.baseAddress, text.count > 0 else { return }
        let first = text[0].isASCIIWhitespace
        words = first ? 0 : 1
        isNormal = !first && !text[text.count - 1].isASCIIWhitespace
        typealias Block = SIMD16<UInt8>
        let zero = Block(repeating: 0)
        let one = Block(repeating: 1)
        // A word starts where white space stands before and text here; what is not normal is other white space than a space, and two in a row.
        var i = 1
        while i + 16 <= text.count {
            var starts = zero
            var faults = zero
            // A count of a byte lane stays below 256 for this many blocks.
            var blocks = min(255, (text.count - i) / 16)
            while blocks > 0 {
                let here = base.loadUnaligned(fromByteOffset: i, as: Block.self)
                let before = base.loadUnaligned(fromByteOffset: i - 1, as: Block.self)
                let hereSpace = one.replacing(with: zero, where: here .!= Block(repeating: 0x20))
                let hereControl = one.replacing(with: zero, where: (here &- Block(repeating: 0x09)) .> Block(repeating: 0x04))
                let beforeSpace = one.replacing(with: zero, where: before .!= Block(repeating: 0x20))
                let beforeControl = one.replacing(with: zero, where: (before &- Block(repeating: 0x09)) .> Block(repeating: 0x04))
                let space = hereSpace | hereControl
                let spaceBefore = beforeSpace | beforeControl
                starts &+= spaceBefore & (space ^ one)
                faults |= hereControl | (space & spaceBefore)
                i += 16
                blocks -= 1
            }
            for lane in 0..<16 { words += Int(starts[lane]) }
            if faults != zero { isNormal = false }
        }
        while i < text.count {
            let here = text[i].isASCIIWhitespace
            let before = text[i - 1].isASCIIWhitespace
            if before && !here { words += 1 }
            if here && (before || text[i] != 0x20) { isNormal = false }
            i += 1
        }
    }
}

/// Makes each run of white space one space, and removes it at both ends.
package func normalizeWhitespace(_ text: inout [UInt8], _ whiteSpace: WhiteSpace = .unicode) {
    let count = text.withUnsafeMutableBufferPointer { bytes in
        let read = UnsafeBufferPointer(bytes)
        var written = 0
        var pendingSpace = false
        var i = 0
        // Nothing is written beyond what was read.
        while i < bytes.count {
            let length = whiteSpace.length(read, at: i)
            if length > 0 {
                pendingSpace = written > 0
                i &+= length
                continue
            }
            if pendingSpace {
                bytes[written] = 0x20
                written &+= 1
                pendingSpace = false
            }
            bytes[written] = bytes[i]
            written &+= 1
            i &+= 1
        }
        return written
    }
    text.removeLast(text.count - count)
}

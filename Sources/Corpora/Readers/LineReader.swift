// Lines of a file as borrowed bytes.

import Diagnostics
import Glibc
import Inputs

/// Reads a file line by line, without copying.
///
/// A line ends as `LineEnds` says; U+2028, U+0085 and form feeds are text. Carriage returns before a line feed, or at the end of the file, are part of
/// the line's end. A byte order mark at the start of the file is dropped. The last line needs no end; an empty file has no line. Memory is bounded
/// by the longest line allowed.
package final class LineReader {
    /// The path as the user gave it.
    package let path: String
    /// The current line without its end. Valid until the next `advance()`; empty where `fault` is set for its length.
    package private(set) var line = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    /// 1-based number of the current line; after the end the number of lines.
    package private(set) var lineNumber = 0
    /// 0-based byte of the current line's first byte, in the uncompressed text as UTF-8.
    package private(set) var lineByte = 0
    /// What is wrong with the current line: not UTF-8, a NUL byte in it, or too long. The next `advance()` goes on after it.
    package private(set) var fault: RecordError?

    private let source: ByteSource
    private let limit: Int
    private var buffer: UnsafeMutableRawBufferPointer
    /// Unread bytes are `buffer[start..<end]`; the byte of the file at `start` is `startByte`.
    private var start = 0
    private var end = 0
    private var startByte = 0
    private var atEnd = false

    /// Opens `path`; `-` is standard input.
    /// - Parameters:
    ///   - lineEnds: `aligned` where line n belongs to line n of another file.
    ///   - maximumLineBytes: longer lines become faults.
    /// - Throws: as `ByteSource.init(path:)`.
    package init(path: String, lineEnds: LineEnds = .universal, maximumLineBytes: Int = ReaderOptions.defaultMaximumLineBytes) throws {
        precondition(maximumLineBytes > 0, "the longest line must have at least one byte")
        source = try ByteSource(path: path, lineEnds: lineEnds)
        self.path = source.path
        limit = maximumLineBytes
        buffer = .allocate(byteCount: 256 << 10, alignment: 64)
    }

    deinit {
        buffer.deallocate()
    }

    /// The current line's place.
    package var place: RecordPlace { RecordPlace(file: path, line: lineNumber, byte: lineByte) }

    /// A file that holds a byte order mark and nothing else has no line, as an empty one.
    private var holdsOnlyTheMark: Bool { lineNumber == 0 && buffer[start..<end].elementsEqual([0xef, 0xbb, 0xbf]) }

    /// Moves to the next line.
    /// - Returns: false at the end of the file.
    /// - Throws: `UserError` as `ByteSource.read(into:)`. A line that is wrong by itself does not throw: see `fault`.
    package func advance() throws -> Bool {
        fault = nil
        var scanned = start
        while true {
            if scanned < end, let found = memchr(buffer.baseAddress! + scanned, 0x0a, end - scanned) {
                let newline = UnsafeRawPointer(found) - UnsafeRawPointer(buffer.baseAddress!)
                take(upTo: newline, next: newline + 1)
                return true
            }
            scanned = end
            if atEnd {
                if start == end || holdsOnlyTheMark { return false }
                take(upTo: end, next: end)
                return true
            }
            if end - start > limit {
                try skipLongLine()
                return true
            }
            let kept = scanned - start
            try fill()
            scanned = start + kept
        }
    }

    /// The current line, or its fault thrown.
    /// - Throws: `RecordError` when the line is wrong.
    package func checkedLine() throws -> UnsafeBufferPointer<UInt8> {
        if let fault { throw fault }
        return line
    }

    private func take(upTo lineEnd: Int, next: Int) {
        lineNumber += 1
        lineByte = startByte
        var low = start
        var high = lineEnd
        let bytes = buffer.bindMemory(to: UInt8.self)
        if lineNumber == 1, high - low >= 3, bytes[low] == 0xef, bytes[low + 1] == 0xbb, bytes[low + 2] == 0xbf {
            low += 3
            lineByte += 3
        }
        while high > low, bytes[high - 1] == 0x0d { high -= 1 }
        line = UnsafeBufferPointer(rebasing: bytes[low..<high])
        startByte += next - start
        start = next
        if line.count > limit {
            setTooLong()
        } else if let wrong = firstByteOfNoText(line) {
            fault = RecordError("\(wrong.what) at byte \(lineByte + wrong.offset)\(wrong.question)", at: place)
        }
    }

    private func setTooLong() {
        line = UnsafeBufferPointer(start: nil, count: 0)
        fault = RecordError("line longer than \(limit) bytes", at: place)
    }

    /// Passes over the rest of a line that is too long, keeping none of it.
    private func skipLongLine() throws {
        lineNumber += 1
        lineByte = startByte
        while true {
            if start < end, let found = memchr(buffer.baseAddress! + start, 0x0a, end - start) {
                let next = UnsafeRawPointer(found) - UnsafeRawPointer(buffer.baseAddress!) + 1
                startByte += next - start
                start = next
                break
            }
            startByte += end - start
            start = 0
            end = 0
            if atEnd { break }
            try fill()
        }
        setTooLong()
    }

    /// Reads more bytes behind the unread ones, moving them to the front; grows the buffer when it is full.
    private func fill() throws {
        if start > 0 {
            memmove(buffer.baseAddress!, buffer.baseAddress! + start, end - start)
            end -= start
            start = 0
        }
        if end == buffer.count {
            let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: buffer.count * 2, alignment: 64)
            memcpy(larger.baseAddress!, buffer.baseAddress!, end)
            buffer.deallocate()
            buffer = larger
        }
        let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[end...]))
        if count == 0 { atEnd = true }
        end += count
    }
}

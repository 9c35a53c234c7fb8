// Tags and text of the SGML and XML that machine translation test sets come in. Not an XML parser: the SGM files are not valid XML.

import Diagnostics
import Glibc
import Inputs

/// What a markup file holds, in order.
package enum MarkupEvent {
    /// `<name key="value">`. Names and keys are in lower case; values have their entities resolved.
    case open(name: String, attributes: [String: String])
    /// `</name>`, and after `open` for `<name/>`.
    case close(name: String)
    /// Text between tags, entities resolved; never empty.
    case text([UInt8])
}

/// Reads markup as a stream of events. Memory is bounded by the largest run of text.
///
/// A `<` that no letter, `/`, `!` or `?` follows is text, since old test sets do not escape it. Comments, declarations and
/// processing instructions are passed over; a CDATA section is text.
package final class MarkupScanner {
    package let path: String
    /// 1-based line where the last event began.
    package private(set) var eventLine = 1
    /// 0-based byte where the last event began, in the uncompressed file.
    package private(set) var eventByte = 0

    private let source: ByteSource
    private let limit: Int
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
    private var start = 0
    private var end = 0
    private var line = 1
    private var byte = 0
    private var pendingClose: String?
    private var pendingCDATA = false
    private var bytes: [UInt8] = []

    /// - Throws: `UserError(.missingInput)` when the file cannot be opened.
    package init(path: String, maximumTextBytes: Int = ReaderOptions.defaultMaximumLineBytes) throws {
        source = try ByteSource(path: path)
        self.path = source.path
        limit = maximumTextBytes
    }

    deinit {
        buffer.deallocate()
    }

    /// The place where the last event began.
    package var place: RecordPlace { RecordPlace(file: path, line: eventLine, byte: eventByte) }

    /// The next event, or `nil` at the end of the file.
    /// - Throws: `UserError(.badData)` for a tag or text that does not end within the limit or the file.
    package func next() throws -> MarkupEvent? {
        if let name = pendingClose {
            pendingClose = nil
            return .close(name: name)
        }
        while true {
            eventLine = line
            eventByte = byte
            if pendingCDATA {
                pendingCDATA = false
                try collect(upTo: Array("]]>".utf8))
                if bytes.isEmpty { continue }
                return .text(bytes)
            }
            guard let first = try peek(0) else { return nil }
            if first == UInt8(ascii: "<"), let second = try peek(1), Self.startsTag(second) {
                if let event = try scanTag(second) { return event }
            } else {
                return .text(try scanText())
            }
        }
    }

    private static func startsTag(_ byte: UInt8) -> Bool {
        let folded = byte | 0x20
        return (folded >= UInt8(ascii: "a") && folded <= UInt8(ascii: "z")) || byte == UInt8(ascii: "/") || byte == UInt8(ascii: "!")
            || byte == UInt8(ascii: "?")
    }

    private func scanText() throws -> [UInt8] {
        bytes.removeAll(keepingCapacity: true)
        while let value = try peek(0) {
            if value == UInt8(ascii: "<") {
                if let second = try peek(1), Self.startsTag(second) { break }
                try append(1)
            }
            try append(windowLength(to: UInt8(ascii: "<")))
        }
        return MarkupEntities.resolved(bytes)
    }

    /// Reads one tag; `nil` for a comment or declaration.
    private func scanTag(_ second: UInt8) throws -> MarkupEvent? {
        bytes.removeAll(keepingCapacity: true)
        skip()
        if second == UInt8(ascii: "!") {
            if try matches("!--") {
                try collect(upTo: Array("-->".utf8))
                return nil
            }
            if try matches("![CDATA[") {
                for _ in 0..<8 { skip() }
                pendingCDATA = true
                return nil
            }
        }
        // A tag ends at the first > that is not within a quoted value.
        var quote: UInt8?
        var checked = 0
        while true {
            guard try peek(0) != nil else { throw unfinished("tag") }
            try append(windowLength(to: UInt8(ascii: ">")))
            guard try peek(0) == UInt8(ascii: ">") else { continue }
            while checked < bytes.count {
                let byte = bytes[checked]
                if let open = quote {
                    if byte == open { quote = nil }
                } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'"), checked > 0, bytes[checked - 1] == UInt8(ascii: "=") {
                    quote = byte
                }
                checked += 1
            }
            if quote == nil { break }
            try append(1)
        }
        skip()
        if second == UInt8(ascii: "!") || second == UInt8(ascii: "?") { return nil }
        return parseTag()
    }

    private func parseTag() -> MarkupEvent {
        if bytes.first == UInt8(ascii: "/") {
            return .close(name: Self.lowercased(bytes[1...].prefix { !$0.isASCIIWhitespace }))
        }
        var content = bytes[...]
        let selfCloses = content.last == UInt8(ascii: "/")
        if selfCloses { content.removeLast() }
        let name = Self.lowercased(content.prefix { !$0.isASCIIWhitespace })
        content = content.drop { !$0.isASCIIWhitespace }
        var attributes: [String: String] = [:]
        while true {
            content = content.drop { $0.isASCIIWhitespace }
            if content.isEmpty { break }
            let key = Self.lowercased(content.prefix { !$0.isASCIIWhitespace && $0 != UInt8(ascii: "=") })
            content = content.drop { !$0.isASCIIWhitespace && $0 != UInt8(ascii: "=") }.drop { $0.isASCIIWhitespace }
            guard content.first == UInt8(ascii: "=") else {
                attributes[key] = ""
                continue
            }
            content = content.dropFirst().drop { $0.isASCIIWhitespace }
            let value: ArraySlice<UInt8>
            if let quote = content.first, quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") {
                value = content.dropFirst().prefix { $0 != quote }
                content = content.dropFirst(value.count + 2)
            } else {
                value = content.prefix { !$0.isASCIIWhitespace }
                content = content.dropFirst(value.count)
            }
            attributes[key] = String(decoding: MarkupEntities.resolved(Array(value)), as: UTF8.self)
        }
        if selfCloses { pendingClose = name }
        return .open(name: name, attributes: attributes)
    }

    private static func lowercased(_ bytes: some Sequence<UInt8>) -> String {
        String(decoding: bytes.map { $0 >= 0x41 && $0 <= 0x5a ? $0 | 0x20 : $0 }, as: UTF8.self)
    }

    /// Collects bytes up to `terminator` into `bytes`, and passes over it.
    private func collect(upTo terminator: [UInt8]) throws {
        bytes.removeAll(keepingCapacity: true)
        while !bytes.suffix(terminator.count).elementsEqual(terminator) {
            guard try peek(0) != nil else { throw unfinished("comment or CDATA section") }
            try append(1)
        }
        bytes.removeLast(terminator.count)
    }

    private func matches(_ text: String) throws -> Bool {
        for (offset, expected) in text.utf8.enumerated() {
            guard try peek(offset) == expected else { return false }
        }
        return true
    }

    /// The number of bytes in the buffer before the next `stop`, or to its end.
    private func windowLength(to stop: UInt8) -> Int {
        guard start < end, let found = memchr(buffer.baseAddress! + start, CInt(stop), end - start) else { return end - start }
        return UnsafeRawPointer(found) - UnsafeRawPointer(buffer.baseAddress! + start)
    }

    /// Takes `count` bytes of the buffer to the end of `bytes`.
    private func append(_ count: Int) throws {
        if bytes.count + count > limit { throw unfinished("text or tag of at most \(limit) bytes") }
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[start..<(start + count)]))
        var from = start
        start += count
        byte += count
        while from < start, let found = memchr(buffer.baseAddress! + from, 0x0a, start - from) {
            line += 1
            from = UnsafeRawPointer(found) - UnsafeRawPointer(buffer.baseAddress!) + 1
        }
    }

    private func unfinished(_ what: String) -> UserError {
        UserError(.badData, "a \(what) begins here and does not end", at: "\(path):\(eventLine)", advice: "look for a truncated file")
    }

    /// The byte `offset` places ahead, or `nil` past the end.
    @inline(__always)
    private func peek(_ offset: Int) throws -> UInt8? {
        if start + offset >= end {
            try fill(offset)
            if start + offset >= end { return nil }
        }
        return buffer[start + offset]
    }

    @inline(__always)
    private func skip() {
        if buffer[start] == 0x0a { line += 1 }
        start += 1
        byte += 1
    }

    private func fill(_ offset: Int) throws {
        memmove(buffer.baseAddress!, buffer.baseAddress! + start, end - start)
        end -= start
        start = 0
        while end <= offset {
            let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[end...]))
            if count == 0 { return }
            end += count
        }
    }
}

/// Character references of SGML and XML.
package enum MarkupEntities {
    /// `bytes` with `&amp; &lt; &gt; &quot; &apos;` and numeric references replaced. Others stay as they are.
    package static func resolved(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.contains(UInt8(ascii: "&")) else { return bytes }
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count)
        var i = 0
        while i < bytes.count {
            if bytes[i] == UInt8(ascii: "&"), let semicolon = bytes[i...].prefix(12).firstIndex(of: UInt8(ascii: ";")),
                let text = character(named: bytes[(i + 1)..<semicolon])
            {
                output.append(contentsOf: text)
                i = semicolon + 1
            } else {
                output.append(bytes[i])
                i += 1
            }
        }
        return output
    }

    private static func character(named name: ArraySlice<UInt8>) -> [UInt8]? {
        let name = String(decoding: name, as: UTF8.self)
        switch name {
        case "amp": return [UInt8(ascii: "&")]
        case "lt": return [UInt8(ascii: "<")]
        case "gt": return [UInt8(ascii: ">")]
        case "quot": return [UInt8(ascii: "\"")]
        case "apos": return [UInt8(ascii: "'")]
        default: break
        }
        guard name.hasPrefix("#") else { return nil }
        let isHexadecimal = name.hasPrefix("#x") || name.hasPrefix("#X")
        let digits = name.dropFirst(isHexadecimal ? 2 : 1)
        guard let value = UInt32(digits, radix: isHexadecimal ? 16 : 10), let scalar = Unicode.Scalar(value), value != 0 else { return nil }
        return Array(String(Character(scalar)).utf8)
    }
}

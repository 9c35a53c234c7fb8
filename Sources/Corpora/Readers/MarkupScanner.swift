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
/// A `<` that no letter, `/`, `!` or `?` follows is text. Comments, declarations and processing instructions are passed over; a CDATA section is text.
/// What stands in a segment is not read as events but as it is written: see `content(of:)`.
package final class MarkupScanner {
    /// What may be left out, and what stands for itself.
    package enum Syntax {
        /// NIST's files: a segment's end tag may be left out, and everything in a segment but its end is text, as for `mteval` and sacreBLEU.
        case sgml
        /// A segment has its end tag; comments and CDATA sections in it are what they are.
        case xml
    }

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
            if first == UInt8(ascii: "<"), try tagBegins(0), let second = try peek(1) {
                if let event = try scanTag(second) { return event }
            } else {
                return .text(try scanText())
            }
        }
    }

    /// What stands between the start tag that `next` has just given and its end, as it is written. The next event is the one behind it.
    ///
    /// A `<` in it is text unless it begins the element's end tag. Where the end tag is left out (SGML), the element ends before the next segment, or
    /// before the end of what stands around it; paragraphs end with it.
    /// - Parameter name: of the element.
    /// - Throws: `UserError(.badData)` where the element does not end.
    package func content(of name: String, _ syntax: Syntax) throws -> [UInt8] {
        if pendingClose == name {
            pendingClose = nil
            return []
        }
        bytes.removeAll(keepingCapacity: true)
        /// Where a tag of a paragraph stands: there a segment without an end tag ends.
        var paragraph: Int?
        while let value = try peek(0) {
            guard value == UInt8(ascii: "<") else {
                try append(windowLength(to: UInt8(ascii: "<")))
                continue
            }
            if syntax == .xml, try matches("<!--") {
                let kept = bytes
                try collect(upTo: Array("-->".utf8))
                bytes = kept
                continue
            }
            if syntax == .xml, try matches("<![CDATA[") {
                let kept = bytes
                try collect(upTo: Array("]]>".utf8))
                bytes = kept + bytes + Array("]]>".utf8)
                if bytes.count > limit { throw tooLong }
                continue
            }
            let closes = try peek(1) == UInt8(ascii: "/")
            let found = try tagName(at: closes ? 2 : 1)
            if closes, found == name {
                try skipEndTag()
                return bytes
            }
            let isDocument = try found == "doc" && syntax == .sgml && peek(4) != UInt8(ascii: ">")
            if found == name || isDocument || closes && Self.structure.contains(found) {
                guard syntax == .sgml else { throw unfinished(name) }
                if let paragraph { bytes.removeLast(bytes.count - paragraph) }
                return bytes
            }
            if Self.paragraphs.contains(found), paragraph == nil { paragraph = bytes.count }
            try append(1)
        }
        throw unfinished(name)
    }

    /// Segments, and elements that stand around them: none of them ends in one.
    private static let structure: Set<String> = [
        "seg", "doc", "srcset", "refset", "tstset", "mteval", "dataset", "src", "ref", "hyp", "tu", "tuv", "body", "tmx",
    ]
    private static let paragraphs: Set<String> = ["p", "hl", "para", "headline"]

    /// The name of the tag whose name would begin `offset` bytes ahead, in lower case; empty where there is none that ends with white space, `/` or `>`.
    private func tagName(at offset: Int) throws -> String {
        var name: [UInt8] = []
        while name.count <= 16, let byte = try peek(offset + name.count) {
            let folded = byte | 0x20
            if folded >= UInt8(ascii: "a"), folded <= UInt8(ascii: "z") {
                name.append(folded)
            } else {
                return byte.isASCIIWhitespace || byte == UInt8(ascii: ">") || byte == UInt8(ascii: "/") ? String(decoding: name, as: UTF8.self) : ""
            }
        }
        return ""
    }

    /// Passes over an end tag, up to its `>`, which may be left out.
    private func skipEndTag() throws {
        skip()
        while let byte = try peek(0), byte != UInt8(ascii: ">") {
            if byte == UInt8(ascii: "<") { return }
            skip()
        }
        if try peek(0) != nil { skip() }
    }

    /// Whether the `<` so many bytes ahead begins a tag, a comment, a declaration or a processing instruction.
    private func tagBegins(_ offset: Int) throws -> Bool {
        guard let byte = try peek(offset + 1) else { return false }
        let isDeclaration = byte == UInt8(ascii: "!") || byte == UInt8(ascii: "?")
        guard let next = isDeclaration ? try peek(offset + 2) : byte else { return false }
        let folded = next | 0x20
        if folded >= UInt8(ascii: "a"), folded <= UInt8(ascii: "z") { return true }
        return isDeclaration ? next == UInt8(ascii: "-") || next == UInt8(ascii: "[") : next == UInt8(ascii: "/")
    }

    private func scanText() throws -> [UInt8] {
        bytes.removeAll(keepingCapacity: true)
        while let value = try peek(0) {
            if value == UInt8(ascii: "<") {
                if try tagBegins(0) { break }
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
        guard let length = try lengthOfTag() else {
            if Self.structure.contains(try tagName(at: second == UInt8(ascii: "/") ? 1 : 0)) { throw unfinished("tag") }
            return .text([UInt8(ascii: "<")])
        }
        try append(length)
        skip()
        if second == UInt8(ascii: "!") || second == UInt8(ascii: "?") { return nil }
        return parseTag()
    }

    /// The bytes before the `>` that ends a tag: the first one that is not within a quoted value. A quote whose value holds the beginning of another
    /// tag, or that does not close at all, is one that somebody forgot to close: there the first `>` of all ends the tag. `nil` where there is none before
    /// the next tag: what looks like one is text.
    private func lengthOfTag() throws -> Int? {
        var quote: UInt8?
        var firstEnd: Int?
        var last: UInt8 = 0
        var offset = 0
        if try peek(0) == UInt8(ascii: "!") {
            // A document type may have declarations of its own in brackets.
            var depth = 0
            while let byte = try peek(offset) {
                if byte == UInt8(ascii: ">"), depth <= 0 { return offset }
                depth += byte == UInt8(ascii: "[") ? 1 : byte == UInt8(ascii: "]") ? -1 : 0
                offset += 1
            }
            throw unfinished("declaration")
        }
        while let byte = try peek(offset) {
            if byte == UInt8(ascii: ">") {
                if quote == nil { return offset }
                firstEnd = firstEnd ?? offset
            } else if byte == UInt8(ascii: "<"), try tagBegins(offset) {
                break
            } else if let open = quote {
                if byte == open { quote = nil }
            } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'"), last == UInt8(ascii: "=") {
                quote = byte
            }
            if !byte.isASCIIWhitespace { last = byte }
            offset += 1
        }
        return firstEnd
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
        if bytes.count + count > limit { throw tooLong }
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[start..<(start + count)]))
        var from = start
        start += count
        byte += count
        while from < start, let found = memchr(buffer.baseAddress! + from, 0x0a, start - from) {
            line += 1
            from = UnsafeRawPointer(found) - UnsafeRawPointer(buffer.baseAddress!) + 1
        }
    }

    private var tooLong: UserError { unfinished("text or tag of at most \(limit) bytes") }

    private func unfinished(_ what: String) -> UserError {
        UserError(.badData, "a \(what == "seg" ? "segment" : what) begins here and does not end", at: "\(path):\(eventLine)", advice: "look for a truncated file")
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
        while end <= offset, end < buffer.count {
            let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[end...]))
            if count == 0 { return }
            end += count
        }
    }
}

// The text of what stands in an element of SGML or XML.

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

/// The text of a segment of XML.
enum MarkupText {
    /// The text of an element's content, as `MarkupScanner.content` gives it, entities resolved.
    ///
    /// An element inside it is markup where it is closed: its tags go, and its text stays unless its name is one of `leavingOut`. What only looks like
    /// a tag (`a <b then`, `<unk>`, an address in angle brackets) is text.
    /// - Complexity: two passes.
    static func plain(_ content: [UInt8], leavingOut: Set<String> = []) -> [UInt8] {
        guard content.contains(UInt8(ascii: "<")) else { return MarkupEntities.resolved(content) }
        var reader = InlineReader(content: content, leavingOut: leavingOut)
        return reader.text()
    }
}

private struct InlineReader {
    let content: [UInt8]
    let leavingOut: Set<String>
    /// Where the last end tag of each name begins.
    private var lastEnd: [String: Int] = [:]
    private var open: [String] = []
    private var output: [UInt8] = []
    /// Text since the last tag.
    private var run: [UInt8] = []

    private struct Tag {
        var name: String
        var isEnd: Bool
        var isEmpty: Bool
        /// Behind its `>`.
        var end: Int
    }

    init(content: [UInt8], leavingOut: Set<String>) {
        (self.content, self.leavingOut) = (content, leavingOut)
        for place in content.indices where content[place] == UInt8(ascii: "<") {
            if let tag = tag(at: place), tag.isEnd { lastEnd[tag.name] = place }
        }
    }

    mutating func text() -> [UInt8] {
        var i = 0
        while i < content.count {
            guard content[i] == UInt8(ascii: "<") else {
                run.append(content[i])
                i += 1
                continue
            }
            if let (body, end) = section(at: i, "<![CDATA[", "]]>") {
                flush()
                append(content[body])
                i = end
            } else if let (_, end) = section(at: i, "<?", "?>") {
                i = end
            } else if let tag = tag(at: i), isMarkup(tag, at: i) {
                flush()
                if tag.isEnd, let place = open.lastIndex(of: tag.name) {
                    open.removeLast(open.count - place)
                } else if !tag.isEnd, !tag.isEmpty {
                    open.append(tag.name)
                }
                i = tag.end
            } else {
                run.append(content[i])
                i += 1
            }
        }
        flush()
        return output
    }

    private func isMarkup(_ tag: Tag, at place: Int) -> Bool {
        tag.isEnd ? open.contains(tag.name) : tag.isEmpty || lastEnd[tag.name].map { $0 > place } == true
    }

    private mutating func flush() {
        append(MarkupEntities.resolved(run)[...])
        run.removeAll()
    }

    private mutating func append(_ text: ArraySlice<UInt8>) {
        if !open.contains(where: leavingOut.contains) { output += text }
    }

    /// What stands between two marks, and the place behind the second.
    private func section(at place: Int, _ begin: String, _ end: String) -> (body: Range<Int>, end: Int)? {
        guard content[place...].starts(with: begin.utf8) else { return nil }
        let end = Array(end.utf8)
        var i = place + begin.utf8.count
        let body = i
        while i + end.count <= content.count {
            if content[i] == end[0], content[i...].starts(with: end) { return (body..<i, i + end.count) }
            i += 1
        }
        return nil
    }

    /// The tag at a `<`; `nil` where what follows is none: no name, or no `>` before the next `<`.
    private func tag(at place: Int) -> Tag? {
        var i = place + 1
        let isEnd = i < content.count && content[i] == UInt8(ascii: "/")
        if isEnd { i += 1 }
        let begin = i
        while i < content.count, Self.isNameByte(content[i], first: i == begin) { i += 1 }
        guard i > begin, i < content.count, content[i].isASCIIWhitespace || content[i] == UInt8(ascii: ">") || content[i] == UInt8(ascii: "/") else {
            return nil
        }
        let name = String(decoding: content[begin..<i].map { $0 >= 0x41 && $0 <= 0x5a ? $0 | 0x20 : $0 }, as: UTF8.self)
        while i < content.count, content[i] != UInt8(ascii: "<") {
            if content[i] == UInt8(ascii: ">") {
                return Tag(name: name, isEnd: isEnd, isEmpty: !isEnd && content[i - 1] == UInt8(ascii: "/"), end: i + 1)
            }
            i += 1
        }
        return nil
    }

    private static func isNameByte(_ byte: UInt8, first: Bool) -> Bool {
        let folded = byte | 0x20
        if folded >= 0x61 && folded <= 0x7a || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ":") { return true }
        return !first && (byte >= 0x30 && byte <= 0x39 || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "."))
    }
}

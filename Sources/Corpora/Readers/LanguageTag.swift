// Names of languages: BCP 47 tags, and pairs of them.

import Diagnostics

/// A language tag such as `en`, `en-GB`, `zh-Hans-CN` or `pt_BR`, for comparison: case does not count, and an underscore is a hyphen.
package struct LanguageTag: Hashable {
    /// In lower case, in their order.
    package let subtags: [String]

    /// Takes a tag as it is written.
    package init(_ text: String) {
        subtags = text.lowercased().unicodeScalars.split { $0 == "-" || $0 == "_" }.map { String($0) }
    }

    /// Whether another tag is of this language: `en` includes `en-GB`, and `de-DE` includes `de-Latn-DE`, but `en-US` does not include `en`.
    /// - Source: RFC 4647, section 3.3.2 (extended filtering).
    package func includes(_ other: LanguageTag) -> Bool {
        guard let first = subtags.first, first == other.subtags.first else { return false }
        var rest = other.subtags.dropFirst()
        for wanted in subtags.dropFirst() {
            while let next = rest.first, next != wanted {
                // A singleton begins an extension, which says nothing of the language.
                if next.utf8.count == 1 { return false }
                rest = rest.dropFirst()
            }
            if rest.popFirst() == nil { return false }
        }
        return true
    }

    /// The places among `tags` that are of this language: equal tags where there are some, else all that it includes.
    package func matches(among tags: [String]) -> [Int] {
        let parsed = tags.map { LanguageTag($0) }
        let equal = parsed.indices.filter { parsed[$0] == self }
        return equal.isEmpty ? parsed.indices.filter { includes(parsed[$0]) } : equal
    }
}

/// Two languages, source first.
public struct LanguagePair: Sendable, Hashable, Codable {
    /// The language translated from, such as `en`.
    public var source: String
    /// The language translated into.
    public var target: String

    /// Two names as files have them for their endings; they are not checked.
    public init(source: String, target: String) {
        self.source = source
        self.target = target
    }

    /// Reads two tags: `en-de`, `pt_BR-en`, `en-GB:de-DE`, or, where it can be read in one way only, `en-GB-de-DE`.
    ///
    /// A colon divides the tags. Without one a hyphen does; where there are several, that one between two tags in the usual spelling: the language in
    /// lower case, a script as in `Hans`, a region in capitals or digits.
    /// - Throws: `UserError(.usage)` for anything else.
    public init(_ text: String) throws {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        if parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty {
            self.init(source: parts[0], target: parts[1])
            return
        }
        let pieces = text.split(separator: "-", omittingEmptySubsequences: false).map(String.init)
        let divisions = (1..<max(pieces.count, 1)).map { (Array(pieces[..<$0]), Array(pieces[$0...])) }
        let readable = pieces.count == 2 ? divisions : divisions.filter { Self.isUsual($0.0) && Self.isUsual($0.1) }
        guard parts.count == 1, readable.count == 1, !pieces.contains("") else {
            throw UserError(
                .usage, "\"\(text)\" does not name two languages", advice: "write source and target as in en-de, or as in en-GB:de-DE")
        }
        self.init(source: readable[0].0.joined(separator: "-"), target: readable[0].1.joined(separator: "-"))
    }

    /// As the option is written.
    var text: String { source.contains("-") || target.contains("-") ? "\(source):\(target)" : "\(source)-\(target)" }

    /// Whether subtags are a language with a script and a region at most, spelled as usual.
    private static func isUsual(_ subtags: [String]) -> Bool {
        func matches(_ text: String, _ counts: ClosedRange<Int>, _ isAllowed: (Int, UInt8) -> Bool) -> Bool {
            counts.contains(text.utf8.count) && text.utf8.enumerated().allSatisfy { isAllowed($0.offset, $0.element) }
        }
        func isLower(_ byte: UInt8) -> Bool { byte >= 0x61 && byte <= 0x7a }
        func isUpper(_ byte: UInt8) -> Bool { byte >= 0x41 && byte <= 0x5a }
        var rest = subtags[...]
        guard let language = rest.popFirst(), matches(language, 2...3, { isLower($1) }) else { return false }
        if let script = rest.first, matches(script, 4...4, { $0 == 0 ? isUpper($1) : isLower($1) }) { rest.removeFirst() }
        if let region = rest.first, matches(region, 2...2, { isUpper($1) }) || matches(region, 3...3, { $1 >= 0x30 && $1 <= 0x39 }) { rest.removeFirst() }
        return rest.isEmpty
    }
}

// TMX: translation units, each with a variant for every language.

import Diagnostics

/// Sentence pairs from a TMX file. Inline elements of native code (`bpt`, `ept`, `ph`, `it`, `ut`) are left out, others give their text.
public final class TranslationMemoryReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let scanner: MarkupScanner
    private let languages: LanguagePair?
    /// Where `<tmx>` was opened, until it is closed.
    private var opened: RecordPlace?

    private static let nativeCode: Set<String> = ["bpt", "ept", "ph", "it", "ut"]

    /// - Parameter languages: the variants to take as source and target; `nil` for the first and the second of each unit.
    /// - Throws: `UserError(.missingInput)` when the file cannot be opened.
    public init(path: String, languages: LanguagePair? = nil) throws {
        scanner = try MarkupScanner(path: path)
        self.languages = languages
    }

    /// - Throws: `RecordError` for a unit without both languages, or not UTF-8; `UserError(.badData)` where the file ends before its last unit does, or
    ///   before `</tmx>`.
    public func next() throws -> CorpusRecord? {
        var unit: RecordPlace?
        var variants: [(language: String, segment: Segment)] = []
        var language = ""
        var text: [UInt8]?
        var depthOfCode = 0
        while let event = try scanner.next() {
            switch event {
            case .open("tmx", _):
                opened = scanner.place
            case .close("tmx"):
                opened = nil
            case .open("tu", _):
                unit = scanner.place
                variants = []
            case .open("tuv", let attributes):
                language = attributes["xml:lang"] ?? attributes["lang"] ?? ""
            case .open("seg", _):
                text = []
                depthOfCode = 0
            case .open(let name, _) where Self.nativeCode.contains(name):
                depthOfCode += 1
            case .close(let name) where Self.nativeCode.contains(name):
                depthOfCode -= 1
            case .text(let bytes):
                if depthOfCode == 0 { text?.append(contentsOf: bytes) }
            case .close("seg"):
                variants.append((language, Segment(identifier: language, text: text ?? [], place: scanner.place)))
                text = nil
            case .close("tu"):
                if let unit { return try pair(variants, at: unit) }
            default:
                break
            }
        }
        guard let unclosed = unit ?? opened else { return nil }
        throw UserError(
            .badData, "the \(unit == nil ? "translation memory" : "translation unit") that begins here has no end",
            at: "\(unclosed.file):\(unclosed.line)", advice: "look for a truncated file")
    }

    private func pair(_ variants: [(language: String, segment: Segment)], at place: RecordPlace) throws -> CorpusRecord {
        let source: Segment?
        let target: Segment?
        if let languages {
            source = variants.first { Self.matches($0.language, languages.source) }?.segment
            target = variants.first { Self.matches($0.language, languages.target) }?.segment
        } else {
            source = variants.first?.segment
            target = variants.dropFirst().first?.segment
        }
        guard let source, let target else {
            throw RecordError("translation unit without \(languages.map { "\($0.source) and \($0.target)" } ?? "two languages")", at: place)
        }
        if let fault = source.fault ?? target.fault { throw fault }
        return CorpusRecord(source: source.text, target: target.text, place: place)
    }

    /// True for an equal tag, and for a region of the language: "en-GB" is "en".
    private static func matches(_ found: String, _ wanted: String) -> Bool {
        let found = found.lowercased()
        let wanted = wanted.lowercased()
        return found == wanted || found.hasPrefix(wanted + "-") || found.hasPrefix(wanted + "_")
    }
}

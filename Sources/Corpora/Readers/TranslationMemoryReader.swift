// TMX: translation units, each with a variant for every language.

import Diagnostics

/// Sentence pairs from a TMX file. Inline elements of native code (`bpt`, `ept`, `ph`, `it`, `ut`) are left out, others give their text.
///
/// Which variant is the source is never taken from the order of the variants: either the languages are asked for, or the file's `srclang` names the
/// source's, and every unit has one other.
public final class TranslationMemoryReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let scanner: MarkupScanner
    private let languages: LanguagePair?
    /// What the header says, and the languages of the first unit, where `languages` does not say them.
    private var sourceLanguage: String?
    private var targetLanguage: String?
    /// Where `<tmx>` was opened, until it is closed.
    private var opened: RecordPlace?
    /// The unit whose start tag was read when the one before it was found to have no end.
    private var begun: (place: RecordPlace, source: String?)?

    private struct Variant {
        var language: String
        var segment: Segment
    }

    private static let nativeCode: Set<String> = ["bpt", "ept", "ph", "it", "ut"]

    /// - Parameter languages: the variants to take as source and target; `nil` for the header's source language and the one other of the units.
    /// - Throws: `UserError(.missingInput)` when the file cannot be opened.
    public init(path: String, languages: LanguagePair? = nil) throws {
        scanner = try MarkupScanner(path: path)
        self.languages = languages
    }

    /// - Throws: `RecordError` for a unit without both languages, without an end, or not UTF-8; `UserError(.usage)` where the languages are not asked
    ///   for and the file does not tell which is the source, or has several others; `UserError(.badData)` where the file ends before its last unit does,
    ///   or before `</tmx>`.
    public func next() throws -> CorpusRecord? {
        var unit = begun
        begun = nil
        var variants: [Variant] = []
        var language = ""
        while let event = try scanner.next() {
            switch event {
            case .open("tmx", _):
                opened = scanner.place
            case .close("tmx"):
                opened = nil
            case .open("header", let attributes):
                sourceLanguage = Self.language(attributes["srclang"])
            case .open("tu", let attributes):
                let opened = (scanner.place, Self.language(attributes["srclang"]))
                if let unit {
                    begun = opened
                    throw RecordError("translation unit without an end, before that in line \(scanner.eventLine)", at: unit.place)
                }
                unit = opened
            case .open("tuv", let attributes):
                language = attributes["xml:lang"] ?? attributes["lang"] ?? ""
            case .open("seg", _):
                let place = scanner.place
                let text = MarkupText.plain(try scanner.content(of: "seg", .xml), leavingOut: Self.nativeCode)
                variants.append(Variant(language: language, segment: Segment(identifier: language, text: text, place: place)))
            case .close("tu"):
                if let unit { return try pair(variants, at: unit.place, sourceLanguage: unit.source ?? sourceLanguage) }
            default:
                break
            }
        }
        guard let unclosed = unit?.place ?? opened else { return nil }
        throw UserError(
            .badData, "the \(unit == nil ? "translation memory" : "translation unit") that begins here has no end",
            at: "\(unclosed.file):\(unclosed.line)", advice: "look for a truncated file")
    }

    /// A language that an attribute names; `nil` for none and for `*all*`, which says that any variant may be the source.
    private static func language(_ attribute: String?) -> String? {
        attribute.flatMap { $0.isEmpty || $0.lowercased() == "*all*" ? nil : $0 }
    }

    private func pair(_ variants: [Variant], at place: RecordPlace, sourceLanguage: String?) throws -> CorpusRecord {
        let tags = variants.map(\.language)
        let source: Int?
        let target: Int?
        if let languages {
            source = LanguageTag(languages.source).matches(among: tags).first
            target = LanguageTag(languages.target).matches(among: tags).first { $0 != source }
        } else {
            guard let sourceLanguage else { throw try undecided("its header names no source language", variants, place) }
            source = LanguageTag(sourceLanguage).matches(among: tags).first
            var others = variants.indices.filter { $0 != source }
            if others.count > 1, let targetLanguage { others = others.filter { LanguageTag(variants[$0].language) == LanguageTag(targetLanguage) } }
            guard others.count <= 1 else { throw try undecided("a unit has several languages beside its source's, \(sourceLanguage)", variants, place) }
            target = source == nil ? nil : others.first
            if let target {
                let found = variants[target].language
                if let targetLanguage, LanguageTag(found) != LanguageTag(targetLanguage) {
                    throw try undecided("its units are translated into \(targetLanguage) and into \(found)", variants, place)
                }
                targetLanguage = found
            }
        }
        guard let source, let target else {
            let wanted = languages.map { "\($0.source) and \($0.target)" } ?? sourceLanguage.map { "\($0) and another language" } ?? "two languages"
            throw RecordError("translation unit without \(wanted)", at: place)
        }
        if let fault = variants[source].segment.fault ?? variants[target].segment.fault { throw fault }
        return CorpusRecord(source: variants[source].segment.text, target: variants[target].segment.text, place: place)
    }

    /// The error for a file that does not tell its direction, with the languages that it has; reads on to its end for them.
    private func undecided(_ what: String, _ variants: [Variant], _ place: RecordPlace) throws -> UserError {
        var found: [String] = []
        func add(_ language: String) {
            if !language.isEmpty, found.count < 20, !found.contains(where: { LanguageTag($0) == LanguageTag(language) }) { found.append(language) }
        }
        variants.forEach { add($0.language) }
        while case let event? = try? scanner.next() {
            if case .open("tuv", let attributes) = event { add(attributes["xml:lang"] ?? attributes["lang"] ?? "") }
        }
        let list = found.isEmpty ? "none of its variants names its language" : "its languages are \(found.joined(separator: ", "))"
        let example = found.count > 1 ? "\(found[0]):\(found[1])" : "en-de"
        return UserError(
            .usage, "\(what); \(list)", at: "\(place.file):\(place.line)",
            advice: "name source and target with --languages, as in \(example)")
    }
}

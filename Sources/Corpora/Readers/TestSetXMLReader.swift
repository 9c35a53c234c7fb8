// The XML form of WMT test sets since 2021: each document with its source, its references and the systems' outputs.

import Diagnostics

/// Sentence pairs from the `src` and one `ref` of each document, joined by segment identifiers. Memory is bounded by the largest document.
public final class TestSetXMLReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let scanner: MarkupScanner
    private let languages: LanguagePair?
    private var translator: String?
    /// The languages of the first document's sides, which those of the others must have where `languages` does not say.
    private var readLanguages: (source: String?, target: String?)
    private var queue: [Result<CorpusRecord, RecordError>] = []

    private struct Side {
        var place: RecordPlace
        var language: String?
        var segments: [Segment] = []
    }

    private struct Document {
        var identifier: String
        var place: RecordPlace
        var source: Side?
        var target: Side?
        /// The languages of all references.
        var languages: [String] = []
    }

    /// - Parameters:
    ///   - translator: the `translator` of the references to read; `nil` for that of the first reference in the file.
    ///   - languages: the languages that source and references must have, where they have a `lang`; `nil` where a document's references are all of
    ///     one language.
    /// - Throws: `UserError(.missingInput)` when the file cannot be opened.
    public init(path: String, translator: String? = nil, languages: LanguagePair? = nil) throws {
        scanner = try MarkupScanner(path: path)
        self.translator = translator
        self.languages = languages
    }

    /// - Throws: `RecordError` for a segment that one side lacks, and for a document without the chosen reference; `UserError(.usage)` where the
    ///   languages are not those asked for, or there are several and none was asked for; `UserError(.badData)` for what does not end.
    public func next() throws -> CorpusRecord? {
        while queue.isEmpty {
            guard try readDocument() else { return nil }
        }
        return try queue.removeLast().get()
    }

    private func readDocument() throws -> Bool {
        var document: Document?
        var side: Side?
        var isTarget = false
        while let event = try scanner.next() {
            switch event {
            case .open("doc", let attributes):
                if let document { throw unfinished(document) }
                document = Document(identifier: attributes["id"] ?? "", place: scanner.place)
            case .open(let name, _) where side != nil && ["src", "ref", "hyp"].contains(name):
                throw UserError(
                    .badData, "<\(name)> stands in another part of its document, which has no end", at: "\(scanner.path):\(scanner.eventLine)",
                    advice: "look for a missing </src> or </ref>")
            case .open("src", let attributes):
                guard document != nil else { throw outside("src") }
                (side, isTarget) = (Side(place: scanner.place, language: attributes["lang"]), false)
            case .open("ref", let attributes):
                guard document != nil else { throw outside("ref") }
                if let language = attributes["lang"] { document?.languages.append(language) }
                guard isWanted(attributes), document?.target == nil else { break }
                (side, isTarget) = (Side(place: scanner.place, language: attributes["lang"]), true)
            case .open("seg", let attributes):
                let place = scanner.place
                let text = MarkupText.plain(try scanner.content(of: "seg", .xml))
                guard var part = side else { break }
                // The segments have one owner again and grow in place.
                side = nil
                part.segments.append(Segment(identifier: attributes["id"] ?? "\(part.segments.count + 1)", text: text, place: place))
                side = part
            case .close("src"), .close("ref"):
                if let side, isTarget { document?.target = side } else if let side { document?.source = side }
                side = nil
            case .close("doc"):
                guard let document else { break }
                try take(document)
                return true
            default:
                break
            }
        }
        if let document { throw unfinished(document) }
        return false
    }

    /// Joins the sides of a document.
    private func take(_ document: Document) throws {
        try checkLanguages(of: document)
        guard let target = document.target else {
            let wanted = translator.map { $0.isEmpty ? "" : " by translator \($0)" } ?? ""
            let language = languages.map { " in \($0.target)" } ?? ""
            queue = [.failure(RecordError("document \(document.identifier) has no reference\(wanted)\(language)", at: document.place))]
            return
        }
        queue = alignedSegments(
            document: document.identifier, source: document.source?.segments ?? [], target: target.segments, targetPlace: target.place
        ).reversed()
    }

    private func checkLanguages(of document: Document) throws {
        func wrong(_ what: String) -> UserError {
            let found = ([document.source?.language].compactMap(\.self) + document.languages).reduce(into: [String]()) {
                if !$0.contains($1) { $0.append($1) }
            }
            return UserError(
                .usage, "document \(document.identifier) \(what); its languages are \(found.joined(separator: ", "))",
                at: "\(scanner.path):\(document.place.line)", advice: "name source and target with --languages, as in en-de")
        }
        if let languages {
            guard let source = document.source?.language, !LanguageTag(languages.source).includes(LanguageTag(source)) else { return }
            throw wrong("is translated from \(source), not from \(languages.source)")
        }
        guard Set(document.languages.map(LanguageTag.init)).count <= 1 else { throw wrong("has references in several languages") }
        for (found, first) in [(document.source?.language, readLanguages.source), (document.target?.language, readLanguages.target)] {
            if let found, let first, LanguageTag(found) != LanguageTag(first) { throw wrong("is not of the languages of the documents before it") }
        }
        readLanguages = (readLanguages.source ?? document.source?.language, readLanguages.target ?? document.target?.language)
    }

    private func isWanted(_ attributes: [String: String]) -> Bool {
        if let languages, let found = attributes["lang"], !LanguageTag(languages.target).includes(LanguageTag(found)) { return false }
        let name = attributes["translator"] ?? ""
        if translator == nil { translator = name }
        return name == translator
    }

    private func unfinished(_ document: Document) -> UserError {
        UserError(
            .badData, "document \(document.identifier) has no end", at: "\(scanner.path):\(document.place.line)", advice: "look for a truncated file")
    }

    private func outside(_ element: String) -> UserError {
        UserError(
            .badData, "<\(element)> stands outside of a document", at: "\(scanner.path):\(scanner.eventLine)",
            advice: "give XML as WMT has it: <doc> around <src> and <ref>")
    }
}

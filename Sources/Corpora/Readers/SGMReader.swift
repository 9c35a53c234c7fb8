// NIST's SGML form of a test set: a source set and a reference set in two files.

import Diagnostics

/// Sentence pairs from a `srcset` and a `refset` file, joined by document and segment identifiers.
///
/// Both files must hold their documents in the same order. Where the reference set holds several systems' documents, those of one are
/// read: the one asked for, else the first. Memory is bounded by the largest document.
///
/// The text of a segment is what stands between its tags, entities resolved, as for `mteval` and sacreBLEU: a `<` that nobody escaped is text. End tags of
/// segments, paragraphs and documents may be left out, and so may documents themselves.
public final class SGMReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let source: SGMDocuments
    private let target: SGMDocuments
    private var queue: [Result<CorpusRecord, RecordError>] = []

    /// - Parameters:
    ///   - translator: the `sysid` of the reference documents to read; `nil` for that of the first.
    ///   - languages: what the sets must say of themselves, where they say it; `nil` for whatever they say.
    /// - Throws: `UserError(.missingInput)` when a file cannot be opened.
    public init(source: String, target: String, translator: String? = nil, languages: LanguagePair? = nil) throws {
        self.source = try SGMDocuments(path: source, system: nil, language: languages?.source)
        self.target = try SGMDocuments(path: target, system: translator, language: languages?.target)
    }

    /// - Throws: `UserError(.badData)` where the documents differ; `RecordError` for a segment that one side lacks.
    public func next() throws -> CorpusRecord? {
        while queue.isEmpty {
            let first = try source.next()
            let second = try target.next()
            switch (first, second) {
            case (nil, nil):
                return nil
            case (let first?, let second?) where first.identifier == second.identifier:
                let name = first.identifier
                queue = alignedSegments(document: name, source: first.segments, target: second.segments, targetPlace: second.place).reversed()
            default:
                throw UserError(
                    .badData, "\(Self.describe(first)), but \(target.path) has \(Self.describe(second)) in its place", at: source.path,
                    advice: "source and reference sets must hold the same documents in the same order")
            }
        }
        return try queue.removeLast().get()
    }

    private static func describe(_ document: SGMDocuments.Document?) -> String {
        document.map { "\($0.isImplied ? "segments outside of documents" : "document \($0.identifier)") at line \($0.place.line)" } ?? "no further document"
    }
}

/// The documents of one SGM file.
private final class SGMDocuments {
    struct Document {
        var identifier: String
        var segments: [Segment] = []
        var place: RecordPlace
        /// Whether its segments stand in no `<doc>`.
        var isImplied = false
    }

    private enum State {
        case outside
        /// In a document of another system.
        case passing
        case reading(Document)
    }

    private let scanner: MarkupScanner
    private let language: String?
    private var system: String?
    private var state = State.outside

    var path: String { scanner.path }

    init(path: String, system: String?, language: String?) throws {
        scanner = try MarkupScanner(path: path)
        self.system = system
        self.language = language
    }

    /// The next document of the chosen system.
    func next() throws -> Document? {
        while let event = try scanner.next() {
            switch event {
            case .open(let set, let attributes) where ["srcset", "refset", "tstset"].contains(set):
                try checkLanguage(attributes, isSource: set == "srcset")
            case .open("doc", let attributes):
                let ended = end()
                begin(attributes)
                if let ended { return ended }
            case .open("seg", let attributes):
                let place = scanner.place
                let text = MarkupEntities.resolved(try scanner.content(of: "seg", .sgml))
                if case .outside = state { state = .reading(Document(identifier: "", place: place, isImplied: true)) }
                guard case .reading(var document) = state else { break }
                state = .outside
                document.segments.append(Segment(identifier: attributes["id"] ?? String(document.segments.count + 1), text: text, place: place))
                state = .reading(document)
            case .close("doc"), .close("srcset"), .close("refset"), .close("tstset"):
                if let ended = end() { return ended }
            default:
                break
            }
        }
        guard let unclosed = end() else { return nil }
        if unclosed.isImplied { return unclosed }
        throw UserError(
            .badData, "document \(unclosed.identifier) has no end", at: "\(path):\(unclosed.place.line)", advice: "look for a truncated file")
    }

    private func begin(_ attributes: [String: String]) {
        let sysid = attributes["sysid"] ?? ""
        if system == nil { system = sysid }
        let isWanted = sysid == system || attributes["sysid"] == nil
        state = isWanted ? .reading(Document(identifier: attributes["docid"] ?? attributes["id"] ?? "", place: scanner.place)) : .passing
    }

    /// Leaves the document that is being read.
    private func end() -> Document? {
        defer { state = .outside }
        if case .reading(let document) = state { return document }
        return nil
    }

    /// - Throws: `UserError(.usage)` where the set says that it is of another language than the one wanted.
    private func checkLanguage(_ attributes: [String: String], isSource: Bool) throws {
        guard let language, let said = attributes[isSource ? "srclang" : "trglang"], !said.isEmpty, said.lowercased() != "any" else { return }
        guard !LanguageTag(language).includes(LanguageTag(said)) else { return }
        throw UserError(
            .usage, "the set is of the language \(said), not of \(language)", at: "\(path):\(scanner.place.line)",
            advice: "name the source set first, and its language first in --languages")
    }
}

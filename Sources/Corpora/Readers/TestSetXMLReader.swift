// The XML form of WMT test sets since 2021: each document with its source, its references and the systems' outputs.

import Diagnostics

/// Sentence pairs from the `src` and one `ref` of each document, joined by segment identifiers. Memory is bounded by the largest document.
public final class TestSetXMLReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let scanner: MarkupScanner
    private let language: String?
    private var translator: String?
    private var queue: [Result<CorpusRecord, RecordError>] = []

    /// - Parameters:
    ///   - translator: the `translator` of the references to read; `nil` for that of the first reference in the file.
    ///   - targetLanguage: the `lang` that references must have; `nil` for any.
    /// - Throws: `UserError(.missingInput)` when the file cannot be opened.
    public init(path: String, translator: String? = nil, targetLanguage: String? = nil) throws {
        scanner = try MarkupScanner(path: path)
        self.translator = translator
        language = targetLanguage
    }

    /// - Throws: `RecordError` for a segment that one side lacks, and for a document without the chosen reference.
    public func next() throws -> CorpusRecord? {
        while queue.isEmpty {
            guard try readDocument() else { return nil }
        }
        return try queue.removeLast().get()
    }

    private func readDocument() throws -> Bool {
        enum Side {
            case source, target
        }
        var document: (identifier: String, place: RecordPlace)?
        var side: Side?
        var source: [Segment] = []
        var target: [Segment] = []
        var targetPlace: RecordPlace?
        var segment: (identifier: String, text: [UInt8], place: RecordPlace)?
        while let event = try scanner.next() {
            switch event {
            case .open("doc", let attributes):
                document = (attributes["id"] ?? "", scanner.place)
            case .open("src", _):
                side = .source
            case .open("ref", let attributes):
                guard isWanted(attributes), targetPlace == nil else { break }
                targetPlace = scanner.place
                side = .target
            case .open("seg", let attributes):
                if side != nil { segment = (attributes["id"] ?? "", [], scanner.place) }
            case .text(let text):
                segment?.text.append(contentsOf: text)
            case .close("seg"):
                if let ready = segment {
                    let done = Segment(identifier: ready.identifier, text: ready.text, place: ready.place)
                    if side == .source { source.append(done) } else { target.append(done) }
                }
                segment = nil
            case .close("src"), .close("ref"):
                side = nil
            case .close("doc"):
                guard let document else { break }
                if let targetPlace {
                    queue = alignedSegments(document: document.identifier, source: source, target: target, targetPlace: targetPlace).reversed()
                } else {
                    let wanted = translator.map { " by translator \($0)" } ?? ""
                    queue = [.failure(RecordError("document \(document.identifier) has no reference\(wanted)", at: document.place))]
                }
                return true
            default:
                break
            }
        }
        if let document {
            throw UserError(
                .badData, "document \(document.identifier) has no end", at: "\(scanner.path):\(document.place.line)",
                advice: "look for a truncated file")
        }
        return false
    }

    private func isWanted(_ attributes: [String: String]) -> Bool {
        if let language, let found = attributes["lang"], found != language { return false }
        let name = attributes["translator"] ?? ""
        if translator == nil { translator = name }
        return name == translator
    }
}

// NIST's SGML form of a test set: a source set and a reference set in two files.

import Diagnostics

/// Sentence pairs from a `srcset` and a `refset` file, joined by document and segment identifiers.
///
/// Both files must hold their documents in the same order. Where the reference set holds several systems' documents, those of one are
/// read: the one asked for, else the first. Memory is bounded by the largest document.
public final class SGMReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let source: SGMDocuments
    private let target: SGMDocuments
    private var queue: [Result<CorpusRecord, RecordError>] = []

    /// - Parameter translator: the `sysid` of the reference documents to read; `nil` for that of the first.
    /// - Throws: `UserError(.missingInput)` when a file cannot be opened.
    public init(source: String, target: String, translator: String? = nil) throws {
        self.source = try SGMDocuments(path: source, system: nil)
        self.target = try SGMDocuments(path: target, system: translator)
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
        document.map { "document \($0.identifier) at line \($0.place.line)" } ?? "no further document"
    }
}

/// The documents of one SGM file.
private final class SGMDocuments {
    struct Document {
        var identifier: String
        var segments: [Segment] = []
        var place: RecordPlace
    }

    private let scanner: MarkupScanner
    private var system: String?

    var path: String { scanner.path }

    init(path: String, system: String?) throws {
        scanner = try MarkupScanner(path: path)
        self.system = system
    }

    /// The next document of the chosen system.
    func next() throws -> Document? {
        var document: Document?
        var segment: (identifier: String, text: [UInt8], place: RecordPlace)?
        while let event = try scanner.next() {
            switch event {
            case .open("doc", let attributes):
                let sysid = attributes["sysid"] ?? ""
                if system == nil { system = sysid }
                document = sysid == system || attributes["sysid"] == nil ? Document(identifier: attributes["docid"] ?? "", place: scanner.place) : nil
            case .open("seg", let attributes):
                guard document != nil else { break }
                Self.finish(&segment, in: &document)
                let count = (document?.segments.count ?? 0) + 1
                segment = (attributes["id"] ?? String(count), [], scanner.place)
            case .text(let text):
                segment?.text.append(contentsOf: text)
            case .close("seg"):
                Self.finish(&segment, in: &document)
            case .close("doc"):
                Self.finish(&segment, in: &document)
                if let document { return document }
            default:
                break
            }
        }
        Self.finish(&segment, in: &document)
        guard let unclosed = document else { return nil }
        throw UserError(
            .badData, "document \(unclosed.identifier) has no end", at: "\(path):\(unclosed.place.line)", advice: "look for a truncated file")
    }

    private static func finish(_ segment: inout (identifier: String, text: [UInt8], place: RecordPlace)?, in document: inout Document?) {
        if let ready = segment { document?.segments.append(Segment(identifier: ready.identifier, text: ready.text, place: ready.place)) }
        segment = nil
    }
}

// mneme corpus inspect: what a corpus directory holds.

import ArgumentParser
import Corpora
import Diagnostics
import Foundation
import Inputs
import Sharding

/// Describes a corpus directory.
struct CorpusInspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Describe a corpus directory: counts, origin, first documents.",
        discussion: """
            Examples:
              mneme corpus inspect corpora/wmt-en-de
              mneme corpus inspect --verify --show 3 corpora/wmt-en-de
              mneme corpus inspect --json corpora/wmt-en-de
            """)

    @Flag(help: "Check everything: checksums, lengths, offsets and ids of every shard, and the tokenizer.")
    var verify = false
    @Option(help: ArgumentHelp("Show the first documents or pairs, decoded.", valueName: "count"))
    var show = 0
    @Flag(help: "Print JSON.")
    var json = false
    @Argument(help: "Corpus directory.")
    var directory: String

    func validate() throws {
        guard show >= 0 else { throw ValidationError("--show must not be negative.") }
    }

    func run() throws {
        let corpus = try Corpus(directory: directory)
        if verify { try corpus.verify() }
        var report = CorpusReport(corpus.manifest, directory: directory)
        report.verified = verify ? true : nil
        if show > 0 {
            let tokenizer = try corpus.tokenizer()
            report.documents = try (0..<min(show, corpus.count)).map { try Self.decoded($0, corpus, tokenizer) }
        }
        if json { try JSONOutput.print(report) } else { try print(report.text, terminator: "") }
    }

    private static func decoded(_ index: Int, _ corpus: Corpus, _ tokenizer: SentencePieceTokenizer) throws -> CorpusReport.Document {
        switch corpus.kind {
        case .text:
            let tokens = try corpus.document(index)
            return CorpusReport.Document(source: tokenizer.decode(tokens), target: nil, label: nil, tokens: tokens.count)
        case .pairs:
            let (source, target) = try corpus.pair(index)
            let label = Int(try corpus.pairSizes(index).label)
            return CorpusReport.Document(
                source: tokenizer.decode(source), target: tokenizer.decode(target),
                label: corpus.labels.indices.contains(label) ? corpus.labels[label] : nil, tokens: source.count + target.count)
        }
    }
}

/// What `corpus shard` and `corpus inspect` print.
struct CorpusReport: Encodable {
    struct Document: Encodable {
        var source: String
        var target: String?
        var label: String?
        var tokens: Int
    }

    struct Dropped: Encodable {
        var reason: String
        var count: Int
    }

    private var directory: String
    private var kind: CorpusKind
    private var format: String
    private var fingerprint: String
    private var tokenizer: String
    private var vocabulary: Int
    private var shards: Int
    private var counts: CorpusCounts
    private var dropped: [Dropped]
    private var badRecordCount: Int
    private var badRecords: [CorpusManifest.BadRecord]
    private var labels: [String]
    private var inputs: [CorpusManifest.Input]
    private var options: [String: String]
    /// What lies below the inputs and was not read; known to who reads them.
    var passedOver: [PassedOver]?
    /// True after all checksums were compared.
    var verified: Bool?
    /// The first documents, where they were asked for.
    var documents: [Document]?

    init(_ manifest: CorpusManifest, directory: String) {
        self.directory = PathText.shown(directory)
        kind = manifest.kind
        format = manifest.sourceFormat.rawValue
        fingerprint = manifest.fingerprint
        tokenizer = manifest.tokenizer.sha256
        vocabulary = manifest.tokenizer.vocabularySize
        shards = manifest.shards.count
        counts = manifest.counts
        dropped = manifest.cleaning.dropped.filter { $0.count > 0 }.map { Dropped(reason: $0.reason.rawValue, count: $0.count) }
        badRecordCount = manifest.badRecordCount
        badRecords = manifest.badRecords
        labels = manifest.labels
        inputs = manifest.inputs
        options = manifest.options
    }

    /// A table for people.
    var text: String {
        var rows: [(String, String)] = [
            ("directory", directory), ("kind", "\(kind.rawValue), from \(format)"), ("fingerprint", fingerprint),
            ("tokenizer", "\(tokenizer.prefix(16))..., \(vocabulary) pieces"), ("shards", "\(shards)"),
            (kind == .pairs ? "pairs" : "documents", "\(counts.documents)"),
        ]
        if kind == .pairs {
            rows.append(("tokens", "\(counts.sourceTokens) source, \(counts.targetTokens) target"))
            rows.append(("longest", "\(counts.longestSource) source, \(counts.longestTarget) target tokens"))
            rows.append(("words", "\(counts.words) in targets, with line ends"))
        } else {
            rows.append(("tokens", "\(counts.tokens)"))
            rows.append(("longest", "\(counts.longestSource) tokens"))
            rows.append(("words", "\(counts.words), with line ends"))
        }
        rows.append(("text", "\(counts.textBytes) bytes" + (counts.textCharacters.map { ", \($0) characters" } ?? "")))
        rows.append(("dropped", dropped.isEmpty ? "none" : dropped.map { "\($0.count) \($0.reason)" }.joined(separator: ", ")))
        rows.append(("wrong", badRecordCount == 0 ? "none" : "\(badRecordCount) records"))
        rows += badRecords.map { ("", "\($0.file), line \($0.line), byte \($0.byte): \($0.what)") }
        if !labels.isEmpty { rows.append(("labels", labels.joined(separator: ", "))) }
        rows += inputs.enumerated().map {
            ($0.offset == 0 ? "inputs" : "", "\($0.element.path), \($0.element.bytes) bytes, xxh64 \($0.element.xxh64)")
        }
        rows += (passedOver ?? []).enumerated().map { ($0.offset == 0 ? "passed over" : "", $0.element.description) }
        if verified == true { rows.append(("verified", "every dataset equals its checksum")) }
        var text = rows.map { $0.0.padding(toLength: 12, withPad: " ", startingAt: 0) + $0.1 + "\n" }.joined()
        for (index, document) in (documents ?? []).enumerated() {
            let label = document.label.map { " (\($0))" } ?? ""
            text += "\n[\(index)]\(label) \(document.tokens) tokens\n\(document.source)\n"
            if let target = document.target { text += "=> \(target)\n" }
        }
        return text
    }
}

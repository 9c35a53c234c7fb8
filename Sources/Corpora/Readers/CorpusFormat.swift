// The formats that a corpus can be read from, and how a reader is made from the inputs of a command.

import Diagnostics

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

    /// Reads "en-de".
    /// - Throws: `UserError(.usage)` for anything but two names with a hyphen between them.
    public init(_ text: String) throws {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
            throw UserError(.usage, "\"\(text)\" does not name two languages", advice: "write source and target as in en-de")
        }
        self.init(source: String(parts[0]), target: String(parts[1]))
    }
}

/// What a reader is told besides its inputs.
public struct ReaderOptions: Sendable, Hashable {
    /// Plain text: what a document is.
    public var documents: DocumentPolicy = .file
    /// WMT: the languages, by which `PREFIX` names `PREFIX.en` and `PREFIX.de`, and by which TMX variants and XML references are chosen.
    public var languages: LanguagePair?
    /// WMT SGM and XML: whose reference is read; `nil` for the first.
    public var translator: String?
    /// bAbI: which files of a directory are read.
    public var split: String = "train"
    /// CNN/DailyMail: a file with the URLs of the articles to read; `nil` for all.
    public var urlList: String?
    /// Longer lines (or CSV records, or stories) are wrong records.
    public var maximumLineBytes: Int = ReaderOptions.defaultMaximumLineBytes

    /// 16 MiB.
    public static let defaultMaximumLineBytes = 16 << 20

    /// Whole files as documents, the `train` files of bAbI, the first reference.
    public init() {}
}

/// A family of file formats, as the command line names it.
public enum CorpusFormat: String, Sendable, CaseIterable, Codable {
    /// Plain text.
    case text
    /// Sentence pairs of the WMT shared tasks, in any of their forms.
    case wmt
    /// Articles with highlights.
    case cnnDailyMail = "cnn-dailymail"
    /// Stories with questions and answers.
    case babi

    /// A reader of `inputs`, read in the order given. The form within the format is told by the file names, `.gz` looked through:
    ///
    /// - text: any files; directories are walked in sorted order.
    /// - wmt: `.tsv`; `.xml` (test sets since 2021); `.tmx`; two `.sgm` or `.sgml` files, source then reference; with `languages` a prefix;
    ///   anything else is one of two line-aligned files, source then target.
    /// - cnn-dailymail: `.story` files, `.csv`, `.jsonl` or `.json`; directories are walked for them.
    /// - babi: task files; directories are walked for those of `split`.
    ///
    /// - Throws: `UserError(.missingInput)` for an input that does not exist; `UserError(.usage)` for no input, a file without its partner, or a
    ///   name that tells no form.
    public func makeReader(inputs: [String], options: ReaderOptions = ReaderOptions()) throws -> any CorpusReader {
        guard !inputs.isEmpty else { throw UserError(.usage, "no input was given", advice: "name at least one file") }
        switch self {
        case .text:
            let files = try InputFiles.expand(inputs, wanted: "file")
            return PlainTextReader(files: files, documents: options.documents, maximumLineBytes: options.maximumLineBytes)
        case .wmt:
            return ConcatenatedReader(isPaired: true, parts: try Self.translationParts(inputs, options))
        case .cnnDailyMail:
            return ConcatenatedReader(isPaired: true, parts: try Self.articleParts(inputs, options))
        case .babi:
            let files = try InputFiles.expand(inputs, wanted: "bAbI task file of the split \(options.split)") {
                BabiTask.isFile($0, ofSplit: options.split)
            }
            return BabiReader(files: files, maximumLineBytes: options.maximumLineBytes)
        }
    }

    private static func translationParts(_ inputs: [String], _ options: ReaderOptions) throws -> [() throws -> any CorpusReader] {
        var parts: [() throws -> any CorpusReader] = []
        let limit = options.maximumLineBytes
        var rest = inputs[...]
        while let input = rest.popFirst() {
            if let languages = options.languages, InputFiles.kind(of: input) != .file {
                let source = try languageFile(prefix: input, language: languages.source)
                let target = try languageFile(prefix: input, language: languages.target)
                parts.append { try ParallelTextReader(source: source, target: target, maximumLineBytes: limit) }
                continue
            }
            try requireFile(input)
            switch InputFiles.formatExtension(of: input) {
            case "tsv":
                parts.append { try TabSeparatedReader(path: input, maximumLineBytes: limit) }
            case "xml":
                parts.append { try TestSetXMLReader(path: input, translator: options.translator, targetLanguage: options.languages?.target) }
            case "tmx":
                parts.append { try TranslationMemoryReader(path: input, languages: options.languages) }
            case let form:
                let isSGM = form == "sgm" || form == "sgml"
                guard let partner = rest.popFirst() else {
                    throw UserError(
                        .usage, "the target side is missing", at: input,
                        advice: isSGM ? "name the source set and the reference set" : "name two line-aligned files, or a prefix with --languages")
                }
                try requireFile(partner)
                if isSGM {
                    parts.append { try SGMReader(source: input, target: partner, translator: options.translator) }
                } else {
                    parts.append { try ParallelTextReader(source: input, target: partner, maximumLineBytes: limit) }
                }
            }
        }
        return parts
    }

    private static func requireFile(_ path: String) throws {
        try InputFiles.requireExisting(path)
        guard InputFiles.kind(of: path) == .file else {
            throw UserError(.missingInput, "is a directory where a file was expected", at: path, advice: "name files, or a prefix with --languages")
        }
    }

    private static func languageFile(prefix: String, language: String) throws -> String {
        let path = "\(prefix).\(language)"
        for candidate in [path, path + ".gz"] where InputFiles.kind(of: candidate) == .file { return candidate }
        throw UserError(.missingInput, "no such file, nor \(InputFiles.name(of: path)).gz", at: path, advice: "check the prefix and --languages")
    }

    private static func articleParts(_ inputs: [String], _ options: ReaderOptions) throws -> [() throws -> any CorpusReader] {
        let forms: Set<String> = ["story", "csv", "jsonl", "json"]
        let files = try InputFiles.expand(inputs, wanted: ".story, .csv or .jsonl file") { forms.contains(InputFiles.formatExtension(of: $0)) }
        let selection = try options.urlList.map { try ArticleSelection(urlList: $0) }
        let limit = options.maximumLineBytes
        var parts: [() throws -> any CorpusReader] = []
        var rest = files[...]
        while let path = rest.first {
            switch InputFiles.formatExtension(of: path) {
            case "story":
                let stories = Array(rest.prefix { InputFiles.formatExtension(of: $0) == "story" })
                rest = rest.dropFirst(stories.count)
                parts.append { StoryReader(files: stories, selection: selection, maximumBytes: limit) }
                continue
            case "csv":
                parts.append { try ArticleCSVReader(path: path, selection: selection, maximumRecordBytes: limit) }
            case "jsonl", "json":
                parts.append { try ArticleJSONReader(path: path, selection: selection, maximumLineBytes: limit) }
            default:
                throw UserError(.usage, "the name tells no form of CNN/DailyMail", at: path, advice: "give .story, .csv or .jsonl files")
            }
            rest = rest.dropFirst()
        }
        return parts
    }
}

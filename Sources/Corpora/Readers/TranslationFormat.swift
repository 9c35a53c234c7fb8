// The formats of WMT's shared tasks: which files belong together, and who reads them.

import Diagnostics

extension CorpusProfile {
    /// Sentence pairs. Cleaned to 1 to 250 words a side and a ratio of at most 9, the default of Moses' `clean-corpus-n.perl`, with white space
    /// normalised, as that script does.
    static let wmt: CorpusProfile = {
        var rules = CleaningRules()
        rules.minimumLength = 1
        rules.maximumLength = 250
        rules.maximumRatio = 9
        rules.normalizesWhitespace = true
        return CorpusProfile(
            readerOptions: [.swap, .languages, .translator], cleaning: rules, scoring: .translation,
            list: { inputs, options in try inputs.flatMap { try translationFiles($0, options) } },
            makeReader: { files, options in ConcatenatedReader(isPaired: true, parts: try translationParts(files, options)) })
    }()
}

/// The file that an input is, or both sides of a prefix.
private func translationFiles(_ input: String, _ options: ReaderOptions) throws -> [CorpusInput] {
    let kind = InputFiles.kind(of: input)
    if let languages = options.languages, kind == .absent || kind == .directory {
        return try [languages.source, languages.target].map {
            let file = try languageFile(prefix: input, language: $0)
            return CorpusInput(path: file, files: [file])
        }
    }
    try InputFiles.requireExisting(input)
    guard kind != .directory else {
        throw UserError(.missingInput, "is a directory where a file was expected", at: input, advice: "name files, or a prefix with --languages")
    }
    return [CorpusInput(path: input, files: [input])]
}

private func languageFile(prefix: String, language: String) throws -> String {
    let path = "\(prefix).\(language)"
    for candidate in [path, path + ".gz"] where InputFiles.kind(of: candidate) == .file { return candidate }
    throw UserError(.missingInput, "no such file, nor \(InputFiles.name(of: path)).gz", at: path, advice: "check the prefix and --languages")
}

private func translationParts(_ files: [String], _ options: ReaderOptions) throws -> [() throws -> any CorpusReader] {
    var parts: [() throws -> any CorpusReader] = []
    let limit = options.maximumLineBytes
    var rest = files[...]
    while let file = rest.popFirst() {
        switch InputFiles.formatExtension(of: file) {
        case "tsv":
            parts.append { try TabSeparatedReader(path: file, maximumLineBytes: limit) }
        case "xml":
            parts.append { try TestSetXMLReader(path: file, translator: options.translator, languages: options.languages) }
        case "tmx":
            parts.append { try TranslationMemoryReader(path: file, languages: options.languages) }
        case let form:
            let isSGM = form == "sgm" || form == "sgml"
            guard let partner = rest.popFirst() else {
                throw UserError(
                    .usage, "the target side is missing", at: file,
                    advice: isSGM ? "name the source set and the reference set" : "name two line-aligned files, or a prefix with --languages")
            }
            if isSGM {
                parts.append { try SGMReader(source: file, target: partner, translator: options.translator, languages: options.languages) }
            } else {
                parts.append { try ParallelTextReader(source: file, target: partner, maximumLineBytes: limit) }
            }
        }
    }
    return parts
}

// The formats of WMT's shared tasks: which files belong together, and who reads them.

import Diagnostics
import Inputs

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

/// The file that an input is, the files of an archive, or both sides of a prefix.
private func translationFiles(_ input: String, _ options: ReaderOptions) throws -> [CorpusInput] {
    let kind = InputFiles.kind(of: input)
    if kind == .file, let archived = try archivedFiles(input, options) { return archived }
    if let languages = options.languages, kind == .absent || kind == .directory {
        return try [languages.source, languages.target].map {
            let file = try languageFile(prefix: input, language: $0)
            return CorpusInput(path: file, files: [file])
        }
    }
    if input != ByteSource.standardInput { try InputFiles.requireExisting(input) }
    guard kind != .directory else {
        throw UserError(.missingInput, "is a directory where a file was expected", at: input, advice: "name files, or a prefix with --languages")
    }
    return [CorpusInput(path: input, files: [input])]
}

private func languageFile(prefix: String, language: String) throws -> String {
    let path = "\(prefix).\(language)"
    for candidate in [path] + InputFiles.compressedEndings.map({ path + $0 }) {
        let kind = InputFiles.kind(of: candidate)
        if kind == .file || kind.isReadOnce { return candidate }
    }
    throw UserError(.missingInput, "no such file, nor \(InputFiles.name(of: path)).gz", at: path, advice: "check the prefix and --languages")
}

/// The files of an archive, or of a folder in it, that hold pairs: those whose form tells that they do, else both sides of each prefix, else the only
/// file. `nil` for an input that is a file itself.
private func archivedFiles(_ input: String, _ options: ReaderOptions) throws -> [CorpusInput]? {
    let all = try InputFiles.list([input], wanted: "file")[0]
    guard all.files != [input] else { return nil }
    func chosen(_ files: [String]) -> CorpusInput {
        let others = all.files.filter { !files.contains($0) }
        let passedOver = others.first.map { [PassedOver(reason: .otherName, count: others.count, first: PathText.shown($0))] } ?? []
        return CorpusInput(path: input, files: files, passedOver: all.passedOver + passedOver)
    }
    let forms: Set<String> = ["tsv", "xml", "tmx", "sgm", "sgml"]
    let wholes = all.files.filter { forms.contains(InputFiles.formatExtension(of: $0)) }
    if !wholes.isEmpty { return [chosen(wholes)] }
    if let languages = options.languages {
        let sides = all.files.filter { $0.hasSuffix(".\(languages.source)") }.map { source in
            [source, source.dropLast(languages.source.count) + languages.target]
        }.filter { all.files.contains($0[1]) }
        if !sides.isEmpty { return [chosen(sides.flatMap { $0 })] }
    }
    guard all.files.count == 1 else {
        throw UserError(
            .missingInput, "is an archive of \(all.files.count) files, none of them in a form of --format wmt", at: input,
            advice: "name the files, as in \(all.files[0]), or give --languages")
    }
    return [all]
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

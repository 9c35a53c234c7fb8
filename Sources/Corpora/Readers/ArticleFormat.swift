// The forms in which CNN/DailyMail is handed on, and who reads them.

import Diagnostics
import Inputs

extension CorpusProfile {
    /// Articles with highlights.
    static let cnnDailyMail = CorpusProfile(
        readerOptions: [.swap, .urlList], scoring: .summary, generation: GenerationDefaults(limit: .tokens(128)),
        list: { inputs, _ in
            let forms: Set<String> = ["story", "csv", "jsonl", "json"]
            return try InputFiles.list(inputs, wanted: ".story, .csv or .jsonl file") { forms.contains(InputFiles.formatExtension(of: $0)) }
        },
        makeReader: { files, options in ConcatenatedReader(isPaired: true, parts: try articleParts(files, options)) })
}

private func articleParts(_ files: [String], _ options: ReaderOptions) throws -> [() throws -> any CorpusReader] {
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

// The formats that a corpus can be read from. What one means is its profile.

import Diagnostics
import Inputs

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
    /// Treebanks in CoNLL-U, of which the text is read.
    case conllu

    /// What the format means.
    public var profile: CorpusProfile {
        switch self {
        case .text: .text
        case .wmt: .wmt
        case .cnnDailyMail: .cnnDailyMail
        case .babi: .babi
        case .conllu: .conllu
        }
    }

    /// The files that `inputs` name, made once for a command: what is hashed is what is read. The form within the format is told by the file names,
    /// `.gz` and its like looked through. Archives and folders in them stand for their files (`archive.tgz:path/in/it`).
    ///
    /// - text: any files; directories are walked in sorted order.
    /// - wmt: `.tsv`; `.xml` (test sets since 2021); `.tmx`; two `.sgm` or `.sgml` files, source then reference; with `languages` a prefix;
    ///   anything else is one of two line-aligned files, source then target.
    /// - cnn-dailymail: `.story` files, `.csv`, `.jsonl` or `.json`; directories are walked for them.
    /// - babi: task files; directories are walked for those of `split`.
    /// - conllu: any files; directories are walked for `.conllu`.
    ///
    /// - Parameter areReadOnce: whether pipes may be among the inputs, and `-` for standard input.
    /// - Throws: `UserError(.missingInput)` for an input that does not exist, and for a pipe or a device that would be read more than once;
    ///   `UserError(.usage)` for no input.
    public func files(of inputs: [String], options: ReaderOptions = ReaderOptions(), areReadOnce: Bool = false) throws -> [CorpusInput] {
        guard !inputs.isEmpty else { throw UserError(.usage, "no input was given", advice: "name at least one file") }
        let list = options.urlList.map { [CorpusInput(path: $0, files: [$0], holdsRecords: false)] } ?? []
        let all = try profile.list(inputs, options) + list
        var opened: Set<String> = []
        for file in all.flatMap(\.files) {
            let kind = InputFiles.kind(of: file)
            guard kind.isReadOnce || file == ByteSource.standardInput else { continue }
            guard areReadOnce else {
                throw UserError(
                    .missingInput, "is \(kind.words), and every rank reads the inputs twice, for their hashes and for their text",
                    at: ByteSource.shownName(file), advice: "write what comes through it into a file first")
            }
            guard opened.insert(file).inserted else {
                throw UserError(.missingInput, "is \(kind.words), and is named twice", at: ByteSource.shownName(file), advice: "name it once")
            }
        }
        return all
    }

    /// A reader of the records of files, read in the order given.
    /// - Throws: `UserError(.usage)` for a file without its partner, or a name that tells no form; `UserError(.missingInput)`.
    public func makeReader(of inputs: [CorpusInput], options: ReaderOptions = ReaderOptions()) throws -> any CorpusReader {
        let reader = try profile.makeReader(inputs.filter(\.holdsRecords).flatMap(\.files), options)
        return options.swapsSides ? SwappedReader(reader) : reader
    }

    /// A reader of all that `inputs` name, pipes included.
    /// - Throws: as `files(of:options:areReadOnce:)` and `makeReader(of:options:)`.
    public func makeReader(inputs: [String], options: ReaderOptions = ReaderOptions()) throws -> any CorpusReader {
        try makeReader(of: files(of: inputs, options: options, areReadOnce: true), options: options)
    }
}

/// A reader whose pairs have their sides exchanged.
private final class SwappedReader: CorpusReader {
    private let reader: any CorpusReader

    init(_ reader: any CorpusReader) { self.reader = reader }

    var isPaired: Bool { reader.isPaired }
    var labels: [String] { reader.labels }

    func next() throws -> CorpusRecord? {
        guard var record = try reader.next() else { return nil }
        if let target = record.target { (record.source, record.target) = (target, record.source) }
        return record
    }
}

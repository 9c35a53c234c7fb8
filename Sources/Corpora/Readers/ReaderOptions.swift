// What a reader is told besides its inputs.

import Diagnostics

/// An option that readers of some formats take; its name is that of the command's option, and the key under which corpus.json records it.
public enum ReaderOption: String, Sendable, CaseIterable {
    case document, languages, translator, split, swap
    case urlList = "url-list"
}

/// What a reader is told besides its inputs. Which of these count is the format's own: see `CorpusProfile.readerOptions`.
public struct ReaderOptions: Sendable, Hashable {
    /// What a document of plain text is.
    public var documents: DocumentPolicy = .file
    /// The languages of pairs, by which `PREFIX` names `PREFIX.en` and `PREFIX.de`, and by which TMX variants and XML references are chosen.
    public var languages: LanguagePair?
    /// Whose reference of a test set is read; `nil` for the first.
    public var translator: String?
    /// Which files of a directory are read, where files are of splits.
    public var split: String = "train"
    /// A file with the URLs of the articles to read; `nil` for all.
    public var urlList: String?
    /// Whether target sides become sources and sources targets.
    public var swapsSides = false
    /// Longer lines (or CSV records, or stories) are wrong records.
    public var maximumLineBytes: Int = ReaderOptions.defaultMaximumLineBytes

    /// 16 MiB.
    public static let defaultMaximumLineBytes = 16 << 20

    /// Whole files as documents, the `train` files of bAbI, the first reference.
    public init() {}

    /// The value of an option as corpus.json records it; `nil` where it has none.
    package func recorded(_ option: ReaderOption) -> String? {
        switch option {
        case .document: documents.rawValue
        case .languages: languages?.text
        case .translator: translator
        case .split: split
        case .swap: "\(swapsSides)"
        case .urlList: urlList
        }
    }
}

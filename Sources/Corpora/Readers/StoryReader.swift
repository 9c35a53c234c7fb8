// CNN/DailyMail as it was first published: a `.story` file for each article.

import Diagnostics
import Inputs

/// Articles with their highlights from `.story` files.
///
/// A story is taken apart as `StoryText` says. One without article or highlights gives a record with an empty side, which cleaning counts. The
/// identifier of an article is its file's name, so it stands in the record's place.
public final class StoryReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let files: [String]
    private let selection: ArticleSelection?
    private let maximumBytes: Int
    private var fileIndex = 0

    /// - Parameters:
    ///   - files: paths of `.story` files.
    ///   - selection: the articles to read; `nil` for all.
    ///   - maximumBytes: a longer story is a wrong record.
    package init(files: [String], selection: ArticleSelection? = nil, maximumBytes: Int = ReaderOptions.defaultMaximumLineBytes) {
        self.files = files
        self.selection = selection
        self.maximumBytes = maximumBytes
    }

    /// - Throws: `RecordError` for a story that is not UTF-8 or too long.
    public func next() throws -> CorpusRecord? {
        while fileIndex < files.count {
            let path = files[fileIndex]
            fileIndex += 1
            if let selection, !selection.contains(identifier: Self.identifier(of: path)) { continue }
            return try readStory(path)
        }
        return nil
    }

    /// The article's identifier: the file's name up to the first dot.
    private static func identifier(of path: String) -> String {
        String(InputFiles.name(of: path).prefix { $0 != "." })
    }

    private func readStory(_ path: String) throws -> CorpusRecord {
        let lines = try LineReader(path: path, maximumLineBytes: maximumBytes)
        var story = StoryText()
        while try lines.advance() {
            story.add(try lines.checkedLine())
            if story.article.count + story.highlights.count > maximumBytes {
                throw RecordError("story longer than \(maximumBytes) bytes", at: lines.place)
            }
        }
        return CorpusRecord(source: story.article, target: story.highlights, place: RecordPlace(file: path, line: 1, byte: 0))
    }
}

/// The two parts of a `.story`, as the reference preparation of CNN/DailyMail takes it apart.
///
/// Lines are freed of white space at both ends, and blank ones go. From the first line that begins with `@highlight`, in whatever case, each line
/// that does not is a highlight. What else stands on such a line belongs to neither part.
/// - Source: `get_art_abs` of See, Liu and Manning's cnn-dailymail scripts.
public struct StoryText {
    /// The lines of the article, joined by line feeds.
    public private(set) var article: [UInt8] = []
    /// The highlights, one a line.
    public private(set) var highlights: [UInt8] = []
    private var inHighlights = false

    private static let mark = Array("@highlight".utf8)

    init() {}

    /// Takes a whole text apart.
    public init(_ text: [UInt8]) {
        TextLines.unified(text).withUnsafeBufferPointer { text in
            for line in text.split(separator: 0x0a) { add(UnsafeBufferPointer(rebasing: line)) }
        }
    }

    /// Takes the next line in.
    mutating func add(_ line: UnsafeBufferPointer<UInt8>) {
        let line = line.trimmed
        if line.isEmpty { return }
        if line.count >= Self.mark.count, zip(line, Self.mark).allSatisfy({ $0 == $1 || $0 | 0x20 == $1 && $1 >= 0x61 }) {
            inHighlights = true
        } else if inHighlights {
            Self.append(line, to: &highlights)
        } else {
            Self.append(line, to: &article)
        }
    }

    private static func append(_ line: UnsafeBufferPointer<UInt8>, to text: inout [UInt8]) {
        if !text.isEmpty { text.append(0x0a) }
        text.append(contentsOf: line)
    }
}

// CNN/DailyMail as it was first published: a `.story` file for each article.

import Diagnostics
import Inputs

/// Articles with their highlights from `.story` files.
///
/// The article's lines that are not blank become the source, joined by line feeds; each text after an `@highlight` line becomes one line of the
/// target. A story without article or highlights gives a record with an empty side, which cleaning counts. The identifier of an article is
/// its file's name, so it stands in the record's place.
public final class StoryReader: CorpusReader {
    public let isPaired = true
    public let labels: [String] = []
    private let files: [String]
    private let selection: ArticleSelection?
    private let maximumBytes: Int
    private var fileIndex = 0

    private static let highlightMark = Array("@highlight".utf8)

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
        var article: [UInt8] = []
        var highlights: [UInt8] = []
        var inHighlights = false
        while try lines.advance() {
            let line = try lines.checkedLine().trimmedASCII
            if line.isEmpty { continue }
            if line.elementsEqual(Self.highlightMark) {
                inHighlights = true
                continue
            }
            if inHighlights {
                Self.append(line, to: &highlights)
            } else {
                Self.append(line, to: &article)
            }
            if article.count + highlights.count > maximumBytes {
                throw RecordError("story longer than \(maximumBytes) bytes", at: lines.place)
            }
        }
        return CorpusRecord(source: article, target: highlights, place: RecordPlace(file: path, line: 1, byte: 0))
    }

    private static func append(_ line: UnsafeBufferPointer<UInt8>, to text: inout [UInt8]) {
        if !text.isEmpty { text.append(0x0a) }
        text.append(contentsOf: line)
    }
}

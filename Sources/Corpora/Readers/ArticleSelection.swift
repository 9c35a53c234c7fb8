// Which articles of CNN/DailyMail belong to a split: a list of URLs, whose SHA-1 digests name the stories.

import Diagnostics

/// A set of articles, chosen by a list of URLs with one URL a line.
package struct ArticleSelection: Sendable {
    private let digests: Set<SHA1Digest>

    /// Reads the list.
    /// - Throws: `UserError` when it cannot be read, is not UTF-8, or is empty.
    package init(urlList path: String) throws {
        let lines = try LineReader(path: path)
        var digests = Set<SHA1Digest>()
        while try lines.advance() {
            if let fault = lines.fault {
                throw UserError(.badData, fault.what, at: "\(path):\(lines.lineNumber)", advice: "give a list with one URL a line")
            }
            let url = lines.line.trimmed
            if !url.isEmpty { digests.insert(SHA1Digest(of: url)) }
        }
        guard !digests.isEmpty else {
            throw UserError(.badData, "the URL list is empty", at: path, advice: "give a list with one URL a line")
        }
        self.digests = digests
    }

    /// The number of articles listed.
    package var count: Int { digests.count }

    /// True when the article with this identifier, 40 hexadecimal digits, is listed.
    package func contains(identifier: some StringProtocol) -> Bool {
        SHA1Digest(hexadecimal: identifier).map(digests.contains) ?? false
    }
}

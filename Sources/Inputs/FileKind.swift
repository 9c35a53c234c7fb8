// What a file is, by its first bytes: its name may say something else.

/// Kinds of files that are told before their text is taken.
enum FileKind {
    /// A compression around other content.
    enum Compression: String, CaseIterable {
        case gzip, bzip2, xz, zstd

        /// The compression that bytes begin with.
        init?(_ start: [UInt8]) {
            guard let found = Self.allCases.first(where: { $0.begins(start) }) else { return nil }
            self = found
        }

        private func begins(_ start: [UInt8]) -> Bool {
            switch self {
            case .gzip: start.starts(with: [0x1f, 0x8b])
            case .bzip2:
                // The level, and the mark of a block or of the end.
                start.starts(with: Array("BZh".utf8)) && start.count >= 10
                    && [[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]].contains { $0.elementsEqual(start[4..<10]) }
            case .xz: start.starts(with: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])
            case .zstd: start.starts(with: [0x28, 0xb5, 0x2f, 0xfd])
            }
        }

        /// The endings of names that promise this compression.
        var endings: [String] {
            switch self {
            case .gzip: [".gz", ".tgz"]
            case .bzip2: [".bz2", ".tbz2", ".tbz"]
            case .xz: [".xz", ".txz"]
            case .zstd: [".zst", ".tzst"]
            }
        }
    }

    /// Endings of names that are looked through: what stands before them tells the form of a file.
    static let compressedEndings = [".gz", ".bz2", ".xz", ".zst"]

    /// Endings of names by which an archive in a folder is told.
    static let archiveEndings = [".tar", ".zip", ".tgz", ".tbz2", ".tbz", ".txz", ".tzst"] + compressedEndings.map { ".tar" + $0 }

    enum Archive: String {
        case tar, zip

        init?(_ start: [UInt8]) {
            if start.starts(with: [0x50, 0x4b, 0x03, 0x04]) || start.starts(with: [0x50, 0x4b, 0x05, 0x06]) {
                self = .zip
            } else if TarHeader.isHeader(start) {
                self = .tar
            } else {
                return nil
            }
        }
    }

    /// Content that is no text, by its first bytes (one a scalar), and what to do with it.
    private static let binaries: [(start: [UInt8], name: String, advice: String)] = [
        ("%PDF-", "a PDF document", "extract its text first"),
        ("7z\u{bc}\u{af}\u{27}\u{1c}", "a 7-Zip archive", "unpack it first"),
        ("Rar!\u{1a}\u{7}", "a RAR archive", "unpack it first"),
        ("\u{1f}\u{9d}", "compressed by compress", "unpack it with gzip -d"),
        ("\u{4}\"M\u{18}", "compressed by lz4", "unpack it with lz4 -d"),
        ("LZIP\u{1}", "compressed by lzip", "unpack it with lzip -d"),
        ("PAR1\u{15}", "a Parquet table", "export it as JSON lines or CSV"),
        ("ARROW1\0", "an Arrow table", "export it as JSON lines or CSV"),
        ("\u{89}HDF\r\n", "an HDF5 file", "give files of text"),
        ("SQLite format 3\0", "an SQLite database", "export it as JSON lines or CSV"),
        ("\u{d0}\u{cf}\u{11}\u{e0}\u{a1}\u{b1}", "an old Office document", "save it as plain text"),
        ("\u{93}NUMPY", "a NumPy array", "give files of text"),
        ("\u{89}PNG\r\n", "a PNG image", "give files of text"),
        ("\u{ff}\u{d8}\u{ff}", "a JPEG image", "give files of text"),
        ("\u{7f}ELF", "a program", "give files of text"),
    ].map { start, name, advice in (start.unicodeScalars.map { UInt8($0.value) }, name, advice) }

    /// What known content that is no text begins so.
    static func binary(_ start: [UInt8]) -> (name: String, advice: String)? {
        binaries.first { start.starts(with: $0.start) }.map { ($0.name, $0.advice) }
    }

    /// Whether bytes are so few that what they begin cannot be told yet.
    static func mayBegin(_ bytes: [UInt8]) -> Bool {
        guard bytes.count < 10 else { return false }
        let compressions: [[UInt8]] = [[0x1f, 0x8b], Array("BZh".utf8), [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], [0x28, 0xb5, 0x2f, 0xfd]]
        let marks = binaries.map(\.start) + TextEncoding.marks.map(\.bytes) + compressions + [[0x50, 0x4b, 0x03, 0x04]]
        return marks.contains { $0.count > bytes.count && $0.starts(with: bytes) } || bytes.starts(with: Array("BZh".utf8))
    }

    /// What text seems to be, in words that continue "it seems to be"; for people whose file had no record.
    static func guess(_ text: [UInt8]) -> String {
        guard !text.isEmpty else { return "an empty file" }
        if text.contains(0) { return "binary data" }
        let start = text.drop { $0 <= 0x20 }
        func begins(_ word: String) -> Bool { start.prefix(word.utf8.count).map { $0 | 0x20 }.elementsEqual(word.utf8) }
        guard let first = start.first else { return "a file of white space" }
        if begins("<!doctype html") || begins("<html") { return "a web page" }
        switch first {
        case UInt8(ascii: "<"): return "markup"
        case UInt8(ascii: "{"), UInt8(ascii: "["): return "JSON"
        default: break
        }
        let line = text.prefix { $0 != 0x0a }
        if line.contains(0x09) { return "text with tabs" }
        return "plain text that begins with \"\(String(decoding: line.prefix(40), as: UTF8.self))\""
    }
}

// The text of one input in pieces of the caller's size: opened, looked at, decompressed, and made UTF-8. Memory is a few buffers, whatever the size.

import Diagnostics
import Glibc

/// What ends a line of a text.
package enum LineEnds: Sendable {
    /// Line feeds, carriage returns, and a line feed with carriage returns before it: whatever a text was written on.
    case universal
    /// Line feeds, with or without carriage returns before them; carriage returns alone in a file that begins without a line feed. So a
    /// carriage return within a line of text stays there, and line n of a file stays the partner of line n of another for all who count line
    /// feeds.
    case aligned
    /// None: bytes are handed out as they are.
    case asWritten
}

/// An open input that is read from its first byte to its last. What it is tells its beginning, not its name: gzip, bzip2, xz and zstd are
/// decompressed (with all streams where several are concatenated), UTF-16 and UTF-32 become UTF-8, and of an archive with one file that is read.
///
/// Carriage returns that end a line by themselves come as line feeds, so that places in the text stay what they are; those before a line feed stay.
package final class ByteSource {
    /// The path as the user gave it, as messages show it.
    package let path: String
    private let stream: any ByteStream
    private let convertsReturns: Bool
    /// Carriage returns that were read and not handed out: what follows them decides what they are.
    private var heldReturns = 0
    /// A byte behind them, and what the held ones have become.
    private var waiting: [UInt8] = []

    /// The path that means standard input.
    package static let standardInput = "-"

    /// What messages call a path.
    package static func shownName(_ path: String) -> String { path == standardInput ? "standard input" : path }

    /// Opens `path`: a file, a pipe, `-` for standard input, or a member of an archive as in `archive.tgz:path/in/it`.
    /// - Throws: `UserError(.missingInput)` when it does not exist, is a directory or may not be read; `UserError(.badData)` when it is an archive of
    ///   several files, or known content that is no text, or its name ends in that of a compression that it does not have.
    package init(path: String, lineEnds: LineEnds = .universal) throws {
        self.path = Self.shownName(path)
        let opened = try Self.open(path, peeking: lineEnds == .aligned ? 64 << 10 : PeekedBytes.usualLimit)
        convertsReturns = switch lineEnds {
        case .universal: true
        case .aligned: opened.start.contains(0x0d) && !opened.start.contains(0x0a)
        case .asWritten: false
        }
        stream = opened.stream
    }

    /// Fills `buffer`, which is not empty, as far as one read goes.
    /// - Returns: the number of bytes written to `buffer`; 0 at the end of the input.
    /// - Throws: `UserError(.badData)` for truncated or damaged compressed data, with the byte; `UserError(.inputOutput)` when reading fails.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard convertsReturns else { return try stream.read(into: buffer) }
        if waiting.isEmpty {
            let count = try stream.read(into: buffer)
            if heldReturns == 0, count > 0 {
                guard memchr(buffer.baseAddress!, 0x0d, count) != nil else { return count }
                if buffer[count - 1] != 0x0d {
                    Self.convertReturns(buffer, count)
                    return count
                }
            }
            // Held returns do not fit into the buffer beside what follows them.
            waiting = [UInt8](repeating: 0x0d, count: heldReturns) + buffer[..<count]
            heldReturns = 0
            if count > 0 {
                heldReturns = waiting.reversed().prefix { $0 == 0x0d }.count
                waiting.removeLast(heldReturns)
            }
            waiting.withUnsafeMutableBytes { Self.convertReturns($0, $0.count) }
            if waiting.isEmpty { return try count == 0 ? 0 : read(into: buffer) }
        }
        let count = min(waiting.count, buffer.count)
        buffer.copyBytes(from: waiting[..<count])
        waiting.removeFirst(count)
        return count
    }

    /// Makes line feeds of carriage returns that no line feed follows.
    private static func convertReturns(_ bytes: UnsafeMutableRawBufferPointer, _ count: Int) {
        var index = 0
        while index < count, let found = memchr(bytes.baseAddress! + index, 0x0d, count - index) {
            let first = UnsafeMutableRawPointer(found) - bytes.baseAddress!
            var end = first
            while end < count, bytes[end] == 0x0d { end += 1 }
            if end == count || bytes[end] != 0x0a { for place in first..<end { bytes[place] = 0x0a } }
            index = end
        }
    }

    /// An input as plain UTF-8, with its first bytes.
    private static func open(_ path: String, peeking limit: Int) throws -> (stream: any ByteStream, start: [UInt8]) {
        let location = InputLocation(path)
        if let member = location.member { return try text(try Archives.stream(of: member, in: location.file), path, limit, waits: true) }
        let file = try FileBytes(path: path)
        return try text(file, path, limit, waits: file.isRegular)
    }

    /// The text of a stream of bytes.
    private static func text(
        _ source: any ByteStream, _ path: String, _ limit: Int, waits: Bool
    ) throws -> (stream: any ByteStream, start: [UInt8]) {
        let shown = shownName(path)
        var bytes = try PeekedBytes(source, limit: limit, waits: waits)
        let compression = FileKind.Compression(bytes.start)
        if let compression {
            bytes = try PeekedBytes(compression.decompressed(bytes, path: shown), limit: limit, waits: true)
        } else if let promised = FileKind.Compression.allCases.first(where: { $0.endings.contains { path.hasSuffix($0) } }) {
            throw UserError(
                .badData, "is named \(ending(of: path)) and is not a \(promised.rawValue) file", at: "\(shown), byte 0",
                advice: "copy the file again, or rename it")
        }
        if let archive = FileKind.Archive(bytes.start) { return try onlyMember(of: path, archive, limit) }
        if let binary = FileKind.binary(bytes.start) {
            throw UserError(.badData, "is \(binary.name)", at: shown, advice: binary.advice)
        }
        guard let found = TextEncoding.detect(bytes.start) else { return (bytes, bytes.start) }
        let converted = try PeekedBytes(
            ConvertedBytes(bytes, encoding: found.encoding, markBytes: found.markBytes, path: shown), limit: limit, waits: true)
        return (converted, converted.start)
    }

    /// The text of the file that an archive holds, where it is one alone.
    private static func onlyMember(of path: String, _ kind: FileKind.Archive, _ limit: Int) throws -> (stream: any ByteStream, start: [UInt8]) {
        guard InputFiles.kind(of: path) == .file else {
            throw UserError(
                .badData, "is a \(kind.rawValue) archive", at: shownName(path),
                advice: "unpack it, or name it as a file, and a file in it after a colon")
        }
        let members = try Archives.members(of: path, kind).names
        guard members.count == 1, let member = members.first else {
            throw UserError(
                .badData, "is a \(kind.rawValue) archive of \(quantity(members.count, "file"))", at: path,
                advice: members.first.map { "name one as in \(PathText.shown(path)):\(PathText.shown($0)), or unpack it" } ?? "name another file")
        }
        return try text(try Archives.stream(of: member, in: path), "\(path):\(member)", limit, waits: true)
    }

    private static func ending(of path: String) -> String { "." + (path.split(separator: ".").last.map(String.init) ?? "") }
}

/// The text of a whole input.
package enum TextFile {
    /// The bytes of `path`, opened as ``ByteSource`` opens it, without a byte order mark. They are not checked to be UTF-8.
    /// - Throws: as ``ByteSource``.
    package static func bytes(_ path: String, lineEnds: LineEnds = .asWritten) throws -> [UInt8] {
        let source = try ByteSource(path: path, lineEnds: lineEnds)
        var bytes: [UInt8] = []
        try withUnsafeTemporaryAllocation(byteCount: 256 << 10, alignment: 64) { buffer in
            while true {
                let count = try source.read(into: buffer)
                if count == 0 { break }
                bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            }
        }
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { bytes.removeFirst(3) }
        return bytes
    }
}

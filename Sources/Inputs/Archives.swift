// Archives as places of files: `archive.tgz:path/in/it` names a member.

import Diagnostics
import Foundation

/// Where a path leads: to a file, or to a member of an archive.
struct InputLocation {
    /// The file on disk.
    var file: String
    /// The member of it, or a folder of members; `nil` for the file itself.
    var member: String?

    /// A file that exists is meant itself; else the text before a colon may be an archive.
    init(_ path: String) {
        file = path
        guard path.utf8.contains(UInt8(ascii: ":")), Self.status(path) == nil else { return }
        for colon in path.utf8.indices where path.utf8[colon] == UInt8(ascii: ":") {
            let archive = String(path[..<colon])
            guard let status = Self.status(archive), status.st_mode & S_IFMT == S_IFREG else { continue }
            file = archive
            member = String(path[path.index(after: colon)...])
            return
        }
    }

    static func status(_ path: String) -> stat? {
        var status = stat()
        return withSystemPath(path) { stat($0, &status) } == 0 ? status : nil
    }
}

/// Archives on disk.
enum Archives {
    /// The archive that a regular file is, whatever it is compressed with; `nil` for other files.
    static func kind(ofFile path: String) throws -> FileKind.Archive? {
        let file = try FileBytes(path: path)
        guard file.isRegular else { return nil }
        return FileKind.Archive(try plain(file, path: path).start)
    }

    /// The names of an archive's members that are files, in its order, without hidden ones; and what is passed over: those, links and devices.
    /// - Throws: `UserError(.badData)` for a name that stands twice, or a damaged archive.
    static func members(of path: String, _ kind: FileKind.Archive) throws -> (names: [String], passedOver: [PassedOver]) {
        var names: [[UInt8]] = []
        var links: [[UInt8]] = []
        switch kind {
        case .tar:
            let reader = try tar(path)
            while let member = try reader.next() { names.append(member.name) }
            links = reader.links
        case .zip:
            let archive = try ZipReader(path: path)
            (names, links) = (archive.members.map(\.name), archive.links)
        }
        if let twice = Dictionary(grouping: names, by: { $0 }).filter({ $0.value.count > 1 }).keys.min(by: { $0.lexicographicallyPrecedes($1) }) {
            throw UserError(.badData, "holds \(PathText.shown(PathText.text(of: twice))) twice", at: path, advice: "unpack it, and name the files")
        }
        let texts = names.map { PathText.text(of: $0) }
        let isHidden = texts.map { $0.split(separator: "/").contains { $0.hasPrefix(".") || $0 == "__MACOSX" } }
        func named(_ paths: [String], _ reason: PassedOver.Reason) -> [PassedOver] {
            paths.first.map { [PassedOver(reason: reason, count: paths.count, first: PathText.shown("\(path):\($0)"))] } ?? []
        }
        let hidden = zip(texts, isHidden).filter(\.1).map(\.0)
        return (
            zip(texts, isHidden).filter { !$0.1 }.map(\.0), named(hidden, .hidden) + named(links.map { PathText.text(of: $0) }, .linkInArchive)
        )
    }

    /// The content of a member.
    /// - Throws: `UserError(.missingInput)` where there is none of this name.
    static func stream(of member: String, in path: String) throws -> any ByteStream {
        let name = PathText.bytes(of: member)
        if let archive = OpenArchives.shared.zip(path), let found = archive.member(named: name) { return try archive.stream(of: found) }
        switch try kind(ofFile: path) {
        case .zip:
            let archive = try ZipReader(path: path)
            OpenArchives.shared.keep(archive, path)
            if let found = archive.member(named: name) { return try archive.stream(of: found) }
        case .tar:
            if let found = try TarMember(name, in: path) { return found }
        case nil:
            throw UserError(.missingInput, "is no archive: no such file", at: "\(path):\(member)", advice: "check the path of the input")
        }
        throw UserError(.missingInput, "the archive holds no such file", at: "\(path):\(member)", advice: "check the name; tar tf lists them")
    }

    fileprivate static func tar(_ path: String) throws -> TarReader { TarReader(try plain(FileBytes(path: path), path: path), path: path) }

    /// The bytes of a file with its compression taken off.
    private static func plain(_ source: any ByteStream, path: String) throws -> PeekedBytes {
        let start = try PeekedBytes(source, waits: true)
        guard let compression = FileKind.Compression(start.start) else { return start }
        return try PeekedBytes(compression.decompressed(start, path: path), waits: true)
    }
}

/// A member of a tar archive. An archive can only be read from its beginning: the walk that came past one member waits for whoever wants one that
/// follows it, so that members asked for in their order are read in one walk.
private final class TarMember: ByteStream {
    private let reader: TarReader
    private let archive: OpenArchives.Archive

    init?(_ name: [UInt8], in path: String) throws {
        archive = OpenArchives.Archive(path)
        if let waiting = OpenArchives.shared.take(archive), try Self.find(name, waiting) {
            reader = waiting
        } else {
            let fresh = try Archives.tar(path)
            guard try Self.find(name, fresh) else { return nil }
            reader = fresh
        }
    }

    private static func find(_ name: [UInt8], _ reader: TarReader) throws -> Bool {
        while let member = try reader.next() {
            if member.name == name { return true }
        }
        return false
    }

    deinit { OpenArchives.shared.leave(reader, of: archive) }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int { try reader.read(into: buffer) }
}

/// Archives that are likely to be asked for again: two walks through tar archives, each standing after some member, that nobody reads from now, and
/// the zip archive that was opened last.
private final class OpenArchives: @unchecked Sendable {
    /// A file as it is now: another walk begins where it has changed.
    struct Archive: Equatable {
        let path: String
        let inode: UInt64
        let size: Int
        let seconds: Int
        let nanoseconds: Int

        init(_ path: String) {
            let status = InputLocation.status(path) ?? stat()
            self.path = path
            (inode, size) = (UInt64(status.st_ino), Int(status.st_size))
            (seconds, nanoseconds) = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
        }
    }

    static let shared = OpenArchives()
    private let lock = NSLock()
    private var walks: [(archive: Archive, reader: TarReader)] = []
    private var lastZip: (archive: Archive, reader: ZipReader)?

    func zip(_ path: String) -> ZipReader? {
        let archive = Archive(path)
        return lock.withLock { lastZip?.archive == archive ? lastZip?.reader : nil }
    }

    func keep(_ reader: ZipReader, _ path: String) {
        let archive = Archive(path)
        lock.withLock { lastZip = (archive, reader) }
    }

    func take(_ archive: Archive) -> TarReader? {
        lock.withLock {
            // The one that was left first: of two that go side by side each finds its own.
            walks.firstIndex { $0.archive == archive }.map { walks.remove(at: $0).reader }
        }
    }

    func leave(_ reader: TarReader, of archive: Archive) {
        let dropped = lock.withLock { () -> TarReader? in
            walks.append((archive, reader))
            return walks.count > 2 ? walks.removeFirst().reader : nil
        }
        _ = dropped
    }
}

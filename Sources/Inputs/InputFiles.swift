// The files that the inputs of a command name.

import Diagnostics
import Glibc

/// One input of a command, with the files that it stands for.
public struct CorpusInput: Sendable, Codable, Equatable {
    /// The input as the user gave it, without slashes at its end.
    public var path: String
    /// The files, in the order of reading: the input itself, or those below it. A member of an archive is `archive.tgz:path/in/it`.
    public var files: [String]
    /// False for a file that decides what is read of others.
    public var holdsRecords: Bool
    /// What lies below the input and is not read, by reason.
    public var passedOver: [PassedOver]

    /// An input; nothing is looked up.
    public init(path: String, files: [String], holdsRecords: Bool = true, passedOver: [PassedOver] = []) {
        self.path = path
        self.files = files
        self.holdsRecords = holdsRecords
        self.passedOver = passedOver
    }

    /// The files on disk that `files` lie in, each once where it stands several times in a row.
    public var filesOnDisk: [String] {
        files.reduce(into: []) { disk, file in
            let location = InputLocation(file)
            if location.member == nil || disk.last != location.file { disk.append(location.file) }
        }
    }
}

/// Entries of a folder that are not read for one reason.
public struct PassedOver: Sendable, Codable, Equatable {
    /// Why an entry is not read.
    public enum Reason: String, Sendable, Codable {
        case hidden, pipe, socket, device, archive
        case otherName = "other-name"
        case repeatedLink = "repeated-link"
        case danglingLink = "dangling-link"
        case linkInArchive = "link-in-archive"

        /// The reason in words: what `count` entries are.
        func words(_ count: Int) -> String {
            switch self {
            case .hidden: quantity(count, "hidden file")
            case .pipe: quantity(count, "pipe")
            case .socket: quantity(count, "socket")
            case .device: quantity(count, "device")
            case .archive: "\(quantity(count, "archive")) (name \(count == 1 ? "it" : "them") to read \(count == 1 ? "it" : "them"))"
            case .otherName: "\(quantity(count, "file")) of other names"
            case .repeatedLink: "\(quantity(count, "link")) to what is read already"
            case .danglingLink: "\(quantity(count, "link")) to nothing, of other names"
            case .linkInArchive: "\(quantity(count, "link")) or device\(count == 1 ? "" : "s") in an archive"
            }
        }
    }

    /// Why.
    public var reason: Reason
    /// How many.
    public var count: Int
    /// The first of them, as people see its path.
    public var first: String

    package init(reason: Reason, count: Int, first: String) {
        (self.reason, self.count, self.first) = (reason, count, first)
    }

    /// In words: `2 pipes: d/p, ...`.
    public var description: String { "\(reason.words(count)): \(first)\(count > 1 ? ", ..." : "")" }
}

/// Looking at paths, and walking directories in a fixed order.
package enum InputFiles {
    package enum Kind {
        case file, directory, absent
        case pipe, socket, device

        init(mode: mode_t) {
            self = switch mode & S_IFMT {
            case S_IFDIR: .directory
            case S_IFREG: .file
            case S_IFIFO: .pipe
            case S_IFSOCK: .socket
            default: .device
            }
        }

        /// With an article, as a message names it.
        package var words: String {
            switch self {
            case .file: "a file"
            case .directory: "a directory"
            case .absent: "absent"
            case .pipe: "a pipe"
            case .socket: "a socket"
            case .device: "a device"
            }
        }

        /// Whether content can be read once and never again.
        package var isReadOnce: Bool { self == .pipe || self == .socket || self == .device }
    }

    /// A file or a directory, whatever path leads to it.
    private struct Identity: Hashable {
        let device: dev_t
        let inode: ino_t
    }

    /// What `path` is, links followed; the member of an archive is a file, and standard input what it is.
    package static func kind(of path: String) -> Kind {
        if path == ByteSource.standardInput {
            var status = stat()
            return fstat(STDIN_FILENO, &status) == 0 ? Kind(mode: status.st_mode) : .device
        }
        if let status = InputLocation.status(path) { return Kind(mode: status.st_mode) }
        return InputLocation(path).member == nil ? .absent : .file
    }

    /// - Throws: `UserError(.missingInput)` when `path` does not exist or cannot be looked at.
    package static func requireExisting(_ path: String) throws {
        guard kind(of: path) == .absent else { return }
        var status = stat()
        let reason = withSystemPath(path) { stat($0, &status) } == 0 ? ENOENT : errno
        let isAbsent = reason == ENOENT || reason == ENOTDIR
        throw UserError(
            .missingInput, isAbsent ? "no such file or directory" : "cannot be looked at: \(systemReason(reason))", at: path,
            advice: "check the path of the input")
    }

    /// The files that `inputs` name, one after another.
    /// - Throws: as `list`.
    package static func expand(_ inputs: [String], wanted: String, where isWanted: @escaping (String) -> Bool = { _ in true }) throws -> [String] {
        try list(inputs, wanted: wanted, where: isWanted).flatMap(\.files)
    }

    /// The files that `inputs` name: a file itself; a directory's files with those of its subdirectories, sorted by name as bytes at every
    /// level; an archive's files, or those in a folder of it, in its order. Links are followed; of a directory each file and each subdirectory
    /// counts once, however many links lead to it. Of a directory hidden files, pipes, devices and archives are passed over, and counted.
    /// - Parameter isWanted: tells by a file's name whether it is taken from a directory or an archive; files named directly always are.
    /// - Throws: `UserError(.missingInput)` for a path that does not exist, a directory or archive that holds no wanted file, a link in one that
    ///   leads nowhere, and whatever cannot be looked at.
    package static func list(_ inputs: [String], wanted: String, where isWanted: @escaping (String) -> Bool = { _ in true }) throws -> [CorpusInput] {
        try inputs.map { input in
            if input == ByteSource.standardInput { return CorpusInput(path: input, files: [input]) }
            try requireExisting(input)
            guard kind(of: input) == .directory else { return try file(input, wanted, isWanted) }
            let slashes = input.utf8.reversed().prefix { $0 == UInt8(ascii: "/") }.count
            let directory = slashes == input.utf8.count ? "/" : String(input.dropLast(slashes))
            var walk = Walk(isWanted: isWanted)
            try walk.enter(directory)
            if walk.files.isEmpty {
                let others = walk.passedOver.map { "; passed over \($0.description)" }.joined()
                throw UserError(
                    .missingInput, "the directory holds no \(wanted)\(others)", at: input, advice: "check the path of the input and --format")
            }
            return CorpusInput(path: directory, files: walk.files, passedOver: walk.passedOver)
        }
    }

    /// A file, or the files of an archive that are wanted.
    private static func file(_ input: String, _ wanted: String, _ isWanted: (String) -> Bool) throws -> CorpusInput {
        let location = InputLocation(input)
        guard kind(of: location.file) == .file, let archive = try Archives.kind(ofFile: location.file) else {
            return CorpusInput(path: input, files: [input])
        }
        let members = try Archives.members(of: location.file, archive)
        if let member = location.member, members.names.contains(member) { return CorpusInput(path: input, files: [input]) }
        let folder = location.member.map { $0.hasSuffix("/") || $0.isEmpty ? $0 : $0 + "/" } ?? ""
        let inside = members.names.filter { $0.hasPrefix(folder) }
        let files = inside.filter { isWanted(name(of: $0)) }
        guard !files.isEmpty else {
            let other = inside.isEmpty ? "" : ", but \(PathText.shown(inside[0])) and the like"
            throw UserError(
                .missingInput, "the archive holds no \(wanted)\(location.member.map { " in \($0)" } ?? "")\(other)", at: location.file,
                advice: "check the path of the input and --format")
        }
        var passedOver = location.member == nil ? members.passedOver : []
        if files.count < inside.count, let first = inside.first(where: { !isWanted(name(of: $0)) }) {
            let first = PathText.shown("\(location.file):\(first)")
            passedOver.append(PassedOver(reason: .otherName, count: inside.count - files.count, first: first))
        }
        return CorpusInput(path: input, files: files.map { "\(location.file):\($0)" }, passedOver: passedOver)
    }

    /// A walk through a directory.
    private struct Walk {
        let isWanted: (String) -> Bool
        var files: [String] = []
        var passedOver: [PassedOver] = []
        private var seen: Set<Identity> = []

        init(isWanted: @escaping (String) -> Bool) { self.isWanted = isWanted }

        mutating func enter(_ directory: String) throws {
            guard let status = InputLocation.status(directory) else { throw unseen(directory, errno) }
            guard seen.insert(Identity(device: status.st_dev, inode: status.st_ino)).inserted else { return pass(.repeatedLink, directory) }
            for bytes in try names(in: directory) {
                let name = PathText.text(of: bytes)
                let path = directory == "/" ? "/" + name : directory + "/" + name
                if bytes.first == UInt8(ascii: ".") { pass(.hidden, path) } else { try look(at: path, name) }
            }
        }

        private mutating func look(at path: String, _ name: String) throws {
            var status = stat()
            guard withSystemPath(path, { stat($0, &status) }) == 0 else { return try lookAtUnreadable(path, name, errno) }
            switch Kind(mode: status.st_mode) {
            case .directory: try enter(path)
            case .file:
                // A folder that holds what was downloaded beside what was unpacked is not read twice.
                guard !FileKind.isArchive(name) else { return pass(.archive, path) }
                guard isWanted(name) else { return pass(.otherName, path) }
                guard seen.insert(Identity(device: status.st_dev, inode: status.st_ino)).inserted else { return pass(.repeatedLink, path) }
                files.append(path)
            case .pipe: pass(.pipe, path)
            case .socket: pass(.socket, path)
            case .device, .absent: pass(.device, path)
            }
        }

        private mutating func lookAtUnreadable(_ path: String, _ name: String, _ reason: Int32) throws {
            var link = stat()
            let isThere = withSystemPath(path) { lstat($0, &link) } == 0
            let isLink = isThere && link.st_mode & S_IFMT == S_IFLNK
            // Removed since its name was read.
            if reason == ENOENT, !isThere { return }
            if isLink, !isWanted(name) { return pass(.danglingLink, path) }
            guard isLink else { throw unseen(path, reason) }
            throw UserError(
                .missingInput, "is a link that cannot be followed: \(systemReason(reason))", at: path,
                advice: "fetch what it leads to, or remove the link")
        }

        private mutating func pass(_ reason: PassedOver.Reason, _ path: String) {
            if let index = passedOver.firstIndex(where: { $0.reason == reason }) {
                passedOver[index].count += 1
            } else {
                passedOver.append(PassedOver(reason: reason, count: 1, first: PathText.shown(path)))
            }
        }

        private func unseen(_ path: String, _ reason: Int32) -> UserError {
            UserError(
                .missingInput, "cannot be looked at: \(systemReason(reason))",
                at: path.count > 400 ? "\(path.prefix(200))...\(path.suffix(100))" : path,
                advice: reason == ENAMETOOLONG ? "move the tree to a place with a shorter path" : "check the permissions of the directory it lies in")
        }

        /// The names in `directory`, sorted by their bytes.
        private func names(in directory: String) throws -> [[UInt8]] {
            guard let stream = withSystemPath(directory, { opendir($0) }) else {
                throw UserError(
                    .missingInput, "cannot open the directory: \(systemReason())", at: directory, advice: "check the path and its permissions")
            }
            defer { closedir(stream) }
            var names: [[UInt8]] = []
            while true {
                errno = 0
                guard let entry = readdir(stream) else { break }
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: UInt8.self, capacity: Int(NAME_MAX) + 1) { Array(UnsafeBufferPointer(start: $0, count: strlen($0))) }
                }
                if name != [0x2e], name != [0x2e, 0x2e] { names.append(name) }
            }
            guard errno == 0 else {
                throw UserError(.inputOutput, "cannot be listed: \(systemReason())", at: directory, advice: "check the file system")
            }
            return names.sorted { $0.lexicographicallyPrecedes($1) }
        }
    }

    /// The last component of a path, in an archive or not.
    package static func name(of path: String) -> String {
        let name = path.utf8.split(separator: UInt8(ascii: "/")).last ?? path.utf8[...]
        // archive.tgz:name
        guard let colon = name.firstIndex(of: UInt8(ascii: ":")), FileKind.isArchive(String(Substring(name[..<colon]))) else {
            return String(Substring(name))
        }
        return String(Substring(name[name.index(after: colon)...]))
    }

    /// Endings of names that are looked through, as `.gz` is.
    package static var compressedEndings: [String] { FileKind.compressedEndings }

    /// The last extension of a path in lower case, that of a compression looked through: "tsv" for "a/b.tsv.gz"; "" for none.
    package static func formatExtension(of path: String) -> String {
        var name = InputFiles.name(of: path).lowercased()
        if let ending = FileKind.compressedEndings.first(where: { name.hasSuffix($0) }) { name.removeLast(ending.count) }
        guard let dot = name.utf8.lastIndex(of: UInt8(ascii: ".")), dot != name.startIndex else { return "" }
        return String(Substring(name.utf8[name.utf8.index(after: dot)...]))
    }

    /// What an input seems to be, in words that continue "it seems to be"; `nil` where it cannot be read.
    package static func guess(_ path: String) -> String? {
        guard !kind(of: path).isReadOnce, let source = try? ByteSource(path: path, lineEnds: .asWritten) else { return nil }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = (try? bytes.withUnsafeMutableBytes { try source.read(into: $0) }) ?? 0
        return FileKind.guess(Array(bytes.prefix(count)))
    }
}

extension FileKind {
    /// Whether a name is that of an archive.
    static func isArchive(_ name: String) -> Bool {
        let name = name.lowercased()
        return archiveEndings.contains { name.hasSuffix($0) }
    }
}

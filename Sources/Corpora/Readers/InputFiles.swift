// The files that the inputs of a command name.

import Diagnostics
import Glibc

/// One input of a command, with the files that it stands for.
public struct CorpusInput: Sendable, Codable, Equatable {
    /// The input as the user gave it, without slashes at its end.
    public var path: String
    /// The files, in the order of reading: the input itself, or those below it.
    public var files: [String]
    /// False for a file that decides what is read of others.
    public var holdsRecords: Bool

    /// An input; nothing is looked up.
    public init(path: String, files: [String], holdsRecords: Bool = true) {
        self.path = path
        self.files = files
        self.holdsRecords = holdsRecords
    }
}

/// Looking at paths, and walking directories in a fixed order.
package enum InputFiles {
    package enum Kind {
        case file, directory, absent
        /// A pipe, a socket or a device.
        case other
    }

    /// A file or a directory, whatever path leads to it.
    private struct Identity: Hashable {
        let device: dev_t
        let inode: ino_t
    }

    /// What `path` is, links followed.
    package static func kind(of path: String) -> Kind { look(path).kind }

    private static func look(_ path: String) -> (kind: Kind, identity: Identity) {
        var status = stat()
        guard stat(path, &status) == 0 else { return (.absent, Identity(device: 0, inode: 0)) }
        let identity = Identity(device: status.st_dev, inode: status.st_ino)
        switch status.st_mode & S_IFMT {
        case S_IFDIR: return (.directory, identity)
        case S_IFREG: return (.file, identity)
        default: return (.other, identity)
        }
    }

    /// - Throws: `UserError(.missingInput)` when `path` does not exist.
    package static func requireExisting(_ path: String) throws {
        guard kind(of: path) == .absent else { return }
        throw UserError(.missingInput, "no such file or directory", at: path, advice: "check the path of the input")
    }

    /// The files that `inputs` name, one after another.
    /// - Throws: as `list`.
    package static func expand(_ inputs: [String], wanted: String, where isWanted: (String) -> Bool = { _ in true }) throws -> [String] {
        try list(inputs, wanted: wanted, where: isWanted).flatMap(\.files)
    }

    /// The files that `inputs` name: a file itself, a directory's files with those of its subdirectories, sorted by name as bytes at every
    /// level. Links are followed; of a directory each file and each subdirectory counts once, however many links lead to it. Hidden files, pipes and
    /// devices are passed over.
    /// - Parameter isWanted: tells by a file's name whether it is taken from a directory; files named directly always are.
    /// - Throws: `UserError(.missingInput)` for a path that does not exist, a directory that holds no wanted file, or a link in one that leads nowhere.
    package static func list(_ inputs: [String], wanted: String, where isWanted: (String) -> Bool = { _ in true }) throws -> [CorpusInput] {
        try inputs.map { input in
            try requireExisting(input)
            guard kind(of: input) == .directory else { return CorpusInput(path: input, files: [input]) }
            let slashes = input.reversed().prefix { $0 == "/" }.count
            let directory = slashes == input.count ? "/" : String(input.dropLast(slashes))
            var files: [String] = []
            var seen: Set<Identity> = [look(directory).identity]
            try walk(directory, into: &files, &seen, where: isWanted)
            if files.isEmpty {
                throw UserError(.missingInput, "the directory holds no \(wanted)", at: input, advice: "check the path of the input and --format")
            }
            return CorpusInput(path: directory, files: files)
        }
    }

    private static func walk(
        _ directory: String, into files: inout [String], _ seen: inout Set<Identity>, where isWanted: (String) -> Bool
    ) throws {
        for name in try names(in: directory) {
            let path = directory == "/" ? "/" + name : directory + "/" + name
            let (kind, identity) = look(path)
            switch kind {
            case .directory: if seen.insert(identity).inserted { try walk(path, into: &files, &seen, where: isWanted) }
            case .file: if isWanted(name), seen.insert(identity).inserted { files.append(path) }
            case .other: break
            case .absent:
                let reason = String(cString: strerror(errno))
                var link = stat()
                guard isWanted(name), lstat(path, &link) == 0 else { break }
                throw UserError(
                    .missingInput, "is a link that cannot be followed: \(reason)", at: path, advice: "fetch what it leads to, or remove the link")
            }
        }
    }

    /// The names in `directory`, hidden ones left out, sorted by their bytes.
    private static func names(in directory: String) throws -> [String] {
        guard let stream = opendir(directory) else {
            throw UserError(
                .missingInput, "cannot open the directory: \(String(cString: strerror(errno)))", at: directory,
                advice: "check the path and its permissions")
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// The last component of a path.
    package static func name(of path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }

    /// The last extension of a path in lower case, `.gz` looked through: "tsv" for "a/b.tsv.gz"; "" for none.
    package static func formatExtension(of path: String) -> String {
        var name = InputFiles.name(of: path).lowercased()
        if name.hasSuffix(".gz") { name.removeLast(3) }
        guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return "" }
        return String(name[name.index(after: dot)...])
    }
}

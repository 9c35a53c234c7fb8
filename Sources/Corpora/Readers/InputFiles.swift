// The files that the inputs of a command name.

import Diagnostics
import Glibc

/// Looking at paths, and walking directories in a fixed order.
package enum InputFiles {
    package enum Kind {
        case file, directory, absent
    }

    /// What `path` is, links followed.
    package static func kind(of path: String) -> Kind {
        var status = stat()
        guard stat(path, &status) == 0 else { return .absent }
        return status.st_mode & S_IFMT == S_IFDIR ? .directory : .file
    }

    /// - Throws: `UserError(.missingInput)` when `path` does not exist.
    package static func requireExisting(_ path: String) throws {
        guard kind(of: path) == .absent else { return }
        throw UserError(.missingInput, "no such file or directory", at: path, advice: "check the path of the input")
    }

    /// The files that `inputs` name: a file itself, a directory's files with those of its subdirectories, sorted by name as bytes at every
    /// level. Hidden files are passed over.
    /// - Parameter isWanted: tells by a file's name whether it is taken from a directory; files named directly always are.
    /// - Throws: `UserError(.missingInput)` for a path that does not exist, or a directory that holds no wanted file.
    package static func expand(_ inputs: [String], wanted: String, where isWanted: (String) -> Bool = { _ in true }) throws -> [String] {
        var files: [String] = []
        for input in inputs {
            try requireExisting(input)
            guard kind(of: input) == .directory else {
                files.append(input)
                continue
            }
            let before = files.count
            try walk(input.hasSuffix("/") && input.count > 1 ? String(input.dropLast()) : input, into: &files, where: isWanted)
            if files.count == before {
                throw UserError(.missingInput, "the directory holds no \(wanted)", at: input, advice: "check the path of the input and --format")
            }
        }
        return files
    }

    private static func walk(_ directory: String, into files: inout [String], where isWanted: (String) -> Bool) throws {
        for name in try names(in: directory) {
            let path = directory == "/" ? "/" + name : directory + "/" + name
            switch kind(of: path) {
            case .directory: try walk(path, into: &files, where: isWanted)
            case .file: if isWanted(name) { files.append(path) }
            case .absent: break
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

// The operations on directories that last through a crash, with errors that name the path.

import CStorage
import Diagnostics
import Foundation

/// Making, listing, renaming, exchanging and removing.
public enum Directory {
    /// The directory that a path lies in; `.` for a bare name.
    public static func parent(of path: String) -> String {
        let bytes = withoutSlashes(path.utf8[...])
        guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return "." }
        let parent = withoutSlashes(bytes[..<slash])
        return parent.isEmpty ? "/" : String(Substring(parent))
    }

    /// A path of bytes without slashes at its end; one slash where there is nothing else.
    private static func withoutSlashes(_ path: Substring.UTF8View) -> Substring.UTF8View {
        var bytes = path
        while bytes.count > 1, bytes.last == UInt8(ascii: "/") { bytes.removeLast() }
        return bytes
    }

    /// A path in a directory.
    public static func path(of name: String, in directory: String) -> String { directory.hasSuffix("/") ? directory + name : directory + "/" + name }

    /// The last name of a path.
    public static func lastName(of path: String) -> String {
        let bytes = withoutSlashes(path.utf8[...])
        return String(Substring(bytes.lastIndex(of: UInt8(ascii: "/")).map { bytes[bytes.index(after: $0)...] } ?? bytes))
    }

    /// Makes a directory and those above it where they do not exist, and syncs the directory that each new one lies in.
    /// - Throws: `UserError` (.inputOutput).
    public static func make(_ path: String) throws {
        var reason: Int32 = 0
        if withSystemPath(path, { mkdir($0, 0o777) }) == 0 { return try synchronize(parent(of: path)) }
        reason = errno
        let above = parent(of: path)
        if reason == ENOENT, above != path {
            try make(above)
            if withSystemPath(path, { mkdir($0, 0o777) }) == 0 { return try synchronize(above) }
            reason = errno
        }
        if reason == EEXIST {
            if exists(path) == .directory { return }
            reason = ENOTDIR
        }
        throw UserError(
            .inputOutput, "cannot make the directory: \(systemReason(reason))", at: path, advice: "check the path, its permissions and the free space")
    }

    /// What lies at a path; links are followed.
    public enum Entry { case directory, file, other }

    /// What lies at a path; `nil` where nothing does, or nothing that may be looked at.
    public static func exists(_ path: String) -> Entry? {
        var status = stat()
        guard withSystemPath(path, { stat($0, &status) }) == 0 else { return nil }
        switch status.st_mode & S_IFMT {
        case S_IFDIR: return .directory
        case S_IFREG: return .file
        default: return .other
        }
    }

    /// The names in a directory, sorted by their bytes; none where it does not exist.
    /// - Throws: `UserError` (.inputOutput), also where it cannot be looked at: a directory on a file system that is away is not an empty one.
    public static func names(in path: String) throws -> [String] {
        guard let stream = withSystemPath(path, { opendir($0) }) else {
            if errno == ENOENT { return [] }
            throw UserError(
                .inputOutput, "cannot list the directory: \(systemReason())", at: path, advice: "check the permissions and the file system")
        }
        defer { closedir(stream) }
        var names: [String] = []
        errno = 0
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: UInt8.self, capacity: Int(NAME_MAX) + 1) {
                    PathText.text(of: UnsafeBufferPointer(start: $0, count: strlen(UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))))
                }
            }
            if name != ".", name != ".." { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw UserError(.inputOutput, "cannot list the directory: \(systemReason())", at: path) }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Makes renames in a directory last through a crash.
    /// - Throws: `UserError` (.inputOutput).
    public static func synchronize(_ path: String) throws {
        try Failpoint.directorySync.pass(path)
        let descriptor = withSystemPath(path) { open($0, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw DurableFile.failure("opened", path) }
        defer { close(descriptor) }
        // Some file systems cannot sync a directory and say EINVAL: there is nothing more to do then.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw DurableFile.failure("synced", path) }
    }

    /// Renames a file or a directory, without a sync.
    /// - Throws: `UserError` (.inputOutput).
    public static func rename(_ old: String, to new: String) throws {
        guard withSystemPaths(old, new, Foundation.rename) == 0 else {
            throw UserError(.inputOutput, "cannot rename it to \(new): \(systemReason())", at: old, advice: "check the permissions")
        }
    }

    /// Lets two directories or files exchange their names, with no moment in which one of them is absent.
    /// - Returns: false where the file system cannot; both are then as they were.
    /// - Throws: `UserError` (.inputOutput).
    public static func exchange(_ first: String, _ second: String) throws -> Bool {
        if withSystemPaths(first, second, mneme_exchange) == 0 { return true }
        if errno == EINVAL || errno == ENOSYS || errno == ENOTSUP { return false }
        throw UserError(.inputOutput, "cannot exchange it with \(second): \(systemReason())", at: first, advice: "check the permissions")
    }

    /// The prefix of names of what is being removed. Who finds one at a start removes it.
    public static let removalPrefix = ".removing-"

    /// Removes a file or a directory with all in it so that a crash leaves it whole or gone: it gets a hidden name, the directory is synced, and then
    /// its files go one by one.
    ///
    /// - Throws: `UserError` (.inputOutput). It is then whole under its own name, or has the hidden one.
    public static func removeAtomically(_ path: String) throws {
        let above = parent(of: path)
        var hidden = above + "/" + removalPrefix + lastName(of: path)
        if exists(hidden) != nil { hidden += "-\(getpid())" }
        try Failpoint.removalRename.pass(path)
        guard withSystemPaths(path, hidden, Foundation.rename) == 0 else {
            if errno == ENOENT { return }
            throw UserError(.inputOutput, "cannot be removed: \(systemReason())", at: path, advice: "check its permissions, or remove it by hand")
        }
        try Failpoint.removalSync.pass(path)
        try synchronize(above)
        try remove(hidden)
    }

    /// Removes a file, or a directory with all in it, one after the other; links are not followed, and what does not exist is removed already.
    /// - Throws: `UserError` (.inputOutput).
    public static func remove(_ path: String) throws {
        var status = stat()
        guard withSystemPath(path, { lstat($0, &status) }) == 0 else {
            if errno == ENOENT { return }
            throw removalFailure(path)
        }
        if status.st_mode & S_IFMT == S_IFDIR {
            for name in try names(in: path) { try remove(path + "/" + name) }
            try Failpoint.removalDirectory.pass(path)
            guard withSystemPath(path, rmdir) == 0 || errno == ENOENT else { throw removalFailure(path) }
        } else {
            try Failpoint.removalUnlink.pass(path)
            guard withSystemPath(path, unlink) == 0 || errno == ENOENT else { throw removalFailure(path) }
        }
    }

    private static func removalFailure(_ path: String) -> UserError {
        UserError(.inputOutput, "cannot be removed: \(systemReason())", at: path, advice: "check its permissions, or remove it by hand")
    }

    /// Bytes of the files in a directory, not below it.
    public static func byteCount(of path: String) throws -> Int {
        try names(in: path).reduce(0) { sum, name in
            var status = stat()
            return withSystemPath(path + "/" + name, { stat($0, &status) }) == 0 ? sum + Int(status.st_size) : sum
        }
    }
}

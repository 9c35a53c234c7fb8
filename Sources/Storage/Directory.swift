// The operations on directories that last through a crash, with errors that name the path.

import CStorage
import Diagnostics
import Foundation

/// Making, listing, renaming, exchanging and removing.
public enum Directory {
    /// The directory that a path lies in; `.` for a bare name.
    public static func parent(of path: String) -> String {
        let parent = (path as NSString).deletingLastPathComponent
        return parent.isEmpty ? "." : parent
    }

    /// The last name of a path.
    static func lastName(of path: String) -> String { (path as NSString).lastPathComponent }

    /// Makes a directory and those above it where they do not exist, and syncs the directory that each new one lies in.
    /// - Throws: `UserError` (.inputOutput).
    public static func make(_ path: String) throws {
        var reason: Int32 = 0
        if mkdir(path, 0o777) == 0 { return try synchronize(parent(of: path)) }
        reason = errno
        let above = parent(of: path)
        if reason == ENOENT, above != path {
            try make(above)
            if mkdir(path, 0o777) == 0 { return try synchronize(above) }
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
        guard stat(path, &status) == 0 else { return nil }
        switch status.st_mode & S_IFMT {
        case S_IFDIR: return .directory
        case S_IFREG: return .file
        default: return .other
        }
    }

    /// The names in a directory, sorted by their bytes; none where it does not exist.
    /// - Throws: `UserError` (.inputOutput), also where it cannot be looked at: a directory on a file system that is away is not an empty one.
    public static func names(in path: String) throws -> [String] {
        guard let stream = opendir(path) else {
            if errno == ENOENT { return [] }
            throw UserError(
                .inputOutput, "cannot list the directory: \(systemReason())", at: path, advice: "check the permissions and the file system")
        }
        defer { closedir(stream) }
        var names: [String] = []
        errno = 0
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
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
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw DurableFile.failure("opened", path) }
        defer { close(descriptor) }
        // Some file systems cannot sync a directory and say EINVAL: there is nothing more to do then.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw DurableFile.failure("synced", path) }
    }

    /// Renames a file or a directory, without a sync.
    /// - Throws: `UserError` (.inputOutput).
    public static func rename(_ old: String, to new: String) throws {
        guard Foundation.rename(old, new) == 0 else {
            throw UserError(.inputOutput, "cannot rename it to \(new): \(systemReason())", at: old, advice: "check the permissions")
        }
    }

    /// Lets two directories or files exchange their names, with no moment in which one of them is absent.
    /// - Returns: false where the file system cannot; both are then as they were.
    /// - Throws: `UserError` (.inputOutput).
    public static func exchange(_ first: String, _ second: String) throws -> Bool {
        if mneme_exchange(first, second) == 0 { return true }
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
        guard Foundation.rename(path, hidden) == 0 else {
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
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT { return }
            throw removalFailure(path)
        }
        if status.st_mode & S_IFMT == S_IFDIR {
            for name in try names(in: path) { try remove(path + "/" + name) }
            try Failpoint.removalDirectory.pass(path)
            guard rmdir(path) == 0 || errno == ENOENT else { throw removalFailure(path) }
        } else {
            try Failpoint.removalUnlink.pass(path)
            guard unlink(path) == 0 || errno == ENOENT else { throw removalFailure(path) }
        }
    }

    private static func removalFailure(_ path: String) -> UserError {
        UserError(.inputOutput, "cannot be removed: \(systemReason())", at: path, advice: "check its permissions, or remove it by hand")
    }

    /// Bytes of the files in a directory, not below it.
    public static func byteCount(of path: String) throws -> Int {
        try names(in: path).reduce(0) { sum, name in
            var status = stat()
            return stat(path + "/" + name, &status) == 0 ? sum + Int(status.st_size) : sum
        }
    }
}

// The operations on directories that checkpoints need, with errors that name the path.

import Diagnostics
import Foundation

/// Making, moving, listing and removing.
enum CheckpointDirectory {
    /// Makes a directory and those above it, where they do not exist.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    static func make(_ path: String) throws {
        if mkdir(path, 0o777) == 0 { return }
        var reason = errno
        let parent = (path as NSString).deletingLastPathComponent
        if reason == ENOENT, !parent.isEmpty, parent != path {
            try make(parent)
            if mkdir(path, 0o777) == 0 { return }
            reason = errno
        }
        if reason == EEXIST {
            var isDirectory: ObjCBool = false
            if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue { return }
            reason = ENOTDIR
        }
        throw UserError(
            .inputOutput, "cannot make the directory: \(String(cString: strerror(reason)))", at: path,
            advice: "check the path, its permissions and the free space")
    }

    /// The names in a directory, sorted; none where it does not exist.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    static func names(in path: String) throws -> [String] {
        guard FileManager.default.fileExists(atPath: path) else { return [] }
        do {
            return try FileManager.default.contentsOfDirectory(atPath: path).sorted()
        } catch {
            throw failure("list the directory", path, error)
        }
    }

    /// Removes a file, or a directory with all in it; one that does not exist is removed already.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    static func remove(_ path: String) throws {
        do {
            try FileManager.default.removeItem(atPath: path)
        } catch {
            if !FileManager.default.fileExists(atPath: path) { return }
            throw failure("remove it", path, error)
        }
    }

    /// Removes a directory if nothing is in it.
    static func removeIfEmpty(_ path: String) {
        rmdir(path)
    }

    /// Renames a directory.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    static func rename(_ old: String, to new: String) throws {
        guard Foundation.rename(old, new) == 0 else {
            throw UserError(.inputOutput, "cannot rename it to \(new): \(String(cString: strerror(errno)))", at: old, advice: "check the permissions")
        }
    }

    /// Bytes of the files in a directory, not below it.
    static func byteCount(of path: String) throws -> Int {
        try names(in: path).reduce(0) { sum, name in
            var status = stat()
            return stat(path + "/" + name, &status) == 0 ? sum + Int(status.st_size) : sum
        }
    }

    /// The user error for an error of Foundation's, with the system's reason where that is kept.
    static func failure(_ action: String, _ path: String, _ error: any Error) -> UserError {
        UserError(
            .inputOutput, "cannot \(action): \(systemReason(of: error))", at: path, advice: "check the path, its permissions and the free space")
    }
}

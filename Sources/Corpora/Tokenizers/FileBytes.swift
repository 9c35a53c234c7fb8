// Whole small files in and out, with the system's reason in the error.

import Diagnostics
import Foundation

/// Reads and writes files that fit into memory: models, manifests.
enum FileBytes {
    /// The bytes of a file.
    /// - Throws: `UserError(.missingInput)` with the system's reason.
    static func read(_ path: String) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw UserError(.missingInput, "cannot be opened: \(systemReason())", at: path) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Foundation.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw UserError(.missingInput, "cannot be read: \(systemReason())", at: path) }
            if count == 0 { return bytes }
            bytes.append(contentsOf: buffer[..<count])
        }
    }

    /// Replaces a file: the bytes go to a hidden file beside it, are synced, and take its name in one step.
    /// - Throws: `UserError(.inputOutput)` with the system's reason; the old file is then untouched.
    static func writeAtomically(_ bytes: [UInt8], to path: String) throws {
        let partial = hiddenSibling(of: path)
        let descriptor = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw UserError(.inputOutput, "cannot be written: \(systemReason())", at: path) }
        var written = 0
        var reason: String?
        bytes.withUnsafeBytes { buffer in
            while written < buffer.count, reason == nil {
                let count = write(descriptor, buffer.baseAddress! + written, buffer.count - written)
                if count < 0 {
                    if errno != EINTR { reason = systemReason() }
                } else {
                    written += count
                }
            }
        }
        if reason == nil && fsync(descriptor) != 0 { reason = systemReason() }
        if close(descriptor) != 0 && reason == nil { reason = systemReason() }
        if reason == nil && rename(partial, path) != 0 { reason = systemReason() }
        if let reason {
            unlink(partial)
            throw UserError(.inputOutput, "cannot be written: \(reason)", at: path)
        }
        try syncDirectory(of: path)
    }

    /// Makes a rename in a directory last through a crash.
    static func syncDirectory(of path: String) throws {
        let directory = (path as NSString).deletingLastPathComponent
        let descriptor = open(directory.isEmpty ? "." : directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw UserError(.inputOutput, "cannot be opened: \(systemReason())", at: directory) }
        defer { close(descriptor) }
        // Some file systems cannot sync a directory and say EINVAL: there is nothing more to do then.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw UserError(.inputOutput, "cannot be synced: \(systemReason())", at: directory) }
    }

    /// `directory/.name.partial` for `directory/name`.
    static func hiddenSibling(of path: String) -> String {
        let name = (path as NSString).lastPathComponent
        return ((path as NSString).deletingLastPathComponent as NSString).appendingPathComponent(".\(name).partial")
    }

    /// The text of `errno`.
    static func systemReason() -> String {
        String(cString: strerror(errno))
    }
}

// Files that are there whole or not at all, through crashes and power cuts.

import Diagnostics
import Foundation

/// Small files that are written at once: run files, manifests, models.
public enum DurableFile {
    /// Replaces a file, or makes it: the bytes go to a hidden file beside it, are synced, and take its name in one step; then the directory is synced.
    ///
    /// - Throws: `UserError` (.inputOutput) with the path and the system's reason; the old file is then as it was.
    public static func replace(_ path: String, by bytes: some ContiguousBytes) throws {
        let partial = hiddenSibling(of: path)
        // What a process of the same number has left is nobody's any more.
        withSystemPath(partial, unlink)
        let descriptor = withSystemPath(partial) { open($0, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o666) }
        guard descriptor >= 0 else { throw failure("written", path) }
        do {
            try Failpoint.fileWrite.pass(path)
            try bytes.withUnsafeBytes { try writeAll($0, descriptor, path) }
            try Failpoint.fileSync.pass(path)
            guard fsync(descriptor) == 0 else { throw failure("written", path) }
        } catch {
            close(descriptor)
            withSystemPath(partial, unlink)
            throw error
        }
        guard close(descriptor) == 0 else {
            let error = failure("written", path)
            withSystemPath(partial, unlink)
            throw error
        }
        do {
            try Failpoint.fileRename.pass(path)
            guard withSystemPaths(partial, path, rename) == 0 else { throw failure("written", path) }
        } catch {
            withSystemPath(partial, unlink)
            throw error
        }
        try Directory.synchronize(Directory.parent(of: path))
    }

    /// Waits until a file that was written by other means is on the disk.
    /// - Throws: `UserError` (.inputOutput).
    public static func synchronize(_ path: String) throws {
        let descriptor = withSystemPath(path) { open($0, O_RDONLY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw failure("opened", path) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("written", path) }
    }

    /// The bytes of a regular file.
    /// - Throws: `UserError`: (.missingInput) where there is no file, (.badData) for a pipe, a socket, a device or a directory, at once and without
    ///   waiting for its other end; (.inputOutput) where the system refuses.
    public static func read(_ path: String) throws -> [UInt8] {
        let (descriptor, size) = try openRegular(path)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: size + 1)
        var count = 0
        while true {
            let done = bytes.withUnsafeMutableBytes { Foundation.read(descriptor, $0.baseAddress! + count, $0.count - count) }
            if done < 0 && errno == EINTR { continue }
            guard done >= 0 else { throw failure("read", path) }
            count += done
            if done == 0 { break }
            // The file has grown since.
            if count == bytes.count { bytes.append(contentsOf: repeatElement(0, count: count)) }
        }
        bytes.removeSubrange(count...)
        return bytes
    }

    /// Makes sure that a path names a regular file that this process may read.
    /// - Throws: as ``read(_:)``.
    public static func requireReadable(_ path: String) throws { close(try openRegular(path).descriptor) }

    /// Opens a regular file for reading.
    /// - Returns: a descriptor that the caller closes, and the file's size.
    /// - Throws: as ``read(_:)``.
    public static func openRegular(_ path: String) throws -> (descriptor: Int32, size: Int) {
        // Without O_NONBLOCK, opening a pipe waits for somebody who writes.
        let descriptor = withSystemPath(path) { open($0, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        guard descriptor >= 0 else {
            let isAbsent = errno == ENOENT || errno == ENOTDIR
            throw UserError(isAbsent ? .missingInput : errno == ENXIO ? .badData : .inputOutput, "cannot be opened: \(systemReason())", at: path)
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            defer { close(descriptor) }
            throw failure("looked at", path)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw UserError(.badData, "is \(kind(of: status.st_mode)), not a file", at: path)
        }
        return (descriptor, Int(status.st_size))
    }

    /// The size of a regular file, links followed, without opening it.
    /// - Throws: as ``read(_:)``.
    public static func size(of path: String) throws -> Int {
        var status = stat()
        guard withSystemPath(path, { stat($0, &status) }) == 0 else {
            let isAbsent = errno == ENOENT || errno == ENOTDIR
            throw UserError(isAbsent ? .missingInput : .inputOutput, "cannot be opened: \(systemReason())", at: path)
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw UserError(.badData, "is \(kind(of: status.st_mode)), not a file", at: path) }
        return Int(status.st_size)
    }

    private static func kind(of mode: mode_t) -> String {
        switch mode & S_IFMT {
        case S_IFDIR: "a directory"
        case S_IFIFO: "a pipe"
        case S_IFSOCK: "a socket"
        case S_IFCHR, S_IFBLK: "a device"
        default: "something else"
        }
    }

    /// Writes all bytes, however often the system interrupts.
    /// - Throws: `UserError` (.inputOutput).
    static func writeAll(_ bytes: UnsafeRawBufferPointer, _ descriptor: Int32, _ path: String) throws {
        var written = 0
        while written < bytes.count {
            let count = Foundation.write(descriptor, bytes.baseAddress! + written, bytes.count - written)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure("written", path) }
            written += count
        }
    }

    /// `directory/.name.partial-<process>` for `directory/name`.
    static func hiddenSibling(of path: String) -> String {
        Directory.parent(of: path) + "/" + partialPrefix(Directory.lastName(of: path)) + String(getpid())
    }

    private static func partialPrefix(_ name: String) -> String { ".\(name).partial-" }

    /// Whether a name in a directory is a file that a crash kept ``replace(_:by:)`` from finishing.
    public static func isPartial(_ name: String) -> Bool {
        guard name.hasPrefix("."), let range = name.range(of: ".partial-", options: .backwards) else { return false }
        return !name[range.upperBound...].isEmpty && name[range.upperBound...].allSatisfy { $0.isASCII && $0.isNumber }
    }

    static func failure(_ action: String, _ path: String) -> UserError {
        UserError(.inputOutput, "cannot be \(action): \(systemReason())", at: path, advice: "check the permissions and the free space")
    }
}

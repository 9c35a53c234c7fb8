// A file that grows at its end, and whose end is always a whole record.

import Diagnostics
import Foundation

/// A file that one process appends to.
package final class AppendedFile {
    package let path: String
    private let descriptor: Int32
    /// Bytes of the file.
    package private(set) var end: Int

    /// Opens the file, or makes it.
    /// - Throws: `UserError` (.inputOutput).
    package init(_ path: String) throws {
        self.path = path
        // A FIFO that nobody reads is an error instead of a wait for its reader.
        descriptor = withSystemPath(path) { open($0, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0o644) }
        guard descriptor >= 0 else {
            throw UserError(.inputOutput, "cannot be opened for writing: \(String(cString: strerror(errno)))", at: path)
        }
        end = max(0, Int(lseek(descriptor, 0, SEEK_END)))
    }

    deinit { close(descriptor) }

    /// Appends all of the bytes, or none of them.
    /// - Returns: the system's reason where they could not be written.
    package func append(_ bytes: [UInt8]) -> String? { write(bytes, at: end) }

    /// Puts bytes in the place of all that stands behind `start`.
    /// - Returns: the system's reason where they could not be written.
    package func replace(from start: Int, by bytes: [UInt8]) -> String? {
        let reason = write(bytes, at: start)
        if reason == nil { ftruncate(descriptor, off_t(end)) }
        return reason
    }

    private func write(_ bytes: [UInt8], at start: Int) -> String? {
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(start + done)) }
            if count > 0 {
                done += count
            } else if errno != EINTR {
                let reason = String(cString: strerror(errno))
                if done > 0 { ftruncate(descriptor, off_t(min(start, end))) }
                end = done > 0 ? min(start, end) : end
                return reason
            }
        }
        end = start + bytes.count
        return nil
    }

    /// Cuts the file.
    /// - Throws: `UserError` (.inputOutput).
    package func cut(to length: Int) throws {
        guard length < end else { return }
        guard ftruncate(descriptor, off_t(length)) == 0 else {
            throw UserError(.inputOutput, "cannot be cut back: \(String(cString: strerror(errno)))", at: path)
        }
        end = length
    }

    /// Returns when the bytes are on the disk.
    /// - Returns: the system's reason where that failed. A device or a pipe, which cannot be synchronized, has none.
    package func synchronize() -> String? {
        guard fdatasync(descriptor) != 0, errno != EINVAL, errno != EROFS else { return nil }
        return String(cString: strerror(errno))
    }
}

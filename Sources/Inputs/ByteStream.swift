// Bytes in order: of a file or standard input, and with their beginning looked at before it is taken.

import Diagnostics
import Glibc

/// Bytes that are read once, from the first to the last.
protocol ByteStream: AnyObject {
    /// Fills `buffer`, which is not empty, as far as one read goes.
    /// - Returns: the number of bytes written to `buffer`; 0 at the end.
    /// - Throws: `UserError`.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int
}

/// The bytes of a file, a pipe, a device, or standard input.
final class FileBytes: ByteStream {
    /// Whether the file can be read again, from any place.
    let isRegular: Bool
    let descriptor: CInt
    private let path: String
    private let isStandardInput: Bool

    /// Opens a file; `-` is standard input. A pipe without a writer waits for one.
    /// - Throws: `UserError(.missingInput)` when it does not exist, is a directory or may not be read.
    init(path: String) throws {
        self.path = path
        isStandardInput = path == ByteSource.standardInput
        descriptor = isStandardInput ? STDIN_FILENO : withSystemPath(path) { open($0, O_RDONLY | O_CLOEXEC) }
        var status = stat()
        // From here on deinit closes the descriptor, also when this initializer throws.
        guard descriptor >= 0, fstat(descriptor, &status) == 0 else {
            let reason = errno
            isRegular = false
            let isAbsent = reason == ENOENT || reason == ENOTDIR
            throw UserError(
                .missingInput, isAbsent ? "there is no such file" : "cannot be opened: \(systemReason(reason))", at: ByteSource.shownName(path),
                advice: isAbsent ? "check the path" : "check the path and its permissions")
        }
        isRegular = status.st_mode & S_IFMT == S_IFREG
        guard status.st_mode & S_IFMT != S_IFDIR else {
            throw UserError(
                .missingInput, "is a directory where a file was expected", at: ByteSource.shownName(path), advice: "name a file")
        }
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
    }

    deinit {
        if descriptor >= 0, !isStandardInput { close(descriptor) }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while true {
            let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            if count >= 0 { return count }
            if errno == EINTR { continue }
            if errno == EAGAIN {
                var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                poll(&waiting, 1, -1)
                continue
            }
            if isStandardInput, errno == EBADF {
                throw UserError(.missingInput, "is closed", at: ByteSource.shownName(path), advice: "name a file, or give text through a pipe")
            }
            throw UserError(
                .inputOutput, "cannot read the input: \(systemReason())", at: ByteSource.shownName(path),
                advice: "check the disk or the network file system")
        }
    }
}

/// A stream whose first bytes are known before they are taken.
final class PeekedBytes: ByteStream {
    /// The first bytes: all of a short input, `limit` of a longer one, and perhaps fewer of one that comes slowly.
    let start: [UInt8]
    private let source: any ByteStream
    private var handedOut = 0

    /// - Parameter waits: whether to wait until `limit` bytes are there. Who types at a terminal should not have to type so many.
    init(_ source: any ByteStream, limit: Int = PeekedBytes.usualLimit, waits: Bool) throws {
        self.source = source
        var bytes: [UInt8] = []
        while bytes.count < limit, bytes.isEmpty || waits || FileKind.mayBegin(bytes) {
            let room = min(limit - bytes.count, 4096)
            var count = 0
            let more = try [UInt8](unsafeUninitializedCapacity: room) { buffer, filled in
                count = try source.read(into: UnsafeMutableRawBufferPointer(buffer))
                filled = count
            }
            bytes += more
            if count == 0 { break }
        }
        start = bytes
    }

    /// Enough to tell an archive.
    static let usualLimit = 4096

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard handedOut < start.count else { return try source.read(into: buffer) }
        let count = min(start.count - handedOut, buffer.count)
        buffer.copyBytes(from: start[handedOut..<(handedOut + count)])
        handedOut += count
        return count
    }
}

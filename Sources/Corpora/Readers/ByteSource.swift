// The bytes of one input file, plain or gzip, in pieces of the caller's size. Memory is one input buffer, whatever the file's size.

import CZlib
import Diagnostics
import Glibc

/// An open file that is read from its first byte to its last. A gzip file (told by its first two bytes, not by its name) is
/// decompressed on the way, with all its members if several are concatenated.
package final class ByteSource {
    /// The path as the user gave it.
    package let path: String
    private let descriptor: CInt
    private var inflater: Inflater?
    /// The first bytes of a plain file, read to tell its kind and not yet handed out.
    private var pending: [UInt8] = []

    /// Opens `path`.
    /// - Throws: `UserError(.missingInput)` when it does not exist, is a directory or may not be read; `UserError(.badData)` when
    ///   its name ends in `.gz` and it is no gzip file.
    package init(path: String) throws {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw UserError(
                .missingInput, "cannot open the input: \(String(cString: strerror(errno)))", at: path, advice: "check the path and its permissions")
        }
        var status = stat()
        // From here on deinit closes the descriptor, also when this initializer throws.
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT != S_IFDIR else {
            throw UserError(.missingInput, "is a directory where a file was expected", at: path, advice: "name a file")
        }
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
        try detectKind()
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    /// Fills `buffer` as far as one read goes.
    /// - Returns: the number of bytes written to `buffer`; 0 at the end of the input.
    /// - Throws: `UserError(.badData)` for a truncated or damaged gzip file, with the byte; `UserError(.inputOutput)` when reading fails.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        if let inflater {
            return try inflater.read(into: buffer) { try self.readPlain(into: $0) }
        }
        return try readPlain(into: buffer)
    }

    private func detectKind() throws {
        var start = [UInt8](repeating: 0, count: 2)
        var count = 0
        while count < 2 {
            let got = try start.withUnsafeMutableBytes { try readFile(into: UnsafeMutableRawBufferPointer(rebasing: $0[count...])) }
            if got == 0 { break }
            count += got
        }
        pending = Array(start.prefix(count))
        if pending == [0x1f, 0x8b] {
            inflater = Inflater(path: path)
        } else if path.hasSuffix(".gz") {
            throw UserError(.badData, "is named .gz and is not a gzip file", at: "\(path), byte 0", advice: "copy the file again, or rename it")
        }
    }

    private func readPlain(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        if !pending.isEmpty {
            let count = min(pending.count, buffer.count)
            buffer.copyBytes(from: pending.prefix(count))
            pending.removeFirst(count)
            return count
        }
        return try readFile(into: buffer)
    }

    private func readFile(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while true {
            let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            if count >= 0 { return count }
            if errno == EINTR { continue }
            throw UserError(
                .inputOutput, "cannot read the input: \(String(cString: strerror(errno)))", at: path,
                advice: "check the disk or the network file system")
        }
    }
}

/// The state of decompressing one gzip file.
private final class Inflater {
    private let path: String
    /// zlib keeps a pointer back to its stream, so the stream must not move.
    private let stream: UnsafeMutablePointer<z_stream>
    private let input: UnsafeMutableRawBufferPointer
    /// Compressed bytes taken from the file so far.
    private var taken = 0
    private var betweenMembers = false
    private var finished = false

    init(path: String) {
        self.path = path
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        input = .allocate(byteCount: 64 << 10, alignment: 64)
        // 15 bits of window, plus 16: a gzip header and trailer, whose checksum zlib verifies.
        let result = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, CInt(MemoryLayout<z_stream>.size))
        precondition(result == Z_OK, "zlib refused to start with code \(result)")
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
        input.deallocate()
    }

    /// Compressed bytes consumed so far: the place of an error.
    private var position: Int { taken - Int(stream.pointee.avail_in) }

    func read(into buffer: UnsafeMutableRawBufferPointer, refill: (UnsafeMutableRawBufferPointer) throws -> Int) throws -> Int {
        if finished { return 0 }
        stream.pointee.next_out = buffer.bindMemory(to: UInt8.self).baseAddress
        stream.pointee.avail_out = UInt32(buffer.count)
        while true {
            if stream.pointee.avail_in == 0 {
                let count = try refill(input)
                taken += count
                stream.pointee.next_in = input.bindMemory(to: UInt8.self).baseAddress
                stream.pointee.avail_in = UInt32(count)
                if count == 0 {
                    guard betweenMembers else { throw truncated() }
                    finished = true
                    return 0
                }
            }
            if betweenMembers {
                guard try startMember() else {
                    finished = true
                    return 0
                }
            }
            let result = inflate(stream, Z_NO_FLUSH)
            let produced = buffer.count - Int(stream.pointee.avail_out)
            switch result {
            case Z_STREAM_END: betweenMembers = true
            case Z_OK, Z_BUF_ERROR: break
            default: throw damaged()
            }
            if produced > 0 { return produced }
        }
    }

    /// Begins the next member. False where only zero padding follows, as tapes and block devices leave it.
    private func startMember() throws -> Bool {
        switch stream.pointee.next_in.pointee {
        case 0x1f:
            inflateReset(stream)
            betweenMembers = false
            return true
        case 0:
            return false
        default:
            throw damaged()
        }
    }

    private func truncated() -> UserError {
        UserError(
            .badData, "the gzip file ends in the middle of its compressed data", at: "\(path), byte \(position)",
            advice: "copy or download the file again")
    }

    private func damaged() -> UserError {
        let reason = stream.pointee.msg.map { ": " + String(cString: $0) } ?? ""
        return UserError(.badData, "the gzip file is damaged\(reason)", at: "\(path), byte \(position)", advice: "copy or download the file again")
    }
}

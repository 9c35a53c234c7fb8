// Large blocks to and from the disk without the system's page cache.

import Diagnostics
import Foundation
import Storage

/// A file opened for direct input and output (`O_DIRECT`), where the file system has it, and in the ordinary way elsewhere.
///
/// A checkpoint passes once: caching it costs a copy and the memory that training could use, and what is read back from the cache says nothing about
/// the disk.
package final class DirectFile {
    /// Places, counts and addresses of direct transfers are multiples of this; other parts of a block go the ordinary way.
    package static let alignment = 4096
    /// Bytes of one transfer.
    private static let transfer = 4 << 20

    private let path: String
    private let ordinary: Int32
    /// -1 where the file system does not transfer directly.
    private var direct: Int32

    /// Opens a file that exists, for reading and writing unless it is only to be read.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    package init(_ path: String, isReadOnly: Bool = false) throws {
        self.path = path
        let access = (isReadOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC
        ordinary = withSystemPath(path) { open($0, access) }
        direct = withSystemPath(path) { open($0, access | __O_DIRECT) }
        if ordinary < 0 { throw failure("open the file") }
    }

    deinit {
        close(ordinary)
        if direct >= 0 { close(direct) }
    }

    /// Writes `bytes` at byte `place` of the file.
    ///
    /// - Precondition: address and place are multiples of ``alignment``; less than a block may lie anywhere.
    /// - Throws: `UserError(.inputOutput)`, also where the disk is full.
    package func write(_ bytes: UnsafeRawBufferPointer, at place: Int) throws {
        try forEachTransfer(bytes.count) { part, descriptor in
            pwrite(descriptor, bytes.baseAddress! + part.lowerBound, part.count, off_t(place + part.lowerBound))
        }
    }

    /// Fills `bytes` from byte `place` of the file on.
    ///
    /// - Precondition: address and place are multiples of ``alignment``.
    /// - Throws: `UserError(.inputOutput)`, also where the file ends before.
    package func read(into bytes: UnsafeMutableRawBufferPointer, at place: Int) throws {
        try forEachTransfer(bytes.count) { part, descriptor in
            pread(descriptor, bytes.baseAddress! + part.lowerBound, part.count, off_t(place + part.lowerBound))
        }
    }

    /// Makes what was written last through a crash.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    package func synchronize() throws { if fsync(ordinary) != 0 { throw failure("sync the file") } }

    /// The checksum of `count` bytes from byte `place` on, read from the disk.
    ///
    /// - Precondition: the place is a multiple of ``alignment``.
    /// - Throws: `UserError(.inputOutput)`.
    func checksum(of count: Int, at place: Int) throws -> Checksum {
        var checksum = Checksum()
        try withUnsafeTemporaryAllocation(byteCount: min(count, DirectFile.transfer), alignment: DirectFile.alignment) { buffer in
            try forEachTransfer(count) { part, descriptor in
                let done = pread(descriptor, buffer.baseAddress!, part.count, off_t(place + part.lowerBound))
                if done > 0 { checksum.update(UnsafeRawBufferPointer(rebasing: buffer[..<done])) }
                return done
            }
        }
        return checksum
    }

    /// Cuts `count` bytes into transfers and repeats each until all of it is done. `body` returns what the system call did.
    private func forEachTransfer(_ count: Int, _ body: (Range<Int>, _ descriptor: Int32) -> Int) throws {
        var done = 0
        while done < count {
            let size = min(DirectFile.transfer, count - done)
            let whole = size / DirectFile.alignment * DirectFile.alignment
            // What a short transfer leaves need not begin at a block: it goes the ordinary way too.
            let isDirect = direct >= 0 && whole > 0 && done % DirectFile.alignment == 0
            let moved = body(done..<done + (isDirect ? whole : size), isDirect ? direct : ordinary)
            if moved > 0 {
                done += moved
            } else if moved == 0 {
                throw UserError(.inputOutput, "the file ends too early", at: path)
            } else if isDirect && errno == EINVAL {
                // The file system opened the file but does not transfer directly after all.
                close(direct)
                direct = -1
            } else if errno != EINTR {
                throw failure("write or read back the data")
            }
        }
    }

    private func failure(_ action: String) -> UserError {
        UserError(
            .inputOutput, "cannot \(action): \(String(cString: strerror(errno)))", at: path, advice: "check the free space and the permissions")
    }
}

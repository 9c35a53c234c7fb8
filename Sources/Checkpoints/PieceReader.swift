// Long runs of bytes of a file, read and checked by several threads.

import Diagnostics
import Dispatch
import Foundation
import Storage

/// Reads a run of bytes in pieces, of which several are under way: while one waits for the disk, the checksum of another is computed.
enum PieceReader {
    /// Bytes of a piece.
    private static let pieceByteCount = 4 << 20
    /// What is shorter is not worth threads.
    static let smallest = 2 * pieceByteCount

    /// The first failure, and what the pieces have come to.
    private final class Outcome: @unchecked Sendable {
        private let lock = NSLock()
        private var checksums: [Checksum]
        private var failure: UserError?

        init(_ count: Int) { checksums = Array(repeating: Checksum(), count: count) }

        func note(_ index: Int, _ checksum: Checksum) { lock.withLock { checksums[index] = checksum } }
        func note(_ error: UserError) { lock.withLock { failure = failure ?? error } }

        func whole(_ byteCounts: (Int) -> Int) throws -> Checksum {
            if let failure { throw failure }
            return checksums.indices.reduce(into: Checksum()) { $0.append(checksums[$1], byteCount: byteCounts($1)) }
        }
    }

    /// Memory that threads fill, each a part of its own.
    private struct Target: @unchecked Sendable { let bytes: UnsafeMutableRawBufferPointer }

    /// Fills `bytes` from byte `place` of a file on.
    ///
    /// - Returns: the checksum of what was read.
    /// - Throws: `UserError(.inputOutput)` where it cannot be read; `UserError(.badData)` where the file ends before.
    static func fill(_ bytes: UnsafeMutableRawBufferPointer, from path: String, at place: Int) throws -> Checksum {
        let descriptor = withSystemPath(path) { open($0, O_RDONLY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw UserError(.inputOutput, "cannot open the file: \(systemReason())", at: path) }
        defer { close(descriptor) }
        let count = (bytes.count + pieceByteCount - 1) / pieceByteCount
        let (outcome, target) = (Outcome(count), Target(bytes: bytes))
        @Sendable func range(_ index: Int) -> Range<Int> { index * pieceByteCount..<min((index + 1) * pieceByteCount, target.bytes.count) }
        DispatchQueue.concurrentPerform(iterations: count) { index in
            let piece = UnsafeMutableRawBufferPointer(rebasing: target.bytes[range(index)])
            var done = 0
            while done < piece.count {
                let read = pread(descriptor, piece.baseAddress! + done, piece.count - done, off_t(place + range(index).lowerBound + done))
                if read < 0, errno == EINTR { continue }
                guard read > 0 else {
                    return outcome.note(
                        read == 0
                            ? UserError(.badData, "it ends before its data do", at: path)
                            : UserError(.inputOutput, "cannot read the file: \(systemReason())", at: path))
                }
                done += read
            }
            var checksum = Checksum()
            checksum.update(UnsafeRawBufferPointer(piece))
            outcome.note(index, checksum)
        }
        return try outcome.whole { range($0).count }
    }
}

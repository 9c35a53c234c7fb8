// Standard output: all that a command prints goes through here, and what cannot be written ends the command.

import Diagnostics
import Foundation

/// The results of a command on their way to standard output.
enum StandardOutput {
    // One thread of a process prints.
    private nonisolated(unsafe) static var buffer: [UInt8] = []
    private nonisolated(unsafe) static var written = 0
    /// Whether nothing more is written: the reader has gone away, or an error was thrown.
    private nonisolated(unsafe) static var isClosed = false
    private static let isTerminal = isatty(STDOUT_FILENO) == 1
    private static let bufferBytes = 1 << 16

    /// Prints a line.
    /// - Throws: as ``flush()``.
    static func print(_ text: some StringProtocol, terminator: String = "\n") throws {
        buffer += text.utf8
        buffer += terminator.utf8
        if isTerminal || buffer.count > bufferBytes { try flush() }
    }

    /// Writes what was printed.
    /// - Throws: `UserError` (.inputOutput) with the bytes that were written before. A reader who has gone away is no error here: commands whose
    ///   product is what they print have ended by then, and for the others he does not matter.
    static func flush() throws {
        defer { buffer.removeAll(keepingCapacity: true) }
        var done = 0
        while done < buffer.count, !isClosed {
            let count = buffer.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress! + done, $0.count - done) }
            if count >= 0 {
                done += count
                written += count
            } else if errno == EAGAIN {
                var waiting = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
                poll(&waiting, 1, -1)
            } else if errno != EINTR {
                try fail(errno)
            }
        }
    }

    /// Writes what was printed, at the end of a command. Some file systems tell only now that there was no room.
    /// - Throws: as ``flush()``.
    static func finish() throws {
        try flush()
        let copy = dup(STDOUT_FILENO)
        guard copy >= 0, close(copy) != 0, errno != EINTR, written > 0, !isClosed else { return }
        try fail(errno)
    }

    private static func fail(_ reason: Int32) throws {
        isClosed = true
        if reason == EPIPE { return }
        throw UserError(
            .inputOutput, "cannot be written: \(systemReason(reason))\(written > 0 ? ", after \(written) bytes" : "")", at: "standard output",
            advice: "check the free space of where it goes")
    }
}

/// Prints a line on standard output; stands in for the function of Swift's library, which knows no errors.
/// - Throws: as ``StandardOutput/flush()``.
func print(_ text: some StringProtocol, terminator: String = "\n") throws { try StandardOutput.print(text, terminator: terminator) }

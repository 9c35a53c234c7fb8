// Standard error, written behind the training loop, so that a reader who stops reading does not stop the training.

import Foundation

/// Writes text to a descriptor from a thread of its own. Nobody who calls it waits for the reader.
///
/// What the reader does not take waits in memory: progress up to 64 KiB, messages up to 256; what comes then is dropped and
/// counted. A reader who has gone away is forgotten.
public final class TerminalWriter: @unchecked Sendable {
    /// What is dropped first.
    public enum Importance: Sendable {
        /// The next one says more.
        case progress
        /// Should be read.
        case message
    }

    private static let mostProgressBytes = 1 << 16
    private static let mostBytes = 1 << 18

    private let descriptor: Int32
    // All below is guarded by the condition.
    private let condition = NSCondition()
    private var queue: [[UInt8]] = []
    private var queuedBytes = 0
    private var isWriting = false
    private var dropped = 0
    private var isClosed = false
    private var isStarted = false
    private var isStuck = false

    /// - Parameter descriptor: an open file descriptor, which the writer does not close.
    public init(descriptor: Int32) { self.descriptor = descriptor }

    /// Puts text into the queue.
    public func write(_ text: String, _ importance: Importance = .message) {
        condition.lock()
        defer { condition.unlock() }
        let bytes = Array(text.utf8)
        guard !isClosed else { return }
        guard queuedBytes + bytes.count <= (importance == .progress ? Self.mostProgressBytes : Self.mostBytes) || queue.isEmpty && !isWriting else {
            dropped += 1
            return
        }
        queue.append(bytes)
        queuedBytes += bytes.count
        if !isStarted {
            isStarted = true
            Thread.detachNewThread { [self] in drain() }
        }
        condition.broadcast()
    }

    /// Waits until everything is written, for `seconds` at most; not at all where the reader has not taken anything since the last wait was in vain.
    /// - Returns: whether everything is written.
    @discardableResult
    public func flush(within seconds: Double = 2) -> Bool {
        let limit = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        if isStuck, queue.isEmpty, !isWriting { isStuck = !isReady }
        if isStuck { return false }
        while !queue.isEmpty || isWriting {
            if !condition.wait(until: limit) {
                isStuck = !queue.isEmpty || isWriting
                return !isStuck
            }
        }
        return true
    }

    /// Writes text on the calling thread, behind what is queued, and needs no memory for that. Where the reader takes nothing for `seconds`, the text
    /// is lost.
    public func writeNow(_ text: String, within seconds: Double = 2) {
        guard flush(within: seconds) else { return }
        var text = text
        text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                // Ready means room for a part of PIPE_BUF bytes: such a write does not wait.
                var state = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                guard poll(&state, 1, Int32(seconds * 1000)) == 1 else { return condition.withLock { isStuck = true } }
                let count = Foundation.write(descriptor, bytes.baseAddress.map { $0 + done }, min(bytes.count - done, Int(PIPE_BUF)))
                if count > 0 { done += count } else if errno != EINTR && errno != EAGAIN { return }
            }
        }
    }

    /// Whether the reader would take something now.
    private var isReady: Bool {
        var state = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return poll(&state, 1, 0) == 1
    }

    private func drain() {
        condition.lock()
        while true {
            while queue.isEmpty { condition.wait() }
            var batch = queue.flatMap { $0 }
            if dropped > 0 { batch = Array("(\(dropped) lines were not shown: nobody read them)\n".utf8) + batch }
            (queue, queuedBytes, dropped, isWriting) = ([], 0, 0, true)
            condition.unlock()
            let isGone = !writeAll(batch)
            condition.lock()
            isWriting = false
            if isGone { (isClosed, queue, queuedBytes) = (true, [], 0) }
            condition.broadcast()
        }
    }

    /// - Returns: false where the reader is gone, or a full disk behind a batch log: no reason to end a run.
    private func writeAll(_ bytes: [UInt8]) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                done += count
                condition.withLock { isStuck = false }
            } else if errno == EAGAIN {
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&wait, 1, -1)
            } else if errno == EPIPE || errno == EIO || errno == EBADF {
                return false
            } else if errno != EINTR {
                return true
            }
        }
        return true
    }
}

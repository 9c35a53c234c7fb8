// Commands that a command starts and waits for, and the requests to stop that it hands on to them.

import CSignals
import Diagnostics
import Foundation
import Storage

/// A command that runs in a process group of its own.
public final class ChildCommand {
    private let process: pid_t
    private var requests = 0

    /// Starts a command.
    ///
    /// - Parameters:
    ///   - words: the program, which is looked for in PATH, and its arguments.
    ///   - processors: the numbers of those that it may run on; none for those of this process.
    ///   - output: the descriptor for its standard output and error, without standard input; `nil` for the streams of this process.
    ///   - stopsWithParent: it is asked to stop when the thread that started it ends, in whatever way.
    /// - Throws: `UserError` (.missingInput) where it cannot be started.
    public init(_ words: [String], processors: [Int32] = [], output: Int32? = nil, stopsWithParent: Bool = false) throws {
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var child = pid_t()
        let reason = mneme_start_command(
            &pointers, processors, Int32(processors.count), output ?? -1, stopsWithParent ? SIGUSR1 : 0, &child)
        process = child
        guard reason == 0 else {
            var status: Int32 = 0
            if child > 0 { waitpid(child, &status, 0) }
            throw UserError(.missingInput, "cannot be started: \(systemReason(reason))", at: words[0], advice: "is it in PATH?")
        }
    }

    /// The exit code of a command that has ended; 128 and the signal's number where one killed it; `nil` while it runs. Asks once after the end.
    /// - Throws: `UserError` (.software).
    public func ended() throws -> Int32? {
        var status: Int32 = 0
        let ended = waitpid(process, &status, WNOHANG)
        if ended < 0, errno != EINTR { throw UserError(.software, "cannot wait for process \(process): \(systemReason())") }
        guard ended == process else { return nil }
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
    }

    /// Hands a request to stop on, as USR1, which every launcher passes to its ranks. The first lets the ranks save; whoever asks again wants an end.
    public func stop() {
        if requests == 0 { kill(process, SIGUSR1) } else { for one in descendants { kill(one, SIGKILL) } }
        requests += 1
    }

    /// The command's process and all that come from it: launchers put what they start into groups and sessions of its own.
    private var descendants: [pid_t] {
        var children: [pid_t: [pid_t]] = [:]
        for one in ((try? Directory.names(in: "/proc")) ?? []).compactMap({ pid_t($0) }) {
            guard let text = try? String(contentsOfFile: "/proc/\(one)/stat", encoding: .utf8), let end = text.lastIndex(of: ")") else { continue }
            // After the name in brackets: the state and the parent.
            let fields = text[text.index(after: end)...].split(separator: " ")
            if fields.count > 1, let parent = pid_t(fields[1]) { children[parent, default: []].append(one) }
        }
        var all = [process]
        var next = 0
        while next < all.count {
            all += children[all[next]] ?? []
            next += 1
        }
        return all
    }
}

/// Requests to stop that this process gets, taken one by one.
public final class StopRequests {
    /// How many have come.
    public private(set) var count = 0
    /// The number of the last one.
    public private(set) var last: Int32?
    private var signals = sigset_t()

    /// Holds the signals back from this thread and those that it makes from now on: only ``wait(seconds:)`` takes them. One that the process was
    /// started to pass over, as nohup does with HUP, is no request.
    public init() {
        sigemptyset(&signals)
        for signal in StopSignal.usual where mneme_is_ignored_signal(signal.number) == 0 { sigaddset(&signals, signal.number) }
        sigaddset(&signals, SIGCHLD)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// Waits for a request, for the end of a command, or for some seconds.
    public func wait(seconds: Double) {
        var time = timespec(tv_sec: 0, tv_nsec: Int(seconds * 1e9))
        let signal = sigtimedwait(&signals, nil, &time)
        guard signal > 0, signal != SIGCHLD else { return }
        (count, last) = (count + 1, signal)
    }
}

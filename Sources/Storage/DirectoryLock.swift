// The lock of a directory that one session at a time may write into, on any file system that several machines share.

import Diagnostics
import Foundation

/// Who holds a lock: enough to find the process, and to know whether it still lives.
public struct SessionIdentity: Codable, Sendable, Equatable {
    /// A random number that no other session has.
    public var session: String
    /// The machine's name.
    public var host: String
    /// The process's number on it.
    public var process: Int32
    /// When the process started, in the system's clock ticks since the machine did; numbers of processes come round again.
    public var processStart: String
    /// Which start of the machine, and which name space of processes on it: only there the process's number means something.
    public var machine: String
    /// The scheduler's job, such as `Slurm 4711`.
    public var job: String?
    /// When the session started, UTC, ISO 8601.
    public var started: String

    /// The identity of this process.
    /// - Parameter environment: tells the scheduler's job.
    public init(environment: [String: String]) {
        session = String(UInt64.random(in: 0 ... .max), radix: 16)
        host = ProcessInfo.processInfo.hostName
        process = getpid()
        processStart = Self.start(of: getpid()) ?? ""
        machine = Self.thisMachine
        job = Self.job(environment)
        started = Date().formatted(.iso8601)
    }

    /// What a scheduler calls the job that this process belongs to; `nil` outside of any.
    public static func job(_ environment: [String: String]) -> String? {
        let names = [
            ("SLURM_JOB_ID", "Slurm"), ("PBS_JOBID", "PBS"), ("LSB_JOBID", "LSF"), ("FLUX_JOB_ID", "Flux"), ("JOB_ID", "Grid Engine"),
        ]
        return names.lazy.compactMap { variable, scheduler in environment[variable].map { "\(scheduler) \($0)" } }.first
    }

    private static var thisMachine: String {
        let boot = (try? String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
        let names = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/pid")
        return [boot ?? ProcessInfo.processInfo.hostName, names ?? ""].joined(separator: " ")
    }

    /// When a process started; `nil` where there is none, or only what its parent has not collected yet.
    private static func start(of process: Int32) -> String? {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8), let end = text.lastIndex(of: ")") else { return nil }
        // After the name in brackets: state, and the start as the 20th field from there.
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
        return String(fields[19])
    }

    /// Whether the process lives; `nil` where this machine cannot tell.
    var isAlive: Bool? {
        guard machine == Self.thisMachine, !processStart.isEmpty else { return nil }
        return Self.start(of: process) == processStart
    }

    /// Host, process and job, for messages.
    public var description: String { "process \(process) on \(host)" + (job.map { " (\($0))" } ?? "") }
}

/// A lock file that is made exclusively and shows a sign of life every few seconds. No `flock`: file systems of clusters do without it.
///
/// The file holds the holder's identity as one line of JSON, and a count that rises with every sign of life as the second. A lock is taken over when its
/// holder is dead: known at once on the same machine, and from a count that stands still on another.
public final class DirectoryLock: @unchecked Sendable {
    /// How often a holder shows that it lives, and how long another waits for that.
    public struct Timing: Sendable {
        /// Seconds between two signs of life.
        public var interval = 5.0
        /// Seconds without one after which a holder on another machine is dead.
        public var patience = 40.0

        /// A sign of life every `interval` seconds; a lock of another machine is taken over when none has come for `patience` seconds.
        public init(interval: Double = 5, patience: Double = 40) { (self.interval, self.patience) = (interval, patience) }
    }

    /// The lock file.
    public let path: String
    /// This session.
    public let identity: SessionIdentity
    /// Whose lock was taken over, if one was.
    public private(set) var predecessor: SessionIdentity?

    private let timing: Timing
    private let condition = NSCondition()
    private var isReleased = false
    private var beats = 0

    /// Takes the lock of a directory, which exists.
    ///
    /// - Parameters:
    ///   - name: the file's name in it.
    ///   - waiting: hears once that a holder on another machine is watched for a sign of life.
    /// - Throws: `UserError` (.unavailable) naming who holds it; (.inputOutput).
    public init(
        directory: String, name: String = "run.lock", identity: SessionIdentity, timing: Timing = Timing(), waiting: (String) -> Void = { _ in }
    ) throws {
        path = "\(directory)/\(name)"
        self.identity = identity
        self.timing = timing
        while true {
            if try Self.make(path, identity, isExclusive: true) { break }
            guard let holder = try Self.read(path) else { continue }
            guard try Self.isDead(holder, path, timing, waiting) else { throw Self.held(directory, holder.identity) }
            if try takeOver(holder) {
                predecessor = holder.identity
                break
            }
        }
        let thread = Thread { [weak self] in
            while let lock = self, lock.waitForBeat() { lock.beat() }
        }
        thread.name = "mneme.lock"
        thread.start()
    }

    deinit { release() }

    /// Gives the lock back: the file goes, unless another session has it by now.
    public func release() {
        condition.lock()
        let wasReleased = isReleased
        isReleased = true
        condition.signal()
        condition.unlock()
        if !wasReleased, isHeld { withSystemPath(path, unlink) }
    }

    /// Whether the file still names this session. It does not when this process stood still for so long that another has taken over.
    public var isHeld: Bool { (try? Self.read(path))?.identity.session == identity.session }

    /// Makes sure that the directory is still this session's.
    /// - Throws: `UserError` (.unavailable) where another session has taken over.
    public func requireHeld() throws {
        guard let holder = try Self.read(path) else {
            throw UserError(.unavailable, "the lock is gone: the run directory was removed or another session ended there", at: path)
        }
        guard holder.identity.session == identity.session else {
            throw UserError(.unavailable, "\(holder.identity.description) has taken over while this process stood still", at: path)
        }
    }

    // MARK: The file

    private struct Holder: Equatable {
        var identity: SessionIdentity
        var beats: Int
    }

    private static func contents(_ identity: SessionIdentity, beats: Int) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(identity)) + Array("\n\(beats)\n".utf8)
    }

    /// Makes the file with its contents in one step, by a link to a finished one.
    /// - Returns: false where there is one already.
    private static func make(_ path: String, _ identity: SessionIdentity, isExclusive: Bool) throws -> Bool {
        let own = "\(Directory.parent(of: path))/.\(Directory.lastName(of: path)).\(identity.session)"
        let bytes = try contents(identity, beats: 0)
        let descriptor = withSystemPath(own) { open($0, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644) }
        guard descriptor >= 0 else { throw DurableFile.failure("made", path) }
        defer { withSystemPath(own, unlink) }
        do {
            defer { close(descriptor) }
            try bytes.withUnsafeBytes { try DurableFile.writeAll($0, descriptor, path) }
            guard fsync(descriptor) == 0 else { throw DurableFile.failure("written", path) }
        }
        if !isExclusive {
            try Directory.rename(own, to: path)
            return true
        }
        if withSystemPaths(own, path, link) == 0 { return true }
        if errno == EEXIST { return false }
        // A file system without links: exclusive creation, with a moment in which the file is empty.
        let exclusive = withSystemPath(path) { open($0, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644) }
        if exclusive < 0 && errno == EEXIST { return false }
        guard exclusive >= 0 else { throw DurableFile.failure("made", path) }
        defer { close(exclusive) }
        try bytes.withUnsafeBytes { try DurableFile.writeAll($0, exclusive, path) }
        return true
    }

    /// What the file says; `nil` where there is none.
    /// - Throws: `UserError` (.badData) where it is not a lock.
    private static func read(_ path: String) throws -> Holder? {
        for attempt in 0..<20 {
            let bytes: [UInt8]
            do { bytes = try DurableFile.read(path) } catch let error as UserError where error.exitCode == .missingInput { return nil }
            let lines = bytes.split(separator: UInt8(ascii: "\n"))
            if let first = lines.first, let identity = try? JSONDecoder().decode(SessionIdentity.self, from: Data(first)) {
                let beats = lines.count > 1 ? Int(String(decoding: lines[1], as: UTF8.self)) : nil
                return Holder(identity: identity, beats: beats ?? 0)
            }
            // Being written at this moment, perhaps.
            if attempt < 19 { usleep(50_000) }
        }
        throw UserError(.badData, "is not the lock of a session", at: path, advice: "remove it if no session uses the directory")
    }

    private static func isDead(_ holder: Holder, _ path: String, _ timing: Timing, _ waiting: (String) -> Void) throws -> Bool {
        if let isAlive = holder.identity.isAlive { return !isAlive }
        waiting("waiting up to \(Int(timing.patience)) s for a sign of life of \(holder.identity.description), which holds \(path)")
        let start = ContinuousClock.now
        while start.duration(to: .now) < .seconds(timing.patience) {
            usleep(useconds_t(min(timing.interval / 4, 1) * 1e6))
            guard let now = try read(path) else { return true }
            if now != holder { return false }
        }
        return true
    }

    /// Replaces the lock of a dead holder, one newcomer alone: a lock of its own stands before it.
    private func takeOver(_ holder: Holder) throws -> Bool {
        let gate = path + ".takeover"
        if try !Self.make(gate, identity, isExclusive: true) {
            // Another newcomer is there, or died there.
            if let other = try Self.read(gate), other.identity.isAlive == false || other.identity.machine != identity.machine {
                usleep(useconds_t(timing.interval * 1e6))
                if try Self.read(gate)?.identity == other.identity { withSystemPath(gate, unlink) }
            } else {
                usleep(100_000)
            }
            return false
        }
        defer { withSystemPath(gate, unlink) }
        guard try Self.read(path)?.identity == holder.identity else { return false }
        return try Self.make(path, identity, isExclusive: false)
    }

    private static func held(_ directory: String, _ holder: SessionIdentity) -> UserError {
        UserError(
            .unavailable, "another session has this run directory: \(holder.description), since \(holder.started)", at: directory,
            advice: "wait until it has ended, or stop it first")
    }

    // MARK: Signs of life

    /// Waits until the next sign is due.
    /// - Returns: false when the lock was given back.
    private func waitForBeat() -> Bool {
        condition.lock()
        defer { condition.unlock() }
        let due = Date().addingTimeInterval(timing.interval)
        while !isReleased, Date() < due { condition.wait(until: due) }
        return !isReleased
    }

    /// Writes the next count in place. Opened anew each time, so that a network file system hands it on, and a file that another session has put there
    /// is left alone.
    private func beat() {
        let descriptor = withSystemPath(path) { open($0, O_RDWR | O_CLOEXEC) }
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        guard isHeld, let head = try? Self.contents(identity, beats: 0), let whole = try? Self.contents(identity, beats: beats + 1) else { return }
        beats += 1
        let place = head.count - 2
        _ = whole[place...].withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(place)) }
        fsync(descriptor)
    }
}

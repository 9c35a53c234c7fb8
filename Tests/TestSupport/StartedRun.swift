// A program that a test has started and may send signals to.

import Foundation

/// A process, and those that it starts in turn: mpirun and its ranks.
public final class StartedRun {
    /// Seconds after which a run is taken to hang: many times what any takes where other work shares the machine, and all tests run at once.
    public static let hangLimit: Double = 240

    private let process: Process
    private let folder: URL
    private let outputs: [(file: URL, handle: FileHandle)]
    private let start = ContinuousClock.now

    /// - Parameter environment: variables beside this process's own.
    init(_ program: URL, _ arguments: [String], environment: [String: String]) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mneme-run-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        self.folder = folder
        // Files instead of pipes: a rank that outlives its launcher cannot keep the test waiting.
        outputs = try ["output", "error"].map { name in
            let file = folder.appendingPathComponent(name)
            try Data().write(to: file)
            return (file: file, handle: try FileHandle(forWritingTo: file))
        }
        process = Process()
        process.executableURL = program
        process.arguments = arguments
        // What programs keep of this machine goes beside them, never into the home of who tests.
        let own = ["XDG_CACHE_HOME": MPIRun.productsFolder.appendingPathComponent("cache").path]
        process.environment = ProcessInfo.processInfo.environment.merging(own) { $1 }.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = outputs[0].handle
        process.standardError = outputs[1].handle
        // Threads of a pool block signals, and a process that they start would inherit that.
        var (none, mask) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &mask)
        defer { pthread_sigmask(SIG_SETMASK, &mask, nil) }
        try process.run()
    }

    /// The process itself.
    public var identifier: Int32 { process.processIdentifier }
    public var isRunning: Bool { process.isRunning }
    /// Seconds since the start.
    public var seconds: Double { start.duration(to: .now) / .seconds(1) }

    /// The processes that this one has started and that have started none, in the order of their numbers: the ranks in their order, whatever helpers
    /// their launcher has put between them and itself.
    public var ranks: [Int32] {
        let parents = Self.parents()
        return Self.family(of: identifier, parents).subtracting(parents.values).subtracting([identifier]).sorted()
    }

    /// Waits until `condition` holds.
    ///
    /// - Returns: false where the process ended, or the time ran out, before that.
    public func wait(timeout: Double = StartedRun.hangLimit, until condition: () throws -> Bool) rethrows -> Bool {
        let deadline = ContinuousClock.now + .seconds(timeout)
        while ContinuousClock.now < deadline {
            if try condition() { return true }
            if !process.isRunning { return try condition() }
            usleep(500)
        }
        return false
    }

    /// Waits for the end, and removes what was kept of the output.
    ///
    /// - Parameter timeout: seconds from now after which the process and its descendants are killed.
    public func finish(timeout: Double = StartedRun.hangLimit) throws -> FinishedRun {
        defer { try? FileManager.default.removeItem(at: folder) }
        let isTimedOut = !wait(timeout: timeout) { !process.isRunning }
        if isTimedOut { killTree() }
        process.waitUntilExit()
        let seconds = seconds
        let texts = try outputs.map { output in
            try output.handle.close()
            return String(decoding: try Data(contentsOf: output.file), as: UTF8.self)
        }
        let status = process.terminationReason == .uncaughtSignal ? 128 + process.terminationStatus : process.terminationStatus
        return FinishedRun(status: status, standardOutput: texts[0], standardError: texts[1], seconds: seconds, isTimedOut: isTimedOut)
    }

    /// Kills the process and its descendants. A launcher puts each rank into a process group of its own, so they are found by their parents.
    private func killTree() {
        for process in Self.family(of: identifier, Self.parents()) { kill(process, SIGKILL) }
    }

    /// A process and its descendants.
    private static func family(of identifier: Int32, _ parents: [Int32: Int32]) -> Set<Int32> {
        var family: Set<Int32> = [identifier]
        var previousCount = 0
        while family.count > previousCount {
            previousCount = family.count
            for (process, parent) in parents where family.contains(parent) { family.insert(process) }
        }
        return family
    }

    /// The parent of every process.
    private static func parents() -> [Int32: Int32] {
        let processes = ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { Int32($0) }
        return processes.reduce(into: [:]) { parents, process in
            // "pid (name) state parent ...": the name may hold anything, so look behind its last parenthesis.
            guard let line = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8), let end = line.lastIndex(of: ")") else { return }
            parents[process] = line[end...].split(separator: " ").dropFirst(2).first.flatMap { Int32($0) }
        }
    }
}

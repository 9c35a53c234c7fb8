// Runs a program of this package under mpirun, for tests, and leaves no process behind.

import Foundation

/// How a program that a test started has ended.
public struct FinishedRun: Sendable {
    /// The exit code; 128 + the signal's number when a signal ended it.
    public let status: Int32
    public let standardOutput: String
    public let standardError: String
    public let seconds: Double
    /// True when the time ran out and the test killed it.
    public let isTimedOut: Bool
}

/// mpirun, as tests use it: more ranks than cores, as root if need be.
public enum MPIRun {
    /// Where mpirun is; nil where there is none, and tests that need it are skipped.
    public static let launcher: URL? = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").lazy
        .map { URL(fileURLWithPath: String($0)).appendingPathComponent("mpirun") }
        .first { FileManager.default.isExecutableFile(atPath: $0.path) }

    /// The folder that SwiftPM builds executables and tests into.
    public static let productsFolder = (Bundle.main.executableURL ?? URL(fileURLWithPath: CommandLine.arguments[0]))
        .resolvingSymlinksInPath().deletingLastPathComponent()

    /// What launchers need where tests run: permission for root, more ranks than cores, idle ranks that yield.
    public static let environment = [
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
        "PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":OVERSUBSCRIBE",
        "PRTE_MCA_hwloc_default_binding_policy": "none",
    ]

    /// Runs `mpirun -n ranks executable arguments` and waits for it.
    ///
    /// - Parameters:
    ///   - ranks: the number of processes.
    ///   - executable: the name of an executable of this package, or a path.
    ///   - arguments: its arguments.
    ///   - extraEnvironment: variables beside this process's own.
    ///   - timeout: seconds after which mpirun and its ranks are killed.
    public static func run(
        ranks: Int, executable: String, arguments: [String] = [], extraEnvironment: [String: String] = [:], timeout: Double = 60
    ) throws -> FinishedRun {
        guard let launcher else { throw CheckFailure("there is no mpirun in PATH") }
        return try runProcess(
            launcher, ["-n", "\(ranks)", path(of: executable)] + arguments, environment: environment.merging(extraEnvironment) { $1 },
            timeout: timeout)
    }

    /// Runs one process of this package without a launcher.
    public static func runAlone(
        executable: String, arguments: [String] = [], extraEnvironment: [String: String] = [:], timeout: Double = 60
    ) throws -> FinishedRun {
        try runProcess(URL(fileURLWithPath: path(of: executable)), arguments, environment: extraEnvironment, timeout: timeout)
    }

    private static func path(of executable: String) -> String {
        executable.contains("/") ? executable : productsFolder.appendingPathComponent(executable).path
    }

    private static func runProcess(_ program: URL, _ arguments: [String], environment: [String: String], timeout: Double) throws -> FinishedRun {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mneme-run-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Files instead of pipes: a rank that outlives its launcher cannot keep the test waiting.
        let outputs = try ["output", "error"].map { name in
            let file = folder.appendingPathComponent(name)
            try Data().write(to: file)
            return (file: file, handle: try FileHandle(forWritingTo: file))
        }
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = outputs[0].handle
        process.standardError = outputs[1].handle
        let start = ContinuousClock.now
        try process.run()
        var isTimedOut = false
        while process.isRunning {
            if start.duration(to: .now) > .seconds(timeout) {
                isTimedOut = true
                killTree(process.processIdentifier)
                break
            }
            usleep(5000)
        }
        process.waitUntilExit()
        let seconds = start.duration(to: .now) / .seconds(1)
        let texts = try outputs.map { output in
            try output.handle.close()
            return String(decoding: try Data(contentsOf: output.file), as: UTF8.self)
        }
        let status = process.terminationReason == .uncaughtSignal ? 128 + process.terminationStatus : process.terminationStatus
        return FinishedRun(status: status, standardOutput: texts[0], standardError: texts[1], seconds: seconds, isTimedOut: isTimedOut)
    }

    /// Kills a process that this one started, and its descendants. A launcher puts each rank into a process group of its own, so they
    /// are found by their parents.
    private static func killTree(_ root: Int32) {
        let processes = ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { Int32($0) }
        let parents = processes.reduce(into: [Int32: Int32]()) { parents, process in
            // "pid (name) state parent ...": the name may hold anything, so look behind its last parenthesis.
            guard let line = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8), let end = line.lastIndex(of: ")") else { return }
            parents[process] = line[end...].split(separator: " ").dropFirst(2).first.flatMap { Int32($0) }
        }
        var family: Set<Int32> = [root]
        var previousCount = 0
        while family.count > previousCount {
            previousCount = family.count
            for (process, parent) in parents where family.contains(parent) { family.insert(process) }
        }
        for process in family { kill(process, SIGKILL) }
    }
}

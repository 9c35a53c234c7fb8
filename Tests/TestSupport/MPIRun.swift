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

    /// Whether a rank was killed: Open MPI's and Intel MPI's mpirun end as a shell would, MPICH's with the bare number of the signal.
    public var isKilled: Bool { status == 128 + SIGKILL || status == SIGKILL }
}

/// mpirun, as tests use it: more ranks than cores, as root if need be.
public enum MPIRun {
    /// Where mpirun is; nil where there is none, and tests that need it are skipped.
    public static let launcher: URL? = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").lazy
        .map { URL(fileURLWithPath: String($0)).appendingPathComponent("mpirun") }
        .first { FileManager.default.isExecutableFile(atPath: $0.path) }
        .map { mpirun in
            // Intel MPI's mpirun is a script of the shell, which passes no signal on.
            let folder = mpirun.deletingLastPathComponent()
            let isIntel = FileManager.default.fileExists(atPath: folder.appendingPathComponent("impi_info").path)
            return isIntel ? folder.appendingPathComponent("mpiexec.hydra") : mpirun
        }

    /// Whether ranks can outlive others: under Open MPI 5 and later.
    public static let hasFaultTolerance: Bool = {
        guard let launcher, let version = try? StartedRun(launcher, ["--version"], environment: [:]).finish() else { return false }
        return version.standardOutput.contains("(Open MPI) 5")
    }()

    /// The folder that SwiftPM builds executables and tests into.
    public static let productsFolder = (Bundle.main.executableURL ?? URL(fileURLWithPath: CommandLine.arguments[0]))
        .resolvingSymlinksInPath().deletingLastPathComponent()

    /// What launchers need where tests run: permission for root, more ranks than cores, idle ranks that yield.
    public static let environment = [
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
        "PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":OVERSUBSCRIBE",
        "PRTE_MCA_hwloc_default_binding_policy": "none", "I_MPI_PIN": "off",
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
        ranks: Int, executable: String, arguments: [String] = [], extraEnvironment: [String: String] = [:], timeout: Double = StartedRun.hangLimit
    ) throws -> FinishedRun {
        try start(ranks: ranks, executable: executable, arguments: arguments, extraEnvironment: extraEnvironment).finish(timeout: timeout)
    }

    /// Runs one process of this package without a launcher.
    public static func runAlone(
        executable: String, arguments: [String] = [], extraEnvironment: [String: String] = [:], timeout: Double = StartedRun.hangLimit
    ) throws -> FinishedRun {
        try start(ranks: nil, executable: executable, arguments: arguments, extraEnvironment: extraEnvironment).finish(timeout: timeout)
    }

    /// Starts what ``run(ranks:executable:arguments:extraEnvironment:timeout:)`` runs, and comes back at once.
    ///
    /// - Parameters:
    ///   - ranks: the number of processes; `nil` for one process without a launcher.
    ///   - options: mpirun's, before its other arguments.
    public static func start(
        ranks: Int?, options: [String] = [], executable: String, arguments: [String] = [], extraEnvironment: [String: String] = [:]
    ) throws -> StartedRun {
        let path = executable.contains("/") ? executable : productsFolder.appendingPathComponent(executable).path
        guard let ranks else { return try StartedRun(URL(fileURLWithPath: path), arguments, environment: extraEnvironment) }
        guard let launcher else { throw CheckFailure("there is no mpirun in PATH") }
        return try StartedRun(launcher, options + ["-n", "\(ranks)", path] + arguments, environment: environment.merging(extraEnvironment) { $1 })
    }
}

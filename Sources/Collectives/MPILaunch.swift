// Whether a launcher of MPI started this process, told by the variables that launchers set, and what to give a launcher so that its processes become
// ranks of one job. No library call is made.

import Diagnostics

extension MPICommunicator {
    /// The variables in which launchers tell a process how many they started, and which of them it is. The innermost launcher comes first: mpirun
    /// starts its helpers on other nodes through that of the scheduler, whose variables then count the helpers.
    private static let launchVariables: [(size: String?, rank: String)] = [
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
        ("JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK"),
        ("PMI_SIZE", "PMI_RANK"),
        ("FLUX_JOB_SIZE", "FLUX_TASK_RANK"),
        // A batch script has SLURM_NTASKS too, but only srun sets a step's task count.
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
        (nil, "PMIX_RANK"),
        (nil, "PALS_RANKID"),
    ]

    /// True when mpirun, mpiexec, srun, flux run, jsrun or PALS started this process, so that it should call `initialize`. A program started plainly,
    /// also one inside a batch job's script, uses `SingleProcess` and never calls MPI.
    ///
    /// - Parameter environment: the process's environment.
    public static func isLaunchedByMPI(environment: [String: String]) -> Bool {
        let ofMPI = ["OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "JSM_NAMESPACE_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "PALS_RANKID"]
        return ofMPI.contains { environment[$0] != nil } || (launchedSize(environment: environment) ?? 1) > 1
    }

    /// The number of processes that the launcher says it started; where it tells only which of them this is, the least number that there must be. Nil
    /// where it tells neither.
    package static func launchedSize(environment: [String: String]) -> Int? {
        func number(_ name: String?) -> Int? { name.flatMap { environment[$0] }.flatMap { Int($0) }.flatMap { $0 >= 0 ? $0 : nil } }
        return launchVariables.lazy.compactMap { number($0.size) }.first ?? launchVariables.lazy.compactMap { number($0.rank) }.first.map { $0 + 1 }
    }

    /// Refuses a start that the library could only answer with processes that are each alone, or with a page about how it was built: several processes
    /// without a word of how they find one another, or only in words that the library does not know, as those of another library's launcher.
    ///
    /// - Parameters:
    ///   - environment: the process's environment.
    ///   - library: the library's name and version.
    /// - Throws: `UserError` (.configuration), with what to give the launcher.
    package static func requireLauncher(environment: [String: String], library: String) throws {
        guard let size = launchedSize(environment: environment), size > 1 else { return }
        let launcher = MPILauncher(environment: environment, ancestors: [])
        if launcher.isCertain, let kind = launcher.kind, kind != MPILibrary.Kind(version: library) {
            throw UserError(
                .configuration, "the launcher that started \(size) processes is \(kind.make)'s, and the library is \(library)",
                advice: "let \(MPILibrary.variable) name a library of \(kind.make)'s, or \(LaunchTable.advice(library: library, environment: environment))")
        }
        func has(_ prefixes: String...) -> Bool { environment.keys.contains { key in prefixes.contains { key.hasPrefix($0) } } }
        // Since version 5, Open MPI knows PMIx alone.
        let onlyPMIx = library.firstMatch(of: /Open MPI v?([0-9]+)\./).flatMap { Int($0.1) }.map { $0 >= 5 } ?? false
        let isKnown = onlyPMIx ? has("PMIX_", "OMPI_COMM_WORLD_SIZE") : has("PMI_", "PMIX_", "PMI2_", "OMPI_COMM_WORLD_SIZE", "MV2_", "JSM_", "PALS_")
        guard !isKnown else { return }
        throw UserError(
            .configuration, "the launcher started \(size) processes and does not tell \(library) how they find one another",
            advice: LaunchTable.advice(library: library, environment: environment))
    }
}

/// What to give a launcher so that the processes it starts become ranks of one job, for each MPI library.
public enum LaunchTable {
    /// A launcher's line.
    public struct Row: Sendable {
        /// What starts the processes.
        public var launcher: String
        /// A variable that it sets.
        var variable: String
        public var openMPI: String
        public var mpich: String
        public var intelMPI: String
    }

    /// The launchers, the innermost first; the last one stands for every other.
    public static let rows = [
        Row(
            launcher: "srun", variable: "SLURM_STEP_NUM_TASKS",
            openMPI: "srun --mpi=pmix (where 'srun --mpi=list' names it), or Open MPI's own mpirun in the batch script",
            mpich: "srun --mpi=pmi2, or MPICH's own mpiexec in the batch script",
            intelMPI: "srun --mpi=pmi2 with I_MPI_PMI_LIBRARY set to Slurm's libpmi2.so, or Intel MPI's own mpiexec in the batch script"),
        Row(
            launcher: "flux run", variable: "FLUX_JOB_SIZE",
            openMPI: "flux run -o pmi=pmix (the plugin of flux-pmix)",
            mpich: "flux run, whose own PMI it speaks",
            intelMPI: "flux run with I_MPI_PMI_LIBRARY set to Flux's libpmi.so"),
        Row(
            launcher: "PALS", variable: "PALS_RANKID",
            openMPI: "mpiexec --pmi=pmix of PALS",
            mpich: "mpiexec of PALS for HPE's MPICH, --pmi=pmix for one built with PMIx",
            intelMPI: "Intel MPI's own mpiexec"),
        Row(
            launcher: "jsrun", variable: "JSM_NAMESPACE_SIZE",
            openMPI: "jsrun for Spectrum MPI alone; Open MPI's own mpirun for others",
            mpich: "MPICH's own mpiexec",
            intelMPI: "Intel MPI's own mpiexec"),
        Row(
            launcher: "mpirun, mpiexec", variable: "",
            openMPI: "the mpirun that was installed with Open MPI",
            mpich: "the mpiexec that was installed with MPICH",
            intelMPI: "the mpiexec that was installed with Intel MPI"),
    ]

    /// What to do with a library under the launcher that the environment shows.
    package static func advice(library: String, environment: [String: String]) -> String {
        // An mpirun says so itself, also where a scheduler's launcher stands behind it.
        let isMPIRun = ["OMPI_COMM_WORLD_SIZE", "HYDI_CONTROL_FD", "MPI_LOCALNRANKS"].contains { environment[$0] != nil }
        let row = rows.dropLast().first { !isMPIRun && environment[$0.variable] != nil } ?? rows[rows.count - 1]
        let name = library.lowercased()
        return "start it with " + (name.contains("open mpi") ? row.openMPI : name.contains("intel") ? row.intelMPI : row.mpich)
            + "; 'mneme doctor --launchers' lists what works"
    }

    /// The table, for people.
    public static var text: String {
        rows.map { "\($0.launcher)\n    Open MPI    \($0.openMPI)\n    MPICH       \($0.mpich)\n    Intel MPI   \($0.intelMPI)\n" }.joined()
    }
}

// Whether a launcher of MPI started this process, told by the variables that launchers set. No library call is made.

extension MPICommunicator {
    /// True when mpirun, mpiexec or srun started this process, so that it should call `initialize`. A program started plainly, also one
    /// inside a batch job's script, uses `SingleProcess` and never calls MPI.
    ///
    /// - Parameter environment: the process's environment.
    public static func isLaunchedByMPI(environment: [String: String]) -> Bool {
        if ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK"].contains(where: { environment[$0] != nil }) { return true }
        // A batch script has SLURM_NTASKS too, but only srun sets a step's task count.
        return (environment["SLURM_STEP_NUM_TASKS"].flatMap { Int($0) } ?? 1) > 1
    }

    /// The number of processes that the launcher says it started; nil where it does not say.
    static func launchedSize(environment: [String: String]) -> Int? {
        ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"].lazy.compactMap { environment[$0].flatMap { Int($0) } }.first
    }
}

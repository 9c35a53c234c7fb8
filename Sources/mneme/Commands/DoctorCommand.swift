// mneme doctor

import ArgumentParser
import Cluster
import Collectives
import Diagnostics

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Say what this machine and this build are, what they can do, and whether a job is well placed on them.",
        discussion: """
            Prints the processor, the kernels and libraries in use, and the measured speed of matrix products and of memory, with one thread a rank
            and with all that the rank may use, all ranks at the same time. Under mpirun also the time of an all-reduce by size. Takes less than 15
            seconds.

            Below the table stand checks, each with pass, warn or fail, and what to do: program, arithmetic, MPI and libraries alike on all ranks;
            binding, threads and quota against the cores; memory against limits; clocks. With --directory also its file system: whether all nodes see
            it, locks, speed with fsync, free space, stripes. With --run the needs of that run, and its directory. Ends with 78 when a check fails.

            --output writes the constants that mneme plan reads; measure with --directory, and with the ranks and nodes that a job would have.

            --nhc prints one line and ends with 0 or 1, for node health checks and Slurm's HealthCheckProgram; it measures no speed.

            With --tune it finds out which library multiplies which matrices faster here, and keeps that in the cache ($XDG_CACHE_HOME/mneme or
            ~/.cache/mneme), where every run finds it. A run measures what it does not find, so tuning only saves the first runs that time; what is
            in the cache already stays. It takes a few minutes, or as long as the classes named want: element type, whether A and B are transposed,
            and the extents M x N x K rounded up to powers of two, with "+" where the product is added to what is there.

            --failpoints lists where MNEME_FAILPOINT=name[:after]:kill|error|stall[@rank] lets a run fail, for tests of what runs survive.

            MNEME_INSTRUCTION_SET (sse2, avx2, avx512), MNEME_MATRIX_BACKEND (openblas, onednn) and MNEME_MPI (openmpi, mpich, standard, or the path
            of a library) force a choice, for any command.

            Examples:
              mneme doctor
              mpirun -n 2 mneme doctor --json
              mpirun -n 8 mneme doctor --run my.yaml
              mneme doctor --nhc --directory /scratch
              mpirun -n 8 mneme doctor --directory /scratch --output cluster.yaml
              mneme doctor --failpoints
              mneme doctor --tune
              mneme doctor --tune "float32 nt 1024x4096x1024" "float32 tn 4096x1024x1024 +"
            """)

    @Flag(help: "Print one JSON object.")
    var json = false

    @Flag(help: "Measure which library multiplies which matrices faster, and keep it for every run on this machine.")
    var tune = false

    @Flag(help: "List the places at which MNEME_FAILPOINT makes a run fail on purpose.")
    var failpoints = false

    @Flag(help: "List what to give which launcher for which MPI library, so that its processes become ranks of one job.")
    var launchers = false

    @Option(help: ArgumentHelp("Measure the file system of this directory, which need not exist.", valueName: "path"))
    var directory: String?

    @Option(name: .customLong("run"), help: ArgumentHelp("Check the machine against what this run file needs.", valueName: "run file"))
    var runFile: String?

    @Option(name: .long, help: ArgumentHelp("With --run: override a key of the run file.", valueName: "section.key=value"))
    var set: [String] = []

    @Option(help: ArgumentHelp("Write what was measured to this file, for mneme plan.", valueName: "file"))
    var output: String?

    @Flag(help: "Print one line, OK or ERROR, and end with 0 or 1, as node health checks want it.")
    var nhc = false

    @Argument(help: "With --tune: the classes to measure; those of common layers by default.")
    var classes: [String] = []

    func validate() throws {
        if !tune, let first = classes.first { throw ValidationError("'\(first)' is a class of matrix products: give --tune as well") }
        if !set.isEmpty, runFile == nil { throw ValidationError("--set goes with --run.") }
        if nhc, json || tune || output != nil { throw ValidationError("--nhc prints one line: leave out --json, --tune and --output") }
    }

    func run() throws {
        if failpoints {
            for point in Failpoint.allCases { try print("\(point.rawValue.padding(toLength: 32, withPad: " ", startingAt: 0))\(point.meaning)") }
            return
        }
        if launchers { return try print(LaunchTable.text, terminator: "") }
        ProgramStart.run { communicator in
            if tune {
                let tuning = try communicator.onEveryRank { try MatrixProductTuning(classes, on: communicator.rank == 0) }
                if communicator.rank == 0 { if json { try JSONOutput.print(tuning) } else { try print(tuning.text, terminator: "") } }
                return .finished
            }
            let need = try runFile.map { try RunNeed(runFile: $0, overrides: set, communicator) }
            if nhc {
                let results = try DoctorReport.healthChecks(communicator, directory: directory, need: need)
                if communicator.rank == 0 { try print(results.line(node: communicator.nodeName)) }
                return results.verdict == .fail ? .unhealthy : .finished
            }
            let report = try DoctorReport(communicator, directory: directory, need: need, hint: ProgramStart.blasHint)
            if let output { try communicator.onEveryRank { if communicator.rank == 0 { try ClusterDescription(report).write(to: output) } } }
            if communicator.rank == 0 { if json { try JSONOutput.print(report) } else { try print(report.text, terminator: "") } }
            return report.checks.verdict == .fail ? .configuration : .finished
        }
    }
}

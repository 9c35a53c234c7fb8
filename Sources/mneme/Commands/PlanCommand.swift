// mneme plan

import ArgumentParser
import Cluster
import Configuration
import Diagnostics
import Training

struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Say how a run would do on a cluster: time of a step, memory, scaling, checkpoints.",
        discussion: """
            The cluster is a file that doctor has written on some of its nodes: mpirun -n RANKS mneme doctor --directory PATH --output cluster.yaml.
            The run's step is computed here, alone, with micro-batches of up to four sizes: that counts its matrix products and measures what they
            and the rest take. The constants of the file say what that comes to there. All that is assumed is printed.

            The first table has the run as it is, its lanes shared by more and more ranks; the second has lanes that grow with the ranks, up to
            10,000. Times are seconds of a step and its parts; "checkpoint" is the time between two checkpoints by Daly, "goodput" the share of the
            time that is work which stays when nodes fail now and then. Ends with 78 when the run does not fit into a node's memory.

            Examples:
              mneme plan launch/runs/gpt2-small.yaml --cluster cluster.yaml
              mneme plan my.yaml --cluster cluster.yaml --nodes 1 --nodes 64
              mneme plan my.yaml --cluster cluster.yaml --ranks-per-node 4 --json
            """)

    @Argument(help: "The run file.")
    var file: String

    @Option(help: ArgumentHelp("What doctor --output has written.", valueName: "file"))
    var cluster: String

    @Option(name: .long, help: ArgumentHelp("Override a key of the run file.", valueName: "section.key=value"))
    var set: [String] = []

    @Option(help: ArgumentHelp("A number of nodes to plan for, instead of powers of two.", valueName: "count"))
    var nodes: [Int] = []

    @Option(help: ArgumentHelp("Ranks of a node; those of the cluster file by default.", valueName: "count"))
    var ranksPerNode: Int?

    @Option(help: ArgumentHelp("Threads of a rank; those of the run file, or the node's cores divided among its ranks.", valueName: "count"))
    var threads: Int?

    @Option(help: ArgumentHelp("The time in which a node fails once, on average, such as 720h or 365d; 5 years by default.", valueName: "time"))
    var mtbf: WallTime?

    @Flag(help: "Print one JSON object.")
    var json = false

    func validate() throws {
        for count in nodes { try requireRange("--nodes", count, 1...1_000_000) }
        try requireRange("--ranks-per-node", ranksPerNode, 1...100_000)
        try requireRange("--threads", threads, 1...1024)
    }

    func run() throws {
        ProgramStart.run { communicator in
            guard communicator.size == 1 else {
                throw UserError(.usage, "a plan is made by one process", at: "mneme plan", advice: "start it without mpirun").shared
            }
            let configuration = try RunConfiguration(contentsOf: file, overrides: set)
            configuration.notices.forEach { CommandLineOutput.note($0) }
            var request = PlanRequest()
            request.nodes = nodes.isEmpty ? nil : nodes
            (request.ranksPerNode, request.threads) = (ranksPerNode, threads)
            (request.nodeMeanTimeBetweenFailures, request.cacheDirectory) = (mtbf?.seconds, ProgramStart.cacheDirectory)
            let plan = try Plan.made(configuration, on: ClusterDescription(contentsOf: cluster), request)
            let every = if case .steps(let steps) = configuration.checkpointEvery { steps } else { nil as Int? }
            if json { try JSONOutput.print(plan) } else { try print(plan.text(checkpointEvery: every), terminator: "") }
            return .finished
        }
    }
}

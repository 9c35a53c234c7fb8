// `mneme sweep`

import ArgumentParser
import Collectives
import Diagnostics
import Foundation
import Storage
import Training

struct SweepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sweep",
        abstract: "Train a run file with many values of some keys, and keep the best run.",
        discussion: """
            Every combination of the values is a run of its own in the directory of the sweep. Started again with the same words, a sweep
            goes on: what is finished stays, what was stopped goes on from its checkpoint, and values may have been added. sweep.json there
            holds what the table shows, and 'best' is a link to the best run. A figure of training steps is the mean over the last tenth of
            the logged steps, one of evaluations is that of the last one.

            Runs start one after the other, or side by side with their shares of the cores (--parallel), or one in each task of a job array
            (--array), whose tasks are numbered from 1. What stands behind '--' starts a run, in the place of 'mneme'. A run that loses a
            rank or a file is started again, as by 'mneme supervise'.

            The code is 75 where a request or the end of the time left work to do, 69 or 74 where a run may be started again, and otherwise
            that of the first run that failed.

            Examples:
              mneme sweep launch/runs/copy-lstm.yaml --vary seed=1..5 \\
                  --vary optimizer.learningRate=1e-3,3e-4 --choose training_loss
              mneme sweep launch/runs/copy-lstm.yaml --vary seed=1..4 --parallel 2
              mneme sweep launch/runs/copy-lstm.yaml --vary seed=1..4 -- launch/mpirun 2
              mneme sweep launch/runs/copy-lstm.yaml --vary seed=1..4 --dry-run
            """)

    @Argument(help: "The run file.")
    var file: String

    @Option(name: .long, help: ArgumentHelp("A key and its values: key=value,value or key=first..last.", valueName: "section.key=values"))
    var vary: [String] = []

    @Option(name: .long, help: ArgumentHelp("Override a key of the run file in every run.", valueName: "section.key=value"))
    var set: [String] = []

    @Option(help: ArgumentHelp("The figure by which the best run is chosen.", valueName: "metric"))
    var choose = "training_loss"

    @Option(name: .long, help: ArgumentHelp("Show another figure in the table.", valueName: "metric"))
    var show: [String] = []

    @Option(help: ArgumentHelp("The directory of the sweep; without it that of the run, with -sweep behind it.", valueName: "dir"))
    var output: String?

    @Option(help: ArgumentHelp("Runs at a time.", valueName: "count"))
    var parallel = 1

    @Flag(help: "Train the one run whose number is that of this task of a job array.")
    var array = false

    @Flag(help: "Start the runs again that failed.")
    var retry = false

    @Option(help: ArgumentHelp("Stop with checkpoints before this time has passed, as in 'mneme train'.", valueName: "time"))
    var wallTime: WallTime?

    @Flag(help: "Start nothing: print what there is to train, and how it stands.")
    var dryRun = false

    @Flag(help: "Print one JSON object.")
    var json = false

    @Argument(parsing: .postTerminator, help: ArgumentHelp("What starts a run; 'train' and its words follow.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        if vary.isEmpty { throw ValidationError("Missing --vary: name at least one key with its values") }
        try requireRange("--parallel", parallel, 1...SweepAxis.mostPoints)
        if array, parallel > 1 { throw ValidationError("--array trains one run, and --parallel several: leave one of them out") }
    }

    func run() throws {
        let start = Date()
        let environment = ProcessInfo.processInfo.environment
        if MPICommunicator.isLaunchedByMPI(environment: environment) {
            throw UserError(
                .usage, "a sweep is started once, and starts the ranks of its runs itself", at: "mneme sweep",
                advice: "put the launcher behind '--', as in: mneme sweep RUN.yaml --vary seed=1..5 -- launch/mpirun 2")
        }
        let metric = try comparable(choose, "--choose")
        let shown = try show.map { try comparable($0, "--show") }
        let grid = try SweepGrid(file: file, overrides: set, axes: vary.map(SweepAxis.init(argument:)), directory: output)
        let directory = try SweepDirectory(grid, file: file, metric: metric, environment: environment)
        if dryRun { return try printReport(directory.report(), shown) }
        // Before any thread is there: they hold the signals back too.
        let requests = StopRequests()
        let points = array ? try taskOfArray(grid.points, environment) : grid.points
        if !array { try directory.hold() }
        defer { directory.release() }
        let before = try directory.save()
        func isOpen(_ point: SweepPoint) -> Bool {
            let state = before.points[point.number - 1].state
            return state != .finished && (retry || state != .failed)
        }
        var runner = SweepRunner(file: file, command: command, directory: directory, requests: requests, waiting: points.filter(isOpen))
        if let wallTime { runner.end = start.addingTimeInterval(wallTime.seconds) }
        if parallel > 1 { try runner.divideProcessors(parallel) }
        let ending = Result { try runner.run() }
        let report = try directory.save()
        try printReport(report, shown)
        let failed = points.map { report.points[$0.number - 1] }.filter { $0.state == .failed }
        if let first = failed.first {
            CommandLineOutput.note("mneme sweep: \(quantity(failed.count, "run")) failed, the first of them \(first.name); --retry starts them again")
        }
        if let code = try ending.get() ?? failed.first?.code, code != 0 { throw ArgumentParser.ExitCode(code) }
    }

    /// A metric that makes one run better than another.
    private func comparable(_ name: String, _ place: String) throws -> Metric {
        if let metric = Metric.named(name), metric.better != nil { return metric }
        throw UserError(
            .usage, "runs cannot be compared by '\(name)'", at: place,
            advice: "choose among \(Metric.comparable.map(\.comparableName).joined(separator: ", ")); each run has some of them")
    }

    /// The point of this task of a job array; none where the array has more tasks than there are points.
    private func taskOfArray(_ points: [SweepPoint], _ environment: [String: String]) throws -> [SweepPoint] {
        let variables = ["SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "PBS_ARRAYID", "LSB_JOBINDEX", "SGE_TASK_ID"]
        guard let (variable, task) = variables.lazy.compactMap({ name in Int(environment[name] ?? "").map { (name, $0) } }).first else {
            throw UserError(
                .usage, "no variable tells the number of a task (\(variables.joined(separator: ", ")))", at: "--array",
                advice: "hand it in as a job array, as with: sbatch --array=1-\(points.count)")
        }
        guard task > 0 else {
            throw UserError(.usage, "task \(task) is no point of the grid", at: variable, advice: "number the tasks from 1 to \(points.count)")
        }
        if task > points.count { CommandLineOutput.note("mneme sweep: there are \(points.count) points, and none for task \(task)") }
        return points.filter { $0.number == task }
    }

    private func printReport(_ report: SweepReport, _ shown: [Metric]) throws {
        if json { return try JSONOutput.print(report) }
        func number(_ value: Double?) -> String { value.map { String(format: "%.6g", $0) } ?? "-" }
        let keys = report.vary.map(\.key)
        let figures = shown.map(\.comparableName).filter { $0 != report.metric }
        try CheckpointOutput.print(
            table: [["POINT"] + keys + [report.metric] + figures + ["STATE"]]
                + report.points.map { point in
                    [String(point.number)] + keys.map { point.settings[$0] ?? "" } + [number(point.value)] + figures.map { number(point.figures[$0]) }
                        + [state(point)]
                }, right: Set(0...keys.count + figures.count + 1))
        if report.groups.contains(where: { $0.points > 1 && $0.finished > 0 }) {
            let others = keys.filter { $0 != "seed" }
            try StandardOutput.print("\nOver the seeds, \(report.metric):")
            try CheckpointOutput.print(
                table: [others + ["RUNS", "MEDIAN", "SMALLEST", "LARGEST"]]
                    + report.groups.map { group in
                        others.map { group.settings[$0] ?? "" } + ["\(group.finished)/\(group.points)"]
                            + [group.median, group.smallest, group.largest].map(number)
                    }, right: Set(0...others.count + 3))
        }
        guard let best = report.points.first(where: { $0.name == report.best }) else { return }
        let link = Directory.path(of: "best", in: report.directory)
        try StandardOutput.print("\nThe best is \(best.name), \(report.metric) \(number(best.value)): \(link)")
    }

    private func state(_ point: SweepReport.Point) -> String {
        switch point.state {
        case .waiting: "waiting"
        case .finished: "finished"
        case .unfinished: "step \(point.step) of \(point.steps)"
        case .failed: "failed with \(point.code ?? 0) at step \(point.step)" + (point.message.map { ": \($0)" } ?? "")
        }
    }
}

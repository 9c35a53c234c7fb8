// A run that is stopped again and again by a real Slurm: launch/test --campaign slurm. Writes a table to Benchmarks/results.

import Foundation
import Testing
import TestSupport

@Suite(.serialized, .enabled(if: Slurm.isThere && ProcessInfo.processInfo.environment["MNEME_CAMPAIGN"] != nil, "launch/test --campaign slurm"))
struct SlurmCampaign {
    private static let steps = 1500

    /// What one kind of stop did to a run.
    private struct Row {
        var stop: String
        var tried = 0
        var goneOn = 0
        /// Starts again that nobody asked for: Slurm signals a requeued job whose limit is near, or a rank was lost.
        var others = 0
        /// Steps that were finished and not in the checkpoint that the stop left.
        var lost = 0
        var isSame = false
        var seconds = 0.0
    }

    @Test("ten preemptions, ten requeues, ten time limits, and a chain of limited jobs: no finished step is lost, and the bits are those of one session")
    func stops() throws {
        try Slurm.run { slurm, scratch in
            let whole = try run("whole", in: scratch)
            try whole.train(ranks: 2)
            var rows: [Row] = []
            func add(_ row: Row) throws {
                #expect(row.goneOn == row.tried && row.lost == 0 && row.isSame, "\(row)")
                rows.append(row)
                // After each, so that what was tried is known where the campaign is cut short.
                try write(rows)
            }
            try add(
                repeated("USR1 before the limit, requeued", "train.sbatch", slurm, scratch, whole) { job in
                    try slurm.ask("scancel", "--batch", "--signal=USR1", job.number)
                })
            try add(
                repeated("preempted, requeued", "preempt.sbatch", slurm, scratch, whole) { _ in
                    try slurm.ask("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1")
                })
            try add(
                repeated("the limit moved to 5 seconds from now, no signal, requeued", "train.sbatch", slurm, scratch, whole) { job in
                    try slurm.ask("scontrol", "update", "JobId=\(job.number)", "EndTime=now+5")
                })
            try add(chain(slurm, scratch))
            // The run was finished by the first of them.
            let again = try slurm.submit("train.sbatch", run(Self.firstRun, in: scratch))
            #expect(try again.end() == "COMPLETED", "\(again.log)")
            let time = try again.field("RunTime")
            #expect(time <= "00:00:02", "\(time)")
            try write(rows, finishedRun: time)
        }
    }

    /// The name of the run that is stopped first.
    private static let firstRun = "USR-before-the-limit-requeued"

    private func run(_ name: String, in scratch: String, steps: Int = steps) throws -> TrainingRun {
        try TrainingRun(.windows, name, in: scratch, "steps=\(steps)", "checkpoint.every=1000000", "evaluation.every=50", "parallel.threads=1").onOneBackend
    }

    /// Stops a run ten times, at steps that differ from time to time, and lets it finish.
    private func repeated(
        _ name: String, _ script: String, _ slurm: Slurm, _ scratch: String, _ whole: TrainingRun, stop: (Slurm.Job) throws -> Void
    ) throws -> Row {
        var row = Row(stop: name)
        let start = ContinuousClock.now
        let run = try run(name.split(separator: " ").joined(separator: "-").filter { $0.isLetter || $0 == "-" }, in: scratch)
        let job = try slurm.submit(script, run)
        for count in 1...10 {
            row.tried += 1
            try job.wait(for: run, moreThan: run.metrics.count + 10 + 7 * count)
            // A session that has done these steps is running: whatever restarts there were before it are over.
            let restarts = try job.restarts()
            try stop(job)
            try job.wait("restart \(count)") { try job.restarts() > restarts }
            row.lost += run.metrics.count - (run.checkpointSteps.last ?? 0)
        }
        if try job.end() == "COMPLETED" { row.goneOn = row.tried }
        row.others = try job.restarts() - row.tried
        row.isSame = try run.timelessMetrics == whole.timelessMetrics && run.differences(from: whole, step: Self.steps).isEmpty
        row.seconds = start.duration(to: .now) / .seconds(1)
        return row
    }

    /// Jobs of one minute each, until a run is finished that takes longer.
    private func chain(_ slurm: Slurm, _ scratch: String) throws -> Row {
        var row = Row(stop: "a chain of jobs of one minute, stopped by Slurm's own signal or by the clock")
        let start = ContinuousClock.now
        let steps = 4000
        let run = try run("chain", in: scratch, steps: steps)
        // Two minutes ahead would be before the start.
        let script = "\(scratch)/chain.sbatch"
        try String(contentsOfFile: "\(Slurm.repository)/launch/slurm/chain.sbatch", encoding: .utf8).replacing("USR1@120", with: "USR1@30")
            .write(toFile: script, atomically: true, encoding: .utf8)
        var job = try slurm.submit(script, run, "--time=1")
        while try !["COMPLETED", "CANCELLED"].contains(job.end()) {
            row.tried += 1
            row.lost += run.metrics.count - (run.checkpointSteps.last ?? 0)
            let next = Slurm.Job(slurm: slurm, number: "\(Int(job.number)! + 1)")
            try next.wait("the next job") { try ["RUNNING", "COMPLETED", "FAILED", "COMPLETING"].contains(next.field("JobState")) }
            row.goneOn += 1
            job = next
        }
        let whole = try self.run("whole-chain", in: scratch, steps: steps)
        try whole.train(ranks: 2)
        row.isSame = try run.timelessMetrics == whole.timelessMetrics && run.differences(from: whole, step: steps).isEmpty
        row.seconds = start.duration(to: .now) / .seconds(1)
        return row
    }

    /// - Parameter finishedRun: how long Slurm counts the job that starts a finished run again.
    private func write(_ rows: [Row], finishedRun: String? = nil) throws {
        let date = Date().formatted(.iso8601.year().month().day())
        let text = """
            # A run under a real Slurm, \(date)

            `launch/test --campaign slurm`: Slurm of two nodes on one machine (`cluster/sandbox slurm up`), one rank on each, started by the scripts of
            `launch/slurm` with `srun --mpi=pmix`. A decoder-only model with dropout on shuffled windows, \(Self.steps) steps (4,000 in the chain). A step is lost when it was
            finished and is not in the checkpoint that the stop left. The bits are metrics.jsonl without times, and `mneme checkpoint diff` of the last
            checkpoint, against one session of the same run.

            | stopped by | stops | went on | restarts that nobody asked for | finished steps lost | bits of one session | seconds in all |
            | --- | --- | --- | --- | --- | --- | --- |
            \(rows.map { "| \($0.stop) | \($0.tried) | \($0.goneOn) | \($0.others) | \($0.lost) | \($0.isSame ? "equal" : "**different**") | \(Int($0.seconds)) |" }.joined(separator: "\n"))
            \(finishedRun.map { "\nThe first run, which was finished, was started again by the same script: Slurm counts \($0) for the job.\n" } ?? "")
            """
        try text.write(toFile: "\(Slurm.repository)/Benchmarks/results/slurm-\(date).md", atomically: true, encoding: .utf8)
    }
}

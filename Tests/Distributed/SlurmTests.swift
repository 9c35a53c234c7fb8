// launch/slurm under a real Slurm of two nodes, which cluster/sandbox starts and ends.

import Foundation
import Testing
import TestSupport

/// A Slurm of two nodes, for one test.
final class Slurm {
    static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..").standardized.path
    /// Whether there is one to start.
    static let isThere =
        getuid() == 0
        && (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains { FileManager.default.isExecutableFile(atPath: "\($0)/slurmctld") }
        && MPIRun.launcher != nil

    let scratch: String
    private var folder: String { "\(scratch)/slurm" }

    private init(_ scratch: String) throws {
        self.scratch = scratch
        try run(["\(Self.repository)/cluster/sandbox", "slurm", "up", "--folder", folder])
    }

    /// Starts one, and ends it again.
    static func run(_ body: (Slurm, String) throws -> Void) throws {
        try withScratchDirectory { scratch in
            let slurm = try Slurm(scratch)
            let outcome = Result { try body(slurm, scratch) }
            try slurm.end()
            try outcome.get()
        }
    }

    private func end() throws {
        try run(["\(Self.repository)/cluster/sandbox", "slurm", "down", "--folder", folder])
        try #require(!FileManager.default.fileExists(atPath: folder))
    }

    @discardableResult
    private func run(_ command: [String], _ environment: [String: String] = [:], succeeds: Bool = true) throws -> FinishedRun {
        let run = try MPIRun.runAlone(executable: "/usr/bin/env", arguments: ["-C", scratch] + command, extraEnvironment: environment)
        if succeeds, run.status != 0 { throw CheckFailure("\(command): \(run.status) \(run.standardError)") }
        return run
    }

    /// Runs a command of Slurm's.
    @discardableResult
    func ask(_ command: String..., environment: [String: String] = [:], succeeds: Bool = true) throws -> FinishedRun {
        try run(
            command,
            ["SLURM_CONF": "\(folder)/slurm.conf", "MNEME": MPIRun.productsFolder.path + "/mneme", "MNEME_HOME": Self.repository].merging(environment) { $1 },
            succeeds: succeeds)
    }

    /// Hands a job script of launch/slurm in, on two nodes with one rank each.
    func submit(_ script: String, _ run: TrainingRun, _ options: String...) throws -> Job {
        let resolved = try MPIRun.runAlone(executable: "mneme", arguments: run.arguments + ["--dry-run"])
        try #require(resolved.status == 0, "\(resolved.standardError)")
        let file = "\(scratch)/\(URL(filePath: run.directory).lastPathComponent).yaml"
        try resolved.standardOutput.write(toFile: file, atomically: true, encoding: .utf8)
        let environment = run.environment.merging(["RUN": file, "SLURM_CONF": "\(folder)/slurm.conf"]) { $1 }
        let answer = try self.run(
            ["sbatch", "--parsable", "--nodes=2", "--ntasks=2", "--cpus-per-task=1", "--time=30", "--output=\(scratch)/job-%j.log", "--error=\(scratch)/job-%j.log"]
                + options + [script.hasPrefix("/") ? script : "\(Self.repository)/launch/slurm/\(script)"],
            environment.merging(["MNEME": MPIRun.productsFolder.path + "/mneme", "MNEME_HOME": Self.repository]) { $1 })
        return Job(slurm: self, number: answer.standardOutput.trimmingCharacters(in: .whitespacesAndNewlines))
    }

    /// The jobs that are pending or run.
    func queue() throws -> [String] { try ask("squeue", "-h", "-o", "%i %T").standardOutput.split(separator: "\n").map(String.init) }

    /// A job of it.
    struct Job {
        let slurm: Slurm
        let number: String

        var log: String { (try? String(contentsOfFile: "\(slurm.scratch)/job-\(number).log", encoding: .utf8)) ?? "" }

        /// A field of what Slurm keeps of it, such as `JobState` or `Restarts`.
        func field(_ name: String) throws -> String {
            let text = try slurm.ask("scontrol", "show", "job", "-o", number).standardOutput
            return text.split(separator: " ").first { $0.hasPrefix("\(name)=") }.map { String($0.dropFirst(name.count + 1)) } ?? ""
        }

        /// How often Slurm has started it again.
        func restarts() throws -> Int { try Int(field("Restarts")) ?? 0 }

        /// Waits until a condition holds.
        func wait(_ what: String, until condition: () throws -> Bool) throws {
            let deadline = ContinuousClock.now + .seconds(StartedRun.hangLimit)
            while try !condition() {
                let state = try "\(field("JobState")) \(field("Reason"))"
                try #require(ContinuousClock.now < deadline, "\(what): \(state) \(log.suffix(2000))")
                usleep(50_000)
            }
        }

        /// Waits until a run has logged more than some steps.
        func wait(for run: TrainingRun, moreThan steps: Int) throws { try wait("step \(steps)") { run.metrics.count > steps } }

        /// Waits until it has ended for good.
        func end() throws -> String {
            try wait("the end") { ["COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "PREEMPTED", "NODE_FAIL"].contains(try field("JobState")) }
            return try field("JobState")
        }
    }
}

@Suite(.serialized, .enabled(if: Slurm.isThere, "there is no Slurm (as root: apt-get install slurm-wlm), or no mpirun"))
struct SlurmTests {
    private static let steps = 600

    private func run(_ name: String, in scratch: String) throws -> TrainingRun {
        try TrainingRun(.windows, name, in: scratch, "steps=\(Self.steps)", "checkpoint.every=100000", "evaluation.every=300", "parallel.threads=1").onOneBackend
    }

    @Test("signalled as before a time limit: saved, requeued, and at its end with the bits of one session; under srun --mpi=pmix on two nodes")
    func requeues() throws {
        try Slurm.run { slurm, scratch in
            let whole = try run("whole", in: scratch)
            try whole.train(ranks: 2)
            let run = try run("requeued", in: scratch)
            let job = try slurm.submit("train.sbatch", run)
            try job.wait(for: run, moreThan: 20)
            // What --signal=B:USR1 sends.
            try slurm.ask("scancel", "--batch", "--signal=USR1", job.number)
            #expect(try job.end() == "COMPLETED", "\(job.log)")
            #expect(try job.field("Restarts") == "1" && job.field("ExitCode") == "0:0", "\(job.log)")
            for line in ["2 ranks on 2 nodes, 1 core a rank", "by srun --mpi=pmix", "stopped by SIGUSR1 after step", "the job is requeued", "resuming at step"] {
                #expect(job.log.contains(line), "\(line): \(job.log)")
            }
            #expect(!job.log.contains("lost without a word"), "\(job.log)")
            try run.expectSame(as: whole, step: Self.steps)
            // A start of a run that is finished ends at once.
            let again = try slurm.submit("train.sbatch", run)
            #expect(try again.end() == "COMPLETED")
            #expect(again.log.contains("resuming at step \(Self.steps)"), "\(again.log)")
            let time = try again.field("RunTime")
            #expect(time <= "00:00:02", "\(time)")
            try run.expectSame(as: whole, step: Self.steps)
        }
    }

    @Test("preempted: saved in the time of grace, requeued, and at its end with the bits of one session")
    func preempted() throws {
        try Slurm.run { slurm, scratch in
            let whole = try run("whole", in: scratch)
            try whole.train(ranks: 2)
            let run = try run("preempted", in: scratch)
            let job = try slurm.submit("preempt.sbatch", run)
            try job.wait(for: run, moreThan: 20)
            try slurm.ask("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1")
            #expect(try job.end() == "COMPLETED", "\(job.log)")
            #expect(try job.field("Restarts") == "1", "\(job.log)")
            #expect(job.log.contains("stopped by SIG") && job.log.contains("resuming at step"), "\(job.log)")
            try run.expectSame(as: whole, step: Self.steps)
        }
    }

    @Test("a chain of jobs ends with the bits of one, and takes the job back that would follow")
    func chain() throws {
        try Slurm.run { slurm, scratch in
            let whole = try run("whole", in: scratch)
            try whole.train(ranks: 2)
            let run = try run("chained", in: scratch)
            var job = try slurm.submit("chain.sbatch", run, "--job-name=chain")
            for _ in 0..<2 {
                let before = run.metrics.count
                try job.wait(for: run, moreThan: before + 20)
                try slurm.ask("scancel", "--batch", "--signal=USR1", job.number)
                #expect(try job.end() == "FAILED")
                #expect(try job.field("ExitCode") == "75:0", "\(job.log)")
                job = Slurm.Job(slurm: slurm, number: "\(Int(job.number)! + 1)")
            }
            try job.wait("the end of the chain") { try slurm.queue().isEmpty }
            #expect(try job.field("JobState") == "COMPLETED")
            #expect(try Slurm.Job(slurm: slurm, number: "\(Int(job.number)! + 1)").field("JobState") == "CANCELLED")
            try run.expectSame(as: whole, step: Self.steps)
        }
    }

    @Test("a sweep as a job array: a task trains the point of its number; stopped, it is requeued and ends with the bits of one session")
    func sweeps() throws {
        try Slurm.run { slurm, scratch in
            let whole = try run("whole", in: scratch).with("seed=2")
            try whole.train(ranks: 2)
            var run = try run("swept", in: scratch)
            run.environment["SWEEP"] = "--vary seed=1..2"
            let job = try slurm.submit("array.sbatch", run, "--array=2", "--requeue")
            let point = try self.run("swept-sweep/seed=2", in: scratch)
            try job.wait(for: point, moreThan: 20)
            try slurm.ask("scancel", "--batch", "--signal=USR1", "\(job.number)_2")
            try job.wait("the end of the task") { try slurm.queue().isEmpty }
            for line in ["mneme sweep: point 2, seed=2: stopped: SIGUSR1", "the job is requeued", "resuming at step", "The best is seed=2"] {
                #expect(job.log.contains(line), "\(line): \(job.log)")
            }
            try point.expectSame(as: whole, step: Self.steps)
        }
    }

    @Test("a rank that is killed under srun ends the others, and the job is requeued")
    func killedRank() throws {
        try Slurm.run { slurm, scratch in
            let run = try run("killed", in: scratch).with("checkpoint.every=100")
            let job = try slurm.submit("train.sbatch", run)
            try job.wait(for: run, moreThan: 120)
            // The process of one node's slurmstepd that trains this run.
            let kill = "for p in $(pgrep -x mneme); do if grep -qzx '\(scratch)/killed.yaml' /proc/$p/cmdline && grep -qzx SLURM_PROCID=1 /proc/$p/environ; then kill -KILL $p; fi; done"
            try slurm.ask("bash", "-c", kill)
            #expect(try job.end() == "COMPLETED", "\(job.log)")
            #expect(try job.field("Restarts") == "1")
            #expect(job.log.contains("ended with 69: the job is requeued"), "\(job.log)")
            // srun ends the other rank before it hears of anything, or MPI tells it and it says so itself.
            if job.log.contains("launch/job: a rank was lost without a word (srun ended with ") {
                #expect(job.log.contains("ended without a word after step"), "\(job.log)")
            } else {
                #expect(job.log.contains("see whether a rank or the network was lost"), "\(job.log)")
            }
        }
    }

    @Test("srun without PMI is refused with what to give it, before MPI starts")
    func singletons() throws {
        try Slurm.run { slurm, scratch in
            let run = try run("alone", in: scratch)
            let refused = try slurm.ask("srun", "-N2", "-n2", MPIRun.productsFolder.path + "/mneme", "train", run.file, "--set", "run=\(run.directory)", succeeds: false)
            #expect(refused.status == 78, "\(refused.standardError)")
            #expect(refused.standardError.contains("the launcher started 2 processes") && refused.standardError.contains("srun --mpi=pmix"), "\(refused.standardError)")
            #expect(!FileManager.default.fileExists(atPath: run.directory))
        }
    }

    @Test("mpirun in the allocation: the signal reaches the ranks on both nodes")
    func mpirunInTheAllocation() throws {
        try Slurm.run { slurm, scratch in
            let run = try run("mpirun", in: scratch)
            let script = "\(scratch)/job.sh"
            try "#!/bin/bash\nexec \(Slurm.repository)/launch/job --launcher mpirun train \"$RUN\"\n".write(toFile: script, atomically: true, encoding: .utf8)
            let job = try slurm.submit(script, run)
            try job.wait(for: run, moreThan: 20)
            try slurm.ask("scancel", "--batch", "--signal=USR1", job.number)
            #expect(try job.end() == "FAILED")
            #expect(try job.field("ExitCode") == "75:0", "\(job.log)")
            #expect(job.log.contains("by mpirun") && run.checkpointSteps == [run.metrics.count], "\(job.log)")
        }
    }
}

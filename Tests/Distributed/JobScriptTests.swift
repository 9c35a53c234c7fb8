// launch/job under schedulers and libraries that are made up: commands that note how they are called, in a folder that comes first in PATH, and the
// variables that the real ones set. What it starts, what it makes of their exit codes, and when it starts a job again.

import Foundation
import Testing
import TestSupport

/// A place where a job may land: commands, variables, and a program that takes mneme's part.
private struct Site {
    static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..").standardized.path
    let scratch: String
    var environment: [String: String] = [:]

    init(_ scratch: String, mpi: String = "mpirun (Open MPI) 4.1.4") throws {
        self.scratch = scratch
        try FileManager.default.createDirectory(atPath: "\(scratch)/bin", withIntermediateDirectories: true)
        environment = [
            "PATH": "\(scratch)/bin:/usr/bin:/bin", "MNEME": "\(scratch)/bin/mneme", "LOG": "\(scratch)/log", "RUN_DIRECTORY": "\(scratch)/run",
            "BEHAVIOUR": "exit 0",
        ]
        try command("mneme", "case \"$*\" in *--dry-run*) echo \"run: $RUN_DIRECTORY\"; exit ;; esac; eval \"$BEHAVIOUR\"")
        try command("mpirun", "[ \"$1\" != --version ] || { echo '\(mpi)'; exit; }; eval \"$BEHAVIOUR\"")
    }

    /// A command that notes its arguments in the log.
    func command(_ name: String, _ body: String) throws {
        let text = "#!/bin/sh\n[ \"$1\" = --version ] || [ \"$1\" = --mpi=list ] || echo \(name) \"$@\" >>\"$LOG\"\n\(body)\n"
        try text.write(toFile: "\(scratch)/bin/\(name)", atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(scratch)/bin/\(name)")
    }

    func file(_ name: String, _ lines: String...) throws -> String {
        try (lines.joined(separator: "\n") + "\n").write(toFile: "\(scratch)/\(name)", atomically: true, encoding: .utf8)
        return "\(scratch)/\(name)"
    }

    func job(_ arguments: [String], _ more: [String: String] = [:]) throws -> FinishedRun {
        try MPIRun.start(
            ranks: nil, executable: "\(Self.repository)/launch/job", arguments: arguments, extraEnvironment: environment.merging(more) { $1 }
        ).finish()
    }

    /// The command that it would start, without the program and its arguments.
    func shown(_ options: String..., with more: [String: String] = [:]) throws -> (command: String, text: String) {
        let run = try job(options + ["--show", "train", "x.yaml"], more)
        return (run.standardOutput.replacing(" \(environment["MNEME"]!) train x.yaml\n", with: ""), run.standardError)
    }

    var log: String { (try? String(contentsOfFile: "\(scratch)/log", encoding: .utf8)) ?? "" }

    /// What a rank does that keeps the record of its session: as ``Training/SessionRecord`` is written.
    static func writesRecord(_ outcome: String, code: Int32?, again: Bool = true, then status: Int32) -> String {
        let record = """
            {
              "checkpoint" : 3,
            \(code.map { "  \"exitCode\" : \($0),\n" } ?? "")  "mayBeStartedAgain" : \(again),
              "outcome" : "\(outcome)",
              "ranks" : 2,
              "session" : {
                "host" : "n1",
                "process" : '$$'
              },
              "step" : 3
            }
            """
        return "mkdir -p \"$RUN_DIRECTORY\"; echo '\(record)' >\"$RUN_DIRECTORY/session.json\"; exit \(status)"
    }

    static let slurm = [
        "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "4", "SLURM_CPUS_PER_TASK": "8", "SLURM_CPUS_ON_NODE": "16",
    ]
}

@Suite struct JobScriptTests {
    @Test("--outlive: Open MPI 5 is told that ranks go on without others; elsewhere the option is refused")
    func outlive() throws {
        try withScratchDirectory { scratch in
            let five = try Site(scratch, mpi: "mpirun (Open MPI) 5.0.11").shown("--outlive", "--ranks", "2")
            #expect(five.command.hasPrefix("mpirun --with-ft ulfm --bind-to none"), "\(five)")
            #expect(five.text.contains("Open MPI 5.0.11 by mpirun --with-ft ulfm"), "\(five)")
            let four = try Site(scratch).job(["--outlive", "--ranks", "2", "train", "x.yaml"])
            #expect(four.status == 78 && four.standardError.contains("and this is Open MPI 4.1.4 by mpirun"), "\(four)")
        }
    }

    @Test("what is started under each scheduler, and what is said")
    func launchers() throws {
        try withScratchDirectory { scratch in
            var site = try Site(scratch)
            let alone = try site.shown("--ranks", "2")
            #expect(alone.command.hasPrefix("mpirun --quiet --bind-to none"), "\(alone)")
            #expect(alone.command.hasSuffix("-n 2"), "\(alone)")
            #expect(alone.text.contains("launch/job: 2 ranks on 1 node, ") && alone.text.contains("launch/job: Open MPI 4.1.4 by mpirun\n"))

            try site.command("srun", "printf 'MPI plugin types are...\\n\\tnone\\n\\tpmi2\\n\\tpmix\\n' >&2")
            let slurm = try site.shown(with: Site.slurm)
            #expect(slurm.command == "srun -K1 -l -u --mpi=pmix -N 2 -n 4 -c 8", "\(slurm)")
            #expect(slurm.text.contains("Slurm job 7: 4 ranks on 2 nodes, 8 cores a rank") && slurm.text.contains("by srun --mpi=pmix"))
            #expect(try site.shown("--launcher", "mpirun", with: Site.slurm).command.hasPrefix("mpirun --quiet --bind-to none -x"))
            // A Slurm that was built without PMIx.
            try site.command("srun", "printf 'MPI plugin types are...\\n\\tnone\\n\\tpmi2\\n' >&2")
            #expect(try site.shown(with: Site.slurm).command.hasPrefix("mpirun --quiet --bind-to none -x"))
            #expect(try site.job(["--launcher", "srun", "train", "x.yaml"], Site.slurm).status == 78)

            let nodes = try site.file("nodes", "n1", "n1", "n2", "n2")
            let pbs = try site.shown(with: ["PBS_JOBID": "12.server", "PBS_NODEFILE": nodes, "MNEME_DATA": "/data"])
            #expect(pbs.command == "mpirun --quiet --bind-to none --hostfile \(nodes) -x MNEME_DATA -x XDG_CACHE_HOME -n 4", "\(pbs)")
            #expect(pbs.text.contains("PBS job 12.server: 4 ranks on 2 nodes"))
            let lsf = try site.shown(with: ["LSB_JOBID": "9", "LSB_DJOB_HOSTFILE": nodes])
            #expect(lsf.command.contains("--hostfile \(nodes)") && lsf.command.hasSuffix("-n 4") && lsf.text.contains("LSF job 9: 4 ranks on 2 nodes"))
            let slots = try site.file("slots", "n1 8 all.q@n1 UNDEFINED", "n2 8 all.q@n2 UNDEFINED")
            let sge = try site.shown(with: ["JOB_ID": "3", "PE_HOSTFILE": slots, "NSLOTS": "16"])
            #expect(sge.command.contains("--hostfile /") && sge.command.hasSuffix("-n 16") && sge.text.contains("Grid Engine job 3: 16 ranks on 2 nodes"))
            try site.command("flux", "case $1 in getattr) echo f7 ;; resource) echo 2 ;; esac")
            let flux = try site.shown("--ranks", "2", with: ["FLUX_URI": "local:///run/flux"])
            #expect(flux.command.hasPrefix("flux submit -N 2 -n 2 -c ") && flux.command.hasSuffix("-o pmi=pmix"), "\(flux)")
            #expect(flux.text.contains("Flux job f7: 2 ranks on 2 nodes"))

            site.environment["MNEME_HOSTFILE"] = try site.file("hosts", "# two hosts", "n1 slots=2", "n2 slots=2")
            let file = site.environment["MNEME_HOSTFILE"]!
            let hosts = try site.shown("--ranks", "2", with: ["MNEME_NETWORK": "10.1.0.0/16", "MNEME_AGENT": "/agent"])
            for part in ["--hostfile \(file) --map-by ppr:1:node", "--mca plm_rsh_agent /agent", "--mca oob_tcp_if_include 10.1.0.0/16", "--mca btl_tcp_if_include 10.1.0.0/16"] {
                #expect(hosts.command.contains(part), "\(hosts)")
            }
        }
    }

    @Test("each library gets its own options", arguments: ["mpirun (Open MPI) 5.0.11", "HYDRA build details:\n    Version:    5.0.2", "Intel(R) MPI Library for Linux* OS, Version 2021.19 Build 1"])
    func libraries(version: String) throws {
        try withScratchDirectory { scratch in
            let site = try Site(scratch, mpi: version)
            try site.command("srun", "printf '\\tpmi2\\n\\tpmix\\n'")
            let plain = try site.shown("--ranks", "512", with: ["MNEME_AGENT": "/agent"])
            let slurm = try site.shown(with: Site.slurm).command
            if version.contains("Open MPI") {
                #expect(!plain.command.contains("--quiet"), "version 5 does not know it: \(plain)")
                #expect(plain.command.contains("--map-by :OVERSUBSCRIBE") && plain.command.contains("--prtemca plm_ssh_agent /agent"), "\(plain)")
                #expect(slurm.contains("--mpi=pmix"))
            } else {
                #expect(plain.command == "mpirun -launcher rsh -launcher-exec /agent -n 512", "\(plain)")
                #expect(slurm.contains("--mpi=pmi2"))
            }
            let other = try site.job(["--show", "train", "x.yaml"], ["MNEME_MPI": version.contains("Open MPI") ? "mpich" : "/opt/lib/libmpi.so.40"])
            #expect(other.status == 78 && other.standardError.contains("first in PATH, or unset MNEME_MPI"), "\(other)")
            #expect(plain.text.contains(version.contains("5.0.11") ? "Open MPI 5.0.11" : version.contains("Intel") ? "Intel MPI 2021.19" : "MPICH 5.0.2"), "\(plain)")
        }
    }

    @Test("the code at the end is that of the session's record, where this session wrote it")
    func codes() throws {
        let cases: [(what: String, behaviour: String, code: Int32)] = [
            ("finished, and the launcher says 143", Site.writesRecord("finished", code: 0, then: 143), 0),
            ("saved, and the launcher says 0, as Hydra does", Site.writesRecord("stopped", code: 75, then: 0), 75),
            ("saved, and the launcher says 143, as srun -K1 does", Site.writesRecord("stopped", code: 75, then: 143), 75),
            ("wrong data, and the launcher says 1", Site.writesRecord("failed", code: 65, then: 1), 65),
            ("the record's rank was killed", Site.writesRecord("running", code: nil, then: 137), 69),
            ("the record's rank was killed, and the code was lost", Site.writesRecord("running", code: nil, then: 0), 69),
            ("another rank's error ended it", Site.writesRecord("running", code: nil, then: 65), 65),
            ("refused before it had the directory", "exit 78", 78),
            ("a helper was lost", "exit 205", 69),
        ]
        try withScratchDirectory { scratch in
            for (index, (what, behaviour, code)) in cases.enumerated() {
                let site = try Site("\(scratch)/\(index)")
                let run = try site.job(["--ranks", "2", "train", "x.yaml"], ["BEHAVIOUR": behaviour])
                #expect(run.status == code, "\(what): \(run.standardError)")
                #expect(run.standardError.contains("a rank was lost without a word (mpirun ended with ") == (code == 69), "\(what): \(run.standardError)")
            }
            // The record of another session, which has the directory, decides nothing.
            let site = try Site("\(scratch)/other")
            _ = try site.job(["--ranks", "2", "train", "x.yaml"], ["BEHAVIOUR": Site.writesRecord("stopped", code: 75, then: 75)])
            #expect(try site.job(["--ranks", "2", "train", "x.yaml"], ["BEHAVIOUR": "exit 78"]).status == 78)
        }
    }

    @Test("a launcher that goes on waiting after the session has failed, as for a node that is cut off, is ended")
    func launcherThatStays() throws {
        try withScratchDirectory { scratch in
            let site = try Site(scratch)
            let stays = "(" + Site.writesRecord("failed", code: 69, then: 0) + "); sleep 1000"
            let run = try site.job(["--ranks", "2", "train", "x.yaml"], ["BEHAVIOUR": stays])
            #expect(run.status == 69, "\(run.standardError)")
        }
    }

    @Test("a job is started again when it may go on, at most three times at one checkpoint, in each scheduler's way")
    func again() throws {
        try withScratchDirectory { scratch in
            let site = try Site(scratch)
            // As Slurm does, it ends the job that asks.
            try site.command("scontrol", "[ \"$1\" != requeue ] || { (sleep 0.2; kill -TERM $PPID) & }; [ \"$*\" != 'show config' ] || echo \"$CONFIG\"")
            try site.command("srun", "[ \"$1\" != --mpi=list ] || { printf '\\tpmix\\n'; exit; }; eval \"$BEHAVIOUR\"")
            let stopped = ["BEHAVIOUR": Site.writesRecord("stopped", code: 75, then: 143)]
            let inSlurm = Site.slurm.merging(stopped) { $1 }
            #expect(try site.job(["--requeue", "train", "x.yaml"], inSlurm).status == 128 + SIGTERM)
            #expect(site.log.contains("scontrol requeue 7\n"), "\(site.log)")
            let byCode = try site.job(["--requeue", "train", "x.yaml"], inSlurm.merging(["CONFIG": "RequeueExit             = 75,99"]) { $1 })
            #expect(byCode.status == 75 && byCode.standardError.contains("ended with 75: Slurm requeues the job"), "\(byCode)")
            let sge = ["JOB_ID": "3", "PE_HOSTFILE": try site.file("slots", "n1 2 q U"), "NSLOTS": "2"]
            #expect(try site.job(["--requeue", "train", "x.yaml"], sge.merging(stopped) { $1 }).status == 99)
            #expect(try site.job(["--requeue", "train", "x.yaml"], ["LSB_JOBID": "9"].merging(stopped) { $1 }).status == 75)
            for (outcome, code) in [("finished", Int32(0)), ("failed", 65)] {
                let ended = sge.merging(["BEHAVIOUR": Site.writesRecord(outcome, code: code, then: code)]) { $1 }
                #expect(try site.job(["--requeue", "train", "x.yaml"], ended).status == code)
            }
            // Lost without a word, at a start after which the session's record says that it is enough.
            for (again, code) in [(true, Int32(99)), (false, 73)] {
                let lost = sge.merging(["BEHAVIOUR": Site.writesRecord("running", code: nil, again: again, then: 137)]) { $1 }
                let run = try site.job(["--requeue", "train", "x.yaml"], lost)
                #expect(run.status == code, "\(run.status) \(run.standardError)")
                #expect(run.standardError.contains("starts in a row have come to no new checkpoint") == !again, "\(run.standardError)")
            }
            // Lost before the ranks had the directory: the program counts that, unless another session has it.
            let early = sge.merging(["BEHAVIOUR": "case \"$*\" in *--lost*) exit $LOST ;; esac; exit 205"]) { $1 }
            #expect(try site.job(["--requeue", "train", "x.yaml"], early.merging(["LOST": "69"]) { $1 }).status == 69)
            #expect(site.log.hasSuffix("mneme train x.yaml --lost\n"), "\(site.log)")
            #expect(try site.job(["--requeue", "train", "x.yaml"], early.merging(["LOST": "0"]) { $1 }).status == 73)
            #expect(try site.job(["--requeue", "train", "x.yaml", "--fresh"], sge).status == 64)
        }
    }

    @Test("the job that follows is handed in before the work, and taken back when nothing is left to do")
    func chains() throws {
        try withScratchDirectory { scratch in
            let site = try Site(scratch)
            try site.command("srun", "[ \"$1\" != --mpi=list ] || { printf '\\tpmix\\n'; exit; }; eval \"$BEHAVIOUR\"")
            for name in ["scancel", "bkill", "qdel"] { try site.command(name, "") }
            try site.command("sbatch", "echo 8")
            try site.command("squeue", "echo 1:00:00")
            try site.command("qsub", "echo 8.server")
            try site.command("bsub", "cat >/dev/null; echo 'Job <8> is submitted to queue <normal>.'")
            let script = try site.file("script", "#!/bin/bash")
            let nodes = try site.file("nodes", "n1", "n2")
            for (scheduler, handsIn, takesBack) in [
                (["RUN": "x"].merging(Site.slurm) { $1 }, "sbatch --parsable --dependency=afterany:7 --job-name=mneme --nodes=2 --ntasks=4 --cpus-per-task=8 --time=1:00:00 \(script)\n", "scancel 8\n"),
                (["RUN": "x", "PBS_JOBID": "12.s", "PBS_NODEFILE": nodes], "qsub -v RUN -W depend=afterany:12.s \(script)\n", "qdel 8.server\n"),
                (["RUN": "x", "LSB_JOBID": "9", "LSB_DJOB_HOSTFILE": nodes], "bsub -w ended(9)\n", "bkill 8\n"),
                (["RUN": "x", "JOB_ID": "3", "PE_HOSTFILE": nodes, "NSLOTS": "2"], "qsub -v RUN -terse -hold_jid 3 \(script)\n", "qdel 8.server\n"),
            ] {
                try? FileManager.default.removeItem(atPath: "\(scratch)/log")
                let stopped = scheduler.merging(["BEHAVIOUR": Site.writesRecord("stopped", code: 75, then: 75)]) { $1 }
                #expect(try site.job(["--chain", script, "train", "x.yaml"], stopped).status == 75)
                #expect(site.log.contains(handsIn) && !site.log.contains(takesBack), "\(site.log)")
                let finished = scheduler.merging(["BEHAVIOUR": Site.writesRecord("finished", code: 0, then: 0)]) { $1 }
                #expect(try site.job(["--chain", script, "train", "x.yaml"], finished).status == 0)
                #expect(site.log.contains(takesBack), "\(site.log)")
            }
            let array = Site.slurm.merging(["SLURM_ARRAY_JOB_ID": "5", "BEHAVIOUR": Site.writesRecord("finished", code: 0, then: 0)]) { $1 }
            #expect(try site.job(["--array", "train", "x.yaml"], array).status == 0)
            #expect(site.log.contains("scancel --state=PENDING 5\n"), "\(site.log)")
        }
    }

    @Test("the job scripts call it with what the scheduler was told", arguments: ["slurm/train.sbatch", "slurm/preempt.sbatch", "slurm/chain.sbatch", "slurm/array.sbatch", "pbs", "lsf", "flux", "sge"])
    func scripts(name: String) throws {
        try withScratchDirectory { scratch in
            let site = try Site(scratch)
            try FileManager.default.createDirectory(atPath: "\(scratch)/launch", withIntermediateDirectories: true)
            try site.command("job", "")
            try FileManager.default.moveItem(atPath: "\(scratch)/bin/job", toPath: "\(scratch)/launch/job")
            let run = try MPIRun.runAlone(
                executable: "\(Site.repository)/launch/\(name)",
                extraEnvironment: site.environment.merging(["MNEME_HOME": scratch, "RUN": "my run.yaml", "PBS_O_WORKDIR": scratch]) { $1 })
            #expect(run.status == 0, "\(run.standardError)")
            #expect(site.log.hasPrefix("job --") && site.log.hasSuffix(" train my run.yaml\n"), "\(site.log)")
        }
    }

    @Test("a sweep starts its runs through the script that it was started with, and array.sbatch gives each task a point")
    func sweeps() throws {
        try withScratchDirectory { scratch in
            let site = try Site(scratch)
            let words = ["sweep", "my run.yaml", "--vary", "seed=1..2"]
            #expect(try site.job(["--ranks", "2", "--requeue"] + words).status == 0)
            #expect(site.log == "mneme sweep my run.yaml --vary seed=1..2 -- \(Site.repository)/launch/job --ranks 2 --requeue\n", "\(site.log)")
            #expect(try site.job(["--chain", "script"] + words).status == 64)
            let task = try MPIRun.runAlone(
                executable: "\(Site.repository)/launch/slurm/array.sbatch",
                extraEnvironment: site.environment.merging(["MNEME_HOME": Site.repository, "RUN": "my run.yaml", "SWEEP": "--vary seed=1..2"]) { $1 })
            #expect(task.status == 0)
            #expect(site.log.hasSuffix("mneme sweep my run.yaml --vary seed=1..2 --array -- \(Site.repository)/launch/job --requeue\n"), "\(site.log)")
        }
    }
}

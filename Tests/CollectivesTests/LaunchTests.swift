// How a rank finds out that a launcher started it, and how many threads it may use.

import Collectives
import Diagnostics
import Foundation
import TestSupport
import Testing

@Suite struct LaunchTests {
    @Test func launchersAreRecognised() {
        #expect(!MPICommunicator.isLaunchedByMPI(environment: ["PATH": "/bin"]))
        #expect(!MPICommunicator.isLaunchedByMPI(environment: ["SLURM_NTASKS": "8", "SLURM_JOB_ID": "1"]), "a batch script's own commands")
        #expect(MPICommunicator.isLaunchedByMPI(environment: ["SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8"]))
        for variable in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"] {
            #expect(MPICommunicator.isLaunchedByMPI(environment: [variable: "1"]))
        }
    }

    /// What launchers set for the second of four processes, and whether a library that finds itself alone there can know it for sure.
    static let singletons: [(launcher: String, environment: [String: String], size: Int)] = [
        ("Open MPI's mpirun", ["OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1"], 4),
        ("its helpers on other nodes, started by srun", ["OMPI_COMM_WORLD_SIZE": "4", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"], 4),
        ("MPICH's mpiexec", ["PMI_SIZE": "4", "PMI_RANK": "1", "PMI_FD": "7"], 4),
        ("MVAPICH's mpirun_rsh", ["MV2_COMM_WORLD_SIZE": "4", "MV2_COMM_WORLD_RANK": "1"], 4),
        ("flux run", ["FLUX_JOB_ID": "f2", "FLUX_JOB_SIZE": "4", "FLUX_JOB_NNODES": "2", "FLUX_TASK_RANK": "1"], 4),
        ("PALS", ["PALS_RANKID": "1", "PALS_NODEID": "0", "PALS_LOCAL_RANKID": "1", "PMI_SIZE": "4", "PMI_RANK": "1"], 4),
        ("PALS without PMI tells the rank alone", ["PALS_RANKID": "3", "PALS_NODEID": "1"], 4),
        ("jsrun", ["JSM_NAMESPACE_SIZE": "4", "JSM_NAMESPACE_RANK": "1"], 4),
        ("srun", ["SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1", "SLURM_NTASKS": "4"], 4),
        ("srun --mpi=pmix", ["SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1", "PMIX_RANK": "1"], 4),
        ("PMIx alone tells the rank alone", ["PMIX_RANK": "1", "PMIX_NAMESPACE": "a"], 2),
    ]

    @Test("several processes are known as such under every launcher, and one process of one starts", arguments: singletons.indices)
    func singletonsAreKnown(index: Int) {
        let (launcher, environment, size) = Self.singletons[index]
        #expect(MPICommunicator.launchedSize(environment: environment) == size, "\(launcher)")
        #expect(MPICommunicator.isLaunchedByMPI(environment: environment), "\(launcher)")
        let alone = environment.reduce(into: [String: String]()) { alone, variable in
            let isRank = ["_RANK", "RANKID", "PROCID"].contains { variable.key.hasSuffix($0) }
            alone[variable.key] = Int(variable.value) == nil ? variable.value : isRank ? "0" : "1"
        }
        #expect(MPICommunicator.launchedSize(environment: alone) == 1, "\(launcher)")
        #expect(throws: Never.self) { try MPICommunicator.requireLauncher(environment: alone, library: "Open MPI v5.0.11") }
    }

    @Test("a launcher that does not say how processes find one another is refused before the library starts, with what to give it")
    func launchersWithoutPMI() throws {
        func refusal(_ library: String, _ environment: [String: String]) -> String? {
            do { try MPICommunicator.requireLauncher(environment: environment, library: library) } catch {
                #expect((error as? UserError)?.exitCode == .configuration)
                return "\(error)"
            }
            return nil
        }
        let slurm = ["SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1"]
        #expect(refusal("Open MPI v4.1.4", slurm)?.contains("started 4 processes") == true)
        #expect(refusal("Open MPI v4.1.4", slurm)?.contains("srun --mpi=pmix") == true)
        #expect(refusal("MPICH Version: 5.0.2", slurm)?.contains("srun --mpi=pmi2") == true)
        #expect(refusal("Intel(R) MPI Library 2021.19", slurm)?.contains("I_MPI_PMI_LIBRARY") == true)
        let flux = ["FLUX_JOB_SIZE": "4", "FLUX_TASK_RANK": "0"]
        #expect(refusal("Open MPI v5.0.11", flux)?.contains("flux run -o pmi=pmix") == true)
        // Version 5 does not speak what srun --mpi=pmi2 and flux run offer by themselves; older ones may have been built with it.
        let pmi2 = slurm.merging(["PMI_RANK": "1", "PMI_SIZE": "4"]) { $1 }
        #expect(refusal("Open MPI v5.0.11", pmi2)?.contains("srun --mpi=pmix") == true)
        #expect(refusal("Open MPI v4.1.4", pmi2) == nil && refusal("MPICH Version: 5.0.2", pmi2) == nil)
        for launcher in [slurm.merging(["PMIX_RANK": "1"]) { $1 }, ["OMPI_COMM_WORLD_SIZE": "4"]] { #expect(refusal("Open MPI v5.0.11", launcher) == nil) }
        #expect(refusal("Open MPI v4.1.4", ["SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"]) == nil, "a batch script's own command")
    }

    @Test("a launcher of another make than the library is refused, with whose mpirun to take")
    func launcherOfAnotherMake() throws {
        func refusal(_ library: String, _ environment: [String: String]) -> String? {
            do { try MPICommunicator.requireLauncher(environment: environment, library: library) } catch { return "\(error)" }
            return nil
        }
        let (openMPI, hydra) = (["OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"], ["PMI_SIZE": "2", "PMI_RANK": "0", "MPI_LOCALNRANKS": "2"])
        #expect(refusal("MPICH Version: 5.0.2", openMPI)?.contains("is Open MPI's, and the library is MPICH Version: 5.0.2") == true)
        #expect(refusal("Open MPI v4.1.4", hydra)?.contains("is MPICH's, and the library is Open MPI v4.1.4") == true)
        for library in ["MPICH Version: 5.0.2", "Intel(R) MPI Library 2021.19"] { #expect(refusal(library, hydra) == nil) }
        #expect(refusal("Open MPI v5.0.11", openMPI) == nil)
        #expect(refusal("Open MPI v4.1.4", openMPI.merging(hydra) { $1 }) == nil, "one launcher inside another: the environment does not tell")
    }

    @Test("the library is that of the nearest launcher, or of what schedulers speak, unless it is named")
    func librariesOfLaunchers() throws {
        func first(_ environment: [String: String], _ ancestors: [String] = []) throws -> String {
            try MPILibrary.candidates(environment: environment, launcher: MPILauncher(environment: environment, ancestors: ancestors))[0]
        }
        let (openMPI, hydra) = (["OMPI_COMM_WORLD_SIZE": "2"], ["PMI_SIZE": "2", "HYDI_CONTROL_FD": "7"])
        #expect(try first(openMPI) == "libmpi.so.40" && first(hydra) == "libmpi.so.12" && first([:]) == "libmpi.so.40")
        #expect(try first(["PMIX_RANK": "0"]) == "libmpi.so.40" && first(["PMI_RANK": "0", "PMI_FD": "9"]) == "libmpi.so.12", "srun")
        #expect(try first(openMPI, ["/usr/bin/env", "/none/bin/hydra_pmi_proxy", "/none/bin/orted"]) == "libmpi.so.12")
        #expect(try first(["MNEME_MPI": "mpich"].merging(openMPI) { $1 }) == "libmpi.so.12")
        #expect(try first(["MNEME_MPI": "standard"]) == "libmpi_abi.so.1" && first(["MNEME_MPI": "/a/libmpi.so.40"]) == "/a/libmpi.so.40")
        #expect(throws: UserError.self) { try first(["MNEME_MPI": "lam"]) }
        let certain = try MPILibrary.candidates(environment: hydra, launcher: MPILauncher(environment: hydra, ancestors: []))
        #expect(!certain.contains("libmpi.so.40"), "no library of another make under a launcher that is known")

        try withScratchDirectory { scratch in
            // Beside a launcher of one's own, its library comes before the system's.
            try FileManager.default.createDirectory(atPath: "\(scratch)/lib", withIntermediateDirectories: true)
            for name in ["libmpi.so.12", "libmpi.so.40"] { try Data().write(to: URL(fileURLWithPath: "\(scratch)/lib/\(name)")) }
            #expect(try first(openMPI, ["/bin/sh", "\(scratch)/bin/prterun"]) == "\(scratch)/lib/libmpi.so.40")
            #expect(try first(hydra, ["\(scratch)/bin/hydra_pmi_proxy"]) == "\(scratch)/lib/libmpi.so.12")
            #expect(try first(["MNEME_MPI": "mpich"], ["\(scratch)/bin/prterun"]) == "libmpi.so.12", "another make's folder is not looked into")
        }
    }

    @Test("the advice is about the launcher that started the processes")
    func advice() {
        let mpirun = ["PMI_SIZE": "2", "PMI_RANK": "0", "HYDI_CONTROL_FD": "8", "SLURM_STEP_NUM_TASKS": "2"]
        #expect(LaunchTable.advice(library: "Open MPI v4.1.4", environment: mpirun).contains("the mpirun that was installed with Open MPI"))
        #expect(LaunchTable.advice(library: "MPICH 4.0.2", environment: ["OMPI_COMM_WORLD_SIZE": "2"]).contains("installed with MPICH"))
        #expect(LaunchTable.advice(library: "Open MPI v4.1.4", environment: ["JSM_NAMESPACE_SIZE": "2"]).contains("Spectrum MPI"))
        for row in LaunchTable.rows { #expect(LaunchTable.text.contains(row.launcher) && LaunchTable.text.contains(row.openMPI)) }
    }

    @Test func masksAreRead() {
        #expect(coreMask(hexadecimal: "\t3") == [3])
        #expect(coreMask(hexadecimal: "00000001,80000000,000000ff") == [0xff, 0, 0, 0, 0, 0, 0, 0x80, 1])
        #expect(coreMask(hexadecimal: "") == [1])
    }

    @Test func coresAreDivided() {
        func threads(_ mask: [UInt8], _ neighbours: [[UInt8]]) -> Int { allotThreads(mask: mask, neighbours: neighbours, requested: nil).threads }
        #expect(threads([0xff], [[0xff]]) == 8)
        #expect(threads([0xff], [[0xff], [0xff]]) == 4, "not bound: the node is divided")
        #expect(threads([0x0f], [[0x0f], [0xf0]]) == 4, "bound: nothing is divided twice")
        #expect(threads([3], [[3], [3], [3]]) == 1, "more ranks than cores")
        #expect(threads([7], [[7], [7], [7]]) == 1, "three thirds")
        #expect(threads([0, 1], [[0, 1], [1]]) == 1)
    }

    @Test("nodes that are containers of one machine divide its cores, and keep the time of their own control groups")
    func nodesOfOneMachine() {
        func place(_ node: String, _ machine: String, group: String = "/") -> RankPlace {
            RankPlace(node: node, machine: machine, mask: [0x0f], quota: 2, group: group)
        }
        let own = place("pod-1", "boot-a")
        #expect(!allotThreads(own, among: [own, place("pod-2", "boot-a")], requested: nil).ownsCores)
        #expect(allotThreads(own, among: [own, place("pod-2", "boot-a")], requested: nil).threads == 2, "each has a group '/' of its own")
        #expect(allotThreads(own, among: [own, place("pod-1", "boot-a")], requested: nil).threads == 1, "both are in one group")
        #expect(allotThreads(own, among: [own, place("pod-1", "boot-b")], requested: nil).ownsCores)
    }

    @Test func theDecisionIsExplained() {
        let divided = allotThreads(mask: [0xff], neighbours: [[0xff], [0xff]], requested: nil)
        #expect(divided.description == "4 threads a rank: 8 cores shared by 2 ranks")
        #expect(allotThreads(mask: [1], neighbours: [[1]], requested: nil).description == "1 thread a rank: 1 core of its own")
        let asked = allotThreads(mask: [3], neighbours: [[3], [3]], requested: 2)
        #expect(asked.threads == 2)
        #expect(asked.description == "2 threads a rank as requested: 2 cores shared by 2 ranks, more than its share of 1")
    }

    @Test func measuresInASingleProcess() throws {
        let timings = try measureAllReduce(communicator: SingleProcess(), sizes: [64, 4096], repeats: 3)
        #expect(timings.map(\.bytes) == [64, 4096])
        #expect(timings.allSatisfy { $0.minimumSeconds <= $0.medianSeconds && $0.medianSeconds <= $0.maximumSeconds })
    }
}

// How a rank finds out that a launcher started it, and how many threads it may use.

import Collectives
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

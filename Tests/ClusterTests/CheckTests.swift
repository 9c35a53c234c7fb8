import Cluster
import Collectives
import Diagnostics
import Foundation
import Machine
import TestSupport
import Testing

/// What the checks say of ranks that are made up.
@Suite struct CheckTests {
    /// Ranks of a plain node each.
    private func ranks(_ count: Int, nodes: Int = 1, environment: [String: String] = [:], _ change: (inout RankFacts) -> Void = { _ in }) throws -> [RankFacts] {
        try withMachine(plainNode) { files in
            (0..<count).map { rank in
                var facts = RankFacts(files, environment: environment)
                (facts.rank, facts.node, facts.threads) = (rank, "n\(rank * nodes / count)", 8 * nodes / count)
                (facts.program, facts.instructionSet, facts.matrixLibraries) = ("f00", "avx512", "OpenBLAS SkylakeX")
                (facts.mpi, facts.threadLevel) = ("Open MPI v4.1.4", "MPI_THREAD_SERIALIZED")
                change(&facts)
                return facts
            }
        }
    }

    private func find(_ check: String, _ results: [CheckResult]) throws -> CheckResult { try #require(results.first { $0.check == check }, "\(results)") }

    @Test func wellPlacedRanksPass() throws {
        let facts = try ranks(4, nodes: 2)
        let results = PlacementChecks.results(facts) + LikenessChecks.results(facts) + MemoryChecks.results(facts) + LimitChecks.results(facts)
        #expect(results.allSatisfy { $0.verdict == .pass && $0.advice == nil }, "\(results)")
        #expect(try find("binding", results).finding == "no rank is bound; 8 cores (0-7) a node, 2 NUMA domains")
    }

    @Test("a launcher that binds one rank to one core leaves the others idle")
    func oneCoreOfEight() throws {
        let facts = try ranks(1) { facts in
            facts.processors.allowed = [0]
            facts.threads = 1
        }
        let result = try find("binding", PlacementChecks.results(facts))
        #expect(result.verdict == .warn && result.finding == "n0: its 1 rank may use 1 core (0) of the 8 of the job, so 1-7 are idle")
        #expect(try find("threads", PlacementChecks.results(facts)).verdict == .pass)
    }

    @Test("what a cpuset keeps from the job is not idle")
    func aCpuset() throws {
        let facts = try ranks(2) { facts in (facts.processors.allowed, facts.processors.ofGroup, facts.threads) = ([2, 3], [2, 3], 1) }
        #expect(try find("binding", PlacementChecks.results(facts)).verdict == .pass)
    }

    @Test("two ranks that are bound to one core, while others are idle or not")
    func theSameCore() throws {
        let facts = try ranks(2) { facts in (facts.processors.allowed, facts.processors.ofGroup, facts.threads) = ([0], [0, 1], 1) }
        #expect(try find("binding", PlacementChecks.results(facts)).finding.contains("so 1 is idle"))
        let three = try ranks(3) { facts in (facts.processors.allowed, facts.processors.ofGroup, facts.threads) = (facts.rank < 2 ? [0] : [1], [0, 1], 1) }
        #expect(try find("binding", PlacementChecks.results(three)).finding == "n0: ranks 0 and 1 are bound to the same 1 core (0)")
    }

    @Test("srun does not take --cpus-per-task from sbatch")
    func slurmPromisesMore() throws {
        let facts = try ranks(2, environment: ["SLURM_CPUS_PER_TASK": "4"]) { facts in
            facts.processors.allowed = [facts.rank]
            facts.threads = 1
        }
        let result = try find("binding", PlacementChecks.results(facts))
        #expect(result.verdict == .warn && result.finding == "ranks 0 and 1: SLURM_CPUS_PER_TASK is 4, but the rank may use 1 core (0)")
    }

    @Test func moreRanksThanCores() throws {
        let facts = try ranks(12) { $0.threads = 1 }
        let result = try find("threads", PlacementChecks.results(facts))
        #expect(result.verdict == .warn && result.finding == "n0: 12 ranks with together 12 threads share 8 cores")
        #expect(result.advice?.hasPrefix("start at most 8 ranks") == true)
    }

    @Test func aQuotaOfHalfACore() throws {
        func quota(_ cores: Double, threads: Int) throws -> CheckResult {
            try find("CPU quota", PlacementChecks.results(try ranks(1) { facts in (facts.quota, facts.threads) = (.init(group: "/g", amount: cores, free: cores), threads) }))
        }
        let half = try quota(0.5, threads: 1)
        #expect(half.verdict == .warn && half.finding == "n0: the control group /g gives 0.50 cores' worth of time to 1 rank with 1 thread")
        #expect(try quota(2, threads: 2).verdict == .pass)
        #expect(allotThreads(mask: [3], neighbours: [[3]], requested: nil, quota: 0.5).threads == 1)
        #expect(allotThreads(mask: [0xff], neighbours: [[0xff], [0xff]], requested: nil, quota: 2.5).threads == 2)
        #expect(
            allotThreads(mask: [0xff], neighbours: [[0xff]], requested: nil, quota: 2).description
                == "2 threads a rank: 8 cores of its own, of whose time the control group gives it 2.0 cores")
    }

    @Test func memoryOfANodeAndOfAGroup() throws {
        func memory(_ need: Int?, limit: Double? = nil) throws -> CheckResult {
            let facts = try ranks(2) { facts in facts.memoryLimit = limit.map { .init(group: "/g", amount: $0, free: $0) } }
            return MemoryChecks.results(facts, need: need.map { [$0, $0] })[0]
        }
        #expect(try memory(nil).verdict == .pass && memory(4_000_000_000).verdict == .pass && memory(5_500_000_000).verdict == .warn)
        let tooMuch = try memory(6_200_000_000)
        #expect(tooMuch.verdict == .fail && tooMuch.finding.hasSuffix("the run needs 6.2 GB a rank and its activations on top"), "\(tooMuch)")
        let limited = try memory(400_000_000, limit: 600e6)
        #expect(limited.verdict == .fail && limited.finding.contains("600 MB free of the 600 MB that the control group /g may have, 300 MB for each of its 2 ranks"), "\(limited)")
        #expect(try memory(nil, limit: 600e6).finding.contains("600 MB"))
    }

    @Test func ranksThatAreNotAlike() throws {
        func other(_ change: (inout RankFacts) -> Void) throws -> [CheckResult] {
            LikenessChecks.results(try ranks(4, nodes: 2) { if $0.rank > 1 { change(&$0) } })
        }
        let kernels = try find("arithmetic", other { $0.instructionSet = "sse2" })
        #expect(kernels.verdict == .fail && kernels.finding == "ranks 2 and 3 on n1: kernels sse2, but avx512 on rank 0")
        let libraries = try find("arithmetic", other { $0.matrixLibraries = "OpenBLAS Haswell" })
        #expect(libraries.verdict == .warn && libraries.finding.contains("OpenBLAS Haswell"))
        #expect(try find("program", other { $0.program = "bad" }).verdict == .fail)
        #expect(try find("program", other { $0.version = "0.0" }).finding.contains("mneme 0.0"))
        #expect(try find("MPI", other { $0.mpi = "Open MPI v5.0.11" }).verdict == .fail)
        #expect(try find("MPI", other { $0.threadLevel = "MPI_THREAD_FUNNELED" }).verdict == .pass, "rank 0 speaks for all of one library")
        let path = try find("shared libraries", other { $0.libraries = ["/opt/lib/libhdf5.so.200"] })
        #expect(path.verdict == .pass)
        let facts = try ranks(2) { $0.libraries = $0.rank == 0 ? ["/usr/lib/libhdf5.so.103", "/x/liba.so"] : ["/opt/lib/libhdf5.so.200"] }
        #expect(try find("shared libraries", LikenessChecks.results(facts)).finding == "rank 1 on n0 has loaded /opt/lib/libhdf5.so.200, and rank 0 /usr/lib/libhdf5.so.103")
    }

    @Test("mpirun of one Open MPI with ranks that have loaded another")
    func anotherLauncher() throws {
        let machine = plainNode.merging([
            "/proc/self/stat": "100 (mneme) S 98 1", "/proc/98/stat": "98 (orted) S 1 1", "/proc/98/exe": "->/opt/mpi/bin/orted",
            "/proc/98/maps": "7f0 r-xp 00 08:01 1    /opt/mpi/lib/libopen-pal.so.80\n", "/proc/self/maps": "7f0 r-xp 00 08:01 1    /usr/lib/libopen-pal.so.40\n",
        ]) { $1 }
        try withMachine(machine) { files in
            let result = try find("MPI", LikenessChecks.results([RankFacts(files, environment: [:])]))
            #expect(result.verdict == .fail)
            #expect(result.finding == "rank 0 has loaded /usr/lib/libopen-pal.so.40, but its launcher /opt/mpi/bin/orted has /opt/mpi/lib/libopen-pal.so.80")
        }
    }

    @Test func clocks() throws {
        let skews = try LoopbackCommunicator.run(size: 3) { communicator in
            let offset = communicator.rank == 2 ? 5.0 : 0
            return try ClockCheck.measure(communicator, nodes: ["a", "b", "c"]) { Date().timeIntervalSince1970 + offset }
        }
        #expect(skews[0].map(\.node) == ["b", "c"] && skews[1].isEmpty)
        let result = ClockCheck.results(skews[0])[0]
        #expect(result.verdict == .warn && result.finding.hasPrefix("c is ") && result.finding.hasSuffix(" s ahead of the node of rank 0"), "\(result)")
        #expect(abs(skews[0][1].seconds - 5) <= skews[0][1].uncertainty + 1e-3)
        #expect(ClockCheck.results([]).isEmpty && ClockCheck.results([.init(node: "b", seconds: -0.01, uncertainty: 0)])[0].verdict == .pass)
    }

    @Test func theAllReduceCurveGivesNoAdviceOfNoise() {
        func curve(_ rates: [(Int, Double)]) -> CheckResult {
            AllReduceCheck.results(AllReduceCurve(calls: rates.map { .init(bytes: $0.0, seconds: Double($0.0) / $0.1) }), nodes: 1)[0]
        }
        #expect(curve([(1024, 1e7), (4 << 20, 2e9), (16 << 20, 4e9), (64 << 20, 3e9)]).verdict == .pass)
        let steep = curve([(1024, 1e7), (4 << 20, 1e9), (16 << 20, 3.8e9), (64 << 20, 4e9)])
        #expect(steep.verdict == .warn && steep.advice == "set parallel.bucketBytes to 16777216")
        #expect(curve([(1024, 1e4), (65536, 1e5)]).verdict == .warn, "too slow for larger ones")
    }

    @Test func theCurveBetweenItsPoints() {
        let curve = AllReduceCurve(calls: [.init(bytes: 1000, seconds: 1), .init(bytes: 2000, seconds: 3)])
        #expect(curve.seconds(0) == 0 && curve.seconds(10) == 1 && curve.seconds(1500) == 2 && curve.seconds(2000) == 3 && curve.seconds(4000) == 6)
    }

    @Test func otherWorkAndFewFiles() throws {
        let busy = try ranks(1) { facts in (facts.loadAverage, facts.openFiles) = (6.5, 256) }
        let results = LimitChecks.results(busy)
        #expect(try find("load", results).finding == "n0: 6.5 on 8 cores, other work included" && find("load", results).verdict == .warn)
        #expect(try find("open files", results).finding == "rank 0 on n0 may have 256 files open")
        let facts = try withMachine(plainNode.merging(["/proc/loadavg": "0.53 1.10 2.00 3/400 1234\n"]) { $1 }) { RankFacts($0, environment: [:]) }
        #expect(facts.loadAverage == 0.53 && facts.openFiles == 4096)
    }

    @Test func theLineOfAHealthCheck() {
        let well = [CheckResult.pass("a", "x"), .warn("b", "y", "do z")]
        #expect(well.line(node: "n7") == "OK: mneme on n7: 2 checks; b: y" && well.verdict == .warn)
        let bad = well + [.fail("c", "no room", "make some")]
        #expect(bad.line(node: "n7") == "ERROR: mneme on n7: c: no room; make some" && bad.verdict == .fail)
    }
}

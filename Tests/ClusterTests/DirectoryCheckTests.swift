import Cluster
import Collectives
import Diagnostics
import Foundation
import Machine
import TestSupport
import Testing

/// A directory that is really measured, and verdicts on ones that are made up.
@Suite struct DirectoryCheckTests {
    private func facts(_ type: String = "xfs", _ change: (inout DirectoryFacts) -> Void = { _ in }) throws -> DirectoryFacts {
        let mounts = "22 1 8:1 / / rw - \(type) /dev/sda1 rw\n"
        var facts = DirectoryFacts(path: "/run")
        facts.fileSystems = ["n0": try #require(try withMachine(["/proc/self/mountinfo": mounts]) { MountedFileSystem(of: "/run", $0) })]
        (facts.freeBytes, facts.freeFiles, facts.measuredBytes) = (10_000_000_000, 1000, 1)
        (facts.writeBytesPerSecond, facts.readBytesPerSecond, facts.syncSeconds) = (1e9, 2e9, 0.002)
        change(&facts)
        return facts
    }

    private func verdict(_ check: String, _ facts: DirectoryFacts, _ need: CheckpointNeed? = nil) throws -> CheckResult {
        try #require(DirectoryCheck.results(facts, need: need).first { $0.check == check })
    }

    @Test func measuredOnThreeRanks() throws {
        try withScratchDirectory { scratch in
            let found = try LoopbackCommunicator.run(size: 3) { communicator in
                try DirectoryCheck.measure("\(scratch)/not/there", communicator, bytesPerRank: 1 << 20) { _ in nil }
            }
            #expect(found[0].path == scratch && found[0].blindNodes.isEmpty && found[0].lockBreakers.isEmpty && found[0].freeBytes > 0)
            #expect(found[0].measuredBytes == 3 << 20 && found[0].writeBytesPerSecond > 0 && found[0].readBytesPerSecond > 0 && found[0].syncSeconds > 0)
            #expect(try FileManager.default.contentsOfDirectory(atPath: scratch).isEmpty, "nothing is left behind")
            #expect(DirectoryCheck.results(found[0]).verdict < .fail)
        }
    }

    @Test("a node that has a directory of the same name, and not the same one")
    func aBlindNode() throws {
        #expect(try verdict("file system", facts { $0.blindNodes = ["n3"] }).finding == "/run: n3 does not see what rank 0 writes there")
        #expect(try verdict("locking", facts { $0.lockBreakers = [2] }).verdict == .fail)
        #expect(try verdict("file system", facts("tmpfs")).verdict == .warn && verdict("file system", facts()).verdict == .pass)
    }

    @Test func roomForWhatIsKept() throws {
        // Two that are kept and one that is being written.
        let need = CheckpointNeed(bytes: 3_000_000_000, kept: 2, files: 3)
        #expect(try verdict("free space", facts(), need).verdict == .pass)
        let full = try verdict("free space", facts { $0.freeBytes = 8_000_000_000 }, need)
        #expect(full.verdict == .fail && full.finding == "8.0 GB free, but 2 checkpoints of 3.0 GB and one that is being written need 9.0 GB")
        var present = need
        present.present = 6_000_000_000
        #expect(try verdict("free space", facts { $0.freeBytes = 8_000_000_000 }, present).verdict == .pass, "two of them are there")
        #expect(try verdict("free space", facts { $0.freeFiles = 8 }, need).finding.contains("9 files"))
        #expect(try verdict("free space", facts()).verdict == .pass)
    }

    @Test func stripesOfLustre() throws {
        let lustre = try facts("lustre") { $0.stripe = "stripe_count:  1 stripe_size:   1048576 pattern:       raid0 stripe_offset: -1" }
        let large = CheckpointNeed(bytes: 8 << 30, kept: 1, files: 2)
        #expect(try verdict("stripe", lustre, large).advice?.hasPrefix("lfs setstripe -c 4 /run") == true)
        #expect(try verdict("stripe", lustre).verdict == .pass)
        var wide = lustre
        wide.stripe = "stripe_count:  -1 stripe_size: 1048576"
        #expect(try verdict("stripe", wide).verdict == .warn)
        var ill = lustre
        ill.lustreHealth = "NOT HEALTHY"
        #expect(try verdict("Lustre", ill).verdict == .fail)
        #expect(DirectoryCheck.results(try facts()).allSatisfy { $0.check != "stripe" })
    }
}

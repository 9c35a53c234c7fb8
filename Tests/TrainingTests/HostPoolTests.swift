// Which hosts of an allocation a run is started on.

import Diagnostics
import Testing
import Training

@Suite struct HostPoolTests {
    @Test("host files as launchers write them: slots, a line for each slot, comments; the last ones wait")
    func files() throws {
        let pool = try HostPool(hostFile: "# all\nn1 slots=2\n\nn2:4  # large\nn3\nn3\nn4\n", spares: 1)
        #expect(pool.used.map(\.name) == ["n1", "n2", "n3"] && pool.isChanged)
        #expect(pool.hostFile == "n1 slots=2\nn2:4\nn3\nn3\n")
        let all = try HostPool(hostFile: "n1\nn2")
        #expect(all.used.count == 2 && !all.isChanged)
        for (text, spares) in [("", 0), ("# none", 0), ("n1\nn2", 2), ("n1", 5)] {
            #expect(throws: UserError.self) { try HostPool(hostFile: text, spares: spares) }
        }
    }

    @Test("a host that has failed twice is left out, a spare takes its place, and then nobody does")
    func leftOut() throws {
        var pool = try HostPool(hostFile: "n1\nn2\nn3", spares: 1)
        #expect(pool.fail("n1", "does not answer") == "n1 does not answer")
        #expect(pool.used.map(\.name) == ["n1", "n2"])
        #expect(pool.fail("n1", "does not answer") == "n1 does not answer, for the second time: it is left out, n3 takes its place")
        #expect(pool.used.map(\.name) == ["n2", "n3"])
        _ = pool.fail("n3", "does not answer")
        #expect(pool.fail("n3", "does not answer") == "n3 does not answer, for the second time: it is left out, 1 host left")
        #expect(pool.used.map(\.name) == ["n2"])
        // A host that is out is not counted again.
        #expect(pool.fail("n3", "does not answer") == "n3 does not answer")
    }

    @Test("the last words of a session blame the hosts of ranks that did not answer or did not move, by their short names too")
    func blamed() throws {
        let pool = try HostPool(hostFile: "n1.cluster\nn2.cluster\nn11.cluster")
        let words = "nothing has moved for 12 s in allReduce 7 (4 bytes), step 3, step: rank 1 (n11, process 55) does not answer: its node is down"
        #expect(pool.blamed(in: words) == ["n11.cluster"])
        #expect(pool.blamed(in: "rank 0 (n1.cluster, process 5) has not come to it").map { $0 } == ["n1.cluster"])
        #expect(pool.blamed(in: "rank 1 (n2) computes other bits than both of its neighbours: a processor") == ["n2.cluster"])
        #expect(pool.blamed(in: "rank 1 (n2) and rank 2 (n11) compute different bits of the same part").isEmpty)
        #expect(pool.blamed(in: "n2 is full").isEmpty)
    }
}

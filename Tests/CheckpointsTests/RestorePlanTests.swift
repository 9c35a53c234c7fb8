// What a resume on another number of ranks says.

import Checkpoints
import Collectives
import Foundation
import TestSupport
import Testing

@Suite struct RestorePlanTests {
    @Test("two lines, whatever the number of ranks and of ranges of lanes")
    func lines() {
        let few = RestorePlan(shards: 1, byteCount: 5_000_000, lanes: [[0..<3], [3..<4, 6..<8]], bytesRead: [3_000_000, 2_000])
        #expect(
            few.lines == [
                "resuming on 2 ranks from 1 shard: lanes 0-2 -> rank 0; 3, 6-7 -> rank 1",
                "each rank reads at most 3.0 MB of the 5.0 MB; what all ranks hold is handed on to the others",
            ])
        var lanes: [[Range<Int>]] = (0..<1000).map { rank in (0..<9).map { $0 * 1000 + rank..<$0 * 1000 + rank + 1 } }
        lanes.append([])
        let many = RestorePlan(shards: 2, byteCount: 900, lanes: lanes, bytesRead: [])
        #expect(
            many.lines[0]
                == "resuming on 1001 ranks from 2 shards: lanes 0, 1000, 2000, ..., 8000 -> rank 0; 1, 1001, 2001, ..., 8001 -> rank 1; 2, 1002, 2002, ..., 8002 -> rank 2; ...; none -> rank 1000")
        #expect(many.lines[1].contains("0.0 kB of the 0.9 kB"))
    }

    @Test("ranks that read: each item once, and rows by their owners", arguments: [1, 2, 3])
    func bytes(ranks: Int) throws {
        try withScratchDirectory { directory in
            try Sample(seed: 1).save(to: directory, step: 1, worldSize: 2)
            let plans = try LoopbackCommunicator.run(size: ranks) { communicator in
                let reader = try CheckpointReader(directory: "\(directory)/step-1")
                return try RestorePlan(SampleState(Sample.shapes).registry, reader, lanes: [communicator.rank + ranks, communicator.rank], communicator)
            }
            #expect(Set(plans.map { $0.lines.joined() }).count == 1)
            #expect(plans[0].shards == 2 && plans[0].bytesRead.reduce(0, +) == plans[0].byteCount)
            #expect(plans[0].lanes == (0..<ranks).map { rank in ranks == 1 ? [0..<2] : [rank..<rank + 1, rank + ranks..<rank + ranks + 1] })
        }
    }
}

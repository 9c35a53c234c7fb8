// The size of buckets that a curve of sums speaks for.

import Collectives
import Testing
import TestSupport

@Suite struct BucketSizeTests {
    private func choice(_ seconds: [Double], gradientBytes: Int = 100 << 20) -> Int {
        BucketSize(curve: seconds.enumerated().map { BucketSize.Point(bytes: 1 << (20 + $0.offset), seconds: $0.element) }, gradientBytes: gradientBytes).bytes >> 20
    }

    @Test("where every byte costs the same, small buckets hide the most, and where calls cost much, large ones", arguments: [false, true])
    func costs(callsAreDear: Bool) {
        // A second for 100 MiB, and 50 ms or nothing for each call.
        let seconds = (0...5).map { 0.01 * Double(1 << $0) + (callsAreDear ? 0.05 : 0) }
        // (100 / b + 1) (0.01 b + c): with c = 0 the less the better, but 1 MiB is no tenth cheaper than 4; with c = 0.05 the minimum is at sqrt(500) MiB.
        #expect(choice(seconds) == (callsAreDear ? 16 : 4))
    }

    @Test func theUsualSizeStaysUnlessAnotherIsATenthCheaper() {
        #expect(choice([0.02, 0.02, 0.04, 0.08, 0.15, 0.3]) == 4)
        #expect(choice([0.02, 0.02, 0.04, 0.05, 0.15, 0.3]) == 8)
        #expect(choice([0.005, 0.02, 0.04]) == 1)
        #expect(choice([0.3]) == 1)
    }

    @Test("all ranks choose alike", arguments: [2, 3])
    func measured(ranks: Int) throws {
        for mode in [AllReduceMode.started, .reproducible] {
            let sizes = try LoopbackCommunicator.run(size: ranks) { try BucketSize.measured($0, gradientBytes: 5 << 20, mode: mode, seconds: 10) }
            #expect(Set(sizes.map(\.bytes)).count == 1 && sizes[0].curve.map(\.bytes) == [1 << 20, 2 << 20, 4 << 20])
            #expect(sizes.allSatisfy { $0 == sizes[0] })
        }
    }
}

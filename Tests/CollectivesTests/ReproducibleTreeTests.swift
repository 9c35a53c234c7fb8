// The shares of ranks, the sums' bits on any number of them, and the error messages of the tree.

import Collectives
import Diagnostics
import Testing
import TestSupport

@Suite struct ReproducibleTreeTests {
    @Test func groupsOfARank() throws {
        #expect(try ReproducibleTree(groupCount: 8, size: 1).groups(ofRank: 0) == [0, 4, 2, 6, 1, 5, 3, 7])
        #expect(try ReproducibleTree(groupCount: 8, size: 2).groups(ofRank: 1) == [1, 5, 3, 7])
        #expect(try ReproducibleTree(groupCount: 8, size: 8).groups(ofRank: 5) == [5])
        for size in 1...16 {
            let tree = try ReproducibleTree(groupCount: 16, size: size)
            #expect((0..<size).flatMap { tree.groups(ofRank: $0) }.sorted() == Array(0..<16))
        }
    }

    @Test("the busiest of any number of ranks is at most a tenth busier than it must be") func evenShares() throws {
        for groupCount in [8, 64, 1024] {
            for size in 1...groupCount where size < 70 || size % 37 == 0 {
                let tree = try ReproducibleTree(groupCount: groupCount, size: size)
                let counts = (0..<size).map { tree.groups(ofRank: $0).count }
                #expect(counts.reduce(0, +) == groupCount && counts.min() ?? 0 > 0)
                #expect(10 * (counts.max() ?? 0) <= 11 * ((groupCount - 1) / size + 1), "\(groupCount) groups on \(size) ranks: \(counts)")
            }
        }
    }

    @Test func sameBitsOnAnyNumberOfRanks() throws {
        for length in [1, 5, 1001, 65_537] {
            let one = try CollectiveChecks.treeSum(SingleProcess(), groupCount: 8, length: length, chunkBytes: 4096).map(\.bitPattern)
            for (size, ranksPerNode) in [(2, 1), (3, 1), (4, 2), (5, 1), (6, 2), (6, 3), (7, 7), (8, 4)] {
                let several = try LoopbackCommunicator.run(size: size) {
                    try CollectiveChecks.treeSum($0, groupCount: 8, length: length, chunkBytes: 4096, ranksPerNode: ranksPerNode).map(\.bitPattern)
                }
                #expect(several.allSatisfy { $0 == one }, "\(length) elements on \(size) ranks")
            }
        }
    }

    @Test func refusesWhatDoesNotFit() {
        #expect(throws: UserError.self) { try ReproducibleTree(groupCount: 6, size: 2) }
        let error = #expect(throws: UserError.self) { try ReproducibleTree(groupCount: 8, size: 9) }
        #expect(
            error?.description == "batch.groups: 8 groups cannot be shared by 9 ranks; start at most 8 ranks, or turn parallel.reproducible off")
    }
}

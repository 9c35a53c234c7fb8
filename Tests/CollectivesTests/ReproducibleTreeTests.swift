// The order of groups, the accumulator's memory, and the error messages of the tree. Its sums are checked in LoopbackTests.

import Collectives
import Diagnostics
import Testing
import TestSupport

@Suite struct ReproducibleTreeTests {
    @Test func groupsOfARank() throws {
        #expect(try ReproducibleTree(groupCount: 8, size: 1).groups(ofRank: 0) == [0, 4, 2, 6, 1, 5, 3, 7])
        #expect(try ReproducibleTree(groupCount: 8, size: 2).groups(ofRank: 1) == [1, 5, 3, 7])
        #expect(try ReproducibleTree(groupCount: 8, size: 8).groups(ofRank: 5) == [5])
        for size in [1, 2, 4, 8, 16] {
            let tree = try ReproducibleTree(groupCount: 16, size: size)
            #expect((0..<size).flatMap { tree.groups(ofRank: $0) }.sorted() == Array(0..<16))
        }
    }

    @Test func sameBitsOnAnyNumberOfRanks() throws {
        for length in [1, 5, 1001, 65_537] {
            let one = try CollectiveChecks.treeSum(SingleProcess(), groupCount: 8, length: length, chunkBytes: 4096).map(\.bitPattern)
            for size in [2, 4, 8] {
                let several = try LoopbackCommunicator.run(size: size) {
                    try CollectiveChecks.treeSum($0, groupCount: 8, length: length, chunkBytes: 4096).map(\.bitPattern)
                }
                #expect(several.allSatisfy { $0 == one }, "\(length) elements on \(size) ranks")
            }
        }
    }

    @Test func refusesWhatDoesNotFit() {
        #expect(throws: UserError.self) { try ReproducibleTree(groupCount: 6, size: 2) }
        let error = #expect(throws: UserError.self) { try ReproducibleTree(groupCount: 8, size: 3) }
        #expect(
            error?.description
                == "batch.groups: 8 groups cannot be shared by 3 ranks; start a number of ranks that divides 8, or turn parallel.reproducible off")
        #expect(throws: UserError.self) { try ReproducibleTree(groupCount: 4, size: 8) }
    }
}

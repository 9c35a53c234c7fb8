// The contract of communicators, on threads of this process.

import Collectives
import Diagnostics
import Testing
import TestSupport

@Suite struct LoopbackTests {
    static let checks: [(name: String, run: @Sendable (any Communicator) throws -> Void)] = [
        ("reductions", CollectiveChecks.reductions), ("started-reductions", CollectiveChecks.startedReductions),
        ("movement", CollectiveChecks.movement), ("buckets", CollectiveChecks.buckets),
        ("tree", CollectiveChecks.tree), ("agreement", CollectiveChecks.agreement),
    ]

    @Test(arguments: checks.indices, [1, 2, 3, 4, 8])
    func holdsOnThreads(check: Int, size: Int) throws {
        _ = try LoopbackCommunicator.run(size: size) { try Self.checks[check].run($0) }
    }

    @Test(arguments: checks.indices)
    func holdsInASingleProcess(check: Int) throws {
        try Self.checks[check].run(SingleProcess())
    }

    @Test func returnsWhatRanksReturn() throws {
        #expect(try LoopbackCommunicator.run(size: 4) { $0.rank * $0.rank } == [0, 1, 4, 9])
    }

    @Test func oneRanksErrorEndsTheOthers() throws {
        let error = #expect(throws: UserError.self) {
            try LoopbackCommunicator.run(size: 3) { communicator in
                if communicator.rank == 1 { throw UserError(.badData, "odd byte") }
                try communicator.barrier()
            }
        }
        #expect(error?.description == "odd byte")
    }

    @Test func aRankThatLeavesEarlyIsNamed() throws {
        let error = #expect(throws: UserError.self) {
            try LoopbackCommunicator.run(size: 2) { communicator in
                if communicator.rank == 0 { try communicator.barrier() }
            }
        }
        #expect(error?.description == "rank 0: rank 1 has ended while rank 0 waits for it in barrier")
    }

    @Test func differentCallsAreNamed() throws {
        let error = #expect(throws: UserError.self) {
            try LoopbackCommunicator.run(size: 2) { communicator in
                _ = try communicator.allReduced([Double](repeating: 1, count: 2 + communicator.rank), .sum)
            }
        }
        #expect(error?.what.contains("reduceDoubles(count: 2") == true && error?.what.contains("reduceDoubles(count: 3") == true)
    }

    @Test func sumsAreMadeInTheOrderOfRanks() throws {
        // (1e8 + 1) + -1e8 is 0 in float32; any other order gives 1.
        let results = try LoopbackCommunicator.run(size: 3) { communicator in
            var values: [Float] = [[1e8, 1, -1e8][communicator.rank]]
            try values.withUnsafeMutableBufferPointer { try communicator.allReduce($0, .sum) }
            return values[0]
        }
        #expect(results == [0, 0, 0])
    }
}

// One, two and four ranks give the same answer, bit for bit.

import Collectives
import Diagnostics
import Foundation
import Kernels
import Tensors
import TestSupport
import Testing
import VectorSearch

@Suite struct RankSearchTests {
    private static let dimension = 18

    /// The rows of a rank: blocks of 100 rows belong to 8 shards.
    private static func part(_ rows: Rows, _ rank: Int, of size: Int) throws -> Rows {
        let shards = try VirtualShards(8)
        return rows.picked((0..<rows.count).filter { shards.rank(ofBlock: $0 / 100, of: size) == rank })
    }

    /// What a world finds: of each rank its answers by exact search and by an inverted file, and the file's centroids.
    private struct Answers: Equatable, Sendable {
        var exact: [[Neighbor]] = []
        var few: [[Neighbor]] = []
        var centroids: [Float] = []
        var due: [Bool] = []
    }

    private func answers(_ size: Int, _ rows: Rows, _ asked: Rows, _ similarity: Similarity) throws -> Answers {
        let parts = try LoopbackCommunicator.run(size: size) { communicator -> Answers in
            let rank = communicator.rank
            let mine = try Self.part(rows, rank, of: size)
            let blocks = try mine.blocks(of: 256, similarity)
            let index = InvertedFile(dimension: Self.dimension, similarity: similarity)
            try index.append(mine.tensor, ids: mine.ids)
            var result = Answers()
            result.due.append(try index.needsTraining(communicator))
            try index.train(communicator: communicator)
            result.due.append(try index.needsTraining(communicator))
            index.remove(mine.ids.filter { $0 % 2 == 0 })
            result.due.append(try index.needsTraining(communicator))
            // Ranks ask unequally many questions; of several the last asks none.
            let share = size == 1 ? 0..<asked.count : rank == size - 1 ? asked.count..<asked.count : Workers.range(rank, of: size - 1, count: asked.count)
            let queries = asked.picked(Array(share)).tensor
            result.exact = try RankSearch.nearest(queries, limit: 9, communicator: communicator) {
                try ExactSearch.nearest($0, among: blocks, limit: 9)
            }.rows
            result.few = try RankSearch.nearest(queries, limit: 9, communicator: communicator) {
                try index.nearest($0, limit: 9, probes: 4)
            }.rows
            result.centroids = index.centroids.array
            return result
        }
        #expect(parts.allSatisfy { $0.centroids == parts[0].centroids && $0.due == parts[0].due })
        return Answers(exact: parts.flatMap(\.exact), few: parts.flatMap(\.few), centroids: parts[0].centroids, due: parts[0].due)
    }

    @Test("exact search and the inverted file on 1, 2, 4 and 3 ranks", arguments: Similarity.allCases)
    func sameOnAnyNumber(similarity: Similarity) throws {
        let rows = Rows.clustered(5000, Self.dimension, seed: 31, centres: 20)
        let asked = Rows.clustered(61, Self.dimension, seed: 32, centres: 20)
        let one = try answers(1, rows, asked, similarity)
        #expect(one.exact.count == 61 && one.due == [true, false, true])
        #expect(one.exact == (try ExactSearch.nearest(asked.tensor, among: rows.blocks(of: 5000, similarity), limit: 9).rows))
        for size in [2, 4, 3] { #expect(try answers(size, rows, asked, similarity) == one, "\(size) ranks") }
    }

    @Test("fewer rows than asked for, and ranks without rows")
    func fewRows() throws {
        let rows = Rows.clustered(5, Self.dimension, seed: 1)
        let asked = Rows.clustered(2, Self.dimension, seed: 2)
        let expected = try ExactSearch.nearest(asked.tensor, among: rows.blocks(of: 10, .cosine), limit: 40)
        let found = try LoopbackCommunicator.run(size: 3) { communicator -> Neighbors in
            let blocks = communicator.rank == 1 ? try rows.blocks(of: 10, .cosine) : []
            return try RankSearch.nearest(asked.tensor, limit: 40, communicator: communicator) {
                try ExactSearch.nearest($0, among: blocks, limit: 40)
            }
        }
        #expect(found.allSatisfy { $0 == expected })
    }

    @Test("one rank's mistake ends all ranks with its error")
    func mistakes() throws {
        func message(_ dimension: @escaping @Sendable (Int) -> Int, _ value: @escaping @Sendable (Int) -> Float) -> String {
            do {
                _ = try LoopbackCommunicator.run(size: 2) { communicator in
                    let rank = communicator.rank
                    let queries = Tensor(repeating: value(rank), [1, dimension(rank)])
                    let block = KeyBlock(dimension: 4, similarity: .cosine)
                    return try RankSearch.nearest(queries, limit: 1, communicator: communicator) {
                        try ExactSearch.nearest($0, among: [block], limit: 1)
                    }
                }
                return "no error"
            } catch { return "\(error)" }
        }
        #expect(message({ 4 + $0 }, { _ in 1 }).contains("4 to 5 numbers"))
        #expect(message({ _ in 4 }, { $0 == 1 ? .nan : 1 }).contains("query 1 holds a number that is not finite"))
        #expect(throws: UserError.self) { try VirtualShards(6) }
        #expect(try VirtualShards(8).rank(ofBlock: 13, of: 4) == 1)
    }
}

// Stored pairs as a run keeps them: the ring, searches against a plain table, ranks, lists, and what a checkpoint brings back.

import Checkpoints
import Collectives
import Diagnostics
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing
import Training

@Suite("Stored keys and values")
struct MemorizedPairsTests {
    private let heads = 2
    private let width = 8

    /// The segment that some lanes leave at a step, [B, T, 2 D].
    private func segment(_ step: Int, _ lanes: [Int], length: Int = 5) -> Tensor {
        concatenate(lanes.map { randomTensor("segment \(step) \($0)", [1, length, 2 * width]) }, axis: 0)
    }

    private func pairs(_ change: (inout MemorizingConfiguration) -> Void = { _ in }, capacity: Int = 48) -> MemorizedPairs {
        MemorizedPairs(changed(MemorizingConfiguration(layer: 0, nearest: 6, capacity: capacity), change), heads: heads, width: width)
    }

    /// What is found, pair by pair: slots depend on nothing else.
    private func answer(_ pairs: MemorizedPairs, head: Int, lanes: [Int] = [], limit: Int = 6) -> [[Float]] {
        let queries = randomTensor("queries", [12, width / heads])
        let found = pairs.nearest(queries, head: head, lanes: lanes, limit: limit)
        return (0..<12).map { query in
            (0..<found.counts[query]).flatMap { place -> [Float] in
                let slot = Int(found.slots[query * limit + place])
                return [found.scores[query * limit + place], Float(pairs.age(slot))] + UnsafeBufferPointer(start: pairs.pair(slot), count: 2 * width)
            }
        }
    }

    @Test("the newest pairs are found as in a table of them, whatever was overwritten")
    func ring() throws {
        let pairs = pairs()
        for step in 1...7 {
            try pairs.append([([0, 1], segment(step, [0, 1])), ([2], segment(step, [2]))])
            #expect(pairs.count == min(48, 15 * step))
        }
        // The last 48 of 105.
        let rows = concatenate((1...7).flatMap { step in (0..<3).map { segment(step, [$0]).reshaped(to: [5, 2 * width]) } }, axis: 0)
        let table = PairTable(rows.rows(Array(57..<105)), heads: heads, ages: (57..<105).map { 7 - $0 / 15 })
        for head in 0..<heads {
            let queries = randomTensor("queries", [12, width / heads])
            let wanted = table.nearest(queries, head: head, lanes: [], limit: 6)
            let found = pairs.nearest(queries, head: head, lanes: [], limit: 6)
            #expect(found.counts == wanted.counts && found.scores == wanted.scores)
            for place in 0..<72 {
                let (slot, row) = (Int(found.slots[place]), Int(wanted.slots[place]))
                #expect(pairs.age(slot) == table.age(row) && pairs.pair(slot)[3] == table.pair(row)[3])
            }
        }
    }

    @Test("a step of more pairs than there is room for leaves the last of them")
    func small() throws {
        let pairs = pairs(capacity: 8)
        try pairs.append([([0, 1, 2], segment(1, [0, 1, 2]))])
        try pairs.append([([0, 1, 2], segment(2, [0, 1, 2]))])
        let rows = segment(2, [0, 1, 2]).reshaped(to: [15, 2 * width])
        #expect(pairs.count == 8)
        let stored = Set((0..<8).map { pairs.pair($0)[0] })
        #expect(stored == Set((7..<15).map { rows.floats[$0 * 2 * width] }))
    }

    @Test("with scope lane a sequence finds its own lane's pairs alone, and none where lanes are not known")
    func lanes() throws {
        let pairs = pairs({ $0.scope = .lane })
        for step in 1...5 { try pairs.append([([0, 1, 2], segment(step, [0, 1, 2]))]) }
        let limit = 48
        let found = pairs.nearest(randomTensor("queries", [4, width / heads]), head: 1, lanes: [2, 5], limit: limit)
        // 48 of 75 are kept: of lane 2 those of the last three steps, and the last three of the step before.
        #expect(found.counts == [18, 18, 0, 0])
        let firsts = Set((2...5).flatMap { step in segment(step, [2]).array.enumerated().filter { $0.offset % (2 * width) == 0 }.map(\.element) })
        #expect((0..<found.counts[0]).allSatisfy { firsts.contains(pairs.pair(Int(found.slots[$0]))[0]) })
        #expect(pairs.nearest(randomTensor("queries", [4, width / heads]), head: 1, lanes: [], limit: 6).counts == [0, 0, 0, 0])
    }

    @Test("ranks that have segments of different lanes end with the pairs of one that has all", arguments: [1, 2, 3, 4])
    func ranks(size: Int) throws {
        func stored(_ size: Int) throws -> [[[Float]]] {
            try LoopbackCommunicator.run(size: size) { communicator in
                let pairs = pairs()
                for step in 1...4 {
                    // Eight groups of one lane, dealt out; some ranks have one more than others.
                    for (index, lane) in (0..<8).filter({ $0 % size == communicator.rank }).enumerated() {
                        let reading = PairReading([], collects: true)
                        let segment = segment(step, [lane], length: 2)
                        reading.keep(keys: segment.slice(0..<width, axis: 2), values: segment.slice(width..<2 * width, axis: 2))
                        var read = PairStatistics()
                        (read.queries, read.entropy) = (1, Double(lane) / 7)
                        reading.count(read)
                        pairs.keep(reading, index, lanes: [lane])
                    }
                    try pairs.gather(communicator)
                    if step == 2 {
                        // A step that is not applied leaves nothing.
                        pairs.discard()
                        #expect(try pairs.commit().queries == 0)
                        continue
                    }
                    let read = try pairs.commit()
                    #expect(read.queries == 8 && read.entropy == (0..<8).reduce(0.0) { $0 + Double($1) / 7 })
                }
                #expect(pairs.count == 48)
                return (0..<heads).flatMap { answer(pairs, head: $0) }
            }
        }
        let alone = try stored(1)[0]
        #expect(try stored(size).allSatisfy { $0 == alone })
    }

    @Test("lists visited one and all find what a search of every key finds, through overwriting and new lists")
    func lists() throws {
        let (listed, exact) = (pairs({ ($0.lists, $0.probes) = (4, 4) }, capacity: 160), pairs(capacity: 160))
        for step in 1...40 {
            for pairs in [listed, exact] { try pairs.append([([0, 1], segment(step, [0, 1]))]) }
            if step % 8 == 0 { for head in 0..<heads { #expect(answer(listed, head: head) == answer(exact, head: head)) } }
        }
    }

    @Test("a checkpoint brings the same answers back, at any step, with lists and without", arguments: [0, 4], [6, 15, 31])
    func restored(lists: Int, step: Int) throws {
        func made() -> MemorizedPairs { pairs({ ($0.lists, $0.probes) = (lists, 1) }, capacity: 160) }
        let whole = made()
        for step in 1...step { try whole.append([([0, 1], segment(step, [0, 1]))]) }
        let other = made()
        try withScratchDirectory { directory in
            let writer = CheckpointWriter(directory: directory, rank: 0, worldSize: 1, keep: 1)
            writer.begin(step: 1, attributes: [:], items: try whole.stateItems.map { try $0.checkpointItem() })
            try writer.waitForShard()
            try writer.publish()
            _ = try RunStateRegistry([other]).restoreNewest(from: CheckpointStore(directory: directory), communicator: SingleProcess()) { _ in }
        }
        for later in step + 1...step + 12 {
            for head in 0..<heads { #expect(answer(other, head: head) == answer(whole, head: head)) }
            for pairs in [whole, other] { try pairs.append([([0, 1], segment(later, [0, 1]))]) }
        }
    }

    @Test("pairs of another capacity or width are refused by name")
    func reshaped() throws {
        try withScratchDirectory { directory in
            let writer = CheckpointWriter(directory: directory, rank: 0, worldSize: 1, keep: 1)
            writer.begin(step: 1, attributes: [:], items: try pairs().stateItems.map { try $0.checkpointItem() })
            try writer.waitForShard()
            try writer.publish()
            for other in [pairs(capacity: 50), MemorizedPairs(MemorizingConfiguration(layer: 0, capacity: 48), heads: 2, width: 10)] {
                let error = #expect(throws: UserError.self) {
                    try RunStateRegistry([other]).restoreNewest(from: CheckpointStore(directory: directory), communicator: SingleProcess()) { _ in }
                }
                #expect(error?.what.contains("'memorized/pairs' is float32 [48, 16] in the checkpoint") == true, "\(String(describing: error))")
            }
        }
    }
}

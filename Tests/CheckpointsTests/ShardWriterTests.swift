// One shard a rank, or one a node: the same checkpoint.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import TestSupport
import Testing

/// Ranks of a loopback world on nodes with names.
private final class NamedNode: ForwardingCommunicator {
    private let name: String

    init(_ base: LoopbackCommunicator, _ name: String) {
        self.name = name
        super.init(base)
    }

    override var nodeName: String { name }
}

@Suite struct ShardWriterTests {
    @Test(
        "one shard a node, whatever the nodes have for ranks: the items and checksums of one shard a rank",
        arguments: [["a", "a", "b", "b"], ["a", "b", "a", "b"], ["a", "a", "a"], ["a", "b", "b"], ["a"]])
    func perNode(nodes: [String]) throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 6)
            try sample.save(to: directory + "/ranks", step: 1, worldSize: nodes.count)
            let shards = Set(nodes).count
            _ = try LoopbackCommunicator.run(size: nodes.count) { base in
                let communicator = NamedNode(base, nodes[base.rank])
                let writers = try ShardWriters(perNode: communicator)
                #expect(writers.count == shards && (writers.index != nil) == (nodes.firstIndex(of: nodes[base.rank]) == base.rank))
                let gathered = try writers.gather(sample.items(rank: base.rank, worldSize: nodes.count), communicator)
                #expect((gathered != nil) == (writers.index != nil))
                var writer: CheckpointWriter?
                if let index = writers.index, let gathered {
                    writer = CheckpointWriter(directory: directory + "/nodes", rank: index, worldSize: shards, keep: 1)
                    writer?.begin(step: 1, attributes: [:], items: gathered)
                    try writer?.waitForShard()
                }
                try communicator.barrier()
                if base.rank == 0 { try writer?.publish() }
            }
            let readers = try ["ranks", "nodes"].map { try CheckpointReader(directory: "\(directory)/\($0)/step-1") }
            try readers[1].verify()
            #expect(readers[0].items == readers[1].items && readers[1].worldSize == shards)
            #expect(try sample.difference(from: readers[1]) == nil)
        }
    }

    @Test("more shards than stay open at once, and an item of many ranges of rows")
    func manyShards() throws {
        try withScratchDirectory { directory in
            let ranks = 80
            let values = (0..<400).map { Float($0) }
            let writers = (0..<ranks).map { CheckpointWriter(directory: directory, rank: $0, worldSize: ranks, keep: 1) }
            for writer in writers {
                // Every 80th row: five ranges a rank.
                let rows = stride(from: writer.rank, to: 400, by: ranks).map { $0..<$0 + 1 }
                writer.begin(
                    step: 1, attributes: [:],
                    items: [CheckpointItem("memory/m", .float32, shape: [400], placement: .rows(rows), elements: rows.map { values[$0.lowerBound] })])
            }
            for writer in writers { try writer.waitForShard() }
            try writers[0].publish()
            let reader = try CheckpointReader(directory: directory + "/step-1")
            try reader.verify()
            for _ in 0..<3 { #expect(try reader.elements("memory/m", as: Float.self) == values) }
        }
    }
}

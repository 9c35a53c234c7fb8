// Who writes shards: every rank, or one rank of each node with what the others of its node hand it.

import Collectives
import Diagnostics

/// The ranks that write shards of a checkpoint, and what each writes.
///
/// With thousands of ranks a shard for each is more files than a file system likes: then the lowest rank of each node writes for its node.
public struct ShardWriters {
    /// The number of shards.
    public let count: Int
    /// The number of this rank's shard; `nil` where it writes none.
    public let index: Int?
    /// The rank that writes for this one.
    private let leader: Int
    /// The other ranks that this one writes for.
    private let members: [Int]

    /// Every rank for itself.
    public init(everyRank communicator: any Communicator) {
        (count, index, leader, members) = (communicator.size, communicator.rank, communicator.rank, [])
    }

    /// One rank of each node. Collective.
    public init(perNode communicator: any Communicator) throws {
        let names = try communicator.allGather(Array(communicator.nodeName.utf8))
        let leaders = names.indices.filter { rank in !names[..<rank].contains(names[rank]) }
        let mine = names.indices.filter { names[$0] == names[communicator.rank] }
        count = leaders.count
        leader = mine[0]
        index = leaders.firstIndex(of: communicator.rank)
        members = mine[0] == communicator.rank ? Array(mine.dropFirst()) : []
    }

    /// The items of a shard: replicated ones as they are, and the rows of all ranks that the writer writes for. Collective.
    ///
    /// - Returns: `nil` on ranks that write nothing.
    /// - Complexity: rows that another rank holds travel once, within their node.
    public func gather(_ items: [CheckpointItem], _ communicator: any Communicator) throws -> [CheckpointItem]? {
        guard count < communicator.size else { return items }
        // Which rows every rank holds of each item that is held by rows: ranges, each list preceded by its length.
        let own = items.filter { $0.placement != .replicated }.flatMap { item in
            [Int64(item.heldRows.count)] + item.heldRows.flatMap { [Int64($0.lowerBound), Int64($0.upperBound)] }
        }
        var lists = try communicator.allGather(own.withUnsafeBytes { Array($0) }).map { bytes in
            bytes.withUnsafeBytes { Array($0.bindMemory(to: Int64.self)) }[...]
        }
        var gathered: [CheckpointItem] = []
        for item in items {
            guard item.placement != .replicated else {
                gathered.append(item)
                continue
            }
            let rows = lists.indices.map { rank in
                let count = Int(lists[rank].removeFirst())
                let numbers = lists[rank].prefix(2 * count)
                lists[rank] = lists[rank].dropFirst(2 * count)
                return stride(from: numbers.startIndex, to: numbers.endIndex, by: 2).map { Int(numbers[$0])..<Int(numbers[$0 + 1]) }
            }
            if let joined = try exchange(item, rows, communicator) { gathered.append(joined) }
        }
        return index == nil ? nil : gathered
    }

    /// Hands rows of one item to the writer.
    private func exchange(_ item: CheckpointItem, _ rows: [[Range<Int>]], _ communicator: any Communicator) throws -> CheckpointItem? {
        guard index != nil else {
            try item.withBytes {
                try communicator.startMessages([Message(partner: leader, bytes: UnsafeMutableRawBufferPointer(mutating: $0))], [], tag: 0).wait()
            }
            return nil
        }
        let counts = members.map { rows[$0].reduce(0) { $0 + $1.count } * item.rowByteCount }
        var received = [UInt8](repeating: 0, count: counts.reduce(0, +))
        let starts = counts.indices.map { counts[..<$0].reduce(0, +) }
        try received.withUnsafeMutableBytes { received in
            let messages = members.indices.map { index in
                Message(partner: members[index], bytes: UnsafeMutableRawBufferPointer(rebasing: received[starts[index]..<starts[index] + counts[index]]))
            }
            try communicator.startMessages([], messages, tag: 0).wait()
        }
        let own = (rows[communicator.rank], item.withBytes { Array($0) }[...])
        return item.joining([own] + members.enumerated().map { (rows[$1], received[starts[$0]..<starts[$0] + counts[$0]]) })
    }
}

// Joining the shards: checkpoint.h5, and the renaming that makes the checkpoint exist.

import Diagnostics
import Foundation
import HDF5
import Storage

/// Turns the partial directory of a step, in which all shards lie, into a checkpoint.
struct CheckpointPublisher {
    /// The run's directory.
    let directory: String
    let step: Int
    let worldSize: Int
    let attributes: [String: CheckpointAttribute]
    let hasParity: Bool

    private var partial: String { directory + "/" + CheckpointFormat.partialDirectory(step: step) }

    /// An item put together from what the shards hold.
    private struct Joined {
        var elementType: CheckpointElementType
        var shape: [Int]
        var parts: [(rows: Range<Int>, checksum: Checksum, source: HDF5VirtualSource)] = []
    }

    /// Writes `checkpoint.h5`, waits until it is on the disk, and renames the directory.
    ///
    /// - Throws: `UserError(.inputOutput)` where the disk refuses, `UserError(.badData)` where the shards do not make a whole. The directory is
    ///   still partial then.
    /// - Complexity: the metadata of every shard are read, the data are not.
    func publish() throws {
        try Failpoint.joinedWrite.pass(partial)
        let items = try joinedItems()
        try write(items)
        var expected = Set((0..<worldSize).map { CheckpointFormat.shardFile(rank: $0, worldSize: worldSize) } + [CheckpointFormat.joinedFile])
        if hasParity { expected.formUnion(try completeParity()) }
        for name in try Directory.names(in: partial) where !expected.contains(name) { try Directory.remove(partial + "/" + name) }
        try Failpoint.partialSync.pass(partial)
        try Directory.synchronize(partial)
        let final = directory + "/" + CheckpointFormat.directory(step: step)
        try Failpoint.publishRename.pass(final)
        if Directory.exists(final) == nil {
            try Directory.rename(partial, to: final)
        } else if try !Directory.exchange(partial, final) {
            // A file system that cannot exchange: a moment without either name, which a start mends.
            let replaced = directory + "/" + CheckpointFormat.replacedDirectory(step: step)
            try Directory.remove(replaced)
            try Directory.rename(final, to: replaced)
            try Directory.rename(partial, to: final)
        }
        try Failpoint.publishedSync.pass(final)
        try Directory.synchronize(directory)
        try Failpoint.exchangedRemove.pass(final)
        // The one that was replaced, under the name that it has got: what cannot be removed now goes at the next start.
        for name in [CheckpointFormat.partialDirectory(step: step), CheckpointFormat.replacedDirectory(step: step)] {
            try? Directory.remove(directory + "/" + name)
        }
    }

    /// Makes sure that all parity is there, and adds the copy of `checkpoint.h5`.
    /// - Returns: the names of the files.
    private func completeParity() throws -> [String] {
        let layout = try ParityLayout(directory: partial, shards: worldSize)
        let names = (0..<layout.fileCount).map { CheckpointFormat.parityFile(index: $0, count: layout.fileCount) }
        for name in names { try DurableFile.requireReadable("\(partial)/\(name)") }
        let copy = "\(partial)/\(CheckpointFormat.joinedCopy)"
        try DurableFile.replace(copy, by: DurableFile.read("\(partial)/\(CheckpointFormat.joinedFile)"))
        try JoinedFile.check(copy)
        return names + [CheckpointFormat.joinedCopy]
    }

    /// The items of all shards by name. Every row of each has one holder.
    private func joinedItems() throws -> [String: Joined] {
        var items: [String: Joined] = [:]
        for rank in 0..<worldSize {
            let shard = ShardFile(directory: partial, rank: rank, worldSize: worldSize)
            for entry in try shard.entries() {
                var item = items.removeValue(forKey: entry.name) ?? Joined(elementType: entry.elementType, shape: entry.itemShape)
                guard item.shape == entry.itemShape, item.elementType == entry.elementType else {
                    throw UserError(
                        .badData,
                        "'\(entry.name)' is \(entry.elementType) \(entry.itemShape), and \(item.elementType) \(item.shape) in another shard",
                        at: shard.path)
                }
                let count = entry.rows.reduce(0) { $0 + $1.count }
                let shape = item.shape.isEmpty ? [] : [count] + item.shape.dropFirst()
                var row = 0
                for (range, checksum) in zip(entry.rows, entry.checksums) {
                    let source = HDF5VirtualSource(
                        file: CheckpointFormat.shardFile(rank: rank, worldSize: worldSize), dataset: entry.name, shape: shape,
                        sourceRows: row..<row + range.count, rows: range)
                    item.parts.append((range, checksum, source))
                    row += range.count
                }
                items[entry.name] = item
            }
        }
        for (name, item) in items {
            let parts = item.parts.sorted { $0.rows.lowerBound < $1.rows.lowerBound }
            var end = 0
            for part in parts where part.rows.lowerBound == end { end = part.rows.upperBound }
            guard end == item.shape.first ?? 1, parts.reduce(0, { $0 + $1.rows.count }) == end else {
                throw UserError(.badData, "the ranks together do not hold every row of '\(name)' \(item.shape) once", at: partial)
            }
            items[name]?.parts = parts
        }
        return items
    }

    private func write(_ items: [String: Joined]) throws {
        let file = try HDF5File.create(partial + "/" + CheckpointFormat.joinedFile, replacing: true, userBlock: JoinedFile.userBlockByteCount)
        do {
            for (name, item) in items.sorted(by: { $0.key < $1.key }) {
                let rowByteCount = item.shape.dropFirst().reduce(item.elementType.byteCount, *)
                let sources = rowByteCount == 0 ? [] : item.parts.map(\.source)
                let dataset = try file.createVirtualDataset(name, item.elementType, shape: item.shape, sources: sources)
                var checksum = Checksum()
                for part in item.parts { checksum.append(part.checksum, byteCount: part.rows.count * rowByteCount) }
                try dataset.setAttribute(CheckpointFormat.Attribute.checksum, .integer(checksum.stored))
                try dataset.close()
            }
            var all = attributes
            all[CheckpointFormat.Attribute.format] = .string(CheckpointFormat.joinedFormat)
            all[CheckpointFormat.Attribute.version] = .integer(Int64(CheckpointFormat.version))
            all[CheckpointFormat.Attribute.step] = .integer(Int64(step))
            all[CheckpointFormat.Attribute.worldSize] = .integer(Int64(worldSize))
            all[CheckpointFormat.Attribute.created] = .string(Date.now.formatted(.iso8601))
            for (name, value) in all.sorted(by: { $0.key < $1.key }) { try file.setAttribute(name, value) }
        } catch {
            // The first failure is the one to tell.
            try? file.close()
            throw error
        }
        try file.close()
        try JoinedFile.seal(file.path)
    }
}

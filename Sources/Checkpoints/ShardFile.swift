// One rank's file of a checkpoint: written from a snapshot, read back, and listed for joining.

import Diagnostics
import Foundation
import HDF5
import Storage

/// What a shard says about one of its datasets.
struct ShardEntry {
    let name: String
    let elementType: CheckpointElementType
    /// The extents of the whole item.
    let itemShape: [Int]
    /// The rows of the item that the dataset holds, one range after the other.
    let rows: [Range<Int>]
    /// A checksum for each range.
    let checksums: [Checksum]
}

/// A shard in a checkpoint's directory.
struct ShardFile {
    /// Bytes read from the library at a time, so that others may get at it in between and the checksum reads what is in the cache.
    static let sliceByteCount = 4 << 20

    let path: String

    init(directory: String, rank: Int, worldSize: Int) {
        path = directory + "/" + CheckpointFormat.shardFile(rank: rank, worldSize: worldSize)
    }

    // MARK: Writing

    /// A dataset's data that go to the disk directly.
    private struct DirectBlock {
        let name: String
        let bytes: UnsafeRawBufferPointer
        /// Where they begin in the file.
        let place: Int
        let checksum: Checksum
    }

    /// Pieces of as many bytes or more go to the disk directly.
    private static let directFrom = 64 * 1024

    /// Writes the snapshot, waits until it is on the disk, and reads it back from there.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    func write(_ snapshot: CheckpointSnapshot, step: Int, rank: Int, worldSize: Int) throws -> CheckpointShardStatistics {
        let start = ContinuousClock.now
        try Failpoint.shardWrite.pass(path)
        let blocks = try writeStructure(snapshot, step: step, rank: rank, worldSize: worldSize)
        let file = try DirectFile(path)
        for block in blocks { try file.write(block.bytes, at: block.place) }
        try Failpoint.shardSync.pass(path)
        try HDF5File.synchronize(path)
        let written = ContinuousClock.now
        for block in blocks where try file.checksum(of: block.bytes.count, at: block.place) != block.checksum { throw differs(block.name) }
        try readBack(except: Set(blocks.map(\.name)))
        return CheckpointShardStatistics(
            byteCount: snapshot.pieces.reduce(0) { $0 + $1.byteCount }, writeSeconds: start.duration(to: written) / .seconds(1),
            readBackSeconds: written.duration(to: .now) / .seconds(1))
    }

    /// Writes everything but the data of large datasets, whose places it returns.
    private func writeStructure(_ snapshot: CheckpointSnapshot, step: Int, rank: Int, worldSize: Int) throws -> [DirectBlock] {
        let file = try HDF5File.create(path, replacing: true, alignment: (DirectFile.alignment, DirectFile.alignment))
        var blocks: [DirectBlock] = []
        do {
            // Numbers only: texts would lie where HDF5 has no checksums of its own.
            try file.setAttribute(CheckpointFormat.Attribute.version, .integer(Int64(CheckpointFormat.version)))
            try file.setAttribute(CheckpointFormat.Attribute.step, .integer(Int64(step)))
            try file.setAttribute(CheckpointFormat.Attribute.rank, .integer(Int64(rank)))
            try file.setAttribute(CheckpointFormat.Attribute.worldSize, .integer(Int64(worldSize)))
            for piece in snapshot.pieces {
                if let block = try write(piece, snapshot.bytes(of: piece), to: file) { blocks.append(block) }
            }
        } catch {
            // The first failure is the one to tell.
            try? file.close()
            throw error
        }
        try file.close()
        return blocks
    }

    /// Makes the dataset of a piece, and writes its data unless they are large.
    private func write(_ piece: CheckpointPiece, _ bytes: UnsafeRawBufferPointer, to file: HDF5File) throws -> DirectBlock? {
        let dataset = try file.createDataset(piece.name, piece.elementType, shape: piece.shape)
        var whole = Checksum()
        var checksums: [Checksum] = []
        var start = 0
        for range in piece.rows {
            let end = start + range.count * piece.rowByteCount
            var checksum = Checksum()
            checksum.update(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
            checksums.append(checksum)
            whole.append(checksum, byteCount: end - start)
            start = end
        }
        try dataset.setAttribute(CheckpointFormat.Attribute.shape, .integers(piece.itemShape.map { Int64($0) }))
        try dataset.setAttribute(CheckpointFormat.Attribute.rows, .integers(piece.rows.flatMap { [Int64($0.lowerBound), Int64($0.upperBound)] }))
        try dataset.setAttribute(CheckpointFormat.Attribute.checksum, .integers(checksums.map(\.stored)))
        if bytes.count >= ShardFile.directFrom, let place = dataset.fileOffset, place % DirectFile.alignment == 0 {
            return DirectBlock(name: piece.name, bytes: bytes, place: place, checksum: whole)
        }
        try dataset.write(bytes)
        try dataset.close()
        return nil
    }

    /// Cuts rows into runs of about ``sliceByteCount``.
    static func slices(of rows: Range<Int>, rowByteCount: Int) -> some Sequence<Range<Int>> {
        let step = max(1, sliceByteCount / max(1, rowByteCount))
        return stride(from: rows.lowerBound, to: rows.upperBound, by: step).lazy.map { $0..<min($0 + step, rows.upperBound) }
    }

    /// Reads every dataset that is not in `others` from the disk, not from the system's cache, and compares checksums.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    private func readBack(except others: Set<String>) throws {
        let descriptor = withSystemPath(path) { open($0, O_RDONLY) }
        if descriptor >= 0 {
            posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
            close(descriptor)
        }
        let file = try HDF5File.openReadOnly(path)
        for entry in try ShardFile.entries(of: file) where !others.contains(entry.name) {
            let dataset = try file.dataset(entry.name)
            var row = 0
            for (range, expected) in zip(entry.rows, entry.checksums) {
                guard try dataset.checksum(of: row..<row + range.count) == expected else { throw differs(entry.name) }
                row += range.count
            }
        }
        try file.close()
    }

    private func differs(_ name: String) -> UserError {
        UserError(.inputOutput, "'\(name)' reads back differently from what was written", at: path, advice: "check the disk")
    }

    // MARK: Reading

    /// What the shard holds, without the data.
    ///
    /// - Throws: `UserError(.badData)` where it is damaged.
    func entries() throws -> [ShardEntry] {
        let file = try HDF5File.openReadOnly(path)
        let entries = try ShardFile.entries(of: file)
        try file.close()
        return entries
    }

    private static func entries(of file: HDF5File) throws -> [ShardEntry] {
        try file.datasetPaths().map { name in
            let dataset = try file.dataset(name)
            let shape = try dataset.integers(CheckpointFormat.Attribute.shape)
            let rows = try dataset.integers(CheckpointFormat.Attribute.rows)
            let checksums = try dataset.integers(CheckpointFormat.Attribute.checksum)
            let ranges = stride(from: 0, to: rows.count - 1, by: 2).compactMap { (place: Int) -> Range<Int>? in
                let (first, end) = (Int(rows[place]), Int(rows[place + 1]))
                return first <= end ? first..<end : nil
            }
            var stored = shape.map { Int($0) }
            if !stored.isEmpty { stored[0] = ranges.reduce(0) { $0 + $1.count } }
            guard ranges.count * 2 == rows.count, checksums.count == ranges.count, dataset.shape == stored else {
                throw UserError(.badData, "dataset '\(name)' does not have the rows that it says it has", at: file.path)
            }
            return ShardEntry(
                name: name, elementType: dataset.elementType, itemShape: shape.map { Int($0) }, rows: ranges,
                checksums: checksums.map { Checksum($0) })
        }
    }
}

extension HDF5Dataset {
    /// Reads rows slice by slice; for a dataset without axes the one element.
    ///
    /// - Complexity: memory for one slice.
    func forEachSlice(of rows: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        guard !rows.isEmpty, rowByteCount > 0 else { return }
        let longest = min(rows.count, max(1, ShardFile.sliceByteCount / rowByteCount))
        try withUnsafeTemporaryAllocation(byteCount: longest * rowByteCount, alignment: 4096) { buffer in
            for slice in ShardFile.slices(of: rows, rowByteCount: rowByteCount) {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<(slice.count * rowByteCount)])
                if shape.isEmpty { try read(into: part) } else { try read(into: part, rows: slice) }
                try body(UnsafeRawBufferPointer(part))
            }
        }
    }

    /// The checksum of rows.
    func checksum(of rows: Range<Int>) throws -> Checksum {
        var checksum = Checksum()
        try forEachSlice(of: rows) { checksum.update($0) }
        return checksum
    }

    /// An attribute that is a list of integers.
    func integers(_ attribute: String) throws -> [Int64] {
        guard case .integers(let values) = try self.attribute(attribute) else {
            throw UserError(.badData, "attribute '\(attribute)' of '\(name)' is not a list of integers", at: file.path)
        }
        return values
    }
}

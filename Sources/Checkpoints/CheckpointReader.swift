// Reading a checkpoint: attributes, items, rows of items, and checking it against its checksums.

import Diagnostics
import Foundation
import HDF5
import Storage

/// What a checkpoint says about one of its items.
public struct CheckpointItemDescription: Sendable, Hashable {
    /// Its path, as the item of the writer had it.
    public let name: String
    /// The type of its elements.
    public let elementType: CheckpointElementType
    /// The extents of the whole item; empty for a single element.
    public let shape: [Int]
    /// CRC-32 of its bytes in row-major, little-endian order.
    public let checksum: UInt32

    /// Bytes of one row: of all that shares one index of the first axis.
    public var rowByteCount: Int { shape.dropFirst().reduce(elementType.byteCount, *) }
    /// Rows of the item. A single element counts as one.
    public var rowCount: Int { shape.first ?? 1 }
    /// Bytes of the whole item.
    public var byteCount: Int { rowCount * rowByteCount }
}

/// An open checkpoint. Any number of processes may read one, whatever the number that wrote it.
///
/// The data come from the shards themselves, so that a missing shard is an error, and not the NaN that HDF5's virtual datasets have in its place.
public final class CheckpointReader: @unchecked Sendable {
    /// The checkpoint's directory.
    public let directory: String
    /// The optimizer steps done when it was written.
    public let step: Int
    /// How many ranks wrote it.
    public let worldSize: Int
    /// The attributes of `checkpoint.h5`: the writer's own and those that the caller of the writer gave.
    public let attributes: [String: CheckpointAttribute]
    /// The items in order of the bytes of their names.
    public let items: [CheckpointItemDescription]

    /// Shards that stay open at the same time.
    private static let openShards = 64

    private let joined: HDF5File
    private let indices: [String: Int]
    private var shards: [String: HDF5File] = [:]
    /// The names of open shards, the one used longest ago first.
    private var recentlyUsed: [String] = []
    /// Where the rows of items lie, of those that were read.
    private var knownParts: [String: [HDF5VirtualSource]] = [:]

    /// Opens a checkpoint without reading its data.
    ///
    /// - Parameter directory: such as `checkpoints/run/step-500`.
    /// - Throws: `UserError(.missingInput)` where there is no `checkpoint.h5`; `UserError(.badData)` where it is damaged, is no checkpoint, or was
    ///   written by a newer version of the format.
    public init(directory: String) throws {
        self.directory = directory
        joined = try CheckpointReader.openJoined(directory + "/" + CheckpointFormat.joinedFile)
        let attributes = try joined.attributes()
        self.attributes = attributes
        (step, worldSize) = try CheckpointReader.checkHeader(attributes, joined.path)
        var items: [CheckpointItemDescription] = []
        for name in try joined.datasetPaths() {
            let dataset = try joined.dataset(name)
            guard case .integer(let checksum) = try dataset.attribute(CheckpointFormat.Attribute.checksum) else {
                throw UserError(.badData, "'\(name)' has no checksum", at: joined.path)
            }
            items.append(
                CheckpointItemDescription(
                    name: name, elementType: dataset.elementType, shape: dataset.shape, checksum: UInt32(truncatingIfNeeded: checksum)))
        }
        self.items = items
        indices = Dictionary(uniqueKeysWithValues: items.enumerated().map { ($1.name, $0) })
    }

    /// Opens a `checkpoint.h5`, or a copy of one, whose seal holds.
    private static func openJoined(_ path: String) throws -> HDF5File {
        try JoinedFile.check(path)
        return try HDF5File.openReadOnly(path)
    }

    /// What a `checkpoint.h5`, or a copy of one, says that the checkpoint is.
    /// - Throws: as ``init(directory:)``.
    static func header(of path: String) throws -> (step: Int, worldSize: Int) {
        let file = try openJoined(path)
        let header = try checkHeader(try file.attributes(), path)
        try file.close()
        return header
    }

    private static func checkHeader(_ attributes: [String: CheckpointAttribute], _ path: String) throws -> (step: Int, worldSize: Int) {
        guard attributes[CheckpointFormat.Attribute.format] == .string(CheckpointFormat.joinedFormat),
            case .integer(let version) = attributes[CheckpointFormat.Attribute.version]
        else { throw UserError(.badData, "it is not a Mneme checkpoint", at: path) }
        guard version <= CheckpointFormat.version else {
            throw UserError(
                .configuration, "its format version \(version) is newer than \(CheckpointFormat.version), the newest known here", at: path,
                advice: "read it with the Mneme that wrote it")
        }
        guard case .integer(let step) = attributes[CheckpointFormat.Attribute.step],
            case .integer(let worldSize) = attributes[CheckpointFormat.Attribute.worldSize]
        else { throw UserError(.badData, "it does not say its step and world size", at: path) }
        return (Int(step), Int(worldSize))
    }

    /// Closes every file. Closing twice is harmless; a reader that goes out of use is closed then.
    public func close() throws {
        for shard in shards.values { try shard.close() }
        (shards, recentlyUsed) = ([:], [])
        try joined.close()
    }

    // MARK: Reading

    /// The item called `name`, if there is one.
    public func item(_ name: String) -> CheckpointItemDescription? { indices[name].map { items[$0] } }

    /// Reads an item.
    ///
    /// - Parameters:
    ///   - elementType: the type that the caller expects.
    ///   - shape: the shape that the caller expects.
    ///   - bytes: room for the item's bytes, exactly.
    /// - Throws: `UserError(.configuration)` naming the item and both shapes where the checkpoint holds something else; `UserError(.missingInput)` or
    ///   `UserError(.badData)` where a shard is missing or damaged.
    public func read(_ name: String, _ elementType: CheckpointElementType, shape: [Int], into bytes: UnsafeMutableRawBufferPointer) throws {
        let item = try expect(name, elementType, shape: shape)
        try read(item, rows: 0..<item.rowCount, into: bytes)
    }

    /// Reads rows of an item, such as the lanes that a rank owns.
    ///
    /// - Parameters:
    ///   - shape: the shape of the whole item that the caller expects.
    ///   - rows: the rows wanted.
    ///   - bytes: room for their bytes, exactly.
    /// - Throws: as ``read(_:_:shape:into:)``.
    public func read(
        _ name: String, _ elementType: CheckpointElementType, shape: [Int], rows: Range<Int>, into bytes: UnsafeMutableRawBufferPointer
    ) throws {
        try read(try expect(name, elementType, shape: shape), rows: rows, into: bytes)
    }

    /// An item's elements, in row-major order.
    ///
    /// - Throws: `UserError(.badData)` where there is no such item or its elements are not of `type`'s size, and as ``read(_:_:shape:into:)``.
    public func elements<Element: BitwiseCopyable>(_ name: String, as type: Element.Type) throws -> [Element] {
        guard let item = item(name) else { throw UserError(.badData, "it has no item '\(name)'", at: directory) }
        guard item.elementType.byteCount == MemoryLayout<Element>.stride else {
            throw UserError(.badData, "'\(name)' holds \(item.elementType), not \(Element.self)", at: directory)
        }
        let count = item.byteCount / MemoryLayout<Element>.stride
        return try [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
            try read(item, rows: 0..<item.rowCount, into: UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: buffer.prefix(count))))
            initialized = count
        }
    }

    /// Reads rows of an item slice by slice, without holding more than one slice.
    func forEachSlice(of item: CheckpointItemDescription, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        for part in try parts(of: item) { try dataset(of: part).forEachSlice(of: part.sourceRows, body) }
    }

    private func expect(_ name: String, _ elementType: CheckpointElementType, shape: [Int]) throws -> CheckpointItemDescription {
        guard let item = item(name) else {
            throw UserError(.configuration, "the checkpoint has no '\(name)' \(shape)", at: directory, advice: "it may be of another model")
        }
        guard item.shape == shape, item.elementType == elementType else {
            throw UserError(
                .configuration, "'\(name)' is \(item.elementType) \(item.shape) in the checkpoint, and \(elementType) \(shape) here", at: directory,
                advice: "it may be of another model")
        }
        return item
    }

    /// - Returns: the checksum of what was read.
    @discardableResult
    private func read(_ item: CheckpointItemDescription, rows: Range<Int>, into bytes: UnsafeMutableRawBufferPointer) throws -> Checksum {
        precondition(rows.lowerBound >= 0 && rows.upperBound <= item.rowCount, "\(item.name) \(item.shape) has no rows \(rows)")
        precondition(bytes.count == rows.count * item.rowByteCount, "\(item.name): \(bytes.count) bytes for rows \(rows) of \(item.shape)")
        var checksum = Checksum()
        if bytes.isEmpty { return checksum }
        for part in try parts(of: item) where part.rows.overlaps(rows) {
            let wanted = part.rows.clamped(to: rows)
            let target = (wanted.lowerBound - rows.lowerBound) * item.rowByteCount
            let buffer = UnsafeMutableRawBufferPointer(rebasing: bytes[target..<target + wanted.count * item.rowByteCount])
            let dataset = try dataset(of: part)
            let shift = part.sourceRows.lowerBound - part.rows.lowerBound
            if buffer.count >= PieceReader.smallest, let start = dataset.fileOffset {
                let place = start + (wanted.lowerBound + shift) * item.rowByteCount
                checksum.append(try PieceReader.fill(buffer, from: dataset.file.path, at: place), byteCount: buffer.count)
                continue
            }
            if item.shape.isEmpty {
                try dataset.read(into: buffer)
            } else {
                try dataset.read(into: buffer, rows: wanted.lowerBound + shift..<wanted.upperBound + shift)
            }
            checksum.update(UnsafeRawBufferPointer(buffer))
        }
        return checksum
    }

    /// Where an item's rows lie, in ascending order and without a gap.
    private func parts(of item: CheckpointItemDescription) throws -> [HDF5VirtualSource] {
        if item.byteCount == 0 { return [] }
        if let known = knownParts[item.name] { return known }
        let parts = try joined.virtualSources(of: try joined.dataset(item.name)).sorted { $0.rows.lowerBound < $1.rows.lowerBound }
        var end = 0
        for part in parts where part.rows.lowerBound == end && part.rows.count == part.sourceRows.count { end = part.rows.upperBound }
        guard end == item.rowCount, parts.reduce(0, { $0 + $1.rows.count }) == end else {
            throw UserError(.badData, "'\(item.name)' does not have all its rows", at: joined.path)
        }
        knownParts[item.name] = parts
        return parts
    }

    /// The dataset in which a part lies.
    private func dataset(of part: HDF5VirtualSource) throws -> HDF5Dataset {
        let dataset = try shard(part.file).dataset(part.dataset)
        guard part.sourceRows.upperBound <= dataset.shape.first ?? 1 else {
            throw UserError(
                .badData, "'\(part.dataset)' has \(dataset.shape.first ?? 1) rows, fewer than \(part.sourceRows.upperBound)", at: dataset.file.path)
        }
        return dataset
    }

    private func shard(_ name: String) throws -> HDF5File {
        if let shard = shards[name] {
            if let place = recentlyUsed.firstIndex(of: name) { recentlyUsed.append(recentlyUsed.remove(at: place)) }
            return shard
        }
        guard !name.contains("/") else { throw UserError(.badData, "'\(name)' is not the name of a shard", at: joined.path) }
        if shards.count == CheckpointReader.openShards { try shards.removeValue(forKey: recentlyUsed.removeFirst())?.close() }
        let path = directory + "/" + name
        try DurableFile.requireReadable(path)
        let shard = try HDF5File.openReadOnly(path)
        shards[name] = shard
        recentlyUsed.append(name)
        return shard
    }

    // MARK: Verifying

    /// Reads every item and compares it with its checksums, and the parity, where there is any, with its own.
    ///
    /// - Returns: the digest of the items, whatever the number of ranks that wrote them.
    /// - Throws: `UserError(.missingInput)` where a shard is missing; `UserError(.badData)` naming the first item that differs, or the shard that
    ///   is truncated, or the step where the directory is named after another.
    /// - Complexity: reads every byte once.
    @discardableResult
    public func verify() throws -> ContentDigest {
        if let named = CheckpointFormat.step(of: Directory.lastName(of: directory), prefix: "step-"), named != step {
            throw UserError(.badData, "it says that it is of step \(step)", at: directory, advice: "rename it, or use another checkpoint")
        }
        try requireShards()
        var digest = ContentDigest()
        for item in items {
            digest.begin(item)
            try verify(item) { digest.add($0) }
        }
        try ParitySet.verify(directory, step: step, worldSize: worldSize)
        return digest
    }

    /// Reads an item and compares what was read with its checksum.
    ///
    /// - Parameter bytes: room for the item's bytes, exactly.
    /// - Throws: as ``verify()``.
    func readVerified(_ item: CheckpointItemDescription, into bytes: UnsafeMutableRawBufferPointer) throws {
        let checksum = try read(item, rows: 0..<item.rowCount, into: bytes)
        // The shards' own checksums tell where the damage is.
        if UInt32(truncatingIfNeeded: checksum.value) != item.checksum { try verify(item) }
    }

    /// Makes sure that every shard is there and opens, without reading data.
    ///
    /// - Throws: `UserError(.missingInput)` where a shard is missing; `UserError(.badData)` where one is truncated.
    public func requireShards() throws {
        for rank in 0..<worldSize { _ = try shard(CheckpointFormat.shardFile(rank: rank, worldSize: worldSize)) }
    }

    /// Reads an item slice by slice and compares it with its checksums.
    ///
    /// - Parameter body: takes the item's bytes in order, before they are known to be right.
    /// - Throws: as ``verify()``, and what `body` throws.
    func verify(_ item: CheckpointItemDescription, _ body: (UnsafeRawBufferPointer) throws -> Void = { _ in }) throws {
        var whole = Checksum()
        for part in try parts(of: item) {
            let dataset = try dataset(of: part)
            // The item's own checksum tells of damage, the shard's tells where it is.
            var checksum = Checksum()
            try dataset.forEachSlice(of: part.sourceRows) { bytes in
                checksum.update(bytes)
                try body(bytes)
            }
            let stored = try dataset.integers(CheckpointFormat.Attribute.checksum).map { Checksum($0) }
            guard stored.contains(checksum) else {
                throw UserError(
                    .badData, "checksum mismatch in '\(item.name)' \(item.shape)", at: dataset.file.path, advice: "use another checkpoint")
            }
            whole.append(checksum, byteCount: part.rows.count * item.rowByteCount)
        }
        guard UInt32(truncatingIfNeeded: whole.value) == item.checksum else {
            throw UserError(.badData, "checksum mismatch in '\(item.name)' \(item.shape)", at: joined.path, advice: "use another checkpoint")
        }
    }
}

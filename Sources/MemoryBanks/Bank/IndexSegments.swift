// The files of a bank's index: the centroids of its lists, and which list each row of a virtual shard is in.
//
// Legend: C lists, D the width of keys.

import Checkpoints
import Diagnostics
import HDF5
import Storage
import Tensors
import VectorSearch

/// The index of a bank, as its manifest lists it.
public struct BankIndexLink: Codable, Sendable, Equatable {
    /// The commit that made it.
    public let commit: Int
    /// C.
    public let lists: Int
    /// The records that the lists were made of.
    public let records: Int
    /// The segment of the centroids.
    let centroids: String
    /// The segments of the rows' lists, by virtual shard; empty for a shard without rows.
    let members: [String]

    var segments: [String] { ([centroids] + members).filter { !$0.isEmpty } }
}

/// Reads and writes the segments of an index.
struct IndexSegments {
    let store: SegmentStore
    let layout: RowLayout
    let metric: Similarity
    /// What made the keys that the index is of.
    let generation: String

    private static let (format, version) = ("mneme-index", 1)

    private func attributes(_ kind: String) -> [(String, HDF5AttributeValue)] {
        [
            ("kind", .string(kind)), ("layout", .string(layout.digest)), ("metric", .string(metric.rawValue)),
            ("generation", .string(generation))
        ]
    }

    /// Opens a segment that belongs to this bank as it is.
    private func opened(_ name: String, _ kind: String) throws -> SegmentFile {
        guard let reference = SegmentReference(name: name) else {
            throw UserError(.badData, "'\(name)' names no segment", at: store.directory, advice: Self.advice)
        }
        let segment: SegmentFile
        do { segment = try SegmentFile(reference, in: store, format: Self.format, version: Self.version) } catch let error as UserError {
            throw UserError(error.exitCode, "the bank's index cannot be used: \(error.what)", at: error.place, advice: Self.advice)
        }
        guard try segment.text("kind") == kind else { throw refused("holds \(try segment.text("kind")), not \(kind)", segment) }
        guard try segment.text("layout") == layout.digest, try segment.text("metric") == metric.rawValue else {
            throw refused("is of another bank's index", segment)
        }
        guard try segment.text("generation") == generation else {
            throw refused("is an index of keys of another generation: \(try segment.text("generation")), not \(generation)", segment)
        }
        return segment
    }

    private static let advice = "make the index again with mneme memory index"
    private func refused(_ what: String, _ segment: SegmentFile) -> UserError {
        UserError(.badData, what, at: segment.path, advice: Self.advice)
    }

    // MARK: Centroids

    func write(centroids: Tensor) throws -> String {
        try SegmentFile.write(
            to: store, part: "index-centroids", format: Self.format, version: Self.version, attributes("centroids")
        ) { file in
            try file.createDataset("centroids", .float32, shape: centroids.shape.array).write(centroids.array)
        }.name
    }

    /// The centroids, [C, D].
    /// - Throws: `UserError` (.badData) where they are damaged, of another bank or of another generation, (.missingInput) where they are gone.
    func centroids(_ link: BankIndexLink, width: Int) throws -> Tensor {
        let segment = try opened(link.centroids, "centroids")
        let dataset = try segment.file.dataset("centroids")
        guard dataset.elementType == .float32, dataset.shape == [link.lists, width], link.lists > 0 else {
            throw refused("holds centroids of shape \(dataset.shape), not \([link.lists, width])", segment)
        }
        let values = try dataset.read(as: Float.self)
        guard values.allSatisfy({ abs($0) < 0x1p60 }) else { throw refused("holds a centroid that is not finite", segment) }
        try segment.file.close()
        return Tensor(values, [link.lists, width])
    }

    // MARK: Members of lists

    /// - Parameter rows: ascending.
    func write(rows: [Int], lists: [Int], shard: Int) throws -> String {
        try SegmentFile.write(
            to: store, part: "index-\(shard)", format: Self.format, version: Self.version,
            attributes("members") + [("shard", .integer(Int64(shard)))]
        ) { file in
            try file.write(rows.map(Int64.init), "rows", .int64)
            try file.write(lists.map(Int32.init), "lists", .int32)
        }.name
    }

    /// The rows of a virtual shard and their lists.
    /// - Throws: as ``centroids(_:width:)``.
    func members(_ link: BankIndexLink, shard: Int) throws -> [(row: Int, list: Int)] {
        guard link.members.count == layout.shards else {
            throw UserError(
                .badData, "it lists \(quantity(link.members.count, "part")) of an index for \(quantity(layout.shards, "virtual shard"))",
                at: store.directory, advice: Self.advice)
        }
        if link.members[shard].isEmpty { return [] }
        let segment = try opened(link.members[shard], "members")
        let rows = try segment.file.dataset("rows").read(as: Int64.self).map { Int($0) }
        let lists = try segment.file.dataset("lists").read(as: Int32.self).map { Int($0) }
        guard try segment.integer("shard") == shard, rows.count == lists.count, zip(rows, rows.dropFirst()).allSatisfy({ $0 < $1 }),
            rows.allSatisfy({ $0 >= 0 && layout.shard(of: $0) == shard }), lists.allSatisfy({ (0..<link.lists).contains($0) })
        else { throw refused("does not say of rows of virtual shard \(shard) which of \(quantity(link.lists, "list")) each is in", segment) }
        try segment.file.close()
        return Array(zip(rows, lists)).map { (row: $0, list: $1) }
    }
}

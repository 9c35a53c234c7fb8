// State that is too large to be written again at every checkpoint: files that only grow in number, named by what they hold.

import Diagnostics
import Foundation
import Storage

/// A file of bytes that never changes, named by its content.
public struct SegmentReference: Sendable, Hashable {
    /// XXH64 of the bytes.
    public let hash: UInt64
    /// The number of bytes.
    public let byteCount: Int

    /// A reference to `bytes`.
    public init(of bytes: UnsafeRawBufferPointer) {
        var hash = XXHash64()
        hash.update(bytes)
        (self.hash, byteCount) = (hash.finalized(), bytes.count)
    }

    fileprivate init(hash: UInt64, byteCount: Int) { (self.hash, self.byteCount) = (hash, byteCount) }

    /// The file's name: sixteen hexadecimal digits of the hash, a hyphen and the number of bytes.
    public var name: String {
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits + "-\(byteCount)"
    }

    /// The reference that a name spells; `nil` for any other text.
    public init?(name: some StringProtocol) {
        let fields = name.split(separator: "-", omittingEmptySubsequences: false)
        guard fields.count == 2, fields[0].utf8.count == 16, let hash = UInt64(fields[0], radix: 16), let count = Int(fields[1]), count >= 0 else { return nil }
        self.init(hash: hash, byteCount: count)
        if self.name != String(name) { return nil }
    }
}

/// The segments of a run, in the folder `segments` of its directory. Checkpoints name those that they consist of, and share them.
///
/// A segment is on the disk before a checkpoint that names it is published, and goes when no checkpoint names it any more.
public struct SegmentStore: Sendable {
    /// The folder.
    public let directory: String

    /// The segments of a run.
    public init(run directory: String) { self.directory = directory + "/segments" }

    /// Where a segment lies.
    public func path(of segment: SegmentReference) -> String { "\(directory)/\(segment.name)" }

    /// Writes bytes, unless they are there already; a damaged file of their name is replaced.
    /// - Throws: `UserError` (.inputOutput).
    public func write(_ bytes: [UInt8]) throws -> SegmentReference {
        let segment = bytes.withUnsafeBytes { SegmentReference(of: $0) }
        if holds(segment) { return segment }
        try Directory.make(directory)
        try DurableFile.replace(path(of: segment), by: bytes)
        return segment
    }

    /// Where a writer of a large segment makes its file before ``adopt(_:)``: a hidden name in the folder, which is made where it does not exist.
    /// - Parameter part: tells the files of one process apart.
    /// - Throws: `UserError` (.inputOutput).
    public func unfinishedPath(_ part: String) throws -> String {
        try Directory.make(directory)
        let path = "\(directory)/.\(part).partial-\(getpid())"
        try Directory.remove(path)
        return path
    }

    /// Takes a finished file of the folder in: its bytes are hashed and synced, and it gets the segment's name. The folder is synced by
    /// ``synchronize()``, once for many. A damaged file of that name is replaced.
    /// - Throws: `UserError` (.inputOutput); the file is removed then.
    public func adopt(_ unfinished: String) throws -> SegmentReference {
        do {
            try Failpoint.segmentSync.pass(unfinished)
            let segment = try withExtendedLifetime(MappedFile(unfinished)) { SegmentReference(of: $0.bytes) }
            if holds(segment) {
                try Directory.remove(unfinished)
                return segment
            }
            try DurableFile.synchronize(unfinished)
            try Failpoint.segmentRename.pass(unfinished)
            try Directory.rename(unfinished, to: path(of: segment))
            return segment
        } catch {
            try? Directory.remove(unfinished)
            throw error
        }
    }

    /// Whether a segment is there, undamaged.
    private func holds(_ segment: SegmentReference) -> Bool {
        Directory.exists(path(of: segment)) == .file && (try? verify(segment)) != nil
    }

    /// Puts a segment into another store too: by a link, or a copy where a link cannot be made. The other folder is synced by ``synchronize()``.
    /// - Throws: `UserError`: (.missingInput) where it is gone, (.badData) where it is damaged, (.inputOutput).
    public func share(_ segment: SegmentReference, with other: SegmentStore) throws {
        if Directory.exists(other.path(of: segment)) == .file { return }
        try verify(segment)
        try Directory.make(other.directory)
        if withSystemPaths(path(of: segment), other.path(of: segment), link) == 0 { return }
        _ = try other.write(read(segment))
    }

    /// Makes the names of adopted segments last through a crash.
    /// - Throws: `UserError` (.inputOutput).
    public func synchronize() throws { if Directory.exists(directory) == .directory { try Directory.synchronize(directory) } }

    /// Compares a segment with its name, without a copy in memory.
    /// - Throws: as ``read(_:)``.
    public func verify(_ segment: SegmentReference) throws {
        let path = path(of: segment)
        let damage = UserError(.badData, "checksum mismatch: the segment is damaged", at: path, advice: "restore the file from a copy")
        let file = try MappedFile(path) { guard $0 == segment.byteCount else { throw damage } }
        guard withExtendedLifetime(file, { SegmentReference(of: $0.bytes) }) == segment else { throw damage }
    }

    /// The bytes of a segment, checked against its name.
    /// - Throws: `UserError`: (.missingInput) where it is gone, (.badData) where it is damaged.
    public func read(_ segment: SegmentReference) throws -> [UInt8] {
        let bytes = try DurableFile.read(path(of: segment))
        guard bytes.withUnsafeBytes({ SegmentReference(of: $0) }) == segment else {
            throw UserError(.badData, "checksum mismatch: the segment is damaged", at: path(of: segment), advice: "use another checkpoint")
        }
        return bytes
    }

    /// Removes segments that no checkpoint names.
    /// - Returns: a line for each that could not be removed.
    public func sweep(keeping named: Set<SegmentReference>) throws -> [String] {
        try Directory.names(in: directory).compactMap { name in
            if let segment = SegmentReference(name: name), named.contains(segment) { return nil }
            do { try Directory.remove("\(directory)/\(name)") } catch { return "warning: \(error)" }
            return nil
        }
    }
}

extension StateItem {
    /// An item that is a list of segments: text, a line with the name of each, the same on every rank.
    ///
    /// - Parameters:
    ///   - save: the segments of all ranks in their order, already written. Called on every rank, so it may be collective.
    ///   - restore: takes them; reads those that it needs.
    public init(
        segments name: String, ifAbsent: (() -> Void)? = nil, save: @escaping () throws -> [SegmentReference],
        restore: @escaping ([SegmentReference]) throws -> Void
    ) {
        self.init(name, .uint8, ifAbsent: ifAbsent, save: { Array(try save().map { $0.name + "\n" }.joined().utf8) }) { (bytes: [UInt8]) in
            try restore(try SegmentReference.list(bytes, name))
        }
    }
}

extension SegmentReference {
    static func list(_ bytes: [UInt8], _ item: String) throws -> [SegmentReference] {
        try String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { line in
            guard let segment = SegmentReference(name: line) else {
                throw UserError(.badData, "'\(item)' names a segment '\(line)', which is none", advice: "use another checkpoint")
            }
            return segment
        }
    }
}

extension CheckpointReader {
    /// The segments that items of these names list.
    /// - Throws: `UserError` (.badData).
    public func segments(_ names: [String]) throws -> Set<SegmentReference> {
        try names.reduce(into: []) { all, name in
            guard item(name) != nil else { return }
            all.formUnion(try SegmentReference.list(try elements(name, as: UInt8.self), name))
        }
    }
}

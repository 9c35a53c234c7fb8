// The names and numbers of the checkpoint format. checkpoints/FORMAT.md explains them.

import HDF5
import Storage

/// The type of an item's elements.
public typealias CheckpointElementType = HDF5ElementType

/// The value of an attribute of a checkpoint.
public typealias CheckpointAttribute = HDF5AttributeValue

/// What the files of a checkpoint are called, and what they say about themselves.
public enum CheckpointFormat {
    /// The version of the format that is written, and the newest one that is read.
    public static let version = 1
    /// The `format` attribute of `checkpoint.h5`.
    static let joinedFormat = "mneme-checkpoint"

    /// The file that joins the shards.
    public static let joinedFile = "checkpoint.h5"

    /// The file that rank `rank` of `worldSize` writes.
    static func shardFile(rank: Int, worldSize: Int) -> String { "shard-\(rank)-of-\(worldSize).h5" }

    /// The directory of a published checkpoint.
    public static func directory(step: Int) -> String { "step-\(step)" }

    /// The directory in which a checkpoint is written.
    static func partialDirectory(step: Int) -> String { ".partial-step-\(step)" }

    /// The directory of a checkpoint that is about to be replaced by one of the same step.
    static func replacedDirectory(step: Int) -> String { ".replaced-step-\(step)" }

    /// The copy of ``joinedFile`` that is kept with the parity.
    static let joinedCopy = "parity-checkpoint.h5"

    /// The file with a part of the parity.
    static func parityFile(index: Int, count: Int) -> String { "parity-\(index)-of-\(count)" }

    /// A file under this name takes the place of a damaged one when it is whole.
    static func restoredFile(_ name: String) -> String { restorationPrefix + name }
    static let restorationPrefix = ".restoring-"

    /// Whether a name is one of those that a checkpoint's files have, or what a repair that was killed leaves.
    static func isOwn(_ name: String) -> Bool {
        name == joinedFile || name.hasPrefix("shard-") && name.hasSuffix(".h5") || isParity(name) || isRestoration(name)
    }

    /// Whether a file holds redundancy: a part of the parity, or the copy of ``joinedFile``.
    static func isParity(_ name: String) -> Bool { name.hasPrefix("parity-") }

    /// Whether a name is one under which a repair writes.
    static func isRestoration(_ name: String) -> Bool { name.hasPrefix(restorationPrefix) || DurableFile.isPartial(name) }

    /// The step of a directory's name that starts with `prefix`, such as `step-` or `.partial-step-`.
    static func step(of name: String, prefix: String) -> Int? {
        guard name.hasPrefix(prefix), let step = Int(name.dropFirst(prefix.count)), step >= 0, name == prefix + String(step) else { return nil }
        return step
    }

    /// Names of attributes.
    enum Attribute {
        static let format = "format"
        static let version = "format_version"
        static let step = "step"
        static let worldSize = "world_size"
        static let rank = "rank"
        static let created = "created"
        static let checksum = "crc32"
        static let shape = "shape"
        static let rows = "rows"
        /// Those of `checkpoint.h5` that the writer sets itself.
        static let reserved: Set<String> = [format, version, step, worldSize, created]
    }
}

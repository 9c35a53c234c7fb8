// The names and numbers of the checkpoint format. checkpoints/FORMAT.md explains them.

import HDF5

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

    /// Whether a name is one of those that a checkpoint's files have.
    static func isOwn(_ name: String) -> Bool { name == joinedFile || name.hasPrefix("shard-") && name.hasSuffix(".h5") }

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

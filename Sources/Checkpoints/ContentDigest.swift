// One number for what a checkpoint holds, whatever the number of ranks that wrote it.

import Storage

/// The digest of a checkpoint's items: equal for equal items, however they lie in shards. Attributes, such as the time of writing, take no part.
///
/// It is the XXH64 of, for each item in order of the bytes of its name: the name in UTF-8 and a zero byte, the name of the element type and a zero byte,
/// the number of axes and the extents as 64-bit integers, and the elements in row-major order; all numbers little-endian. It detects accidents, and is
/// no defence against a forger.
public struct ContentDigest: Sendable, Equatable, CustomStringConvertible {
    private var hash = XXHash64()

    /// The digest of no items.
    init() {}

    public static func == (one: ContentDigest, other: ContentDigest) -> Bool { one.hash.finalized() == other.hash.finalized() }

    /// Sixteen hexadecimal digits.
    public var description: String {
        let digits = String(hash.finalized(), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Begins the next item; its bytes follow through ``add(_:)``.
    mutating func begin(_ item: CheckpointItemDescription) {
        for text in [item.name, item.elementType.rawValue] { (Array(text.utf8) + [0]).withUnsafeBytes { hash.update($0) } }
        ([item.shape.count] + item.shape).map { UInt64($0).littleEndian }.withUnsafeBytes { hash.update($0) }
    }

    /// Adds the next bytes of the item.
    mutating func add(_ bytes: UnsafeRawBufferPointer) { hash.update(bytes) }
}

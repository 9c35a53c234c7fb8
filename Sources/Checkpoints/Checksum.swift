// CRC-32, as zlib and Python's zlib.crc32 compute it.

import CZlib
import HDF5

/// A running CRC-32 (ISO 3309, polynomial 0xEDB88320 reflected). It finds every burst of up to 32 wrong bits; it does not guard against intent.
struct Checksum: Equatable {
    private(set) var value: UInt = 0

    init() {}

    init(_ value: Int64) { self.value = UInt(truncatingIfNeeded: value) }

    /// The checksum as attributes hold it: 0 ..< 2^32.
    var stored: Int64 { Int64(value) }

    /// Adds `bytes`. Some 4 GB/s on a current core.
    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
        value = crc32_z(value, start.assumingMemoryBound(to: UInt8.self), bytes.count)
    }

    /// Adds bytes that are known by their checksum and count only.
    ///
    /// - Complexity: O(log `byteCount`).
    mutating func append(_ other: Checksum, byteCount: Int) {
        value = crc32_combine(value, other.value, byteCount)
    }

    /// The checksum of attributes: names in order of their bytes, each followed by a zero byte and the value's bytes (UTF-8, or little-endian
    /// 64-bit numbers).
    init(attributes: [String: CheckpointAttribute]) {
        for name in attributes.keys.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
            update(utf8: name)
            withUnsafeBytes(of: UInt8(0)) { update($0) }
            switch attributes[name] {
            case .string(let text): update(utf8: text)
            case .integer(let number): withUnsafeBytes(of: number.littleEndian) { update($0) }
            case .real(let number): withUnsafeBytes(of: number.bitPattern.littleEndian) { update($0) }
            case .integers(let numbers): numbers.map(\.littleEndian).withUnsafeBytes { update($0) }
            case .reals(let numbers): numbers.map(\.bitPattern.littleEndian).withUnsafeBytes { update($0) }
            case nil: break
            }
        }
    }

    private mutating func update(utf8 text: String) {
        var text = text
        text.withUTF8 { update(UnsafeRawBufferPointer($0)) }
    }
}

// What a set of rows is, in 64 bits, whatever the order in which they came.

import Kernels
import Storage
import Tensors

/// The sum of a hash of each row: XXH64 over identifier, namespace and numbers, as they lie in memory of a little-endian machine. Rows can be added and
/// taken away. It tells one bank from another; it is no defence against a forger.
public struct RowDigest: Equatable, Sendable {
    /// The sum, modulo 2^64.
    public private(set) var value: UInt64 = 0

    /// Of no rows.
    public init() {}
    /// As it was saved.
    public init(value: UInt64) { self.value = value }

    /// Adds rows.
    ///
    /// - Parameters:
    ///   - rows: [n, D], float32.
    ///   - ids: of each row.
    ///   - namespaces: of each row.
    /// - Complexity: reads the rows once.
    public mutating func add(_ rows: Tensor, _ ids: [Int], _ namespaces: [UInt32]) {
        let dimension = rows.shape[1]
        let parts = max(1, Workers.parts(ids.count, minimum: 1024))
        var sums = [UInt64](repeating: 0, count: parts)
        sums.withUnsafeMutableBufferPointer { sums in
            guard let base = sums.baseAddress else { return }
            let target = Writable(base)
            Workers.parallel(parts, minimum: 1) { range in
                for part in range {
                    for row in Workers.range(part, of: parts, count: ids.count) {
                        target.pointer[part] &+= Self.hash(rows.elements + row * dimension, dimension, ids[row], namespaces[row])
                    }
                }
            }
        }
        for sum in sums { value &+= sum }
    }

    /// Takes a row away that was added.
    mutating func remove(_ row: Elements, _ dimension: Int, _ id: Int, _ namespace: UInt32) {
        value &-= Self.hash(row, dimension, id, namespace)
    }

    private static func hash(_ row: Elements, _ dimension: Int, _ id: Int, _ namespace: UInt32) -> UInt64 {
        var hash = XXHash64()
        withUnsafeBytes(of: (id.littleEndian, UInt64(namespace).littleEndian)) { hash.update($0) }
        hash.update(UnsafeRawBufferPointer(start: row.address, count: dimension * row.type.byteCount))
        return hash.finalized()
    }
}

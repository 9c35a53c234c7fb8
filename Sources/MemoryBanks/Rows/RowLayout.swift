// What the rows of a long-lived memory consist of, and where each of them belongs.

import Diagnostics
import Storage

/// A column of a table of rows.
public struct RowColumn: Sendable, Hashable, Codable {
    /// The type of its elements; in files little-endian, bfloat16 as the upper 16 bits of a float32 (uint16).
    public enum Element: String, Sendable, Codable, CaseIterable {
        case uint8, int32, int64, float32, bfloat16

        /// Bytes of an element.
        public var byteCount: Int {
            switch self {
            case .uint8: 1
            case .bfloat16: 2
            case .int32, .float32: 4
            case .int64: 8
            }
        }
    }

    /// Its name: a path of a dataset.
    public let name: String
    /// The type of its elements.
    public let element: Element
    /// Elements of a row; `nil` where each row has its own number of them.
    public let width: Int?

    /// A column whose rows have `width` elements each, or any number of them.
    public init(_ name: String, _ element: Element, width: Int?) { (self.name, self.element, self.width) = (name, element, width) }
}

/// The columns of a table, and how its rows are cut: `blockRows` of them are a block, and block b belongs to virtual shard b mod `shards`.
///
/// Virtual shards are fixed, and ranks own them: whatever the number of ranks, a shard's rows, files and bits are the same.
public struct RowLayout: Sendable, Hashable, Codable {
    /// The columns in their order.
    public let columns: [RowColumn]
    /// Rows of a block.
    public let blockRows: Int
    /// Virtual shards, a power of two.
    public let shards: Int

    /// - Precondition: names differ; `blockRows` is at least 1; `shards` is a power of two.
    public init(columns: [RowColumn], blockRows: Int, shards: Int) {
        require(Set(columns.map(\.name)).count == columns.count, "two columns have one name")
        require(blockRows >= 1 && shards >= 1 && shards & (shards - 1) == 0, "blocks of \(blockRows) rows in \(shards) shards")
        (self.columns, self.blockRows, self.shards) = (columns, blockRows, shards)
    }

    /// The columns of fixed width.
    var fixed: [RowColumn] { columns.filter { $0.width != nil } }
    /// The columns whose rows have any number of elements.
    var variable: [RowColumn] { columns.filter { $0.width == nil } }

    /// The block of a row.
    func block(of row: Int) -> Int { row / blockRows }
    /// The virtual shard of a row.
    public func shard(of row: Int) -> Int { row / blockRows % shards }

    /// Sixteen hexadecimal digits that two layouts share only where they are equal.
    public var digest: String {
        let text =
            columns.map { "\($0.name) \($0.element.rawValue) \($0.width.map(String.init) ?? "any")\n" }.joined() + "\(blockRows) \(shards)"
        return hexadecimal(XXHash64.of(Array(text.utf8)))
    }
}

extension RowColumn {
    /// Bytes of a row of a column of fixed width.
    var rowBytes: Int { (width ?? 0) * element.byteCount }
}

extension XXHash64 {
    /// The hash of some bytes.
    static func of(_ bytes: [UInt8]) -> UInt64 {
        var hash = XXHash64()
        bytes.withUnsafeBytes { hash.update($0) }
        return hash.finalized()
    }

    /// Adds an integer as eight bytes, little-endian.
    mutating func update(_ value: Int) { withUnsafeBytes(of: Int64(value).littleEndian) { update($0) } }
    /// Adds a hash as eight bytes, little-endian.
    mutating func update(_ value: UInt64) { withUnsafeBytes(of: value.littleEndian) { update($0) } }
}

/// Sixteen hexadecimal digits.
func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}

/// The values of one row.
public struct RowImage: Sendable, Hashable {
    /// The bytes of the columns of fixed width, one after the other in their order.
    public var fixed: [UInt8]
    /// The bytes of each column of variable width.
    public var variable: [[UInt8]]

    /// A row of these bytes.
    public init(fixed: [UInt8], variable: [[UInt8]]) { (self.fixed, self.variable) = (fixed, variable) }

    /// Bytes in all.
    var byteCount: Int { variable.reduce(fixed.count) { $0 + $1.count } }
}

/// Values of rows that were never written, drawn anew wherever they are read, so that no file holds them.
///
/// A row's values depend on the row, the column and what the generator was made with, on nothing else.
public protocol RowGenerator: Sendable {
    /// The values of a row.
    /// - Returns: an image of the table's layout.
    func image(of row: Int, _ layout: RowLayout) -> RowImage
}

// A file of rows: a base, what a commit changed since, or what a commit replaced.

import Checkpoints
import Diagnostics
import HDF5
import Storage

/// Rows of one virtual shard, as a segment holds them.
struct RowSegment {
    enum Kind: String {
        /// All rows of the shard.
        case base
        /// The rows that a commit changed, and the numbers of those that it removed.
        case delta
        /// The rows that a commit changed or removed, as they were before, and the numbers of those that it made.
        case undo
    }

    let kind: Kind
    /// The commit that wrote it.
    let commit: Int
    /// Its place in the chain: 0 for a base, then 1, 2, ...; of an undo 0.
    let link: Int
    let shard: Int
    /// The name of the segment before it in the chain; empty for a base and an undo.
    let parent: String
    /// Row numbers, ascending.
    var rows: [Int] = []
    var removed: [Int] = []
    /// By column of fixed width: the rows' bytes.
    var fixed: [[UInt8]]
    /// By column of variable width: the rows' bytes, and where each row begins, with the end of the last.
    var variable: [(bytes: [UInt8], starts: [Int])]
    /// The blocks that it touches, and their hashes with it applied.
    var blocks: [(number: Int, digest: UInt64)] = []

    init(_ kind: Kind, commit: Int, link: Int, shard: Int, parent: String, _ layout: RowLayout) {
        (self.kind, self.commit, self.link, self.shard, self.parent) = (kind, commit, link, shard, parent)
        fixed = layout.fixed.map { _ in [] }
        variable = layout.variable.map { _ in ([], [0]) }
    }

    /// Adds the next row.
    mutating func append(_ row: Int, _ image: RowImage, _ layout: RowLayout) {
        rows.append(row)
        var start = 0
        for (index, column) in layout.fixed.enumerated() {
            fixed[index] += image.fixed[start..<(start + column.rowBytes)]
            start += column.rowBytes
        }
        for index in variable.indices {
            variable[index].bytes += image.variable[index]
            variable[index].starts.append(variable[index].bytes.count)
        }
    }

    /// Adds the next row from a block.
    mutating func append(_ row: Int, of block: RowBlock, slot: Int) {
        rows.append(row)
        for index in fixed.indices { fixed[index] += block.fixedBytes(index, slot) }
        for index in variable.indices {
            variable[index].bytes += block.variableBytes(index, slot)
            variable[index].starts.append(variable[index].bytes.count)
        }
    }

    /// A row by its place in the segment.
    func image(_ index: Int, _ layout: RowLayout) -> RowImage {
        var bytes: [UInt8] = []
        for (column, values) in zip(layout.fixed, fixed) { bytes += values[(index * column.rowBytes)..<((index + 1) * column.rowBytes)] }
        return RowImage(fixed: bytes, variable: variable.map { Array($0.bytes[$0.starts[index]..<$0.starts[index + 1]]) })
    }

    // MARK: The file

    private static let (format, version) = ("mneme-rows", 1)

    /// Writes it as an HDF5 file and takes that into the store.
    /// - Throws: `UserError` (.inputOutput).
    func write(to store: SegmentStore, _ layout: RowLayout) throws -> SegmentReference {
        let attributes: [(String, HDF5AttributeValue)] = [
            ("kind", .string(kind.rawValue)), ("commit", .integer(Int64(commit))), ("link", .integer(Int64(link))),
            ("shard", .integer(Int64(shard))), ("parent", .string(parent)), ("layout", .string(layout.digest)),
            ("block_rows", .integer(Int64(layout.blockRows))), ("shards", .integer(Int64(layout.shards)))
        ]
        return try SegmentFile.write(
            to: store, part: "rows-\(shard)-\(kind.rawValue)", format: Self.format, version: Self.version, attributes
        ) { file in
            try file.write(rows.map(Int64.init), "rows", .int64)
            try file.write(removed.map(Int64.init), "removed", .int64)
            try file.write(blocks.map { Int64($0.number) }, "blocks", .int64)
            try file.write(blocks.map(\.digest), "block_digests", .uint64)
            try RowDatasets.write(fixed: fixed, variable: variable, rows: rows.count, layout, under: "columns", file)
        }
    }

    /// Reads a segment that the store holds.
    /// - Throws: `UserError` (.badData) where it is damaged or not what its place asks for, (.missingInput) where it is gone.
    init(_ segment: SegmentReference, in store: SegmentStore, _ layout: RowLayout) throws {
        let opened = try SegmentFile(segment, in: store, format: Self.format, version: Self.version)
        let file = opened.file
        guard try opened.text("layout") == layout.digest else { throw opened.refused("its columns or blocks are those of another layout") }
        guard let kind = Kind(rawValue: try opened.text("kind")) else {
            throw opened.refused("is of the unknown kind '\(try opened.text("kind"))'")
        }
        self.init(
            kind, commit: try opened.integer("commit"), link: try opened.integer("link"), shard: try opened.integer("shard"),
            parent: try opened.text("parent"), layout)
        rows = try file.dataset("rows").read(as: Int64.self).map { Int($0) }
        removed = try file.dataset("removed").read(as: Int64.self).map { Int($0) }
        let numbers = try file.dataset("blocks").read(as: Int64.self)
        let digests = try file.dataset("block_digests").read(as: UInt64.self)
        guard numbers.count == digests.count else {
            throw opened.refused("it has \(numbers.count) blocks and \(digests.count) hashes of them")
        }
        blocks = zip(numbers, digests).map { (Int($0), $1) }
        (fixed, variable) = try RowDatasets.read(rows: rows.count, layout, under: "columns", file)
        for row in rows + removed where row < 0 || layout.shard(of: row) != shard {
            throw opened.refused("row \(row) is not of virtual shard \(shard)")
        }
        try file.close()
    }
}

/// The columns of rows as datasets: one of fixed width as a matrix, or a list where it has one element a row; one of variable width as the
/// group of `values` and `offsets`, row i being `values[offsets[i]:offsets[i + 1]]`.
enum RowDatasets {
    private static func type(_ element: RowColumn.Element) -> HDF5ElementType {
        switch element {
        case .uint8: .uint8
        case .int32: .int32
        case .int64: .int64
        case .float32: .float32
        case .bfloat16: .uint16
        }
    }

    static func write(
        fixed: [[UInt8]], variable: [(bytes: [UInt8], starts: [Int])], rows: Int, _ layout: RowLayout, under group: String, _ file: HDF5File
    ) throws {
        for (column, bytes) in zip(layout.fixed, fixed) {
            let width = column.width ?? 1
            let dataset = try file.createDataset(
                "\(group)/\(column.name)", type(column.element), shape: width == 1 ? [rows] : [rows, width])
            try bytes.withUnsafeBytes { try dataset.write($0) }
            if column.element == .bfloat16 { try dataset.setAttribute("element", .string("bfloat16")) }
        }
        for (column, values) in zip(layout.variable, variable) {
            let size = column.element.byteCount
            let dataset = try file.createDataset("\(group)/\(column.name)/values", type(column.element), shape: [values.bytes.count / size])
            try values.bytes.withUnsafeBytes { try dataset.write($0) }
            try file.createDataset("\(group)/\(column.name)/offsets", .int64, shape: [rows + 1]).write(
                values.starts.map { Int64($0 / size) })
        }
    }

    static func read(rows: Int, _ layout: RowLayout, under group: String, _ file: HDF5File) throws -> (
        fixed: [[UInt8]], variable: [(bytes: [UInt8], starts: [Int])]
    ) {
        func bytes(_ name: String, _ element: RowColumn.Element, count: Int?) throws -> [UInt8] {
            let dataset = try file.dataset(name)
            guard dataset.elementType == type(element), count.map({ $0 * element.byteCount == dataset.byteCount }) ?? true else {
                throw UserError(
                    .badData, "dataset '\(name)' has another type or size than its column", at: file.path,
                    advice: "restore the file from a copy")
            }
            var bytes = [UInt8](repeating: 0, count: dataset.byteCount)
            try bytes.withUnsafeMutableBytes { try dataset.read(into: $0) }
            return bytes
        }
        let fixed = try layout.fixed.map { try bytes("\(group)/\($0.name)", $0.element, count: rows * ($0.width ?? 1)) }
        let variable = try layout.variable.map { column in
            let values = try bytes("\(group)/\(column.name)/values", column.element, count: nil)
            let starts = try file.dataset("\(group)/\(column.name)/offsets").read(as: Int64.self).map { Int($0) * column.element.byteCount }
            guard starts.count == rows + 1, starts.first == 0, starts.last == values.count,
                zip(starts, starts.dropFirst()).allSatisfy({ $0 <= $1 })
            else {
                throw UserError(
                    .badData, "the offsets of column '\(column.name)' do not fit its values", at: file.path,
                    advice: "restore the file from a copy")
            }
            return (bytes: values, starts: starts)
        }
        return (fixed, variable)
    }
}

// What a rank hands over to be saved: named arrays, and which of their rows it holds.

import HDF5

/// Which rows of an item this rank holds. A row is all that shares one index of the first axis.
public enum CheckpointPlacement: Sendable, Hashable {
    /// Every rank holds all rows, with equal values. The ranks share the writing.
    case replicated
    /// This rank holds these rows of the whole, in ascending order and without overlap, and the source holds their bytes one after the other.
    /// Over all ranks every row has one holder. The list may be empty.
    case rows([Range<Int>])
}

/// A named array to be saved, such as a parameter, a moment of the optimizer, or the memory of lanes.
///
/// A borrowed source has to stay as it is until ``CheckpointWriter/begin(step:attributes:items:)`` returns, and no longer.
public struct CheckpointItem {
    /// Where the bytes are.
    enum Source {
        case borrowed(UnsafeRawBufferPointer)
        case owned([UInt8])
    }

    /// A stable path such as `parameters/blocks.0.attention.qkv.weight`; its parts become HDF5 groups.
    public let name: String
    /// The type of its elements.
    public let elementType: CheckpointElementType
    /// The whole item's extents, over all ranks; empty for a single element.
    public let shape: [Int]
    /// Which rank holds which rows.
    public let placement: CheckpointPlacement
    let source: Source

    /// An item whose bytes lie in memory of the caller's.
    ///
    /// - Parameter bytes: row-major elements, of all rows or of those that `placement` names. Borrowed until the writer has copied them.
    /// - Precondition: the count of bytes fits.
    public init(
        _ name: String, _ elementType: CheckpointElementType, shape: [Int], placement: CheckpointPlacement = .replicated,
        bytes: UnsafeRawBufferPointer
    ) {
        self.init(name, elementType, shape, placement, .borrowed(bytes), byteCount: bytes.count)
    }

    /// A small item that brings its own elements, such as a position or the state of a random generator.
    ///
    /// - Parameters:
    ///   - elements: of all rows or of those that `placement` names. Their size is that of `elementType`.
    ///   - shape: the whole item's extents; a list as long as `elements` unless given.
    public init<Element: BitwiseCopyable>(
        _ name: String, _ elementType: CheckpointElementType, shape: [Int]? = nil, placement: CheckpointPlacement = .replicated, elements: [Element]
    ) {
        precondition(MemoryLayout<Element>.stride == elementType.byteCount, "\(name): \(Element.self) is not \(elementType)")
        let bytes = elements.withUnsafeBytes { Array($0) }
        self.init(name, elementType, shape ?? [elements.count], placement, .owned(bytes), byteCount: bytes.count)
    }

    /// An item that brings the bytes of its elements.
    init(_ name: String, _ elementType: CheckpointElementType, shape: [Int], placement: CheckpointPlacement, owned bytes: [UInt8]) {
        self.init(name, elementType, shape, placement, .owned(bytes), byteCount: bytes.count)
    }

    private init(
        _ name: String, _ elementType: CheckpointElementType, _ shape: [Int], _ placement: CheckpointPlacement, _ source: Source, byteCount: Int
    ) {
        self.name = name
        self.elementType = elementType
        self.shape = shape
        self.placement = placement
        self.source = source
        precondition(CheckpointItem.isPath(name), "'\(name)' is not a path of an item")
        let held = heldRows.reduce(0) { $0 + $1.count } * rowByteCount
        precondition(byteCount == held, "\(name): \(byteCount) bytes for \(placement) of shape \(shape)")
    }

    /// Rows of the whole item. A single element counts as one row.
    package var rowCount: Int { shape.first ?? 1 }
    /// Bytes of one row.
    package var rowByteCount: Int { shape.dropFirst().reduce(elementType.byteCount, *) }
    /// Bytes of the whole item.
    var byteCount: Int { rowCount * rowByteCount }

    /// The rows that this rank holds.
    package var heldRows: [Range<Int>] {
        switch placement {
        case .replicated: return [0..<rowCount]
        case .rows(let rows):
            var end = 0
            for range in rows {
                precondition(range.lowerBound >= end && range.upperBound <= rowCount, "\(name) of shape \(shape) cannot be held as rows \(rows)")
                end = range.upperBound
            }
            return rows.filter { !$0.isEmpty }
        }
    }

    /// The same item with the rows of several holders.
    ///
    /// - Parameter holdings: the rows of each, ascending, and their bytes one after the other. No row is held twice.
    package func joining(_ holdings: [(rows: [Range<Int>], bytes: ArraySlice<UInt8>)]) -> CheckpointItem {
        var parts: [(rows: Range<Int>, bytes: ArraySlice<UInt8>)] = []
        for holding in holdings {
            var start = holding.bytes.startIndex
            for range in holding.rows {
                let end = start + range.count * rowByteCount
                parts.append((range, holding.bytes[start..<end]))
                start = end
            }
        }
        parts.sort { $0.rows.lowerBound < $1.rows.lowerBound }
        // Neighbouring ranges are one: a range costs a checksum and a source of a virtual dataset.
        let joined = parts.reduce(into: [Range<Int>]()) { ranges, part in
            if let last = ranges.last, last.upperBound == part.rows.lowerBound {
                ranges[ranges.count - 1] = last.lowerBound..<part.rows.upperBound
            } else {
                ranges.append(part.rows)
            }
        }
        return CheckpointItem(name, elementType, shape: shape, placement: .rows(joined), owned: parts.flatMap(\.bytes))
    }

    /// Calls `body` with the bytes of the rows that this rank holds.
    package func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        switch source {
        case .borrowed(let bytes): try body(bytes)
        case .owned(let bytes): try bytes.withUnsafeBytes(body)
        }
    }

    /// Whether `name` is a relative path whose parts HDF5 takes as names.
    private static func isPath(_ name: String) -> Bool {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        return parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." } && !name.utf8.contains(0)
    }
}

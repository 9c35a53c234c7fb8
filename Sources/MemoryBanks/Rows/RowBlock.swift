// The rows of one block in memory: those that exist, column by column, without gaps.

import Diagnostics
import Storage

/// A block. Rows lie in slots in the order in which they came; a row that goes gives its slot to the last one.
final class RowBlock {
    /// Bytes of rows of any length: appended, and packed anew when half of them are nobody's.
    private struct VariableRows {
        var bytes: [UInt8] = []
        var starts: [Int] = []
        var counts: [Int] = []
        var unused = 0

        func row(_ slot: Int) -> ArraySlice<UInt8> { bytes[starts[slot]..<(starts[slot] + counts[slot])] }

        mutating func append(_ row: [UInt8]) {
            starts.append(bytes.count)
            counts.append(row.count)
            bytes += row
        }

        /// Appends rows that lie one after the other: row i is `bytes[starts[i]..<starts[i + 1]]`.
        mutating func append(_ rows: (bytes: [UInt8], starts: [Int]), _ range: Range<Int>) {
            let shift = bytes.count - rows.starts[range.lowerBound]
            bytes += rows.bytes[rows.starts[range.lowerBound]..<rows.starts[range.upperBound]]
            starts += range.map { rows.starts[$0] + shift }
            counts += range.map { rows.starts[$0 + 1] - rows.starts[$0] }
        }

        /// Appends all rows, in the order of their slots, to rows that lie one after the other.
        func append(to rows: inout (bytes: [UInt8], starts: [Int])) {
            for slot in starts.indices {
                rows.bytes += row(slot)
                rows.starts.append(rows.bytes.count)
            }
        }

        mutating func set(_ slot: Int, _ row: [UInt8]) {
            if row.count <= counts[slot] {
                unused += counts[slot] - row.count
                bytes.replaceSubrange(starts[slot]..<(starts[slot] + row.count), with: row)
            } else {
                unused += counts[slot]
                starts[slot] = bytes.count
                bytes += row
            }
            counts[slot] = row.count
            packIfSparse()
        }

        /// The last row takes the place of a row that goes.
        mutating func remove(_ slot: Int) {
            unused += counts[slot]
            starts.swapAt(slot, starts.count - 1)
            counts.swapAt(slot, counts.count - 1)
            starts.removeLast()
            counts.removeLast()
            packIfSparse()
        }

        private mutating func packIfSparse() {
            guard unused > 4096, unused * 2 > bytes.count else { return }
            var packed: [UInt8] = []
            packed.reserveCapacity(bytes.count - unused)
            for slot in starts.indices {
                let row = row(slot)
                starts[slot] = packed.count
                packed += row
            }
            (bytes, unused) = (packed, 0)
        }
    }

    let number: Int
    /// By place in the block: the slot, or -1.
    private var slots: [Int32]
    /// By slot: the place in the block.
    private(set) var places: [Int32] = []
    /// By column of fixed width: the rows, slot by slot.
    let fixed: [RowBytes]
    private var variable: [VariableRows]
    /// The hash of the rows as they were last committed or read.
    var digest: UInt64 = 0
    /// Counts the changes of rows; single columns that ``setFixed(_:_:_:)`` overwrites are none.
    private(set) var revision = 0
    /// No place below it is free.
    private var lowestFree = 0

    init(_ number: Int, _ layout: RowLayout) {
        self.number = number
        slots = [Int32](repeating: -1, count: layout.blockRows)
        fixed = layout.fixed.map { RowBytes(width: $0.rowBytes) }
        variable = layout.variable.map { _ in VariableRows() }
    }

    /// Rows that exist.
    var count: Int { places.count }

    func holds(_ place: Int) -> Bool { slots[place] >= 0 }

    /// The slot of a place; `nil` where there is no row.
    func slot(_ place: Int) -> Int? { slots[place] < 0 ? nil : Int(slots[place]) }

    /// The lowest place without a row; `nil` in a full block.
    var firstFreePlace: Int? {
        if count == slots.count { return nil }
        while holds(lowestFree) { lowestFree += 1 }
        return lowestFree
    }

    /// The places that have rows, ascending.
    var occupied: [Int] { slots.indices.filter { slots[$0] >= 0 } }

    func image(_ place: Int) -> RowImage? {
        guard let slot = slot(place) else { return nil }
        var bytes: [UInt8] = []
        for column in fixed { bytes += column[slot] }
        return RowImage(fixed: bytes, variable: variable.map { Array($0.row(slot)) })
    }

    /// The bytes of a row's column of fixed width, by the column's place among those; until a row of the block comes or goes.
    func fixedBytes(_ column: Int, _ slot: Int) -> UnsafeRawBufferPointer { fixed[column][slot] }

    /// The bytes of a row's column of variable width, by the column's place among those.
    func variableBytes(_ column: Int, _ slot: Int) -> ArraySlice<UInt8> { variable[column].row(slot) }

    func set(_ place: Int, _ image: RowImage) {
        revision += 1
        let slot = slot(place)
        image.fixed.withUnsafeBytes { bytes in
            var start = 0
            for column in fixed {
                let row = UnsafeRawBufferPointer(rebasing: bytes[start..<(start + column.width)])
                if let slot { column.set(slot, row) } else { column.append(row) }
                start += column.width
            }
        }
        if let slot {
            for index in variable.indices { variable[index].set(slot, image.variable[index]) }
        } else {
            slots[place] = Int32(places.count)
            places.append(Int32(place))
            for index in variable.indices { variable[index].append(image.variable[index]) }
        }
    }

    /// Adds rows of a segment that the block does not hold yet.
    /// - Parameter range: their places in the segment.
    func append(_ segment: RowSegment, _ range: Range<Int>) {
        revision += 1
        for index in range {
            let place = segment.rows[index] % slots.count
            slots[place] = Int32(places.count)
            places.append(Int32(place))
        }
        for (column, rows) in zip(fixed, segment.fixed) {
            rows.withUnsafeBytes {
                column.append(UnsafeRawBufferPointer(rebasing: $0[(range.lowerBound * column.width)..<(range.upperBound * column.width)]))
            }
        }
        for index in variable.indices { variable[index].append(segment.variable[index], range) }
    }

    /// Adds all rows to a segment, in their order.
    func append(to segment: inout RowSegment) {
        let first = number * slots.count
        // Rows that came in their order and stayed lie as a segment has them.
        guard zip(places, places.dropFirst()).allSatisfy({ $0 < $1 }) else {
            for place in occupied { segment.append(first + place, of: self, slot: Int(slots[place])) }
            return
        }
        segment.rows += places.map { first + Int($0) }
        for index in fixed.indices { segment.fixed[index] += fixed[index].bytes }
        for index in variable.indices { variable[index].append(to: &segment.variable[index]) }
    }

    /// Overwrites the bytes of one column of fixed width in a row that exists.
    func setFixed(_ column: Int, _ slot: Int, _ bytes: [UInt8]) {
        bytes.withUnsafeBytes { fixed[column].set(slot, $0) }
    }

    func remove(_ place: Int) {
        guard let slot = slot(place) else { return }
        let last = places.count - 1
        revision += 1
        for column in fixed { column.remove(slot) }
        for index in variable.indices { variable[index].remove(slot) }
        slots[Int(places[last])] = Int32(slot)
        slots[place] = -1
        lowestFree = min(lowestFree, place)
        places[slot] = places[last]
        places.removeLast()
    }

    /// The hash of what the block holds: of each row, in order, its place, its fixed columns, and length and bytes of its variable ones.
    func computedDigest() -> UInt64 {
        var hash = XXHash64()
        for place in occupied {
            let slot = Int(slots[place])
            hash.update(place)
            for column in fixed { hash.update(column[slot]) }
            for index in variable.indices {
                let row = variable[index].row(slot)
                hash.update(row.count)
                row.withUnsafeBytes { hash.update($0) }
            }
        }
        return hash.finalized()
    }
}

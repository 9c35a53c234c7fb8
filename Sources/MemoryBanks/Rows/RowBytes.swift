// Rows of one width in memory that does not move while they stay as they are.

import Diagnostics

/// The bytes of one column of fixed width, row after row.
final class RowBytes {
    /// Bytes of a row.
    let width: Int
    /// Rows.
    private(set) var count = 0
    private var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    init(width: Int) { self.width = width }

    deinit { memory.deallocate() }

    /// All rows. Like what ``subscript(_:)`` gives it lies where it does until a row comes or goes.
    var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(rebasing: memory[0..<(count * width)]) }

    /// The bytes of a row.
    subscript(row: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: memory[(row * width)..<((row + 1) * width)])
    }

    /// Adds whole rows.
    func append(_ rows: UnsafeRawBufferPointer) {
        if width == 0 { return }
        let (used, needed) = (count * width, count * width + rows.count)
        if needed > memory.count {
            // The address suits vector instructions.
            let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: max(needed, 2 * memory.count), alignment: 64)
            larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[0..<used]))
            memory.deallocate()
            memory = larger
        }
        UnsafeMutableRawBufferPointer(rebasing: memory[used..<needed]).copyMemory(from: rows)
        count += rows.count / width
    }

    /// Overwrites a row.
    func set(_ row: Int, _ bytes: UnsafeRawBufferPointer) {
        require(row < count && bytes.count == width, "\(bytes.count) bytes for row \(row) of \(count), each of \(width)")
        UnsafeMutableRawBufferPointer(rebasing: memory[(row * width)..<((row + 1) * width)]).copyMemory(from: bytes)
    }

    /// Removes a row: the last one takes its place, and nothing of it stays in memory.
    func remove(_ row: Int) {
        if width == 0 { return }
        let last = count - 1
        if row != last { set(row, self[last]) }
        UnsafeMutableRawBufferPointer(rebasing: memory[(last * width)..<(count * width)]).initializeMemory(as: UInt8.self, repeating: 0)
        count = last
    }
}

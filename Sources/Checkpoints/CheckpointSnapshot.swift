// A copy in memory of what this rank writes, so that training may go on while it is written.

import Foundation
import HDF5

/// Rows of an item, as one dataset of a shard.
struct CheckpointPiece: Sendable {
    /// The item's name, which is the dataset's too.
    let name: String
    let elementType: CheckpointElementType
    /// The extents of the whole item.
    let itemShape: [Int]
    /// The rows of the item that the piece holds, one range after the other.
    let rows: [Range<Int>]
    /// Where its bytes begin in the snapshot.
    let offset: Int

    /// Bytes of one row.
    var rowByteCount: Int { itemShape.dropFirst().reduce(elementType.byteCount, *) }
    var rowCount: Int { rows.reduce(0) { $0 + $1.count } }
    var byteCount: Int { rowCount * rowByteCount }
    /// The extents of the piece itself.
    var shape: [Int] { itemShape.isEmpty ? [] : [rowCount] + itemShape.dropFirst() }
}

/// The copied bytes and what they are. The memory is kept and used again by the next snapshot.
final class CheckpointSnapshot: @unchecked Sendable {
    private(set) var pieces: [CheckpointPiece] = []
    private var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    deinit { memory.deallocate() }

    /// Replaces the contents by this rank's share of `items`.
    ///
    /// - Complexity: one copy of the share; the memory grows only where a snapshot is larger than all before it.
    func take(_ items: [CheckpointItem], rank: Int, worldSize: Int) {
        precondition(Set(items.map(\.name)).count == items.count, "two items of a checkpoint have the same name")
        let replicated = items.filter { $0.placement == .replicated }
        var shares = CheckpointPlan.share(of: replicated.map { ($0.rowCount, $0.rowByteCount) }, rank: rank, worldSize: worldSize)[...]

        pieces.removeAll(keepingCapacity: true)
        var sources: [(item: CheckpointItem, bytes: Range<Int>)] = []
        var size = 0
        for item in items {
            let held = item.placement == .replicated ? [shares.removeFirst()].filter { !$0.isEmpty } : item.heldRows
            // An item without rows still has to be known: rank 0 writes it down.
            if held.isEmpty && !(item.rowCount == 0 && rank == 0) { continue }
            let piece = CheckpointPiece(name: item.name, elementType: item.elementType, itemShape: item.shape, rows: held, offset: size)
            let first = item.placement == .replicated ? (held.first?.lowerBound ?? 0) * item.rowByteCount : 0
            pieces.append(piece)
            sources.append((item, first..<first + piece.byteCount))
            size += (piece.byteCount + DirectFile.alignment - 1) / DirectFile.alignment * DirectFile.alignment
        }

        reserve(size)
        for (piece, source) in zip(pieces, sources) {
            source.item.withBytes { bytes in
                UnsafeMutableRawBufferPointer(rebasing: memory[piece.offset..<piece.offset + piece.byteCount])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[source.bytes]))
            }
        }
    }

    /// The bytes of a piece.
    func bytes(of piece: CheckpointPiece) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[piece.offset..<piece.offset + piece.byteCount])
    }

    private func reserve(_ size: Int) {
        guard size > memory.count else { return }
        memory.deallocate()
        memory = .allocate(byteCount: size, alignment: 2 << 20)
        // Huge pages, where the system grants them, make the first copy cheaper.
        madvise(memory.baseAddress, memory.count, MADV_HUGEPAGE)
    }
}

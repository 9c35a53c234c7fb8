// Who writes what: replicated items are shared out among the ranks.

/// Cuts replicated items into one share for each rank.
///
/// The items are laid end to end in their order, and the line is cut into `worldSize` pieces of nearly equal bytes. A cut falls between two rows;
/// an item of less than ``wholeBelow`` bytes is not cut and goes to the rank in whose piece its middle lies. So each rank writes a run of items,
/// there are about as many pieces as items and ranks together, and every rank can compute every share from names and shapes alone.
enum CheckpointPlan {
    /// Items of fewer bytes are written whole.
    static let wholeBelow = 64 * 1024

    /// The rows of each item that rank `rank` writes; empty where it writes none.
    ///
    /// - Parameter items: rows and bytes of a row of each replicated item, in the same order on all ranks.
    /// - Complexity: O(items).
    static func share(of items: [(rowCount: Int, rowByteCount: Int)], rank: Int, worldSize: Int) -> [Range<Int>] {
        let total = items.reduce(0) { $0 + $1.rowCount * $1.rowByteCount }
        /// Where the share of `rank` begins on the line.
        func cut(_ rank: Int) -> Int { Int((Double(total) * Double(rank) / Double(worldSize)).rounded()) }
        let (start, end) = (rank == 0 ? 0 : cut(rank), rank == worldSize - 1 ? total + 1 : cut(rank + 1))

        var position = 0
        return items.map { item in
            let byteCount = item.rowCount * item.rowByteCount
            defer { position += byteCount }
            if byteCount < wholeBelow {
                let middle = position + byteCount / 2
                return middle >= start && middle < end ? 0..<item.rowCount : 0..<0
            }
            let first = position
            /// The first row at or after a place on the line.
            func row(at place: Int) -> Int { min(max(0, (place - first + item.rowByteCount - 1) / item.rowByteCount), item.rowCount) }
            return place(start) ..< place(end)
            func place(_ cut: Int) -> Int { cut <= first ? 0 : row(at: cut) }
        }
    }
}

// The tiles that a product is computed in where a backend's bits depend on where the product is divided.
//
// Legend: C = op(A) op(B), M rows of C, N columns of C, K the summed extent.

/// A grid over C that the extents alone decide, never the number of threads.
///
/// Kernels for AVX2 add in another order at the edges of a matrix. Parts cut for the threads at hand would let their number show in the last bits, and
/// a rank has as many threads as its node has processors to spare. Eight tiles cost a few per cent beside two, since a tile brings its own rows of A
/// and columns of B into order; what takes a fortieth of a second or more is cut further, for the processors with many threads.
package struct ProductTiles: Equatable {
    /// Multiplications of a tile from which it is cut even where there are eight.
    private static let largestTile = 1 << 30
    /// Tiles that are wide enough for any number of threads.
    private static let most = 64
    /// Extents of a tile are multiples of this, but at the end of C: of the blocks that AVX2 kernels work on.
    private static let block = 48

    private let m: Int
    private let n: Int
    private let tileRows: Int
    private let tileColumns: Int
    private let across: Int
    /// The number of tiles.
    package let count: Int

    /// - Parameter smallest: multiplications below which a tile is not cut.
    package init(m: Int, n: Int, k: Int, smallest: Int) {
        var (down, across) = (1, 1)
        func extent(_ whole: Int, _ parts: Int) -> Int { ((whole + parts - 1) / parts + Self.block - 1) / Self.block * Self.block }
        while true {
            let (rows, columns) = (min(m, extent(m, down)), min(n, extent(n, across)))
            let size = rows * columns * k
            guard size >= (down * across < 8 ? 2 * smallest : Self.largestTile), down * across < Self.most, max(rows, columns) > Self.block else { break }
            if rows >= columns { down *= 2 } else { across *= 2 }
        }
        (self.m, self.n) = (m, n)
        (tileRows, tileColumns) = (extent(m, down), extent(n, across))
        self.across = (n + tileColumns - 1) / tileColumns
        count = self.across * ((m + tileRows - 1) / tileRows)
    }

    /// The rows of C that a tile has.
    package func rows(of tile: Int) -> Range<Int> { tile / across * tileRows..<min(m, (tile / across + 1) * tileRows) }

    /// The columns of C that a tile has.
    package func columns(of tile: Int) -> Range<Int> { tile % across * tileColumns..<min(n, (tile % across + 1) * tileColumns) }
}

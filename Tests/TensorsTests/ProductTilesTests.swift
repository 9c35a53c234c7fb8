// The grid that a product is cut by where its backend's bits depend on where it is cut.

import Tensors
import Testing

@Suite struct ProductTilesTests {
    @Test("tiles cover each element of C once")
    func cover() {
        for (m, n, k) in [(1, 1, 1), (1, 5000, 4000), (5000, 1, 4000), (49, 97, 5000), (512, 768, 96), (2049, 385, 384), (300, 32000, 256), (4100, 4100, 1024)] {
            let tiles = ProductTiles(m: m, n: n, k: k, smallest: 1 << 21)
            var covered = [UInt8](repeating: 0, count: m * n)
            for tile in 0..<tiles.count {
                let (rows, columns) = (tiles.rows(of: tile), tiles.columns(of: tile))
                #expect(!rows.isEmpty && !columns.isEmpty)
                for row in rows { for column in columns { covered[row * n + column] += 1 } }
            }
            #expect(covered.allSatisfy { $0 == 1 }, "\(m)x\(n)x\(k)")
            #expect(tiles.count == 1 || m * n * k >= 1 << 22)
        }
    }

    @Test("small products are whole, large ones have tiles for eight threads, the largest for more")
    func counts() {
        func count(_ m: Int, _ n: Int, _ k: Int) -> Int { ProductTiles(m: m, n: n, k: k, smallest: 1 << 21).count }
        #expect(count(128, 128, 128) == 1)
        #expect(count(768, 768, 768) == 8)
        #expect(count(4608, 4608, 4608) == 64)
    }
}

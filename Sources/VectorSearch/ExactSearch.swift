// The nearest rows of all: what every other search is measured by.
//
// Legend: Q queries, N rows, D numbers of each, k neighbours.

import Diagnostics
import Kernels
import Tensors

/// Exact search among blocks of rows, by products of blocks of queries with blocks of rows.
public enum ExactSearch {
    /// The k nearest rows of each query.
    ///
    /// The rows found and the bits of their scores depend on the rows alone: not on how they are cut into blocks, their order, the products' precision and
    /// backend, the instruction set or the number of threads.
    ///
    /// - Parameters:
    ///   - queries: [Q, D], float32.
    ///   - blocks: of one similarity and dimension; an identifier occurs once in all of them.
    ///   - limit: k; with fewer rows all of them are found.
    ///   - filter: which rows may be found.
    /// - Throws: `UserError` (bad data) for queries that are not finite, or of another dimension than the keys.
    /// - Complexity: 2 Q N D operations in matrix products, on all threads, and some k log(N / k) exact scores a query and thread.
    public static func nearest(_ queries: Tensor, among blocks: [KeyBlock], limit: Int, filter: RowFilter = .everything) throws -> Neighbors {
        try search(queries, among: blocks, limit: limit, filter: filter).neighbors
    }

    /// The same, with the number of rows that were scored exactly.
    package static func search(
        _ queries: Tensor, among blocks: [KeyBlock], limit: Int, filter: RowFilter
    ) throws -> (neighbors: Neighbors, scored: Int) {
        require(limit >= 0, "\(limit) neighbours")
        require(queries.shape.rank == 2, "queries are a matrix, not \(queries.shape)")
        let batch = try QueryBatch(queries, among: blocks)
        let rows = blocks.reduce(0) { $0 + $1.count }
        guard rows > 0, limit > 0, batch.count > 0 else {
            return (Neighbors(limit: limit, rows: [[Neighbor]](repeating: [], count: batch.count)), 0)
        }
        let units = blocks.flatMap { block in
            stride(from: 0, to: block.count, by: BlockScan.columns).map { (block, $0..<min($0 + BlockScan.columns, block.count)) }
        }
        let searches = Searches(batch, limit: min(limit, rows), filter)
        // A part is worth a thread from a few million multiplications on.
        let least = max(1, (1 << 22) / max(1, batch.count * batch.dimension * BlockScan.columns))
        Workers.parallel(units.count, minimum: least) { range in
            let scan = searches.scan()
            for (block, rows) in units[range] { scan.scan(block, rows: rows) }
        }
        return (searches.neighbors(limit: limit), searches.scored)
    }
}

extension QueryBatch {
    /// Queries for blocks that belong together.
    init(_ queries: Tensor, among blocks: [KeyBlock]) throws {
        let first = blocks.first
        for block in blocks {
            require(
                block.dimension == first?.dimension && block.similarity == first?.similarity,
                "blocks of \(block.dimension) numbers by \(block.similarity.rawValue) among others")
        }
        try self.init(
            queries, dimension: first?.dimension ?? queries.shape[1], precision: blocks.contains { $0.precision == .bfloat16 } ? .bfloat16 : .float32)
    }
}

/// The searches of all threads for one batch of queries. Each thread keeps the nearest of the rows that it looked at, and the nearest of those are the
/// nearest of all.
final class Searches: @unchecked Sendable {
    private let batch: QueryBatch
    private let limit: Int
    private let filter: RowFilter
    /// By part; each thread writes its own place.
    private let scans: UnsafeMutableBufferPointer<BlockScan?>

    init(_ batch: QueryBatch, limit: Int, _ filter: RowFilter) {
        (self.batch, self.limit, self.filter) = (batch, limit, filter)
        scans = .allocate(capacity: Workers.largestCount)
        scans.initialize(repeating: nil)
    }

    deinit {
        scans.deinitialize()
        scans.deallocate()
    }

    /// The search of the calling thread's part.
    func scan() -> BlockScan {
        let part = Workers.index
        if let known = scans[part] { return known }
        let scan = BlockScan(batch, TopRows(queries: batch.count, limit: limit), filter)
        scans[part] = scan
        return scan
    }

    /// Rows that were scored exactly.
    var scored: Int { scans.reduce(0) { $0 + ($1?.scored ?? 0) } }

    func neighbors(limit: Int) -> Neighbors {
        let found = scans.compactMap { $0?.top }
        // Where there was nothing to look at no thread has begun.
        return Neighbors(limit: limit, rows: found.isEmpty ? [[Neighbor]](repeating: [], count: batch.count) : TopRows.sorted(found))
    }
}

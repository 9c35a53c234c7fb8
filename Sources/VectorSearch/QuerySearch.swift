// Many queries among few rows: threads share the queries.
//
// Legend: Q queries, k neighbours.

import Kernels
import Tensors

/// Searches in one block that is small beside the number of queries, such as the centroids of an inverted file.
enum QuerySearch {
    /// The identifiers of the k nearest rows of each query, nearest first.
    ///
    /// - Parameter queries: [Q, D], float32.
    /// - Throws: `UserError` (bad data) for a query that is not finite.
    static func nearest(_ queries: Tensor, in block: KeyBlock, limit: Int) throws -> [[Int]] {
        let batch = try QueryBatch(queries, among: [block])
        // Threads write different queries of it.
        let top = TopRows(queries: batch.count, limit: min(limit, block.count))
        Workers.parallel(batch.count, minimum: 64) { range in
            BlockScan(batch, top, .everything).scan(block, rows: 0..<block.count, queries: range)
        }
        return TopRows.sorted([top]).map { $0.map(\.id) }
    }
}

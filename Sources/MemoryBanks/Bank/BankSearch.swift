// The records whose keys are most like some vectors.
//
// Legend: Q queries of one rank, D the bank's width of keys, k neighbours of a query.

import Collectives
import Diagnostics
import Kernels
import Tensors
import VectorSearch

/// A record that a search has found.
public struct BankHit: Sendable {
    /// How like its key is, by the bank's ``BankConfiguration/metric``: the larger, the more alike.
    public let score: Float
    public let record: BankRecord
}

extension MemoryBank {
    /// The rows whose keys are most like each query, the best first and, where scores are equal, the smaller row. Collective.
    ///
    /// Rows and scores are the same on any number of ranks. A row is the number by which the bank's table knows a record until that is deleted; what it
    /// holds is read by ``records(ofRows:)`` and ``tokens(ofRows:)``. Records that wait for their admission are not found.
    ///
    /// - Parameters:
    ///   - queries: [Q, D], float32, of this rank: Q may differ from rank to rank, and may be 0.
    ///   - count: k, at least 0; the same on every rank, as is all that follows.
    ///   - filter: which records may be found.
    ///   - generation: what made the queries; must be the bank's. `nil` where that is known to be so.
    ///   - lists: how many lists of the bank's index a query visits, those whose centroids are nearest to it: what is found is the best of their rows.
    ///     `nil` for exact search, which goes through all rows of the scope.
    /// - Returns: of each query of this rank at most k rows.
    /// - Throws: `UserError`: (.configuration) for queries of another generation or width, and a bank without keys, (.badData) for one that is not finite,
    ///   (.missingInput) for a namespace that does not exist; with lists also what ``currentIndex()`` throws. On every rank.
    /// - Complexity: 2 Q N D operations in matrix products for the N rows of the scope and the queries of all ranks; with p of C lists about p / C of that.
    public func nearest(
        _ queries: Tensor, count: Int, in filter: BankFilter, generation: BankGeneration? = nil, visiting lists: Int? = nil
    ) throws -> Neighbors {
        require(queries.shape.rank == 2 && queries.dataType == .float32, "queries are a float32 matrix, not \(queries.dataType) \(queries.shape)")
        try requireScope(filter.scope)
        try communicator.onEveryRank { try requireSearchable(queries.shape[1], generation) }
        if let lists {
            let following = try currentIndex()
            var rows = conditions(filter)
            rows.namespaces = following.namespaces(in: filter.scope)
            return try RankSearch.nearest(queries, limit: count, communicator: communicator) {
                try following.file.nearest($0, limit: count, probes: lists, filter: rows)
            }
        }
        let (blocks, rows) = (try communicator.onEveryRank { try searched(filter) }, conditions(filter))
        return try RankSearch.nearest(queries, limit: count, communicator: communicator) {
            try ExactSearch.nearest($0, among: blocks, limit: count, filter: rows)
        }
    }

    /// The `count` records whose keys are most like one query, which all ranks pass: as ``nearest(_:count:in:generation:visiting:)``. Collective.
    public func search(
        _ query: [Float], count: Int, in filter: BankFilter, generation: BankGeneration? = nil, visiting lists: Int? = nil
    ) throws -> [BankHit] {
        let found = try nearest(Tensor(query, [1, query.count]), count: count, in: filter, generation: generation, visiting: lists)[0]
        return try zip(found, records(ofRows: found.map(\.id))).compactMap { neighbor, record in
            record.map { BankHit(score: neighbor.score, record: $0) }
        }
    }

    /// Makes sure that the bank can be searched by vectors of a width.
    private func requireSearchable(_ width: Int, _ generation: BankGeneration?) throws {
        guard configuration.keyWidth > 0 else {
            throw UserError(.configuration, "the bank has no keys to search by", at: directory, advice: "look records up by id")
        }
        try requireGeneration(generation)
        guard width == configuration.keyWidth else {
            throw UserError(
                .configuration, "the query has \(quantity(width, "element")), and the bank's keys \(configuration.keyWidth)", at: directory,
                advice: "make it with the bank's encoder: \(self.generation?.description ?? "unknown")")
        }
    }

    // MARK: What a search goes through

    /// The keys of this rank's blocks in which a filter may mean records.
    private func searched(_ filter: BankFilter) throws -> [KeyBlock] {
        if filter.ids == nil { return try index.blocks(in: filter.scope).compactMap(keys) }
        return try Set(localRows(filter, waiting: false).map { columns.layout.block(of: $0) }).sorted().compactMap(keys)
    }

    /// Which rows of a scope a filter means.
    private func conditions(_ filter: BankFilter) -> RowFilter {
        if !filter.isNarrowed { return .everything }
        if filter.ids != nil {
            let rows = Set(localRows(filter, waiting: false))
            return RowFilter { rows.contains($0) }
        }
        // A block holds records of one namespace, and a search is told which blocks or namespaces it may look at.
        var conditions = filter
        conditions.scope = .all
        let rows = SearchedRows(table: table, columns: columns, filter: conditions)
        return RowFilter { rows.admits($0) }
    }

    /// The keys of a block as searches read them: in place, and without the records that wait for their admission. Kept until a row of it changes.
    /// - Throws: `UserError` (.badData) for a key whose products may not be finite.
    private func keys(_ number: Int) throws -> KeyBlock? {
        guard let block = table.blocks[number], block.count > 0 else { return nil }
        if let known = keyBlocks[number], known.block === block, known.revision == block.revision { return known.keys }
        let first = number * columns.layout.blockRows
        var admitted = [UInt64](repeating: 0, count: (block.count + 63) / 64)
        for slot in 0..<block.count where columns.small(.sightings, block, slot) == 0 { admitted[slot / 64] |= 1 << UInt64(slot % 64) }
        guard let address = block.fixed[0].bytes.baseAddress else { return nil }
        let keys = try KeyBlock(
            borrowing: Elements(address, .float32), dimension: configuration.keyWidth, similarity: configuration.metric,
            ids: block.places.map { first + Int($0) }, live: admitted, owner: block.fixed[0])
        keyBlocks[number] = SearchedBlock(block: block, revision: block.revision, keys: keys)
        return keys
    }
}

/// The keys of a block as they were at one of its revisions.
struct SearchedBlock {
    let block: RowBlock
    let revision: Int
    let keys: KeyBlock
}

/// The rows that a filter means, for the threads of a search; nobody changes the table meanwhile.
private struct SearchedRows: @unchecked Sendable {
    let table: RowTable
    let columns: BankColumns
    let filter: BankFilter

    func admits(_ row: Int) -> Bool { table.location(row).map { filter.matches(columns, $0.block, $0.slot) } ?? false }
}

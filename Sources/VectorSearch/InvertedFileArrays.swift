// An inverted file as plain arrays, for whoever keeps the rows to save beside them.
//
// Legend: C centroids and lists, N rows of D numbers.

import Diagnostics
import Tensors

/// What an inverted file knows beside the rows: which it needs back to be used again.
///
/// The arrays depend on the centroids and the rows alone, not on the order in which rows came. Rows themselves are not in them.
public struct InvertedFileArrays: Equatable, Sendable, Codable {
    /// The form of these arrays.
    public static let currentVersion = 1

    public var version = InvertedFileArrays.currentVersion
    /// D, and the name of the similarity.
    public var dimension: Int
    public var similarity: String
    /// [C, D].
    public var centroids: [Float]
    /// The rows in each list, and the identifiers of all, list by list, rising in each.
    public var listSizes: [Int]
    public var ids: [Int]
    /// Rows of all ranks when centroids were found, and rows that came or went since.
    public var trainedRows: Int
    public var changedRows: Int
    /// What the rows are (``RowDigest``): identifiers, namespaces and numbers.
    public var digest: UInt64
}

extension InvertedFile {
    /// The index as arrays.
    public var arrays: InvertedFileArrays {
        InvertedFileArrays(
            dimension: dimension, similarity: similarity.rawValue, centroids: centroids.array, listSizes: listSizes, ids: lists.flatMap { $0.ids.sorted() },
            trainedRows: trainedRows, changedRows: changedRows, digest: digest.value)
    }

    /// The index that was saved as `arrays`, with its rows from the bank that it belongs to.
    ///
    /// - Parameters:
    ///   - precision: what products read; need not be what it was.
    ///   - place: where the arrays were read from, for errors.
    ///   - rows: gives the rows of some identifiers, [n, D] float32, with their namespaces; throws where it has none.
    /// - Throws: `UserError` (bad data) for arrays that contradict themselves, and for an index of other rows than those that `rows` gives: another bank's, or
    ///   this bank's before a change. The index is to be built again then.
    public convenience init(
        _ arrays: InvertedFileArrays, precision: ProductPrecision = .float32, at place: String,
        rows: (_ ids: [Int]) throws -> (keys: Tensor, namespaces: [UInt32])
    ) throws {
        func wrong(_ what: String) -> UserError { UserError(.badData, what, at: place, advice: "build the index again from the bank") }
        guard arrays.version == InvertedFileArrays.currentVersion else {
            throw wrong("is an index of version \(arrays.version), and this program knows \(InvertedFileArrays.currentVersion)")
        }
        guard let similarity = Similarity(rawValue: arrays.similarity) else { throw wrong("compares by '\(arrays.similarity)', which is not known") }
        let (dimension, lists) = (arrays.dimension, arrays.listSizes.count)
        guard dimension > 0, dimension <= KeyBlock.largestDimension, lists > 0, arrays.centroids.count % dimension == 0, arrays.centroids.count / dimension == lists,
            arrays.centroids.allSatisfy({ abs($0) < 0x1p60 })
        else { throw wrong("holds \(arrays.centroids.count) numbers of centroids for \(lists) lists of keys of \(dimension) numbers") }
        var total = 0
        for size in arrays.listSizes {
            guard size >= 0, size <= arrays.ids.count - total else { throw wrong("holds \(arrays.ids.count) identifiers, and its lists claim others") }
            total += size
        }
        guard total == arrays.ids.count, arrays.trainedRows >= 0, arrays.changedRows >= 0 else {
            throw wrong("holds \(arrays.ids.count) identifiers, and its lists claim \(total)")
        }
        guard Set(arrays.ids).count == total else { throw wrong("holds an identifier twice") }
        self.init(dimension: dimension, similarity: similarity, precision: precision)
        restore(Tensor(arrays.centroids, [lists, dimension]), arrays.trainedRows, arrays.changedRows)
        // In groups: rows are in memory once beside those of one group.
        let targets = arrays.listSizes.enumerated().flatMap { [Int](repeating: $0.offset, count: $0.element) }
        for first in stride(from: 0, to: total, by: 65_536) {
            let range = first..<min(total, first + 65_536)
            let ids = Array(arrays.ids[range])
            let (keys, namespaces) = try rows(ids)
            require(namespaces.count == ids.count, "\(namespaces.count) namespaces for \(ids.count) rows")
            guard keys.shape == [ids.count, dimension], keys.dataType == .float32 else {
                throw wrong("is an index of keys of \(dimension) numbers, and the bank has \(keys.shape.rank == 2 ? keys.shape[1] : 0)")
            }
            try restore(keys, to: Array(targets[range]), ids: ids, namespaces: namespaces)
        }
        guard digest.value == arrays.digest else {
            throw wrong("is an index of other rows than the bank's: it belongs to another bank, or the bank has changed since")
        }
    }
}

// How near two vectors are, and what a search returns.
//
// Legend: Q queries, k neighbours of each, D numbers of a vector.

import Diagnostics
import Kernels

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// What a query and a key are compared by. The larger the score, the nearer they are.
public enum Similarity: String, Sendable, Codable, CaseIterable {
    /// The sum of products.
    case dot
    /// The sum of products divided by both lengths, 0 where either is 0.
    case cosine
    /// The negative square of the distance.
    case euclidean
}

/// One row that a search has found.
public struct Neighbor: Equatable, Sendable {
    /// The row's identifier.
    public var id: Int
    /// How near it is, as ``Similarity`` says; zero has no sign.
    public var score: Float

    public init(id: Int, score: Float) { (self.id, self.score) = (id, score) }
}

/// The nearest rows of some queries, each query's by falling score and, where that is equal, by rising identifier.
///
/// A score is a float64 sum in an order that is the same on every instruction set, rounded once to float32, and the order is that of the rounded
/// scores. So the rows that are found do not depend on the order in which rows were stored, on blocks, threads or ranks.
public struct Neighbors: Equatable, Sendable {
    /// k, the most rows of a query.
    public let limit: Int
    /// Of each query the rows that were found: k, or all that there were.
    public internal(set) var rows: [[Neighbor]]

    /// - Parameters:
    ///   - limit: k.
    ///   - rows: of each query at most k, in order.
    public init(limit: Int, rows: [[Neighbor]]) { (self.limit, self.rows) = (limit, rows) }

    /// The number of queries.
    public var count: Int { rows.count }

    /// The rows of one query.
    public subscript(query: Int) -> [Neighbor] { rows[query] }

    /// The part of the rows of `exact` that was found too, recall@k; 1 where there is nothing to find.
    public func recall(against exact: Neighbors) -> Double {
        require(exact.count == count, "recall of \(count) queries against \(exact.count)")
        var (found, wanted) = (0, 0)
        for (mine, theirs) in zip(rows, exact.rows) {
            let ids = Set(mine.map(\.id))
            wanted += theirs.count
            for row in theirs where ids.contains(row.id) { found += 1 }
        }
        return wanted == 0 ? 1 : Double(found) / Double(wanted)
    }
}

/// Which rows a search may find.
public struct RowFilter {
    /// Namespaces that are searched; `nil` for all of them.
    public var namespaces: Set<UInt32>?
    /// Further says by its identifier whether a row may be found; `nil` for all. Called once a row and search, by several threads at the same time.
    public var admits: (@Sendable (_ id: Int) -> Bool)?

    public init(namespaces: Set<UInt32>? = nil, admits: (@Sendable (_ id: Int) -> Bool)? = nil) {
        (self.namespaces, self.admits) = (namespaces, admits)
    }

    /// Every row.
    public static var everything: RowFilter { RowFilter() }

    var isEverything: Bool { namespaces == nil && admits == nil }

    @inline(__always)
    func admits(_ id: Int, _ namespace: UInt32) -> Bool {
        if let namespaces, !namespaces.contains(namespace) { return false }
        return admits?(id) ?? true
    }
}

/// What vectors have to be.
enum VectorRules {
    /// The largest squared length: sums of products of two such vectors, and of their squares, stay finite in float32.
    static let largestSquare = 0x1p120

    /// Squared lengths of rows, in float64.
    ///
    /// - Parameters:
    ///   - rows: [n, D], float32 or bfloat16.
    ///   - what: "key" or "query", and `name` the name of a row, for the error.
    /// - Throws: `UserError` (bad data) for a row that is not finite, or so long that products would not be.
    static func squaredLengths(_ rows: Elements, count: Int, dimension: Int, what: String, name: (Int) -> String) throws -> [Double] {
        var squares = [Double](repeating: 0, count: count)
        squares.withUnsafeMutableBufferPointer { squares in
            guard let base = squares.baseAddress else { return }
            let target = Writable(base)
            Workers.parallel(count, minimum: max(1, (1 << 16) / max(dimension, 1))) { range in
                var zeros = [Float](repeating: 0, count: dimension)
                for row in range {
                    // The distance from zero: of either type.
                    target.pointer[row] = zeros.withUnsafeMutableBufferPointer { zeros in
                        zeros.baseAddress.map { Kernels.active.exactSquaredDistance($0, rows + row * dimension, dimension) } ?? 0
                    }
                }
            }
        }
        if let wrong = squares.firstIndex(where: { !($0 <= largestSquare) }) {
            let reason = squares[wrong].isFinite
                ? "is longer than 2^60, so that its products may not be finite" : "holds a number that is not finite"
            throw UserError(.badData, "\(what) \(name(wrong)) \(reason)", advice: "look at what made it, and leave it out or mend it")
        }
        return squares
    }
}

/// A pointer that threads write different places of.
struct Writable<Element>: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<Element>
    init(_ pointer: UnsafeMutablePointer<Element>) { self.pointer = pointer }
}

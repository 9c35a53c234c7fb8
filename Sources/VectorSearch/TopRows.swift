// The nearest rows of each query so far: one heap a query.
//
// Legend: Q queries, k rows of each.

import Kernels

/// The k nearest rows of each of Q queries among those that were offered, in any order. Written by one thread at a time.
final class TopRows: @unchecked Sendable {
    let queries: Int
    let limit: Int
    /// [Q, k] heaps whose first entry is the farthest row.
    private let score: UnsafeMutablePointer<Float>
    private let ids: UnsafeMutablePointer<Int>
    private let counts: UnsafeMutablePointer<Int>

    init(queries: Int, limit: Int) {
        (self.queries, self.limit) = (queries, limit)
        score = .allocate(capacity: max(1, queries * limit))
        ids = .allocate(capacity: max(1, queries * limit))
        counts = .allocate(capacity: max(1, queries))
        counts.initialize(repeating: 0, count: max(1, queries))
    }

    deinit {
        score.deallocate()
        ids.deallocate()
        counts.deallocate()
    }

    /// The score that a row needs to be one of the k, if its identifier is small enough; `nil` while any row is.
    @inline(__always)
    func bound(_ query: Int) -> Float? { counts[query] < limit || limit == 0 ? nil : score[query &* limit] }

    /// Whether a row comes after another one.
    @inline(__always)
    private static func isFarther(_ score: Float, _ id: Int, than other: Float, _ otherID: Int) -> Bool {
        score < other || score == other && id > otherID
    }

    /// Takes a row in, where it is one of the k nearest.
    @inline(__always)
    func offer(_ query: Int, _ value: Float, _ id: Int) {
        let (near, names) = (score + query &* limit, ids + query &* limit)
        let count = counts[query]
        if count < limit {
            counts[query] = count &+ 1
            // Up from the new leaf.
            var place = count
            while place > 0 {
                let parent = (place &- 1) >> 1
                guard Self.isFarther(value, id, than: near[parent], names[parent]) else { break }
                (near[place], names[place]) = (near[parent], names[parent])
                place = parent
            }
            (near[place], names[place]) = (value, id)
        } else if limit > 0, Self.isFarther(near[0], names[0], than: value, id) {
            // Down from the root.
            var place = 0
            while true {
                var child = 2 &* place &+ 1
                if child >= limit { break }
                if child &+ 1 < limit, Self.isFarther(near[child &+ 1], names[child &+ 1], than: near[child], names[child]) { child &+= 1 }
                guard Self.isFarther(near[child], names[child], than: value, id) else { break }
                (near[place], names[place]) = (near[child], names[child])
                place = child
            }
            (near[place], names[place]) = (value, id)
        }
    }

    /// The rows of a query, in no order.
    func entries(_ query: Int) -> [(score: Float, id: Int)] {
        (0..<counts[query]).map { (score[query * limit + $0], ids[query * limit + $0]) }
    }

    /// The rows of all queries that several threads have found, in order.
    ///
    /// - Parameter first: where the queries begin, and `count` how many there are.
    static func sorted(_ parts: [TopRows]) -> [[Neighbor]] {
        guard let first = parts.first else { return [] }
        var rows = [[Neighbor]](repeating: [], count: first.queries)
        rows.withUnsafeMutableBufferPointer { rows in
            guard let base = rows.baseAddress else { return }
            let target = Writable(base)
            Workers.parallel(first.queries, minimum: 64) { range in
                for query in range {
                    var all = parts.flatMap { $0.entries(query) }
                    all.sort { isFarther($1.score, $1.id, than: $0.score, $0.id) }
                    target.pointer[query] = all.prefix(first.limit).map { Neighbor(id: $0.id, score: $0.score) }
                }
            }
        }
        return rows
    }
}

// What the tests of searches share: rows, and a search by a plain double loop in float64.

import Foundation
import Kernels
import Tensors
import VectorSearch

/// Rows with identifiers, as plain arrays.
struct Rows {
    var dimension: Int
    var ids: [Int] = []
    var namespaces: [UInt32] = []
    var values: [Float] = []

    var count: Int { ids.count }
    func row(_ index: Int) -> ArraySlice<Float> { values[index * dimension..<(index + 1) * dimension] }

    /// Normal numbers around a few centres.
    static func clustered(_ count: Int, _ dimension: Int, seed: UInt64, centres: Int = 7, spread: Float = 0.3) -> Rows {
        var random = RandomStream(key: seed)
        let middle = (0..<centres * dimension).map { _ in random.nextNormal() }
        var rows = Rows(dimension: dimension)
        for index in 0..<count {
            let centre = Int(random.next() % UInt64(centres))
            rows.ids.append(index * 3 + 1)
            rows.namespaces.append(UInt32(random.next() % 4))
            for column in 0..<dimension { rows.values.append(middle[centre * dimension + column] + spread * random.nextNormal()) }
        }
        return rows
    }

    /// The same rows in another order.
    func shuffled(seed: UInt64) -> Rows {
        var random = RandomStream(key: seed)
        return picked((0..<count).shuffled(using: &random))
    }

    func picked(_ indices: [Int]) -> Rows {
        Rows(
            dimension: dimension, ids: indices.map { ids[$0] }, namespaces: indices.map { namespaces[$0] },
            values: indices.flatMap { row($0) })
    }

    var tensor: Tensor { Tensor(values, [count, dimension]) }

    /// The rows in blocks of their own.
    func blocks(of size: Int, _ similarity: Similarity, _ precision: ProductPrecision = .float32) throws -> [KeyBlock] {
        let rows = VectorRows(dimension: dimension, similarity: similarity, precision: precision, blockRows: size)
        try rows.append(tensor, ids: ids, namespaces: namespaces)
        return rows.blocks
    }

    /// The nearest rows by a double loop in float64, and their scores. Rounded as documented: once, to float32.
    func nearest(_ query: [Float], _ limit: Int, _ similarity: Similarity, where admits: (Int, UInt32) -> Bool = { _, _ in true }) -> [Neighbor] {
        var all: [Neighbor] = []
        let square = query.reduce(0) { $0 + Double($1) * Double($1) }
        for index in 0..<count where admits(ids[index], namespaces[index]) {
            let row = Array(row(index))
            let product = zip(query, row).reduce(0) { $0 + Double($1.0) * Double($1.1) }
            let distance = zip(query, row).reduce(0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
            let length = row.reduce(0) { $0 + Double($1) * Double($1) }
            let score: Float
            switch similarity {
            case .dot: score = Float(product)
            case .euclidean: score = 0 - Float(distance)
            case .cosine: score = square == 0 || length == 0 ? 0 : Float(product / (square * length).squareRoot())
            }
            all.append(Neighbor(id: ids[index], score: score))
        }
        all.sort { $0.score > $1.score || $0.score == $1.score && $0.id < $1.id }
        return Array(all.prefix(limit))
    }
}

/// Normal numbers.
func normals(_ count: Int, seed: UInt64) -> [Float] {
    var random = RandomStream(key: seed)
    return (0..<count).map { _ in random.nextNormal() }
}

/// What differs between two results; nil where they are the same rows with scores that differ by float64 rounding alone. Neighbours of scores that
/// close may stand in either order.
func difference(_ found: [Neighbor], _ expected: [Neighbor]) -> String? {
    guard found.count == expected.count else { return "\(found.count) rows, expected \(expected.count)" }
    for (mine, theirs) in zip(found, expected) {
        let close = abs(Double(mine.score) - Double(theirs.score)) <= 1e-6 * max(1e-6, abs(Double(theirs.score)))
        if !close { return "score \(mine) where \(theirs) was expected" }
    }
    let (mine, theirs) = (Set(found.map(\.id)), Set(expected.map(\.id)))
    if mine == theirs { return nil }
    // Only rows as near as the last one may be exchanged.
    let last = expected.last.map { Double($0.score) } ?? 0
    let odd = found.filter { !theirs.contains($0.id) } + expected.filter { !mine.contains($0.id) }
    return odd.allSatisfy { abs(Double($0.score) - last) <= 1e-6 * max(1e-6, abs(last)) } ? nil : "rows \(odd)"
}

// Attention over the stored pairs that a search has found, one operation on the tape.
//
// Legend: B sequences, T positions, N = B T queries of a head, H heads, K head size, D = H K width, k pairs of a query.

import Foundation
import Kernels
import NeuralNetworks
import Tensors

/// softmax(q . keys) values over the at most k stored pairs nearest to each query of each head.
///
/// - Parameters:
///   - query: float32 [B, T, D], with their scale.
///   - elsewhere: float32 [B, T, D]: what a query gives that finds no pair.
///   - limit: k.
/// - Returns: float32 [B, T, D], and of each head what was read; its gates are not counted.
/// - Complexity: the search of N H queries, and 4 N D k flops forward and backward.
func pairAttention(_ query: Tensor, elsewhere: Tensor, heads: Int, limit: Int, _ reading: PairReading) -> (Tensor, [PairStatistics]) {
    let found = NearestPairs(query, heads: heads, limit: limit, reading)
    let output = found.attend(elsewhere)
    let result = Operation("pair attention").record(output, from: query, elsewhere) { gradient in
        query.node?.withGradient { found.queryGradient(gradient, into: $0, accumulate: $1) }
        if found.isPartial { elsewhere.node?.withZeroedGradient { found.passGradient(gradient, into: $0) } }
    }
    return (result, found.statistics())
}

/// The pairs of all queries and heads, and the attention that they get. Places of a query and head are k, in the order [N, H, k].
private final class NearestPairs {
    private let rows: Int
    private let heads: Int
    private let headSize: Int
    private let limit: Int
    /// Of each query and head, [N, H].
    private var counts: [Int]
    /// [N, H, k].
    private var keys: [UnsafePointer<Float>?]
    private var values: [UnsafePointer<Float>?]
    private var ages: [Int32]
    /// The products of query and key, then the softmax of those that count, [N, H, k].
    private let weights: Tensor
    /// What the pointers point into.
    private let stores: [any PairStore]

    private var width: Int { heads * headSize }
    /// A thread is worth some tens of thousands of multiplications.
    private var grain: Int { max(1, (1 << 15) / max(1, limit * headSize)) }

    init(_ query: Tensor, heads: Int, limit: Int, _ reading: PairReading) {
        let width = query.shape.columns
        (rows, self.heads, headSize, self.limit, stores) = (query.count / width, heads, width / heads, limit, reading.stores)
        let places = rows * heads
        counts = [Int](repeating: 0, count: places)
        keys = [UnsafePointer<Float>?](repeating: nil, count: places * limit)
        values = keys
        ages = [Int32](repeating: 0, count: places * limit)
        weights = Tensor(zeros: [places, limit])
        let own = Tensor(uninitialized: [rows, headSize])
        for head in 0..<heads {
            for row in 0..<rows {
                (own.floats + row * headSize).update(from: query.floats + row * width + head * headSize, count: headSize)
            }
            let asked = stores.filter { $0.count > 0 }
            let found = asked.map { $0.nearest(own, head: head, lanes: reading.lanes, limit: limit) }
            var next = [Int](repeating: 0, count: asked.count)
            for row in 0..<rows {
                for index in next.indices { next[index] = 0 }
                let place = row * heads + head
                while counts[place] < limit {
                    // The store whose next pair has the largest score; of equal ones the first.
                    var (best, score) = (-1, -Float.infinity)
                    for index in asked.indices where next[index] < found[index].counts[row] {
                        let other = found[index].scores[row * limit + next[index]]
                        if best < 0 || other > score { (best, score) = (index, other) }
                    }
                    if best < 0 { break }
                    let (slot, target) = (Int(found[best].slots[row * limit + next[best]]), place * limit + counts[place])
                    let pair = asked[best].pair(slot)
                    keys[target] = pair + head * headSize
                    values[target] = pair + width + head * headSize
                    ages[target] = Int32(clamping: asked[best].age(slot))
                    weights.floats[target] = score
                    next[best] += 1
                    counts[place] += 1
                }
            }
        }
    }

    /// Whether a query has found nothing.
    var isPartial: Bool { counts.contains(0) }

    /// Calls `body` with each query and head on all threads.
    private func forEachPlace(_ body: (_ place: Int, _ count: Int) -> Void) {
        Workers.parallel(counts.count, minimum: grain) { range in for place in range { body(place, counts[place]) } }
    }

    /// [B, T, D], once: scores become weights.
    func attend(_ elsewhere: Tensor) -> Tensor {
        let output = Tensor(uninitialized: elsewhere.shape)
        let (target, other, values) = (output.floats, elsewhere.floats, values)
        forEachPlace { place, count in
            let start = place * headSize
            if count == 0 {
                (target + start).update(from: other + start, count: headSize)
                return
            }
            let row = weights.floats + place * limit
            kernels.softmax(row, row, scale: 1, count)
            (target + start).update(repeating: 0, count: headSize)
            for index in 0..<count {
                guard let value = values[place * limit + index] else { continue }
                kernels.addScaled(target + start, value, scale: row[index], headSize)
            }
        }
        return output
    }

    /// The gradient with respect to the queries.
    func queryGradient(_ gradient: Tensor, into target: UnsafeMutablePointer<Float>, accumulate: Bool) {
        let (source, keys, values) = (gradient.floats, keys, values)
        let scratch = Tensor(uninitialized: [Workers.count, 2 * limit])
        forEachPlace { place, count in
            let start = place * headSize
            if !accumulate { (target + start).update(repeating: 0, count: headSize) }
            if count == 0 { return }
            let products = scratch.floats + Workers.index * 2 * limit
            for index in 0..<count {
                guard let value = values[place * limit + index] else { continue }
                products[index] = kernels.dot(source + start, value, headSize)
            }
            let scores = products + limit
            kernels.softmaxGradient(scores, outputGradient: products, probability: weights.floats + place * limit, scale: 1, count)
            for index in 0..<count {
                guard let key = keys[place * limit + index] else { continue }
                kernels.addScaled(target + start, key, scale: scores[index], headSize)
            }
        }
    }

    /// The gradient of queries that found nothing goes where their answer came from.
    func passGradient(_ gradient: Tensor, into target: UnsafeMutablePointer<Float>) {
        for place in counts.indices where counts[place] == 0 {
            kernels.add(target + place * headSize, target + place * headSize, gradient.floats + place * headSize, headSize)
        }
    }

    /// What each head has read, summed in the order of the queries.
    func statistics() -> [PairStatistics] {
        var sums = [PairStatistics](repeating: PairStatistics(), count: heads)
        for place in counts.indices where counts[place] > 0 {
            let row = weights.floats + place * limit
            var (entropy, age) = (0.0, 0.0)
            for index in 0..<counts[place] {
                let weight = Double(row[index])
                if weight > 0 { entropy -= weight * log(weight) }
                age += weight * Double(ages[place * limit + index])
            }
            let head = place % heads
            sums[head].queries += 1
            if row[0] > 0.5 { sums[head].hits += 1 }
            sums[head].entropy += entropy
            sums[head].age += age
        }
        return sums
    }
}

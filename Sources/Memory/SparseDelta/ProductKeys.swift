// Addresses by product keys: the best rows of n^2, exactly, by the scores of 2 n halves of keys (Lample et al. 2019, "Large memory layers with
// product keys", section 3.1).
//
// Legend: B sequences, T steps, H heads, K width of a key, n halves of keys on either side, S = n^2 rows, W rows of an address.

import Diagnostics
import Kernels
import Tensors

/// Some rows of each head's memory, and how much goes to each: what a step writes to, or what it reads.
public struct RowAddresses {
    /// int32 [B, T, H, W]: rows of a head, no two of one address the same.
    public let rows: Tensor
    /// float32 [B, T, H, W]; of product keys they sum to 1.
    public let weights: Tensor

    /// Rows and weights of the same shape.
    public init(rows: Tensor, weights: Tensor) { (self.rows, self.weights) = (rows, weights) }

    /// W.
    public var count: Int { weights.shape[3] }
}

private let operation = Operation("product keys")

/// The W rows whose keys are the most like a query, with the softmax over their scores as weights. Row i n + j has the i-th of the first halves and
/// the j-th of the second halves as its key, so that its score is the sum of two; a gradient reaches the halves that won, and the query.
///
/// Rows are ordered by their scores. Of equal halves that with the lower number comes first, and of rows with equal scores that whose first half, and
/// then whose second half, stands before the other's: the same rows are chosen on every machine that computes the same scores.
///
/// - Parameters:
///   - queries: float32 [B, T, H K], K even.
///   - keys: float32 [2 H n, K / 2]: of each head n first halves, then n second halves.
///   - heads: H.
///   - count: W, at most S.
/// - Complexity: 2 B T H n K flops forward, twice that backward, and B T H (n W + W ln W) comparisons at most; keeps the rows and their weights.
public func productKeyAddresses(_ queries: Tensor, keys: Tensor, heads: Int, count: Int) -> RowAddresses {
    operation.require(
        queries.shape.rank == 3 && keys.shape.rank == 2 && keys.shape[0] % (2 * heads) == 0 && queries.shape[2] == 2 * heads * keys.shape[1],
        "queries \(queries.shape) and keys \(keys.shape) of \(heads) heads")
    let search = ProductKeySearch(queries: queries.stopGradient(), keys: keys.stopGradient(), heads: heads, count: count)
    operation.require(1...search.side * search.side ~= count, "\(count) of \(search.side * search.side) rows")
    let shape: Shape = [queries.shape[0], queries.shape[1], heads, count]
    let (rows, weights) = (Tensor(uninitialized: shape, .int32), Tensor(uninitialized: shape))
    search.forward(rows, weights)
    let kept = weights
    let result = operation.record(weights, from: queries, keys) { [queryNode = queries.node, keyNode = keys.node] gradient in
        let found = search.backward(gradient, rows, kept)
        queryNode?.accumulate(found.queries)
        keyNode?.accumulate(found.keys)
    }
    return RowAddresses(rows: rows, weights: result)
}

private struct ProductKeySearch {
    let queries: Tensor
    let keys: Tensor
    let heads: Int
    /// W.
    let count: Int

    /// n.
    var side: Int { keys.shape[0] / (2 * heads) }
    /// K / 2.
    private var half: Int { keys.shape[1] }
    /// B T.
    private var steps: Int { queries.shape[0] * queries.shape[1] }
    /// 2 H n.
    private var scoreCount: Int { keys.shape[0] }

    /// Where a head's queries begin, its scores, and its keys, those of its first half or of its second.
    private func places(_ head: Int, _ part: Int) -> (queries: Int, scores: Int, keys: Int) {
        let number = 2 * head + part
        return (number * half, number * side, number * side * half)
    }

    func forward(_ rows: Tensor, _ weights: Tensor) {
        let scores = Tensor(uninitialized: [steps, scoreCount])
        for head in 0..<heads {
            for part in 0..<2 {
                let place = places(head, part)
                multiplyMatrices(
                    scores.floats + place.scores, leadingC: scoreCount, queries.floats + place.queries, leadingA: 2 * heads * half,
                    keys.floats + place.keys, .transposed, leadingB: half, m: steps, n: side, k: half)
            }
        }
        Workers.parallel(steps * heads, minimum: max(1, (1 << 14) / (2 * side + 8 * count))) { range in
            let best = BestPairs(side: side, count: count)
            for address in range {
                let place = address * count
                best.find(scores.floats + address * 2 * side, rows: rows.integers + place, scores: weights.floats + place)
                kernels.softmax(weights.floats + place, weights.floats + place, scale: 1, count)
            }
        }
    }

    func backward(_ gradient: Tensor, _ rows: Tensor, _ weights: Tensor) -> (queries: Tensor, keys: Tensor) {
        let scores = Tensor(zeros: [steps, scoreCount])
        Workers.parallel(steps * heads, minimum: max(1, (1 << 14) / (8 * count))) { range in
            let own = Tensor(uninitialized: [count])
            for address in range {
                let (place, target) = (address * count, scores.floats + address * 2 * side)
                kernels.softmaxGradient(
                    own.floats, outputGradient: gradient.floats + place, probability: weights.floats + place, scale: 1, count)
                for i in 0..<count {
                    let row = Int(rows.integers[place + i])
                    target[row / side] += own.floats[i]
                    target[side + row % side] += own.floats[i]
                }
            }
        }
        let (queryGradient, keyGradient) = (Tensor(uninitialized: queries.shape), Tensor(uninitialized: keys.shape))
        let width = 2 * heads * half
        for head in 0..<heads {
            for part in 0..<2 {
                let place = places(head, part)
                multiplyMatrices(
                    queryGradient.floats + place.queries, leadingC: width, scores.floats + place.scores, leadingA: scoreCount,
                    keys.floats + place.keys, leadingB: half, m: steps, n: half, k: side)
                multiplyMatrices(
                    keyGradient.floats + place.keys, leadingC: half, scores.floats + place.scores, .transposed, leadingA: scoreCount,
                    queries.floats + place.queries, leadingB: width, m: side, n: half, k: steps)
            }
        }
        return (queryGradient, keyGradient)
    }
}

/// The search for the best pairs of two lists of scores, and its memory.
private struct BestPairs {
    private let side: Int
    private let count: Int
    /// The best of a list, at most n of them.
    private let kept: Int
    /// Scores of the best of either list, [2, kept], and their numbers.
    private let halves: Tensor
    private let numbers: Tensor

    init(side: Int, count: Int) {
        (self.side, self.count, kept) = (side, count, min(side, count))
        (halves, numbers) = (Tensor(uninitialized: [2, kept]), Tensor(uninitialized: [2, kept], .int32))
    }

    /// - Parameters:
    ///   - given: the scores of n first halves, then of n second ones.
    ///   - rows: gets the W best pairs as row numbers, best first.
    ///   - scores: gets their scores.
    func find(_ given: UnsafePointer<Float>, rows: UnsafeMutablePointer<Int32>, scores: UnsafeMutablePointer<Float>) {
        for part in 0..<2 {
            var list = BestList(scores: halves.floats + part * kept, numbers: numbers.integers + part * kept, capacity: kept)
            for i in 0..<side { list.offer(given[part * side + i], Int32(i)) }
        }
        let (firsts, seconds) = (halves.floats, halves.floats + kept)
        var list = BestList(scores: scores, numbers: rows, capacity: count)
        // A pair (i, j), counted from 0, stands behind the (i + 1) (j + 1) - 1 others of the i + 1 and j + 1 best.
        for i in 0..<kept {
            for j in 0..<min(kept, count / (i + 1)) {
                let row = numbers.integers[i] * Int32(side) + numbers.integers[kept + j]
                if !list.offer(firsts[i] + seconds[j], row) { break }
            }
        }
    }
}

/// The best of what was offered, best first; of equal scores those that were offered first.
private struct BestList {
    let scores: UnsafeMutablePointer<Float>
    let numbers: UnsafeMutablePointer<Int32>
    let capacity: Int
    private var count = 0

    init(scores: UnsafeMutablePointer<Float>, numbers: UnsafeMutablePointer<Int32>, capacity: Int) {
        (self.scores, self.numbers, self.capacity) = (scores, numbers, capacity)
    }

    /// - Returns: false where the list is full of scores that are not smaller.
    @inline(__always) @discardableResult
    mutating func offer(_ score: Float, _ number: Int32) -> Bool {
        if count == capacity {
            if !(score > scores[count - 1]) { return false }
        } else {
            count += 1
        }
        var place = count - 1
        while place > 0, score > scores[place - 1] {
            scores[place] = scores[place - 1]
            numbers[place] = numbers[place - 1]
            place -= 1
        }
        (scores[place], numbers[place]) = (score, number)
        return true
    }
}

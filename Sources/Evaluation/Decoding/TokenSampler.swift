// From the logits of one position to one token.
//
// Legend: V vocabulary.

import Foundation
import Kernels
import Tensors

/// Draws tokens as `SamplingSettings` say. Holds scratch memory, so one serves all sequences of a batch in turn.
package struct TokenSampler {
    private let settings: SamplingSettings
    private var scores: [Float]
    private var candidates: [(token: Int32, score: Float)] = []

    package init(_ settings: SamplingSettings, vocabularySize: Int) {
        self.settings = settings
        scores = [Float](repeating: 0, count: vocabularySize)
        candidates.reserveCapacity(vocabularySize)
    }

    /// The next token after a sequence.
    ///
    /// - Parameters:
    ///   - logits: V of them.
    ///   - history: the tokens that the repetition penalty holds against.
    ///   - random: the sequence's own stream, of which one number is drawn.
    /// - Complexity: V; V log V where top-p is close to 1 and the distribution is flat.
    mutating func next(_ logits: UnsafePointer<Float>, history: Set<Int32>, _ random: inout RandomStream) -> Int32 {
        token(logits, history: history, uniform: random.nextUnit())
    }

    /// The same for a given number of 0 ..< 1: the token in whose share of the kept probability it falls.
    package mutating func token(_ logits: UnsafePointer<Float>, history: Set<Int32>, uniform: Double) -> Int32 {
        let count = scores.count
        if settings.temperature == 0 && settings.repetitionPenalty == 1 { return Self.firstLargest(logits, count) }
        scores.withUnsafeMutableBufferPointer { scores in
            for index in 0..<count { scores[index] = logits[index] }
            if settings.repetitionPenalty != 1 {
                for token in history {
                    let score = scores[Int(token)]
                    scores[Int(token)] = score < 0 ? score * settings.repetitionPenalty : score / settings.repetitionPenalty
                }
            }
        }
        if settings.temperature == 0 { return mostProbable() }
        // Dividing the difference to the largest, not the score, keeps a tiny temperature from making infinities of everything.
        var largest = -Float.infinity
        for score in scores where score > largest { largest = score }
        let inverse = 1 / settings.temperature
        for index in 0..<count { scores[index] = scores[index] == largest ? 0 : (scores[index] - largest) * inverse }
        return draw(uniform)
    }

    /// The first index of the largest of `count` logits, none of them NaN: the part of it first, by vectors.
    private static func firstLargest(_ logits: UnsafePointer<Float>, _ count: Int) -> Int32 {
        let part = 512
        var (best, largest) = (0, -Float.infinity)
        for start in stride(from: 0, to: count, by: part) {
            let candidate = Kernels.active.maximum(logits + start, min(part, count - start))
            if candidate > largest { (best, largest) = (start, candidate) }
        }
        while best < count - 1 && logits[best] != largest { best += 1 }
        return Int32(best)
    }

    private func mostProbable() -> Int32 {
        scores.withUnsafeBufferPointer { scores in
            var best = 0
            for index in 1..<max(scores.count, 1) where scores[index] > scores[best] { best = index }
            return Int32(best)
        }
    }

    /// Applies top-k and top-p, and draws. Scores are at most 0, the largest is 0.
    private mutating func draw(_ uniform: Double) -> Int32 {
        candidates.removeAll(keepingCapacity: true)
        let threshold = settings.topK.map { kthLargest(min($0, scores.count)) } ?? -.infinity
        for (token, score) in scores.enumerated() where score >= threshold && score > -.infinity { candidates.append((Int32(token), score)) }
        if let topP = settings.topP, topP < 1 { keepNucleus(Double(topP)) }
        var total = 0.0
        for candidate in candidates { total += exp(Double(candidate.score)) }
        var rest = uniform * total
        for candidate in candidates {
            rest -= exp(Double(candidate.score))
            if rest < 0 { return candidate.token }
        }
        return candidates[candidates.count - 1].token
    }

    /// The k-th largest score, by a heap of the k largest with the smallest on top.
    private func kthLargest(_ k: Int) -> Float {
        var heap = TopCandidates(capacity: k)
        scores.withUnsafeBufferPointer { scores in
            for index in 0..<scores.count where Double(scores[index]) > heap.threshold { heap.insert(Double(scores[index]), index) }
        }
        return Float(heap.descending.last?.value ?? -.infinity)
    }

    private mutating func keepNucleus(_ p: Double) {
        var total = 0.0
        for candidate in candidates { total += exp(Double(candidate.score)) }
        // Tokens below a share of (1 - p) / n hold less than 1 - p together: all of them are outside, and need no sorting.
        let floor = Float(log(total * (1 - p) / Double(candidates.count))).nextDown
        candidates.removeAll { $0.score < floor }
        candidates.sort { ($0.score, $1.token) > ($1.score, $0.token) }
        var (sum, kept) = (0.0, 0)
        while kept < candidates.count, kept == 0 || sum < p * total {
            sum += exp(Double(candidates[kept].score))
            kept += 1
        }
        candidates.removeLast(candidates.count - kept)
    }
}

extension RandomStream {
    /// Uniform on 0 ..< 1, 53 bits.
    mutating func nextUnit() -> Double { Double(next() >> 11) * 0x1p-53 }
}

// The latest context vectors of each stream of a text, with the tokens that followed them.
//
// Legend: N entries of a lane, F width of a context vector, m tokens of a lane's next passage.

import Tensors

/// The continuous cache: what a stream has read last, as a bank of its own that is forgotten at the stream's end.
///
/// - Source: Grave et al. 2017, Improving neural language models with a continuous cache, section 4.
struct ContinuousCache {
    /// N.
    let size: Int
    /// By lane: [at most N, F], and the token that followed each; the latest last.
    private var lanes: [Int32: (vectors: Tensor, tokens: [Int32])] = [:]

    /// Caches of at most `size` entries, all empty.
    init(size: Int) { self.size = size }

    /// Reads a passage: looks each of its tokens up among the entries before it, and keeps them.
    ///
    /// - Parameter look: receives each token's place in the passage, and of the entries before it, at most N of its lane, the inner
    ///   products with the token's context vector and whether the same token followed; `nil` where nobody asks.
    /// - Complexity: 2 m (N + m) F operations of a matrix product a lane.
    mutating func read(
        _ passage: ContextPassage,
        _ look: ((_ token: Int, _ scores: UnsafeBufferPointer<Float>, _ matches: UnsafeBufferPointer<Bool>) -> Void)?
    ) {
        let width = passage.vectors.shape[1]
        var first = 0
        while first < passage.targets.count {
            let lane = passage.lanes[first]
            var end = first
            while end < passage.targets.count, passage.lanes[end] == lane { end += 1 }
            let (known, count) = (lanes[lane]?.tokens.count ?? 0, end - first)
            let all = Tensor(uninitialized: [known + count, width])
            if let before = lanes[lane] { all.floats.update(from: before.vectors.floats, count: known * width) }
            (all.floats + known * width).update(from: passage.vectors.floats + first * width, count: count * width)
            let tokens = (lanes[lane]?.tokens ?? []) + passage.targets[first..<end]
            if let look {
                let products = matmul(all.rows(Array(known..<(known + count))), all, transposeB: true)
                for token in 0..<count {
                    let entries = max(0, known + token - size)..<(known + token)
                    let matches = entries.map { tokens[$0] == passage.targets[first + token] }
                    let scores = UnsafeBufferPointer(
                        start: products.floats + token * (known + count) + entries.lowerBound, count: entries.count)
                    matches.withUnsafeBufferPointer { look(first + token, scores, $0) }
                }
            }
            let kept = max(0, known + count - size)..<(known + count)
            lanes[lane] = (all.rows(Array(kept)), Array(tokens[kept]))
            first = end
        }
    }
}

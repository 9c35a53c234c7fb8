// Pairs in shuffled batches of similar length. Letters: L lanes, K steps of a block.

import Corpora
import Diagnostics

/// Pairs, shuffled anew each epoch, and gathered by length to save padding.
///
/// The permuted pairs of all epochs form one sequence. Blocks of K * L of them are sorted by length and cut into K batches of L, which are
/// handed out in a shuffled order, each shuffled over the lanes. Every pair appears exactly once for each pass of the sequence over it.
public final class PairLoader: LaneLoader {
    public typealias Batch = PairBatch

    public let laneCount: Int
    private let corpus: Corpus
    private let limits: PairLimits
    private let seed: UInt64
    /// K.
    private let blockSteps: Int
    private var step = 0
    /// The pairs of the block that holds the present step, batch by batch.
    private var block: (number: Int, pairs: [Int])?

    /// - Parameters:
    ///   - corpus: of pairs.
    ///   - lanes: L.
    ///   - limits: of row lengths.
    ///   - blockSteps: K; 1 for no gathering by length.
    ///   - seed: of the run.
    /// - Throws: `UserError(.configuration)` where the corpus holds text.
    public init(_ corpus: Corpus, lanes: Int, limits: PairLimits = PairLimits(), blockSteps: Int = 32, seed: UInt64) throws {
        precondition(lanes >= 1 && blockSteps >= 1, "blocks of \(blockSteps) steps of \(lanes) lanes")
        guard corpus.kind == .pairs else { throw wrongKind(corpus, wanted: .pairs) }
        self.corpus = corpus
        laneCount = lanes
        self.limits = limits
        self.blockSteps = blockSteps
        self.seed = seed
    }

    /// The number of steps that use up one epoch, rounded up.
    public var stepsPerEpoch: Int { (corpus.count + laneCount - 1) / laneCount }

    public var position: LoaderPosition { LoaderPosition(global: [Int64(step)]) }

    public func seek(to position: LoaderPosition) throws {
        guard position.global.count == 1, let step = Int(exactly: position.global[0]), step >= 0 else { throw wrongPosition(position, corpus) }
        self.step = step
    }

    /// The pairs of some lanes in this step.
    /// - Throws: `UserError` where a shard is damaged or missing.
    public func pairIndices(lanes: [Int]) throws -> [Int] {
        let number = step / blockSteps
        let pairs: [Int]
        if let block, block.number == number {
            pairs = block.pairs
        } else {
            pairs = try gathered(number)
            block = (number, pairs)
        }
        return lanes.map { lane in
            precondition(lane >= 0 && lane < laneCount, "lane \(lane) of \(laneCount)")
            return pairs[step % blockSteps * laneCount + lane]
        }
    }

    /// The pairs of block `number`, in the order in which they are handed out.
    private func gathered(_ number: Int) throws -> [Int] {
        let size = blockSteps * laneCount
        let entries = try (number * size..<(number + 1) * size).map { ordinal -> (key: Int, target: Int, ordinal: Int, pair: Int) in
            let permutation = Permutation(count: corpus.count, seed: seed, stream: UInt64(ordinal / corpus.count) << 2)
            let pair = permutation[ordinal % corpus.count]
            let sizes = try corpus.pairSizes(pair)
            return (sizes.source + sizes.target, sizes.target, ordinal, pair)
        }.sorted { ($0.key, $0.target, $0.ordinal) < ($1.key, $1.target, $1.ordinal) }
        let order = Permutation(count: blockSteps, seed: seed, stream: UInt64(number) << 2 | 1)
        return (0..<blockSteps).flatMap { position -> [Int] in
            let batch = order[position] * laneCount
            let lanes = Permutation(count: laneCount, seed: seed, stream: UInt64(number * blockSteps + position) << 2 | 2)
            return (0..<laneCount).map { entries[batch + lanes[$0]].pair }
        }
    }

    public func batch(lanes: [Int]) throws -> PairBatch {
        var batch = try corpus.pairBatch(pairIndices(lanes: lanes), lanes: lanes, limits: limits)
        batch.cutPairs = try corpus.cutPairs(among: pairIndices(lanes: Array(0..<laneCount)), limits: limits, inOneRow: false)
        return batch
    }

    /// The present step's rows for a model with a decoder alone.
    /// - Throws: `UserError` where a shard is damaged or missing.
    public func promptBatch(lanes: [Int]) throws -> PromptBatch {
        var batch = try corpus.promptBatch(pairIndices(lanes: lanes), lanes: lanes, limits: limits)
        batch.cutPairs = try corpus.cutPairs(among: pairIndices(lanes: Array(0..<laneCount)), limits: limits, inOneRow: true)
        return batch
    }

    public func advance() {
        step += 1
    }
}

/// The pairs in order, once, for evaluation: step s gives lane l pair s * L + l, and -1 once all are given.
public final class SequentialPairLoader: LaneLoader {
    public typealias Batch = PairBatch

    public let laneCount: Int
    private let corpus: Corpus
    private let limits: PairLimits
    private var step = 0

    /// - Throws: `UserError(.configuration)` where the corpus holds text.
    public init(_ corpus: Corpus, lanes: Int, limits: PairLimits = PairLimits()) throws {
        precondition(lanes >= 1, "\(lanes) lanes")
        guard corpus.kind == .pairs else { throw wrongKind(corpus, wanted: .pairs) }
        self.corpus = corpus
        laneCount = lanes
        self.limits = limits
    }

    /// The number of steps after which every pair was given.
    public var stepCount: Int { (corpus.count + laneCount - 1) / laneCount }

    /// True when every pair was given.
    public var isFinished: Bool { step >= stepCount }

    public var position: LoaderPosition { LoaderPosition(global: [Int64(step)]) }

    public func seek(to position: LoaderPosition) throws {
        guard position.global.count == 1, let step = Int(exactly: position.global[0]), step >= 0, step <= stepCount else {
            throw wrongPosition(position, corpus)
        }
        self.step = step
    }

    /// The pairs of some lanes in this step; -1 for lanes that have none left.
    public func pairIndices(lanes: [Int]) -> [Int] {
        lanes.map { lane in
            precondition(lane >= 0 && lane < laneCount, "lane \(lane) of \(laneCount)")
            let pair = step * laneCount + lane
            return pair < corpus.count ? pair : -1
        }
    }

    public func batch(lanes: [Int]) throws -> PairBatch {
        var batch = try corpus.pairBatch(pairIndices(lanes: lanes), lanes: lanes, limits: limits)
        batch.cutPairs = try corpus.cutPairs(among: pairIndices(lanes: Array(0..<laneCount)), limits: limits, inOneRow: false)
        return batch
    }

    /// The present step's rows for a model with a decoder alone.
    /// - Throws: `UserError` where a shard is damaged or missing.
    public func promptBatch(lanes: [Int]) throws -> PromptBatch {
        var batch = try corpus.promptBatch(pairIndices(lanes: lanes), lanes: lanes, limits: limits)
        batch.cutPairs = try corpus.cutPairs(among: pairIndices(lanes: Array(0..<laneCount)), limits: limits, inOneRow: true)
        return batch
    }

    public func advance() {
        step += 1
    }
}

// Text for evaluation: every token is predicted exactly once. Letters: L lanes, T positions, N tokens.

import Corpora
import Diagnostics

/// The corpus in order, once: lane l reads part l of L equal parts of the stream, in segments of T tokens that continue each other.
///
/// Every token of the corpus is a target exactly once, so that sums over all lanes are those of the corpus. Rows that have ended, and the rest of a
/// last segment, hold ignored targets. The first token of a document is predicted from an end piece.
public final class SequentialTextLoader: LaneLoader {
    public typealias Batch = TextBatch

    public let laneCount: Int
    /// T.
    public let length: Int
    private let corpus: Corpus
    private var step = 0

    /// - Throws: `UserError(.configuration)` where the corpus holds pairs.
    public init(_ corpus: Corpus, lanes: Int, length: Int) throws {
        precondition(lanes >= 1 && length >= 1, "\(lanes) lanes of \(length) tokens")
        guard corpus.kind == .text else { throw wrongKind(corpus, wanted: .text) }
        self.corpus = corpus
        laneCount = lanes
        self.length = length
    }

    /// The number of steps after which the corpus is read.
    public var stepCount: Int { ((corpus.tokenCount + laneCount - 1) / laneCount + length - 1) / length }

    /// True when every token has been handed out.
    public var isFinished: Bool { step >= stepCount }

    public var position: LoaderPosition { LoaderPosition(global: [Int64(step)]) }

    public func seek(to position: LoaderPosition) throws {
        guard position.global.count == 1, let step = Int(exactly: position.global[0]), step >= 0, step <= stepCount else {
            throw wrongPosition(position, corpus)
        }
        self.step = step
    }

    /// Where the targets of a lane's row lie in the corpus's stream of tokens, at the present step; empty for a lane that has ended.
    public func targets(_ lane: Int) -> Range<Int> {
        let part = part(lane, of: laneCount, tokens: corpus.tokenCount)
        let start = min(part.lowerBound + step * length, part.upperBound)
        return start..<min(start + length, part.upperBound)
    }

    public func batch(lanes: [Int]) throws -> TextBatch {
        var batch = TextBatch(lanes: lanes, length: length, padding: corpus.paddingID)
        for (row, lane) in lanes.enumerated() {
            let targets = targets(lane)
            guard !targets.isEmpty else { continue }
            try batch.fill(row: row, from: 0, targets: targets, startsStretch: targets.lowerBound == 0, corpus)
            if step == 0 { batch.resets[row * length] = true }
        }
        return batch
    }

    public func advance() {
        step += 1
    }
}

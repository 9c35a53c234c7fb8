// Text in shuffled windows of equal length. Letters: L lanes, T positions, N tokens of the corpus.

import Corpora
import Diagnostics

/// Windows of T tokens, shuffled anew each epoch.
///
/// Each epoch the stream of tokens is cut into windows from an offset of its own in 0 ..< T, and the windows are permuted. Step by step the L
/// lanes take the next L windows; where an epoch has no L windows left, the step goes on with the next epoch, so that every lane always
/// has a window. In one epoch each window appears once.
public final class WindowLoader: LaneLoader {
    public typealias Batch = TextBatch

    public let laneCount: Int
    /// T.
    public let length: Int
    private let corpus: Corpus
    private let seed: UInt64
    /// The epoch and the place in it of lane 0's window.
    private var epoch = 0
    private var index = 0

    /// - Parameters:
    ///   - corpus: of text.
    ///   - lanes: L.
    ///   - length: T.
    ///   - seed: of the run.
    /// - Throws: `UserError(.configuration)` where the corpus holds pairs, or fewer than T + 1 tokens.
    public init(_ corpus: Corpus, lanes: Int, length: Int, seed: UInt64) throws {
        precondition(lanes >= 1 && length >= 1, "\(lanes) lanes of \(length) tokens")
        guard corpus.kind == .text else { throw wrongKind(corpus, wanted: .text) }
        guard corpus.tokenCount > length else {
            throw UserError(
                .configuration, "the corpus has \(corpus.tokenCount) tokens, fewer than one window of \(length) needs", at: corpus.directory,
                advice: "choose a smaller batch.length or a larger corpus")
        }
        self.corpus = corpus
        laneCount = lanes
        self.length = length
        self.seed = seed
    }

    /// The number of steps that use up one epoch, rounded up; epochs differ by one window at most.
    public var stepsPerEpoch: Int { (Epoch(0, self).windows + laneCount - 1) / laneCount }

    /// How one epoch is cut.
    private struct Epoch {
        let offset: Int
        let windows: Int
        let permutation: Permutation

        init(_ epoch: Int, _ loader: WindowLoader) {
            let (count, length) = (loader.corpus.tokenCount, loader.length)
            // A window reads T + 1 tokens, so it may begin at 0 ... N - T - 1.
            let choices = min(length, count - length)
            offset = Int(mixedBits(loader.seed ^ mixedBits(UInt64(epoch) << 1 | 1)) % UInt64(choices))
            windows = (count - 1 - offset) / length
            permutation = Permutation(count: windows, seed: loader.seed, stream: UInt64(epoch) << 1)
        }
    }

    public var position: LoaderPosition { LoaderPosition(global: [Int64(epoch), Int64(index)]) }

    public func seek(to position: LoaderPosition) throws {
        guard position.global.count == 2, let epoch = Int(exactly: position.global[0]), let index = Int(exactly: position.global[1]), epoch >= 0,
            index >= 0, index < Epoch(epoch, self).windows
        else { throw wrongPosition(position, corpus) }
        (self.epoch, self.index) = (epoch, index)
    }

    /// The first token of a lane's window in this step.
    package func start(ofLane lane: Int) -> Int {
        precondition(lane >= 0 && lane < laneCount, "lane \(lane) of \(laneCount)")
        var place = index + lane
        var number = epoch
        var cut = Epoch(number, self)
        while place >= cut.windows {
            place -= cut.windows
            number += 1
            cut = Epoch(number, self)
        }
        return cut.offset + cut.permutation[place] * length
    }

    public func batch(lanes: [Int]) throws -> TextBatch {
        var batch = TextBatch(lanes: lanes, length: length, padding: corpus.paddingID)
        var window = [Int32](repeating: 0, count: length + 1)
        for (row, lane) in lanes.enumerated() {
            let start = start(ofLane: lane)
            try window.withUnsafeMutableBufferPointer { window in
                if let base = window.baseAddress { try corpus.copyTokens(start..<start + length + 1, to: base) }
            }
            for t in 0..<length {
                batch.inputs[row * length + t] = window[t]
                batch.targets[row * length + t] = window[t + 1]
                // The end piece closes a document: what follows it begins another.
                batch.resets[row * length + t] = window[t] == corpus.endID
            }
        }
        batch.targetCount = lanes.count * length
        return batch
    }

    public func advance() {
        index += laneCount
        var windows = Epoch(epoch, self).windows
        while index >= windows {
            index -= windows
            epoch += 1
            windows = Epoch(epoch, self).windows
        }
    }
}

/// The error for a corpus of the other kind.
func wrongKind(_ corpus: Corpus, wanted: CorpusKind) -> UserError {
    UserError(
        .configuration, "the corpus holds \(corpus.kind.rawValue) where \(wanted.rawValue) is needed", at: corpus.directory,
        advice: "choose another corpus, or a model for \(corpus.kind.rawValue)")
}

/// The error for a position that was saved by another loader.
func wrongPosition(_ position: LoaderPosition, _ corpus: Corpus) -> UserError {
    UserError(
        .configuration, "the saved position \(position.global) does not fit this corpus and batch", at: corpus.directory,
        advice: "resume with the corpus and the batch of the saved run")
}

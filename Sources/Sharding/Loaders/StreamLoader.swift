// Text as one continuous stream a lane, for models that remember from segment to segment. Letters: L lanes, T positions, N tokens.

import Corpora
import Diagnostics

/// Segments of T tokens that continue each other, lane by lane.
///
/// In epoch e lane l reads the documents permuted(l), permuted(l + L), permuted(l + 2L), ... one after the other; where a lane's documents
/// of an epoch are used up, it goes on with the next epoch. A corpus with fewer documents than lanes is cut into L equal parts of its stream
/// instead, one for each lane, read again each epoch. The first token of a document is predicted from an end piece, as if it followed a document.
public final class StreamLoader: LaneLoader {
    public typealias Batch = TextBatch

    public let laneCount: Int
    /// T.
    public let length: Int
    private let corpus: Corpus
    private let seed: UInt64
    private let readsParts: Bool
    private var step = 0
    private var cursors: [Int: Cursor]

    /// Where a lane stands: the next token to predict.
    private struct Cursor: Equatable {
        var epoch = 0
        /// How many documents of the epoch the lane has finished.
        var ordinal = 0
        /// Tokens of the document, or of the lane's part, that were predicted.
        var offset = 0
    }

    /// - Parameters:
    ///   - corpus: of text.
    ///   - lanes: L.
    ///   - owned: the lanes that this rank will ask for.
    ///   - length: T.
    ///   - seed: of the run.
    /// - Throws: `UserError(.configuration)` where the corpus holds pairs, or fewer tokens than lanes.
    public init(_ corpus: Corpus, lanes: Int, owned: [Int], length: Int, seed: UInt64) throws {
        precondition(lanes >= 1 && length >= 1 && owned.allSatisfy { $0 >= 0 && $0 < lanes }, "\(lanes) lanes of \(length) tokens, \(owned) owned")
        guard corpus.kind == .text else { throw wrongKind(corpus, wanted: .text) }
        guard corpus.tokenCount >= lanes else {
            throw UserError(
                .configuration, "the corpus has \(corpus.tokenCount) tokens for \(lanes) lanes", at: corpus.directory,
                advice: "choose fewer batch.lanes or a larger corpus")
        }
        self.corpus = corpus
        laneCount = lanes
        self.length = length
        self.seed = seed
        readsParts = corpus.count < lanes
        cursors = Dictionary(uniqueKeysWithValues: owned.map { ($0, Cursor()) })
    }

    public var position: LoaderPosition {
        LoaderPosition(global: [Int64(step)], lanes: cursors.mapValues { [Int64($0.epoch), Int64($0.ordinal), Int64($0.offset)] })
    }

    /// Goes to a saved position, of which only the lanes owned here count.
    public func seek(to position: LoaderPosition) throws {
        guard position.global.count == 1, position.global[0] >= 0 else { throw wrongPosition(position, corpus) }
        var found: [Int: Cursor] = [:]
        for lane in cursors.keys {
            guard let values = position.lanes[lane], values.count == 3, values.allSatisfy({ $0 >= 0 }) else { throw wrongPosition(position, corpus) }
            let cursor = Cursor(epoch: Int(values[0]), ordinal: Int(values[1]), offset: Int(values[2]))
            guard cursor.ordinal < ordinals(ofLane: lane), cursor.offset < (try range(lane, cursor)).count else {
                throw wrongPosition(position, corpus)
            }
            found[lane] = cursor
        }
        step = Int(position.global[0])
        cursors = found
    }

    /// How many stretches a lane reads in an epoch: documents, or its one part.
    private func ordinals(ofLane lane: Int) -> Int {
        readsParts ? 1 : (corpus.count - lane + laneCount - 1) / laneCount
    }

    /// The tokens of the stretch at a cursor.
    private func range(_ lane: Int, _ cursor: Cursor) throws -> Range<Int> {
        if readsParts { return part(lane, of: laneCount, tokens: corpus.tokenCount) }
        let permutation = Permutation(count: corpus.count, seed: seed, stream: UInt64(cursor.epoch) << 1)
        return try corpus.documentRange(permutation[lane + cursor.ordinal * laneCount])
    }

    /// Walks over the next segment of a lane.
    /// - Parameter visit: receives stretches of targets: tokens of the corpus, the place in the segment, and whether the first is a document's first.
    private func walk(_ lane: Int, _ cursor: inout Cursor, _ visit: (Range<Int>, Int, Bool) throws -> Void) throws {
        var filled = 0
        while filled < length {
            let stretch = try range(lane, cursor)
            let count = min(length - filled, stretch.count - cursor.offset)
            let start = stretch.lowerBound + cursor.offset
            if count > 0 { try visit(start..<start + count, filled, cursor.offset == 0) }
            filled += count
            cursor.offset += count
            guard cursor.offset >= stretch.count else { return }
            cursor.offset = 0
            cursor.ordinal += 1
            if cursor.ordinal == ordinals(ofLane: lane) { (cursor.epoch, cursor.ordinal) = (cursor.epoch + 1, 0) }
        }
    }

    public func batch(lanes: [Int]) throws -> TextBatch {
        var batch = TextBatch(lanes: lanes, length: length, padding: corpus.paddingID)
        for (row, lane) in lanes.enumerated() {
            guard var cursor = cursors[lane] else { preconditionFailure("lane \(lane) is not owned here") }
            try walk(lane, &cursor) { range, place, isFirst in
                try batch.fill(row: row, from: place, targets: range, startsStretch: isFirst, corpus)
            }
        }
        return batch
    }

    public func advance() throws {
        var moved = cursors
        for lane in cursors.keys {
            guard var cursor = moved[lane] else { continue }
            try walk(lane, &cursor) { _, _, _ in }
            moved[lane] = cursor
        }
        cursors = moved
        step += 1
    }
}

/// Part `index` of `count` nearly equal parts of a stream.
func part(_ index: Int, of count: Int, tokens: Int) -> Range<Int> {
    tokens / count * index + min(index, tokens % count)..<tokens / count * (index + 1) + min(index + 1, tokens % count)
}

extension TextBatch {
    /// Puts consecutive tokens of the corpus as targets into a row, and the tokens before them as inputs.
    /// - Parameters:
    ///   - place: where in the row the first goes.
    ///   - range: the targets in the corpus's stream.
    ///   - startsStretch: true when the first target begins a document or a lane's part: its input is then an end piece.
    mutating func fill(row: Int, from place: Int, targets range: Range<Int>, startsStretch: Bool, _ corpus: Corpus) throws {
        let first = row * length + place
        let offset = first
        try targets.withUnsafeMutableBufferPointer { targets in
            if let base = targets.baseAddress { try corpus.copyTokens(range, to: base + offset) }
        }
        if startsStretch {
            inputs[first] = corpus.endID
            resets[first] = true
        } else {
            try inputs.withUnsafeMutableBufferPointer { inputs in
                if let base = inputs.baseAddress { try corpus.copyTokens(range.lowerBound - 1..<range.lowerBound, to: base + offset) }
            }
            resets[first] = inputs[first] == corpus.endID
        }
        for index in first + 1..<max(first + 1, first + range.count) {
            inputs[index] = targets[index - 1]
            resets[index] = inputs[index] == corpus.endID
        }
        targetCount += range.count
    }
}

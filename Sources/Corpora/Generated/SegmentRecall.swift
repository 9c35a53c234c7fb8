// Pairs that are said in one segment of a stream and asked for some segments later: nothing but what a model remembers can tell them.
//
// Legend: P pairs and Q questions of a segment, T = 2 P + Q positions, D segments between a pair and its question, K keys of a segment, V values.

import Diagnostics

/// Streams of segments without end, one a lane. A segment holds P pairs of a key and a value, one position each, and then Q questions, each for a key
/// that was said D segments earlier in the same stream; the answer is the value that stood behind the key.
///
/// D + 1 segments that follow one another have K keys each for themselves, so that a question has one answer; which value goes with a key is drawn
/// anew each time. Symbols: (D + 1) K keys, then as many questions for them, then V values. In the first D segments of a stream nothing is answered.
public struct SegmentRecallGenerator: Sendable, Equatable {
    /// P, at most K.
    public var pairs: Int
    /// Q.
    public var questions: Int
    /// D.
    public var distance: Int
    /// K.
    public var keys: Int
    /// V.
    public var values: Int

    /// 16 pairs of a segment, as many questions, two segments later.
    /// - Precondition: P is in 1 ... K, Q and D are at least 1, V at least 2.
    public init(pairs: Int = 16, questions: Int = 16, distance: Int = 2, keys: Int = 16, values: Int = 16) {
        precondition(1...keys ~= pairs && questions >= 1 && distance >= 1 && values >= 2, "\(pairs) pairs of \(keys) keys, \(questions) questions")
        (self.pairs, self.questions, self.distance, self.keys, self.values) = (pairs, questions, distance, keys, values)
    }

    /// T.
    public var length: Int { 2 * pairs + questions }
    /// Symbols that are read, of which the last V are answers too.
    public var symbols: Int { 2 * (distance + 1) * keys + values }
    /// The task in a few words.
    public var summary: String { "segments of \(pairs) pairs, \(questions) questions for those of \(distance) segments before, \(values) values" }
    /// The task in checkpoints. Never reworded.
    public var identity: String { "segment_recall,_\(pairs)_of_\(keys)_keys,_\(questions)_questions,_distance_\(distance),_\(values)_values" }

    /// The pairs of a segment: keys among all, and values.
    private func pairs(seed: UInt64, part: GeneratedPart, segment: Int, lane: Int) -> [(key: Int, value: Int)] {
        var choices = SeededChoices(seed: seed, path: [part.rawValue, UInt64(segment), UInt64(lane), 0])
        let first = segment % (distance + 1) * keys
        return choices.sample(Array(first..<first + keys), pairs).map { ($0, choices.below(values)) }
    }

    /// A segment of a lane's stream: T symbols, and the answer at each question, `ignoredTarget` elsewhere.
    public func segment(_ segment: Int, seed: UInt64, part: GeneratedPart, lane: Int) -> (inputs: [Int32], targets: [Int32]) {
        let firstValue = 2 * (distance + 1) * keys
        var (inputs, targets): ([Int32], [Int32]) = ([], [])
        for pair in pairs(seed: seed, part: part, segment: segment, lane: lane) {
            inputs += [Int32(pair.key), Int32(firstValue + pair.value)]
            targets += [ignoredTarget, ignoredTarget]
        }
        let isAnswered = segment >= distance
        // What is asked in the first segments was never said.
        let known = pairs(seed: seed, part: part, segment: isAnswered ? segment - distance : segment + 1, lane: lane)
        var choices = SeededChoices(seed: seed, path: [part.rawValue, UInt64(segment), UInt64(lane), 1])
        for _ in 0..<questions {
            let pair = choices.pick(known)
            inputs.append(Int32((distance + 1) * keys + pair.key))
            targets.append(isAnswered ? Int32(firstValue + pair.value) : ignoredTarget)
        }
        return (inputs, targets)
    }

    /// A segment of some lanes, one after the other.
    public func segments(_ segment: Int, seed: UInt64, part: GeneratedPart, lanes: [Int]) -> SegmentRecallBatch {
        let parts = lanes.map { self.segment(segment, seed: seed, part: part, lane: $0) }
        return SegmentRecallBatch(lanes: lanes, inputs: parts.flatMap(\.inputs), targets: parts.flatMap(\.targets))
    }
}

/// A segment of some lanes.
public struct SegmentRecallBatch: Sendable, Equatable {
    /// [B].
    public let lanes: [Int]
    /// [B, T].
    public let inputs: [Int32]
    /// [B, T].
    public let targets: [Int32]
}

/// The training streams, without end.
public final class SegmentRecallLoader: LaneLoader {
    /// What makes the segments.
    public let generator: SegmentRecallGenerator
    public let laneCount: Int
    private let seed: UInt64
    private var step = 0

    /// - Parameters:
    ///   - lanes: L.
    ///   - seed: of the run.
    public init(_ generator: SegmentRecallGenerator, lanes: Int, seed: UInt64) {
        (self.generator, laneCount, self.seed) = (generator, lanes, seed)
    }

    public var position: LoaderPosition { LoaderPosition(global: [Int64(step)]) }

    public func seek(to position: LoaderPosition) throws {
        step = try position.step(ofTask: generator.summary)
    }

    public func batch(lanes: [Int]) -> SegmentRecallBatch { generator.segments(step, seed: seed, part: .training, lanes: lanes) }

    public func advance() { step += 1 }
}

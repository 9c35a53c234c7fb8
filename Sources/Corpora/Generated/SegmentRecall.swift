// Pairs that are said in one segment of a stream and asked for some segments later: nothing but what a model remembers can tell them.
//
// Legend: G groups, of each P pairs of a segment, or P pairs that all groups share; Q questions of a segment, T = 2 G P + Q or 2 P + Q positions; of
// a group D segments between a pair and its question, K keys of a segment, R segments after which its keys come again; V values.

import Diagnostics

/// Streams of segments without end, one a lane. A segment holds P pairs of a key and a value of each group, one position each, and then Q questions,
/// each for a key of some group that was said D segments earlier in the same stream; the answer is the value that stood behind the key.
///
/// R segments that follow one another have K keys each for themselves; which value goes with a key is drawn anew each time. Where R is more than D,
/// a question has one answer among what was said since: it can be found by its key alone. Where R is less, the same keys have come again, and the
/// question is for the value that they had D segments ago. Symbols: of each group R K keys and as many questions for them, then V values; or keys
/// are asked for by themselves. Where the groups share their pairs, there are R sets of K keys for all, each pair may be asked for after the D of any
/// group, and which it is the key's set tells. In the first D segments of a stream a group's questions are not answered.
public struct SegmentRecallGenerator: Sendable, Equatable {
    /// Pairs that are asked for after so many segments.
    public struct Group: Sendable, Equatable {
        /// D.
        public var distance: Int
        /// R.
        public var recurrence: Int

        /// Pairs whose keys come again when they were asked for, or after so many segments.
        /// - Precondition: D is at least 0, R at least 1.
        public init(distance: Int, recurrence: Int? = nil) {
            self.distance = distance
            self.recurrence = recurrence ?? distance + 1
            precondition(distance >= 0 && self.recurrence >= 1, "pairs of \(distance) segments before, after \(self.recurrence) again")
        }
    }

    /// G.
    public var groups: [Group]
    /// P, at most K.
    public var pairs: Int
    /// Q.
    public var questions: Int
    /// K.
    public var keys: Int
    /// V.
    public var values: Int
    /// Whether a question for a key is a symbol of its own, instead of the key.
    public var marksQuestions = true

    /// Whether all groups ask for the same pairs, whose keys come again after one R, which is more than every D.
    public var sharesPairs = false

    /// 16 pairs of a segment, as many questions, two segments later.
    /// - Precondition: there is a group, P is in 1 ... K, Q at least 1, V at least 2.
    public init(pairs: Int = 16, questions: Int = 16, groups: [Group] = [Group(distance: 2)], keys: Int = 16, values: Int = 16) {
        precondition(1...keys ~= pairs && questions >= 1 && !groups.isEmpty && values >= 2, "\(pairs) pairs of \(keys) keys, \(questions) questions")
        (self.pairs, self.questions, self.groups, self.keys, self.values) = (pairs, questions, groups, keys, values)
    }

    /// T.
    public var length: Int { 2 * said.count * pairs + questions }
    /// The groups that have pairs of their own.
    private var said: Range<Int> { 0..<(sharesPairs ? 1 : groups.count) }
    /// The first symbol of a group's keys.
    private func firstSymbol(_ group: Int) -> Int { (marksQuestions ? 2 : 1) * keys * groups[..<group].reduce(0) { $0 + $1.recurrence } }
    private var firstValue: Int { firstSymbol(said.count) }
    /// Symbols that are read, of which the last V are answers too.
    public var symbols: Int { firstValue + values }
    /// Segments after which every question is answered.
    public var longestDistance: Int { groups.reduce(0) { max($0, $1.distance) } }
    private var distances: String { groups.map(\.distance.description).joined(separator: ", ") }
    /// The task in a few words.
    public var summary: String {
        "segments of \(pairs * said.count) pairs, \(questions) questions for those of \(distances) segments before, \(values) values"
    }
    /// The task in checkpoints. Never reworded.
    public var identity: String {
        let distances = groups.map { $0.recurrence == $0.distance + 1 ? "\($0.distance)" : "\($0.distance)/\($0.recurrence)" }.joined(separator: "+")
        return "segment_recall,_\(pairs)_of_\(keys)_keys\(sharesPairs ? "_for_all_distances" : ""),_\(questions)_questions\(marksQuestions ? "" : "_by_key"),_distance_\(distances),_\(values)_values"
    }

    /// The pairs of a group in a segment: keys as symbols, and values.
    private func pairs(seed: UInt64, part: GeneratedPart, segment: Int, group: Int, lane: Int) -> [(key: Int, value: Int)] {
        let path = [part.rawValue, UInt64(segment), UInt64(lane), 0] + (group == 0 ? [] : [UInt64(group)])
        var choices = SeededChoices(seed: seed, path: path)
        let first = firstSymbol(group) + segment % groups[group].recurrence * keys
        return choices.sample(Array(first..<first + keys), pairs).map { ($0, choices.below(values)) }
    }

    /// A segment of a lane's stream: T symbols, and the answer at each question, `ignoredTarget` elsewhere.
    public func segment(_ segment: Int, seed: UInt64, part: GeneratedPart, lane: Int) -> (inputs: [Int32], targets: [Int32]) {
        var (inputs, targets): ([Int32], [Int32]) = ([], [])
        for group in said {
            for pair in pairs(seed: seed, part: part, segment: segment, group: group, lane: lane) {
                inputs += [Int32(pair.key), Int32(firstValue + pair.value)]
                targets += [ignoredTarget, ignoredTarget]
            }
        }
        let known = groups.enumerated().map { number, group in
            // What is asked in the first segments was never said; of shared pairs it is what the key's set tells.
            let never = sharesPairs ? segment - group.distance + group.recurrence : segment + 1
            return pairs(
                seed: seed, part: part, segment: segment >= group.distance ? segment - group.distance : never, group: sharesPairs ? 0 : number, lane: lane)
        }
        var choices = SeededChoices(seed: seed, path: [part.rawValue, UInt64(segment), UInt64(lane), 1])
        for _ in 0..<questions {
            let group = groups.count == 1 ? 0 : choices.below(groups.count)
            let pair = choices.pick(known[group])
            inputs.append(Int32((marksQuestions ? groups[group].recurrence * keys : 0) + pair.key))
            targets.append(segment >= groups[group].distance ? Int32(firstValue + pair.value) : ignoredTarget)
        }
        return (inputs, targets)
    }

    /// The group that a question of a segment is for.
    public func group(ofQuestion symbol: Int32, segment: Int) -> Int {
        guard sharesPairs else { return groups.indices.last { firstSymbol($0) <= Int(symbol) } ?? 0 }
        let recurrence = groups[0].recurrence
        let set = Int(symbol) / keys % recurrence
        return groups.firstIndex { (segment - $0.distance - set) % recurrence == 0 } ?? 0
    }

    /// A segment of some lanes, one lane after the other, or several segments of each.
    public func segments(_ first: Int, count: Int = 1, seed: UInt64, part: GeneratedPart, lanes: [Int]) -> SegmentRecallBatch {
        let parts = lanes.flatMap { lane in (first..<first + count).map { segment($0, seed: seed, part: part, lane: lane) } }
        return SegmentRecallBatch(lanes: lanes, inputs: parts.flatMap(\.inputs), targets: parts.flatMap(\.targets))
    }
}

/// Segments of some lanes.
public struct SegmentRecallBatch: Sendable, Equatable {
    /// [B].
    public let lanes: [Int]
    /// [B, T], or as many times T as there are segments of each lane.
    public let inputs: [Int32]
    /// The same.
    public let targets: [Int32]
}

/// The training streams, without end.
public final class SegmentRecallLoader: LaneLoader {
    /// What makes the segments.
    public let generator: SegmentRecallGenerator
    public let laneCount: Int
    private let segments: Int
    private let seed: UInt64
    private var step = 0

    /// - Parameters:
    ///   - lanes: L.
    ///   - segments: of each lane that a step reads, one after the other.
    ///   - seed: of the run.
    public init(_ generator: SegmentRecallGenerator, lanes: Int, segments: Int = 1, seed: UInt64) {
        (self.generator, laneCount, self.segments, self.seed) = (generator, lanes, segments, seed)
    }

    public var position: LoaderPosition { LoaderPosition(global: [Int64(step)]) }

    public func seek(to position: LoaderPosition) throws {
        step = try position.step(ofTask: generator.summary)
    }

    public func batch(lanes: [Int]) -> SegmentRecallBatch {
        generator.segments(step * segments, count: segments, seed: seed, part: .training, lanes: lanes)
    }

    public func advance() { step += 1 }
}

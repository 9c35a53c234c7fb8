// Sequences that are made up, not read: what generators write into, and batches of them.
//
// Legend: B sequences (one a lane), T steps, I input width, O output width.

import Diagnostics

/// What a step of a generated sequence holds.
public enum GeneratedInput: Sendable, Equatable {
    /// A vector of so many channels.
    case vectors(Int)
    /// One of so many symbols.
    case symbols(Int)
}

/// What is to be answered.
public enum GeneratedOutput: Sendable, Equatable {
    /// So many independent bits.
    case bits(Int)
    /// One of so many classes.
    case classes(Int)
    /// So many real values.
    case values(Int)
}

/// Sequences of some lanes, padded at their ends to the longest: padding reads zeros (symbol 0) and is not answered.
public struct GeneratedBatch: Sendable, Equatable {
    /// The lane of each sequence, [B].
    public let lanes: [Int]
    /// T.
    public let steps: Int
    /// The steps of each sequence before padding, [B].
    public let lengths: [Int]
    /// [B, T, I] for a task of vectors, else empty.
    public internal(set) var vectors: [Float]
    /// [B, T] for a task of symbols, else empty.
    public internal(set) var symbols: [Int32]
    /// [B, T, O] for bits (0 or 1) and values, else empty.
    public internal(set) var targets: [Float]
    /// [B, T] for classes, else empty; `ignoredTarget` where there is no answer.
    public internal(set) var classes: [Int32]
    /// [B, T]: true where an answer counts.
    public internal(set) var counts: [Bool]

    private let inputs: Int
    private let outputs: Int

    init(lanes: [Int], lengths: [Int], input: GeneratedInput, output: GeneratedOutput) {
        self.lanes = lanes
        self.lengths = lengths
        steps = lengths.max() ?? 0
        let positions = lanes.count * steps
        switch input {
        case .vectors(let width):
            (inputs, vectors, symbols) = (width, Array(repeating: 0, count: positions * width), [])
        case .symbols: (inputs, vectors, symbols) = (1, [], Array(repeating: 0, count: positions))
        }
        switch output {
        case .bits(let width), .values(let width):
            (outputs, targets, classes) = (width, Array(repeating: 0, count: positions * width), [])
        case .classes: (outputs, targets, classes) = (1, [], Array(repeating: ignoredTarget, count: positions))
        }
        counts = Array(repeating: false, count: positions)
    }

    /// The inputs of one step.
    public func vector(_ row: Int, _ step: Int) -> ArraySlice<Float> { vectors[(row * steps + step) * inputs..<(row * steps + step + 1) * inputs] }

    /// The bits or values to be answered at one step.
    public func target(_ row: Int, _ step: Int) -> ArraySlice<Float> { targets[(row * steps + step) * outputs..<(row * steps + step + 1) * outputs] }

    // MARK: what generators call

    mutating func setInput(_ row: Int, _ step: Int, _ channel: Int, _ value: Float) { vectors[(row * steps + step) * inputs + channel] = value }

    mutating func setInputs(_ row: Int, _ step: Int, _ values: [Float]) {
        for (channel, value) in values.enumerated() { setInput(row, step, channel, value) }
    }

    mutating func setSymbol(_ row: Int, _ step: Int, _ symbol: Int) { symbols[row * steps + step] = Int32(symbol) }

    /// An answer of bits or values, the first channels of the step.
    mutating func answer(_ row: Int, _ step: Int, _ values: [Float]) {
        for (channel, value) in values.enumerated() { targets[(row * steps + step) * outputs + channel] = value }
        counts[row * steps + step] = true
    }

    /// An answer of a class.
    mutating func answer(_ row: Int, _ step: Int, class answer: Int) {
        classes[row * steps + step] = Int32(answer)
        counts[row * steps + step] = true
    }
}

/// A task whose sequences are made up from a seed.
///
/// How long sequences are is drawn for each step of training, and is the same for all lanes of the step, so that most tasks need no padding; what
/// they hold is drawn for each step and lane.
public protocol SequenceGenerator: Sendable {
    /// What is read at every step.
    var input: GeneratedInput { get }
    /// What is answered.
    var output: GeneratedOutput { get }
    /// The task in a few words, with its sizes.
    var summary: String { get }
    /// The task in checkpoints, by which a session that resumes tells it from another. Never reworded, or no run could be resumed.
    var identity: String { get }

    /// Draws the sizes that decide how many steps a sequence has, such as the items to copy; none where all sequences are alike.
    func drawSizes(_ choices: inout SeededChoices) -> [Int]
    /// T for sizes that were drawn.
    func steps(_ sizes: [Int]) -> Int
    /// Writes one sequence into a row of zeros.
    func write(_ sizes: [Int], into batch: inout GeneratedBatch, row: Int, _ choices: inout SeededChoices)
    /// The same task with sequences of one length, in the task's own unit; may be longer than any it was made with.
    func withLength(_ length: Int) -> Self
}

/// Which sequences: no two parts have one in common, but by chance.
public enum GeneratedPart: UInt64, Sendable {
    case training, validation, test
}

extension SequenceGenerator {
    public func drawSizes(_ choices: inout SeededChoices) -> [Int] { [] }

    /// The sequences of some lanes of one step.
    public func batch(seed: UInt64, part: GeneratedPart, step: Int, lanes: [Int]) -> GeneratedBatch {
        var lengths = SeededChoices(seed: seed, path: [part.rawValue, UInt64(step)])
        let sizes = drawSizes(&lengths)
        var batch = GeneratedBatch(lanes: lanes, lengths: Array(repeating: steps(sizes), count: lanes.count), input: input, output: output)
        for (row, lane) in lanes.enumerated() {
            var choices = SeededChoices(seed: seed, path: [part.rawValue, UInt64(step), UInt64(lane)])
            write(sizes, into: &batch, row: row, &choices)
        }
        return batch
    }
}

/// The training sequences of a generated task, without end.
public final class GeneratedLoader: LaneLoader {
    /// What makes the sequences.
    public let generator: any SequenceGenerator
    public let laneCount: Int
    private let seed: UInt64
    private var step = 0

    /// - Parameters:
    ///   - lanes: L.
    ///   - seed: of the run.
    public init(_ generator: any SequenceGenerator, lanes: Int, seed: UInt64) {
        precondition(lanes >= 1, "\(lanes) lanes")
        self.generator = generator
        laneCount = lanes
        self.seed = seed
    }

    public var position: LoaderPosition { LoaderPosition(global: [Int64(step)]) }

    public func seek(to position: LoaderPosition) throws {
        step = try position.step(ofTask: generator.summary)
    }

    public func batch(lanes: [Int]) -> GeneratedBatch { generator.batch(seed: seed, part: .training, step: step, lanes: lanes) }

    public func advance() { step += 1 }
}

extension LoaderPosition {
    /// The step that a generated task's stream stands at.
    /// - Throws: `UserError` (.configuration) for a position of something else.
    func step(ofTask summary: String) throws -> Int {
        guard global.count == 1, let step = Int(exactly: global[0]), step >= 0 else {
            throw UserError(
                .configuration, "the saved position \(global) does not fit a generated task", at: summary, advice: "resume with the task of the saved run")
        }
        return step
    }
}

extension SeededChoices {
    /// Bits, each 0 or 1 with equal chances.
    mutating func bits(_ count: Int) -> [Float] { (0..<count).map { _ in Float(below(2)) } }

    /// A number of a range, all equally likely.
    mutating func number(in range: ClosedRange<Int>) -> Int { range.lowerBound + below(range.count) }

    /// Uniform on 0 ..< 1, 24 bits.
    mutating func uniform() -> Float { Float(below(1 << 24)) * 0x1p-24 }
}

// Multi-query associative recall: keys with values, and all of the keys asked for later on.
//
// Legend: V symbols, N keys, R keys written again, T steps.

import Foundation

/// Multi-query associative recall (Arora et al. 2023, "Zoology: measuring and improving recall in efficient language models"): N keys are read with
/// a value each; then each key comes once more, and its value is to be given. Where keys are written again with other values, the newest is asked
/// for.
///
/// T steps of V symbols: 0 is the blank, 1 ..< V / 2 are keys, V / 2 ..< V values; V classes, the symbols. The first 2 (N + R) steps are pairs, a
/// key and its value, no value twice: each key once, and R times one of the keys again, all in random order. Behind them places 0, 1, ... of two
/// steps each hold a key in their first step, which is answered, or nothing. Every key has a place of its own, each drawn among those still free
/// with a probability proportional to (place + 1)^(a - 1): most keys come back soon, some late. Steps that hold nothing hold the blank, or, with
/// noise, any symbol but 0 and the sequence's keys.
public struct KeyValueRecallGenerator: SequenceGenerator, Equatable {
    /// V.
    public var vocabulary: Int
    /// N, drawn anew for each step of training.
    public var pairs: ClosedRange<Int>
    /// R.
    public var rewrites: Int
    /// T.
    public var length: Int
    /// a, above 0; 1 makes all places equally likely.
    public var gapPower: Double
    /// Whether steps that hold nothing hold noise.
    public var noise: Bool

    /// 8 pairs of 1,024 symbols in 64 steps, with the a of the authors' program.
    /// - Precondition: `problem` finds none.
    public init(
        vocabulary: Int = 1024, pairs: ClosedRange<Int> = 8...8, rewrites: Int = 0, length: Int = 64, gapPower: Double = 0.01, noise: Bool = false
    ) {
        (self.vocabulary, self.pairs, self.rewrites, self.length, self.gapPower, self.noise) = (vocabulary, pairs, rewrites, length, gapPower, noise)
        precondition(problem == nil && pairs.lowerBound >= 1 && rewrites >= 0 && gapPower > 0, "\(self)")
    }

    /// What does not fit together, as the key that is wrong and what is wrong with it; `nil` for a task that can be made.
    public static func problem(
        vocabulary: Int, pairs: ClosedRange<Int>, rewrites: Int, length: Int
    ) -> (key: String, what: String)? {
        let (most, least) = (pairs.upperBound + rewrites, shortest(pairs: pairs.upperBound, rewrites: rewrites))
        if most > vocabulary / 2 || pairs.upperBound >= vocabulary / 2 {
            return ("vocabulary", "is \(vocabulary): half of it are values, and \(most) different ones are needed; one less are keys")
        }
        if length < least {
            return ("length", "is \(length), too short for \(pairs.upperBound) pairs, \(rewrites) rewrites and a question a pair: \(least) at least")
        }
        return nil
    }

    private var problem: (key: String, what: String)? {
        Self.problem(vocabulary: vocabulary, pairs: pairs, rewrites: rewrites, length: length)
    }

    /// The fewest steps for so many pairs.
    private static func shortest(pairs: Int, rewrites: Int) -> Int { 2 * (2 * pairs + rewrites) }

    public var input: GeneratedInput { .symbols(vocabulary) }
    public var output: GeneratedOutput { .classes(vocabulary) }
    public var summary: String {
        "multi-query recall, \(words(pairs)) of \(vocabulary / 2 - 1) keys in \(length) steps"
            + (rewrites > 0 ? ", \(rewrites) written again" : "") + (noise ? ", noise between" : "")
    }
    public var identity: String {
        "multi-query_recall,_\(identityWords(pairs))_pairs,_\(rewrites)_rewrites,_\(vocabulary)_symbols,_\(length)_steps,_gap_power_\(gapPower)"
            + (noise ? ",_noise" : "")
    }
    public func drawSizes(_ choices: inout SeededChoices) -> [Int] { [choices.number(in: pairs)] }
    public func steps(_ sizes: [Int]) -> Int { length }

    /// The same with so many pairs, and as many more steps as they need.
    /// - Precondition: the vocabulary has as many keys and values.
    public func withLength(_ length: Int) -> KeyValueRecallGenerator {
        KeyValueRecallGenerator(
            vocabulary: vocabulary, pairs: length...length, rewrites: rewrites,
            length: max(self.length, Self.shortest(pairs: length, rewrites: rewrites)), gapPower: gapPower, noise: noise)
    }

    public func write(_ sizes: [Int], into batch: inout GeneratedBatch, row: Int, _ choices: inout SeededChoices) {
        let (count, half) = (sizes[0], vocabulary / 2)
        let keys = choices.sample(Array(1..<half), count)
        let values = choices.sample(Array(half..<vocabulary), count + rewrites)
        let writes = choices.shuffled(keys + (0..<rewrites).map { _ in choices.pick(keys) })
        var newest: [Int: Int] = [:]
        for (place, (key, value)) in zip(writes, values).enumerated() {
            batch.setSymbol(row, 2 * place, key)
            batch.setSymbol(row, 2 * place + 1, value)
            newest[key] = value
        }
        let first = 2 * writes.count
        if noise {
            let others = Array(1..<vocabulary).filter { newest[$0] == nil }
            for step in first..<length { batch.setSymbol(row, step, choices.pick(others)) }
        }
        var weights = (0..<(length - first) / 2).map { pow(Double($0 + 1), gapPower - 1) }
        for key in keys {
            let step = first + 2 * draw(&weights, &choices)
            batch.setSymbol(row, step, key)
            if let value = newest[key] { batch.answer(row, step, class: value) }
        }
    }

    /// One of the indices with a weight above 0, in proportion to the weights; its weight becomes 0.
    private func draw(_ weights: inout [Double], _ choices: inout SeededChoices) -> Int {
        var rest = Double(choices.uniform()) * weights.reduce(0, +)
        var last = 0
        for index in weights.indices where weights[index] > 0 {
            last = index
            rest -= weights[index]
            if rest < 0 { break }
        }
        weights[last] = 0
        return last
    }
}

// Tasks of looking something up or adding it up: associative recall, the key-value stream, the adding problem.
//
// Legend: T steps, W bits of a vector, R vectors of an item, N items.

/// Associative recall (Graves et al. 2014, section 4.3): N items are read, then one of them again; the item that followed it is given back.
///
/// An item is R vectors. T = N (R + 1) + 2 R + 2 steps of W + 2 channels. Each item is a step with 1 in channel W, its delimiter, then R steps with
/// its vectors in channels 0 ..< W. Then comes the query: a step with 1 in channel W + 1, the R vectors of an item other than the last, and another
/// step with 1 in channel W + 1. The last R steps hold zeros and are answered, W bits: the item after the queried one.
public struct AssociativeRecallGenerator: SequenceGenerator, Equatable {
    /// W.
    public var bits: Int
    /// R.
    public var rows: Int
    /// N, at least 2, drawn anew for each step of training.
    public var items: ClosedRange<Int>

    /// The task of the paper: 2 to 6 items of three vectors of 6 bits.
    /// - Precondition: W and R are at least 1, every N at least 2.
    public init(bits: Int = 6, rows: Int = 3, items: ClosedRange<Int> = 2...6) {
        precondition(bits >= 1 && rows >= 1 && items.lowerBound >= 2, "\(bits) bits, \(rows) rows, \(items) items")
        self.bits = bits
        self.rows = rows
        self.items = items
    }

    public var input: GeneratedInput { .vectors(bits + 2) }
    public var output: GeneratedOutput { .bits(bits) }
    public var summary: String { "associative recall, \(words(items)) items of \(rows) x \(bits) bits" }
    public var identity: String { "associative_recall,_\(identityWords(items))_items_of_\(rows)_x_\(bits)_bits" }
    public func drawSizes(_ choices: inout SeededChoices) -> [Int] { [choices.number(in: items)] }
    public func steps(_ sizes: [Int]) -> Int { sizes[0] * (rows + 1) + 2 * rows + 2 }
    /// The same with so many items.
    public func withLength(_ length: Int) -> AssociativeRecallGenerator { AssociativeRecallGenerator(bits: bits, rows: rows, items: length...length) }

    public func write(_ sizes: [Int], into batch: inout GeneratedBatch, row: Int, _ choices: inout SeededChoices) {
        let count = sizes[0]
        let items = (0..<count).map { _ in (0..<rows).map { _ in choices.bits(bits) } }
        let queried = choices.below(count - 1)
        for (number, item) in items.enumerated() {
            let first = number * (rows + 1)
            batch.setInput(row, first, bits, 1)
            for (place, vector) in item.enumerated() { batch.setInputs(row, first + 1 + place, vector) }
        }
        let query = count * (rows + 1)
        batch.setInput(row, query, bits + 1, 1)
        for (place, vector) in items[queried].enumerated() { batch.setInputs(row, query + 1 + place, vector) }
        batch.setInput(row, query + rows + 1, bits + 1, 1)
        for (place, vector) in items[queried + 1].enumerated() { batch.answer(row, query + rows + 2 + place, vector) }
    }
}

/// A stream of keys and values in which keys are written again and again: asked for a key, the latest value is to be given.
///
/// T steps of K + V + 1 channels. A step that writes holds 1 in the channel of its key, 0 ..< K, and 1 in the channel of its value, K ..< K + V. A
/// step that asks holds 1 in the channel of a key that was written before, and 1 in channel K + V; it is answered: one of V classes. The first step
/// writes, the last one asks, each step between asks with probability 1/4.
public struct OverwriteGenerator: SequenceGenerator, Equatable {
    /// K.
    public var keys: Int
    /// V.
    public var values: Int
    /// T, at least 2.
    public var length: Int

    /// 30 steps over 6 keys and 8 values.
    /// - Precondition: K is at least 1, V and T at least 2.
    public init(keys: Int = 6, values: Int = 8, length: Int = 30) {
        precondition(keys >= 1 && values >= 2 && length >= 2, "\(keys) keys, \(values) values, length \(length)")
        self.keys = keys
        self.values = values
        self.length = length
    }

    public var input: GeneratedInput { .vectors(keys + values + 1) }
    public var output: GeneratedOutput { .classes(values) }
    public var summary: String { "key-value stream, \(keys) keys, \(values) values, \(length) steps" }
    public var identity: String { "key-value_stream,_\(keys)_keys,_\(values)_values,_\(length)_steps" }
    public func steps(_ sizes: [Int]) -> Int { length }
    public func withLength(_ length: Int) -> OverwriteGenerator { OverwriteGenerator(keys: keys, values: values, length: length) }

    public func write(_ sizes: [Int], into batch: inout GeneratedBatch, row: Int, _ choices: inout SeededChoices) {
        var latest = [Int?](repeating: nil, count: keys)
        for step in 0..<length {
            let asks = choices.chance(1, in: 4)
            if step == length - 1 || step > 0 && asks {
                let key = choices.pick(latest.indices.filter { latest[$0] != nil })
                batch.setInput(row, step, key, 1)
                batch.setInput(row, step, keys + values, 1)
                if let value = latest[key] { batch.answer(row, step, class: value) }
            } else {
                let (key, value) = (choices.below(keys), choices.below(values))
                latest[key] = value
                batch.setInput(row, step, key, 1)
                batch.setInput(row, step, keys + value, 1)
            }
        }
    }
}

/// The adding problem (Hochreiter and Schmidhuber 1997, experiment 4, as Le et al. 2015 set it): numbers are read, two of them marked; their sum is
/// to be given at the end.
///
/// T steps of 2 channels: a number uniform on 0 ..< 1, and a mark, which is 1 at one step of the first half, 0 ..< T / 2, and at one of the second
/// half, else 0. The last step is answered: one value. Always answering 1 has a mean squared error of 1/6.
public struct AddingGenerator: SequenceGenerator, Equatable {
    /// T, at least 2.
    public var length: Int

    /// - Precondition: T is at least 2.
    public init(length: Int = 50) {
        precondition(length >= 2, "length \(length)")
        self.length = length
    }

    public var input: GeneratedInput { .vectors(2) }
    public var output: GeneratedOutput { .values(1) }
    public var summary: String { "adding problem, \(length) steps" }
    public var identity: String { "adding_problem,_\(length)_steps" }
    public func steps(_ sizes: [Int]) -> Int { length }
    public func withLength(_ length: Int) -> AddingGenerator { AddingGenerator(length: length) }

    public func write(_ sizes: [Int], into batch: inout GeneratedBatch, row: Int, _ choices: inout SeededChoices) {
        let half = length / 2
        let marked = [choices.below(half), half + choices.below(length - half)]
        var sum: Float = 0
        for step in 0..<length {
            let number = choices.uniform()
            batch.setInput(row, step, 0, number)
            if marked.contains(step) {
                batch.setInput(row, step, 1, 1)
                sum += number
            }
        }
        batch.answer(row, length - 1, [sum])
    }
}

/// Groups of vectors that are read and at once asked back, one group after another: more vectors than a memory has rows can only be answered by using
/// rows again (Graves et al. 2016, "Memory reuse").
///
/// T = 2 N steps of W + 2 channels for N vectors in groups of G. A group has G steps with a vector in channels 0 ..< W and 1 in channel W, then G
/// steps with 1 in channel W + 1, which are answered: W bits, the group's first vector first. The last group may have fewer.
public struct ReuseGenerator: SequenceGenerator, Equatable {
    /// W.
    public var bits: Int
    /// N.
    public var items: Int
    /// G.
    public var group: Int

    /// 12 vectors of 6 bits in groups of 3: what a memory of 4 rows must be used again for.
    /// - Precondition: W, N and G are at least 1.
    public init(bits: Int = 6, items: Int = 12, group: Int = 3) {
        precondition(bits >= 1 && items >= 1 && group >= 1, "\(bits) bits, \(items) vectors in groups of \(group)")
        self.bits = bits
        self.items = items
        self.group = group
    }

    public var input: GeneratedInput { .vectors(bits + 2) }
    public var output: GeneratedOutput { .bits(bits) }
    public var summary: String { "memory reuse, \(items) vectors of \(bits) bits in groups of \(group)" }
    public var identity: String { "memory_reuse,_\(items)_vectors_of_\(bits)_bits_in_groups_of_\(group)" }
    public func drawSizes(_ choices: inout SeededChoices) -> [Int] { [items] }
    public func steps(_ sizes: [Int]) -> Int { 2 * sizes[0] }
    public func withLength(_ length: Int) -> ReuseGenerator { ReuseGenerator(bits: bits, items: length, group: group) }

    public func write(_ sizes: [Int], into batch: inout GeneratedBatch, row: Int, _ choices: inout SeededChoices) {
        for first in stride(from: 0, to: sizes[0], by: group) {
            let count = min(group, sizes[0] - first)
            for place in 0..<count {
                let vector = choices.bits(bits)
                batch.setInputs(row, 2 * first + place, vector + [1])
                batch.setInput(row, 2 * first + count + place, bits + 1, 1)
                batch.answer(row, 2 * first + count + place, vector)
            }
        }
    }
}

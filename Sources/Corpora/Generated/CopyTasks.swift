// Tasks of remembering a pattern and giving it back: copy, repeat-copy, delayed copy, priority sort.
//
// Legend: T steps, W bits of a vector, N vectors, R repeats.

/// Copy (Graves et al. 2014, section 4.1): N random vectors are read, then given back in their order.
///
/// T = 2 N + 1 steps of W + 1 channels. Steps 0 ..< N hold the vectors in channels 0 ..< W; step N holds 1 in channel W, the delimiter; the steps
/// after it hold zeros. Steps N + 1 ..< T are answered: W bits, vector 0 first.
public struct CopyGenerator: SequenceGenerator, Equatable {
    /// W.
    public var bits: Int
    /// N, drawn anew for each step of training.
    public var lengths: ClosedRange<Int>

    /// The task of the paper: 1 to 20 vectors of 8 bits.
    /// - Precondition: W and every N are at least 1.
    public init(bits: Int = 8, lengths: ClosedRange<Int> = 1...20) {
        precondition(bits >= 1 && lengths.lowerBound >= 1, "\(bits) bits, lengths \(lengths)")
        self.bits = bits
        self.lengths = lengths
    }

    public var input: GeneratedInput { .vectors(bits + 1) }
    public var output: GeneratedOutput { .bits(bits) }
    public var summary: String { "copy, \(words(lengths)) vectors of \(bits) bits" }
    public var identity: String { "copy,_\(identityWords(lengths))_vectors_of_\(bits)_bits" }
    public func drawSizes(_ choices: inout SeededChoices) -> [Int] { [choices.number(in: lengths)] }
    public func steps(_ sizes: [Int]) -> Int { 2 * sizes[0] + 1 }
    public func withLength(_ length: Int) -> CopyGenerator { CopyGenerator(bits: bits, lengths: length...length) }

    public func write(_ sizes: [Int], into batch: inout GeneratedBatch, row: Int, _ choices: inout SeededChoices) {
        let length = sizes[0]
        for place in 0..<length {
            let vector = choices.bits(bits)
            batch.setInputs(row, place, vector)
            batch.answer(row, length + 1 + place, vector)
        }
        batch.setInput(row, length, bits, 1)
    }
}

/// Repeat-copy (Graves et al. 2014, section 4.2), laid out as the task that was released with the DNC: N random vectors are read and a number R; the
/// vectors are given back R times, then an end marker.
///
/// T = N (R + 1) + 3 steps of W + 2 channels. Step 0 holds 1 in channel W, the start; steps 1 ... N hold the vectors in channels 0 ..< W; step N +
/// 1 holds R / 10 in channel W + 1; the steps after it hold zeros. Steps N + 2 ..< T are answered, W + 1 bits: N R vectors with 0 in bit W, then
/// zeros with 1 in bit W, the end. R is divided by ten whatever the range, so that larger numbers of repeats mean something to a trained model.
public struct RepeatCopyGenerator: SequenceGenerator, Equatable {
    /// W.
    public var bits: Int
    /// N, drawn anew for each step of training.
    public var lengths: ClosedRange<Int>
    /// R, drawn anew for each step of training.
    public var repeats: ClosedRange<Int>

    /// What R is divided by.
    public static let repeatScale: Float = 10

    /// The task of the code that came with Graves et al. 2016: 1 or 2 vectors of 4 bits, once or twice.
    /// - Precondition: W, every N and every R are at least 1.
    public init(bits: Int = 4, lengths: ClosedRange<Int> = 1...2, repeats: ClosedRange<Int> = 1...2) {
        precondition(bits >= 1 && lengths.lowerBound >= 1 && repeats.lowerBound >= 1, "\(bits) bits, lengths \(lengths), repeats \(repeats)")
        self.bits = bits
        self.lengths = lengths
        self.repeats = repeats
    }

    public var input: GeneratedInput { .vectors(bits + 2) }
    public var output: GeneratedOutput { .bits(bits + 1) }
    public var summary: String { "repeat-copy, \(words(lengths)) vectors of \(bits) bits, \(words(repeats)) times" }
    public var identity: String { "repeat-copy,_\(identityWords(lengths))_vectors_of_\(bits)_bits,_\(identityWords(repeats))_times" }
    public func drawSizes(_ choices: inout SeededChoices) -> [Int] { [choices.number(in: lengths), choices.number(in: repeats)] }
    public func steps(_ sizes: [Int]) -> Int { sizes[0] * (sizes[1] + 1) + 3 }
    public func withLength(_ length: Int) -> RepeatCopyGenerator { RepeatCopyGenerator(bits: bits, lengths: length...length, repeats: repeats) }

    public func write(_ sizes: [Int], into batch: inout GeneratedBatch, row: Int, _ choices: inout SeededChoices) {
        let (length, count) = (sizes[0], sizes[1])
        batch.setInput(row, 0, bits, 1)
        for place in 0..<length {
            let vector = choices.bits(bits)
            batch.setInputs(row, 1 + place, vector)
            for time in 0..<count { batch.answer(row, length + 2 + time * length + place, vector) }
        }
        batch.setInput(row, length + 1, bits + 1, Float(count) / Self.repeatScale)
        batch.answer(row, length * (count + 1) + 2, Array(repeating: 0, count: bits) + [1])
    }
}

/// Delayed copy (Hochreiter and Schmidhuber 1997, experiment 3, as Arjovsky et al. 2016 set it): N symbols are read, and given back when a signal
/// comes after a delay.
///
/// T = 2 N + D steps, D the delay, of S + 2 symbols: 0 ..< S to be remembered, S the blank, S + 1 the signal. Steps 0 ..< N hold the symbols, the
/// next D - 1 blanks, step N + D - 1 the signal, the last N blanks, which are answered: one of S classes.
public struct DelayedCopyGenerator: SequenceGenerator, Equatable {
    /// S.
    public var symbols: Int
    /// N.
    public var length: Int
    /// D, at least 1.
    public var delay: Int

    /// 5 of 8 symbols over a delay of 20 steps.
    /// - Precondition: S is at least 2, N and D at least 1.
    public init(symbols: Int = 8, length: Int = 5, delay: Int = 20) {
        precondition(symbols >= 2 && length >= 1 && delay >= 1, "\(symbols) symbols, length \(length), delay \(delay)")
        self.symbols = symbols
        self.length = length
        self.delay = delay
    }

    public var input: GeneratedInput { .symbols(symbols + 2) }
    public var output: GeneratedOutput { .classes(symbols) }
    public var summary: String { "delayed copy, \(length) of \(symbols) symbols, delay \(delay)" }
    public var identity: String { "delayed_copy,_\(length)_of_\(symbols)_symbols,_delay_\(delay)" }
    public func steps(_ sizes: [Int]) -> Int { 2 * length + delay }
    /// The same with another delay.
    public func withLength(_ length: Int) -> DelayedCopyGenerator { DelayedCopyGenerator(symbols: symbols, length: self.length, delay: length) }

    public func write(_ sizes: [Int], into batch: inout GeneratedBatch, row: Int, _ choices: inout SeededChoices) {
        for step in length..<steps(sizes) { batch.setSymbol(row, step, symbols) }
        batch.setSymbol(row, length + delay - 1, symbols + 1)
        for place in 0..<length {
            let symbol = choices.below(symbols)
            batch.setSymbol(row, place, symbol)
            batch.answer(row, length + delay + place, class: symbol)
        }
    }
}

/// Priority sort (Graves et al. 2014, section 4.5): N random vectors are read, each with a priority, and the K of the highest are given back, the
/// highest first.
///
/// T = N + 1 + K steps of W + 2 channels. Steps 0 ..< N hold a vector in channels 0 ..< W and its priority, uniform on -1 ..< 1, in channel W; step
/// N holds 1 in channel W + 1, the delimiter; the steps after it hold zeros and are answered: W bits. Of equal priorities the first is the higher.
public struct PrioritySortGenerator: SequenceGenerator, Equatable {
    /// W.
    public var bits: Int
    /// N.
    public var length: Int
    /// K, at most N.
    public var answers: Int

    /// The task of the paper: the 16 highest of 20 vectors of 8 bits.
    /// - Precondition: W and N are at least 1, K is in 1 ... N.
    public init(bits: Int = 8, length: Int = 20, answers: Int = 16) {
        precondition(bits >= 1 && length >= 1 && 1...length ~= answers, "\(bits) bits, \(answers) of \(length) vectors")
        self.bits = bits
        self.length = length
        self.answers = answers
    }

    public var input: GeneratedInput { .vectors(bits + 2) }
    public var output: GeneratedOutput { .bits(bits) }
    public var summary: String { "priority sort, \(answers) of \(length) vectors of \(bits) bits" }
    public var identity: String { "priority_sort,_\(answers)_of_\(length)_vectors_of_\(bits)_bits" }
    public func steps(_ sizes: [Int]) -> Int { length + 1 + answers }

    /// The same with more or fewer vectors to read, of which as large a part is given back.
    public func withLength(_ length: Int) -> PrioritySortGenerator {
        PrioritySortGenerator(bits: bits, length: length, answers: max(1, length * answers / self.length))
    }

    public func write(_ sizes: [Int], into batch: inout GeneratedBatch, row: Int, _ choices: inout SeededChoices) {
        var items: [(vector: [Float], priority: Float, place: Int)] = []
        for place in 0..<length {
            items.append((choices.bits(bits), 2 * choices.uniform() - 1, place))
            batch.setInputs(row, place, items[place].vector + [items[place].priority])
        }
        batch.setInput(row, length, bits + 1, 1)
        items.sort { $0.priority != $1.priority ? $0.priority > $1.priority : $0.place < $1.place }
        for (rank, item) in items.prefix(answers).enumerated() { batch.answer(row, length + 1 + rank, item.vector) }
    }
}

/// `1 to 20`, or `7`.
func words(_ range: ClosedRange<Int>) -> String { range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)" }

/// A range as identities have it; frozen, as they are.
func identityWords(_ range: ClosedRange<Int>) -> String { range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)_to_\(range.upperBound)" }

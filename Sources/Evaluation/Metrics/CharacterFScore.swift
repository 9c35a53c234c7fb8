// chrF and chrF++, as sacreBLEU computes them.
//
// Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"; Popović 2017, "chrF++: words helping character
// n-grams".

/// The counts that chrF needs; those of parts of a corpus, or of ranks, can be added when their orders are the same.
public struct CharacterFScoreStatistics: Hashable, Sendable {
    /// Counts of one n-gram order.
    public struct Order: Hashable, Sendable {
        /// N-grams in the hypotheses; those of segments whose reference is too short for the order are left out.
        public var hypothesis = 0
        /// N-grams in the references.
        public var reference = 0
        /// N-grams in both.
        public var matches = 0
    }

    /// Character orders 1, 2, ..., then word orders 1, 2, ...
    public var orders: [Order]

    /// No segments.
    public init(orderCount: Int) {
        orders = [Order](repeating: Order(), count: orderCount)
    }

    /// The counts in one list, for a sum over ranks: hypothesis, reference and matches of each order.
    public var encoded: [Int64] {
        orders.flatMap { [Int64($0.hypothesis), Int64($0.reference), Int64($0.matches)] }
    }

    /// The counts from such a list.
    ///
    /// - Precondition: its length is a multiple of 3.
    public init(encoded: [Int64]) {
        precondition(encoded.count.isMultiple(of: 3), "chrF statistics are three numbers an order, got \(encoded.count)")
        orders = stride(from: 0, to: encoded.count, by: 3).map {
            Order(hypothesis: Int(encoded[$0]), reference: Int(encoded[$0 + 1]), matches: Int(encoded[$0 + 2]))
        }
    }

    /// Adds the counts of other segments.
    ///
    /// - Precondition: both count the same orders.
    public static func += (left: inout CharacterFScoreStatistics, right: CharacterFScoreStatistics) {
        precondition(left.orders.count == right.orders.count, "chrF statistics of \(left.orders.count) and \(right.orders.count) orders")
        for index in left.orders.indices {
            left.orders[index].hypothesis += right.orders[index].hypothesis
            left.orders[index].reference += right.orders[index].reference
            left.orders[index].matches += right.orders[index].matches
        }
    }
}

/// The settings of a chrF score.
public struct CharacterFScore: Hashable, Sendable {
    /// The longest character n-grams.
    public var characterOrder: Int
    /// The longest word n-grams: 0 for chrF, 2 for chrF++.
    public var wordOrder: Int
    /// How much more recall weighs than precision.
    public var beta: Int
    /// Whether everything is lower-cased before.
    public var lowercase: Bool

    /// sacreBLEU's defaults: chrF2, characters up to 6, no words, mixed case.
    public init(characterOrder: Int = 6, wordOrder: Int = 0, beta: Int = 2, lowercase: Bool = false) {
        precondition(characterOrder >= 1 && wordOrder >= 0 && beta >= 1, "chrF wants a positive character order and beta")
        self.characterOrder = characterOrder
        self.wordOrder = wordOrder
        self.beta = beta
        self.lowercase = lowercase
    }

    /// chrF++: characters up to 6 and words up to 2.
    public static let plusPlus = CharacterFScore(wordOrder: 2)

    /// The usual name: `chrF2`, `chrF2++`.
    public var name: String {
        "chrF\(beta)" + String(repeating: "+", count: wordOrder)
    }

    /// The settings in sacreBLEU's layout: `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:mneme`.
    ///
    /// - Parameter referenceCount: references a segment.
    public func signature(referenceCount: Int) -> String {
        "nrefs:\(referenceCount)|case:\(lowercase ? "lc" : "mixed")|eff:yes|nc:\(characterOrder)|nw:\(wordOrder)|space:no|version:mneme"
    }

    /// The score of a corpus, from 0 to 100.
    ///
    /// - Precondition: there is a reference set, and all have as many segments as there are hypotheses.
    public func score(hypotheses: [String], references: [[String]]) -> Double {
        precondition(
            !references.isEmpty && references.allSatisfy { $0.count == hypotheses.count }, "every reference set needs \(hypotheses.count) segments")
        var accumulator = CharacterFScoreAccumulator(self)
        for (index, hypothesis) in hypotheses.enumerated() {
            accumulator.add(hypothesis: hypothesis, references: references.map { $0[index] })
        }
        return score(accumulator.statistics)
    }

    /// The score of summed counts: the F-score of mean precision and mean recall over the orders that both sides have n-grams of.
    public func score(_ statistics: CharacterFScoreStatistics) -> Double {
        var precision = 0.0
        var recall = 0.0
        var effectiveOrders = 0.0
        for order in statistics.orders where order.hypothesis > 0 && order.reference > 0 {
            precision += Double(order.matches) / Double(order.hypothesis)
            recall += Double(order.matches) / Double(order.reference)
            effectiveOrders += 1
        }
        guard precision + recall > 0 else { return 0 }
        precision /= effectiveOrders
        recall /= effectiveOrders
        let factor = Double(beta * beta)
        return 100 * ((1 + factor) * precision * recall / (factor * precision + recall))
    }
}

/// Counts segments one after the other.
public struct CharacterFScoreAccumulator: Sendable {
    /// The counts of the segments added.
    public private(set) var statistics: CharacterFScoreStatistics
    /// The settings.
    public let metric: CharacterFScore
    private var interner = TokenInterner()
    private var counter = NGramCounter()

    /// No segments yet.
    public init(_ metric: CharacterFScore = CharacterFScore()) {
        self.metric = metric
        statistics = CharacterFScoreStatistics(orderCount: metric.characterOrder + metric.wordOrder)
    }

    /// Adds a segment, judged by the reference that gives it the highest score.
    ///
    /// - Precondition: there is a reference.
    /// - Complexity: O(characters of all texts × orders).
    public mutating func add(hypothesis: String, references: [String]) {
        precondition(!references.isEmpty, "a segment needs a reference")
        let texts = ([hypothesis] + references).map { metric.lowercase ? MetricText.lowercased($0) : $0 }
        let nothing = CharacterFScoreStatistics(orderCount: statistics.orders.count)
        var candidates = [CharacterFScoreStatistics](repeating: nothing, count: references.count)
        counter.begin(texts.map(Self.characters))
        count(orders: 0..<metric.characterOrder, into: &candidates)
        if metric.wordOrder > 0 {
            counter.begin(texts.map { words(of: $0) })
            count(orders: metric.characterOrder..<statistics.orders.count, into: &candidates)
        }
        var best = candidates[0]
        for candidate in candidates.dropFirst() where metric.score(candidate) > metric.score(best) { best = candidate }
        statistics += best
    }

    private mutating func count(orders: Range<Int>, into candidates: inout [CharacterFScoreStatistics]) {
        for index in orders {
            if index > orders.lowerBound { counter.advance() }
            for reference in candidates.indices {
                let referenceCount = counter.count(in: reference + 1)
                candidates[reference].orders[index] = .init(
                    hypothesis: referenceCount == 0 ? 0 : counter.count(in: 0), reference: referenceCount,
                    matches: counter.clippedMatches(of: 0, against: (reference + 1)..<(reference + 2)))
            }
        }
    }

    /// The code points that are not white space.
    private static func characters(of text: String) -> [Int32] {
        text.unicodeScalars.compactMap { MetricText.isWhitespace($0) ? nil : Int32($0.value) }
    }

    /// The words, one punctuation mark cut off the end or else the beginning of each.
    private mutating func words(of text: String) -> [Int32] {
        var numbers: [Int32] = []
        Array(text.utf8).withUnsafeBufferPointer { bytes in
            MetricText.forEachWord(in: bytes) { word in
                guard word.count > 1 else {
                    numbers.append(interner.number(of: word))
                    return
                }
                var cut: Int?
                if MetricText.isASCIIPunctuation(word[word.count - 1]) {
                    cut = word.count - 1
                } else if MetricText.isASCIIPunctuation(word[0]) {
                    cut = 1
                }
                guard let cut else {
                    numbers.append(interner.number(of: word))
                    return
                }
                numbers.append(interner.number(of: UnsafeBufferPointer(rebasing: word[..<cut])))
                numbers.append(interner.number(of: UnsafeBufferPointer(rebasing: word[cut...])))
            }
        }
        return numbers
    }
}

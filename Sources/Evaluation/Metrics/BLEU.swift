// Corpus BLEU, as sacreBLEU computes it.
//
// Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation"; Post 2018, "A call for clarity in
// reporting BLEU scores"; the smoothing is NIST's (`exp`: method 3 of Chen and Cherry 2014).

import Foundation

/// The counts that BLEU needs; those of parts of a corpus, or of ranks, can be added.
public struct BLEUStatistics: Hashable, Sendable {
    /// The longest n-grams that are counted.
    public static let maximumOrder = 4
    /// Words in the hypotheses.
    public var hypothesisLength = 0
    /// Words in the references, of each segment the reference whose length is closest to the hypothesis's (the shorter one on ties).
    public var referenceLength = 0
    /// For n = 1 ... 4 the n-grams that a reference has too, clipped segment by segment.
    public var matches = [Int](repeating: 0, count: maximumOrder)
    /// For n = 1 ... 4 the n-grams in the hypotheses.
    public var totals = [Int](repeating: 0, count: maximumOrder)

    /// No segments.
    public init() {}

    /// The counts in one list, for a sum over ranks: hypothesis length, reference length, four matches, four totals.
    public var encoded: [Int64] {
        ([hypothesisLength, referenceLength] + matches + totals).map(Int64.init)
    }

    /// The counts from such a list.
    ///
    /// - Precondition: it has 10 elements.
    public init(encoded: [Int64]) {
        precondition(encoded.count == 2 + 2 * Self.maximumOrder, "BLEU statistics are 10 numbers, got \(encoded.count)")
        let values = encoded.map(Int.init)
        hypothesisLength = values[0]
        referenceLength = values[1]
        matches = Array(values[2..<(2 + Self.maximumOrder)])
        totals = Array(values[(2 + Self.maximumOrder)...])
    }

    /// Adds the counts of other segments.
    public static func += (left: inout BLEUStatistics, right: BLEUStatistics) {
        left.hypothesisLength += right.hypothesisLength
        left.referenceLength += right.referenceLength
        for index in 0..<maximumOrder {
            left.matches[index] += right.matches[index]
            left.totals[index] += right.totals[index]
        }
    }
}

/// A BLEU score with its parts.
public struct BLEUScore: Hashable, Sendable {
    /// From 0 to 100.
    public let score: Double
    /// Smoothed n-gram precisions in percent, n = 1 ... 4.
    public let precisions: [Double]
    /// The factor by which hypotheses shorter than their references are punished; 1 where they are not shorter.
    public let brevityPenalty: Double
    /// The counts that the score comes from.
    public let statistics: BLEUStatistics

    /// Hypothesis length over reference length; 0 without references.
    public var lengthRatio: Double {
        statistics.referenceLength == 0 ? 0 : Double(statistics.hypothesisLength) / Double(statistics.referenceLength)
    }

    /// The parts in one line, laid out as sacreBLEU does: `54.5/28.6/16.8/10.3 (BP = 1.000 ratio = 1.017 hyp_len = 61948 ref_len = 60936)`.
    public var verboseLine: String {
        let precisions = precisions.map { String(format: "%.1f", $0) }.joined(separator: "/")
        let ratios = String(format: "(BP = %.3f ratio = %.3f", brevityPenalty, lengthRatio)
        return "\(precisions) \(ratios) hyp_len = \(statistics.hypothesisLength) ref_len = \(statistics.referenceLength))"
    }
}

/// The settings of a BLEU score. Scores are comparable only where the settings are equal; `signature(referenceCount:)` names them.
public struct BLEU: Hashable, Sendable {
    /// How segments become words.
    public var tokenizer: BLEUTokenizer
    /// Whether everything is lower-cased before.
    public var lowercase: Bool
    /// Whether orders longer than every hypothesis are left out: for scores of single segments.
    public var effectiveOrder: Bool

    /// sacreBLEU's defaults: mteval-v13a, mixed case, all four orders.
    public init(tokenizer: BLEUTokenizer = .mteval13a, lowercase: Bool = false, effectiveOrder: Bool = false) {
        self.tokenizer = tokenizer
        self.lowercase = lowercase
        self.effectiveOrder = effectiveOrder
    }

    /// The settings in sacreBLEU's layout: `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:mneme`.
    ///
    /// - Parameter referenceCount: references a segment.
    public func signature(referenceCount: Int) -> String {
        let parts = [
            "nrefs:\(referenceCount)", "case:\(lowercase ? "lc" : "mixed")", "eff:\(effectiveOrder ? "yes" : "no")", "tok:\(tokenizer.rawValue)",
            "smooth:exp", "version:mneme",
        ]
        return parts.joined(separator: "|")
    }

    /// The score of a corpus.
    ///
    /// - Parameters:
    ///   - hypotheses: a segment each.
    ///   - references: for each set of references its segments, as many as hypotheses.
    /// - Precondition: there is a reference set, and all have as many segments as there are hypotheses.
    public func score(hypotheses: [String], references: [[String]]) -> BLEUScore {
        precondition(
            !references.isEmpty && references.allSatisfy { $0.count == hypotheses.count }, "every reference set needs \(hypotheses.count) segments")
        var accumulator = BLEUAccumulator(self)
        for (index, hypothesis) in hypotheses.enumerated() {
            accumulator.add(hypothesis: hypothesis, references: references.map { $0[index] })
        }
        return score(accumulator.statistics)
    }

    /// The score of summed counts.
    ///
    /// An order without a match gets the precision 1 / (2^k total), k counting such orders; a corpus without any match scores 0.
    public func score(_ statistics: BLEUStatistics) -> BLEUScore {
        let hypothesisLength = Double(statistics.hypothesisLength)
        let referenceLength = Double(statistics.referenceLength)
        var brevityPenalty = 1.0
        if hypothesisLength < referenceLength {
            brevityPenalty = hypothesisLength > 0 ? exp(1 - referenceLength / hypothesisLength) : 0
        }
        var precisions = [Double](repeating: 0, count: BLEUStatistics.maximumOrder)
        guard statistics.matches.contains(where: { $0 > 0 }) else {
            return BLEUScore(score: 0, precisions: precisions, brevityPenalty: brevityPenalty, statistics: statistics)
        }
        var smoothing = 1.0
        var orders = BLEUStatistics.maximumOrder
        for index in 0..<BLEUStatistics.maximumOrder {
            let total = Double(statistics.totals[index])
            if total == 0 { break }
            if effectiveOrder { orders = index + 1 }
            if statistics.matches[index] == 0 {
                smoothing *= 2
                precisions[index] = 100 / (smoothing * total)
            } else {
                precisions[index] = 100 * Double(statistics.matches[index]) / total
            }
        }
        let logarithms = precisions[..<orders].map(log)
        let score = logarithms.contains(-.infinity) ? 0 : brevityPenalty * exp(logarithms.reduce(0, +) / Double(orders))
        return BLEUScore(score: score, precisions: precisions, brevityPenalty: brevityPenalty, statistics: statistics)
    }
}

/// Counts segments one after the other, holding one segment at a time and the words seen so far.
public struct BLEUAccumulator: Sendable {
    /// The counts of the segments added.
    public private(set) var statistics = BLEUStatistics()
    /// The settings.
    public let metric: BLEU
    private var interner = TokenInterner()
    private var counter = NGramCounter()

    /// No segments yet.
    public init(_ metric: BLEU = BLEU()) {
        self.metric = metric
    }

    /// Adds a segment.
    ///
    /// - Parameters:
    ///   - hypothesis: the text to judge.
    ///   - references: one or more translations to judge it by.
    /// - Precondition: there is a reference.
    /// - Complexity: O(words of all texts).
    public mutating func add(hypothesis: String, references: [String]) {
        precondition(!references.isEmpty, "a segment needs a reference")
        let sequences = ([hypothesis] + references).map { words(of: $0) }
        let length = sequences[0].count
        statistics.hypothesisLength += length
        var closest = sequences[1].count
        for sequence in sequences[2...] where (abs(sequence.count - length), sequence.count) < (abs(closest - length), closest) {
            closest = sequence.count
        }
        statistics.referenceLength += closest
        counter.begin(sequences)
        for index in 0..<BLEUStatistics.maximumOrder {
            if index > 0 { counter.advance() }
            statistics.totals[index] += counter.count(in: 0)
            statistics.matches[index] += counter.clippedMatches(of: 0, against: 1..<sequences.count)
        }
    }

    private mutating func words(of segment: String) -> [Int32] {
        let text = MetricText.trimmingEnd(metric.lowercase ? MetricText.lowercased(segment) : segment)
        return metric.tokenizer.tokens(of: text, interner: &interner)
    }
}

// ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum, as Google's `rouge_score` computes them.
//
// Lin 2004, "ROUGE: a package for automatic evaluation of summaries".

/// Precision, recall and their harmonic mean, each from 0 to 1.
public struct PrecisionRecall: Hashable, Sendable, Codable {
    /// Shared units over units of the prediction.
    public var precision: Double
    /// Shared units over units of the reference.
    public var recall: Double
    /// The harmonic mean; 0 where both are 0.
    public var f1: Double

    /// From counts; without units on a side its quotient is 0.
    init(matches: Int, predicted: Int, expected: Int) {
        precision = Double(matches) / Double(max(predicted, 1))
        recall = Double(matches) / Double(max(expected, 1))
        f1 = precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0
    }
}

/// The four scores of a summary.
public struct ROUGEScores: Hashable, Sendable, Codable {
    /// Shared words.
    public var rouge1: PrecisionRecall
    /// Shared pairs of neighbouring words.
    public var rouge2: PrecisionRecall
    /// The longest common subsequence of the whole texts; sentence ends do not count.
    public var rougeL: PrecisionRecall
    /// For each reference sentence the union of its longest common subsequences with all sentences of the prediction; sentences
    /// end at a newline. Papers on CNN/DailyMail call this one ROUGE-L.
    public var rougeLsum: PrecisionRecall

    /// Names and scores in the usual order.
    public var all: [(name: String, score: PrecisionRecall)] {
        [("rouge1", rouge1), ("rouge2", rouge2), ("rougeL", rougeL), ("rougeLsum", rougeLsum)]
    }
}

/// Scores summaries, keeping the words and stems it has seen.
public struct ROUGE: Sendable {
    private var tokenizer: ROUGETokenizer
    private var counter = NGramCounter()
    private var subsequence = LongestCommonSubsequence()

    /// - Parameter usesStemmer: whether words longer than three letters are reduced by the Porter stemmer, as is usual.
    public init(usesStemmer: Bool = true) {
        tokenizer = ROUGETokenizer(usesStemmer: usesStemmer)
    }

    /// The scores of one summary.
    ///
    /// - Parameters:
    ///   - reference: a summary that a person wrote, one sentence a line.
    ///   - prediction: the summary to judge, one sentence a line.
    /// - Complexity: O(words of the reference × words of the prediction).
    public mutating func score(reference: String, prediction: String) -> ROUGEScores {
        let expectedSentences = sentences(of: reference)
        let predictedSentences = sentences(of: prediction)
        let expected = Array(expectedSentences.joined())
        let predicted = Array(predictedSentences.joined())
        counter.begin([predicted, expected])
        let rouge1 = ngramScore()
        counter.advance()
        let rouge2 = ngramScore()
        return ROUGEScores(
            rouge1: rouge1, rouge2: rouge2,
            rougeL: PrecisionRecall(matches: subsequence.length(expected, predicted), predicted: predicted.count, expected: expected.count),
            rougeLsum: PrecisionRecall(
                matches: unionMatches(expectedSentences, predictedSentences), predicted: predicted.count, expected: expected.count))
    }

    /// The scores of one summary by several references: for each measure those of the reference with the highest F1.
    ///
    /// - Precondition: there is a reference.
    public mutating func score(references: [String], prediction: String) -> ROUGEScores {
        precondition(!references.isEmpty, "a summary needs a reference")
        var best = score(reference: references[0], prediction: prediction)
        for reference in references.dropFirst() {
            let scores = score(reference: reference, prediction: prediction)
            if scores.rouge1.f1 > best.rouge1.f1 { best.rouge1 = scores.rouge1 }
            if scores.rouge2.f1 > best.rouge2.f1 { best.rouge2 = scores.rouge2 }
            if scores.rougeL.f1 > best.rougeL.f1 { best.rougeL = scores.rougeL }
            if scores.rougeLsum.f1 > best.rougeLsum.f1 { best.rougeLsum = scores.rougeLsum }
        }
        return best
    }

    private mutating func sentences(of text: String) -> [[Int32]] {
        text.unicodeScalars.split(separator: "\n").map { tokenizer.tokens(of: String($0)) }
    }

    private mutating func ngramScore() -> PrecisionRecall {
        PrecisionRecall(matches: counter.clippedMatches(of: 0, against: 1..<2), predicted: counter.count(in: 0), expected: counter.count(in: 1))
    }

    /// The reference tokens in the union of the longest common subsequences, no token counted more often than it stands on either side.
    private mutating func unionMatches(_ expected: [[Int32]], _ predicted: [[Int32]]) -> Int {
        var remainingExpected: [Int32: Int] = [:]
        var remainingPredicted: [Int32: Int] = [:]
        for token in expected.joined() { remainingExpected[token, default: 0] += 1 }
        for token in predicted.joined() { remainingPredicted[token, default: 0] += 1 }
        var matches = 0
        for sentence in expected {
            var marks = [Bool](repeating: false, count: sentence.count)
            for candidate in predicted { subsequence.mark(sentence, candidate, into: &marks) }
            for (token, isMarked) in zip(sentence, marks) where isMarked {
                if remainingPredicted[token, default: 0] > 0, remainingExpected[token, default: 0] > 0 {
                    matches += 1
                    remainingPredicted[token, default: 0] -= 1
                    remainingExpected[token, default: 0] -= 1
                }
            }
        }
        return matches
    }
}

/// Scores summed over summaries; those of parts of a corpus, or of ranks, can be added.
public struct ROUGEStatistics: Hashable, Sendable {
    /// Summaries.
    public private(set) var count = 0
    /// Precision, recall and F1 of the four measures, summed.
    private var sums = [Double](repeating: 0, count: 12)

    /// No summaries.
    public init() {}

    /// Adds one summary.
    public mutating func add(_ scores: ROUGEScores) {
        count += 1
        for (index, value) in scores.all.flatMap({ [$0.score.precision, $0.score.recall, $0.score.f1] }).enumerated() { sums[index] += value }
    }

    /// Mean precision, recall and F1 of each measure; zeros without summaries. The mean F1 is the mean of the summaries' F1.
    public var mean: ROUGEScores {
        func score(_ index: Int) -> PrecisionRecall {
            var score = PrecisionRecall(matches: 0, predicted: 0, expected: 0)
            guard count > 0 else { return score }
            score.precision = sums[3 * index] / Double(count)
            score.recall = sums[3 * index + 1] / Double(count)
            score.f1 = sums[3 * index + 2] / Double(count)
            return score
        }
        return ROUGEScores(rouge1: score(0), rouge2: score(1), rougeL: score(2), rougeLsum: score(3))
    }

    /// The sums in one list, for a sum over ranks: the count, then precision, recall and F1 of the four measures.
    public var encoded: [Double] { [Double(count)] + sums }

    /// The sums from such a list.
    ///
    /// - Precondition: it has 13 elements.
    public init(encoded: [Double]) {
        precondition(encoded.count == 13, "ROUGE statistics are 13 numbers, got \(encoded.count)")
        count = Int(encoded[0])
        sums = Array(encoded[1...])
    }

    /// Adds the sums of other summaries.
    public static func += (left: inout ROUGEStatistics, right: ROUGEStatistics) {
        left.count += right.count
        for index in left.sums.indices { left.sums[index] += right.sums[index] }
    }
}

import Evaluation
import Foundation
import Testing

@Suite struct BLEUMetricTests {
    @Test(arguments: MetricFixtures.metrics.bleu)
    func equalsSacreBLEU(corpus: MetricGolden.Corpus) throws {
        for expected in corpus.bleu {
            let tokenizer = try #require(BLEUTokenizer(rawValue: expected.tokenizer))
            let metric = BLEU(tokenizer: tokenizer, lowercase: expected.lowercase, effectiveOrder: expected.effective)
            let result = metric.score(hypotheses: corpus.hypotheses, references: corpus.references)
            let comment = Comment(rawValue: "\(corpus.name): \(expected.signature)")
            #expect(abs(result.score - expected.score) <= 1e-9, comment)
            #expect(zip(result.precisions, expected.precisions).allSatisfy { abs($0 - $1) <= 1e-9 }, comment)
            #expect(abs(result.brevityPenalty - expected.brevity) <= 1e-12, comment)
            #expect(result.statistics.hypothesisLength == expected.hypothesisLength, comment)
            #expect(result.statistics.referenceLength == expected.referenceLength, comment)
            #expect(result.statistics.matches == expected.matches, comment)
            #expect(result.statistics.totals == expected.totals, comment)
            #expect(result.verboseLine == expected.line, comment)
            #expect(metric.signature(referenceCount: corpus.references.count) == expected.signature + "|version:mneme", comment)
        }
    }

    @Test func countsOfPartsAddUp() {
        let corpus = MetricFixtures.metrics.bleu[1]
        let metric = BLEU()
        var sum = BLEUStatistics()
        for (index, hypothesis) in corpus.hypotheses.enumerated() {
            var part = BLEUAccumulator(metric)
            part.add(hypothesis: hypothesis, references: corpus.references.map { $0[index] })
            sum += BLEUStatistics(encoded: part.statistics.encoded)
        }
        #expect(sum == metric.score(hypotheses: corpus.hypotheses, references: corpus.references).statistics)
        #expect(sum.encoded.count == 10)
        #expect(metric.score(BLEUStatistics()).score == 0)
    }

    @Test func equalsAPlainCountOnRandomSegments() {
        var random = SeededGenerator(state: 7)
        let words = ["a", "b", "c", "é", "e\u{301}"]
        func segment() -> [String] {
            (0..<Int.random(in: 0...14, using: &random)).map { _ in words[Int.random(in: 0..<words.count, using: &random)] }
        }
        for _ in 0..<300 {
            let hypothesis = segment()
            let references = (0..<Int.random(in: 1...3, using: &random)).map { _ in segment() }
            var accumulator = BLEUAccumulator(BLEU(tokenizer: .none))
            accumulator.add(hypothesis: hypothesis.joined(separator: " "), references: references.map { $0.joined(separator: "\u{2003}") })
            for order in 1...4 {
                let counts = plainCounts(hypothesis, order)
                var limits: [[[UInt8]]: Int] = [:]
                for reference in references { limits.merge(plainCounts(reference, order)) { max($0, $1) } }
                #expect(accumulator.statistics.totals[order - 1] == counts.values.reduce(0, +))
                #expect(accumulator.statistics.matches[order - 1] == counts.reduce(0) { $0 + min($1.value, limits[$1.key] ?? 0) })
            }
        }
    }

    private func plainCounts(_ words: [String], _ order: Int) -> [[[UInt8]]: Int] {
        guard words.count >= order else { return [:] }
        return Dictionary((0...(words.count - order)).map { (words[$0..<($0 + order)].map { Array($0.utf8) }, 1) }, uniquingKeysWith: +)
    }
}

/// Scores that others published.
@Suite(.enabled(if: MetricFixtures.data != nil, "MNEME_DATA names no folder of real data"))
struct PublishedTranslationScoreMetricTests {
    let data = MetricFixtures.data ?? URL(fileURLWithPath: "/")

    @Test func equalsTheScoresOfWMT17EnglishToGerman() throws {
        let folder = data.appendingPathComponent("reference/wmt17-en-de")
        let reference = try MetricFixtures.lines(folder.appendingPathComponent("newstest2017.en-de.ref.de"))
        let rows = try MetricFixtures.table(folder.appendingPathComponent("scores.tsv")).dropFirst()
        #expect(rows.count == 8)
        for row in rows {
            let output = try MetricFixtures.lines(folder.appendingPathComponent("newstest2017.\(row[0]).en-de.txt"))
            let bleu = BLEU().score(hypotheses: output, references: [reference]).score
            #expect(abs(bleu - (try #require(Double(row[1])))) <= 0.0051, "\(row[0])")
            if let expected = Double(row[2]) {
                #expect(abs(CharacterFScore().score(hypotheses: output, references: [reference]) - expected) <= 0.0001, "\(row[0])")
            }
            if Double(row[3]) != nil {
                // scores.tsv has 49.1683, which an earlier sacreBLEU printed; this is what sacreBLEU 2.6.0 computes.
                #expect(abs(CharacterFScore.plusPlus.score(hypotheses: output, references: [reference]) - 49.16975151800492) <= 1e-9, "\(row[0])")
            }
        }
    }

    /// The file's scores are sacreBLEU's defaults: mteval-v13a, mixed case; "all" takes the three references together.
    @Test(arguments: ["bleu", "chrf"])
    func equalsTheScoresOfWMT21EnglishToGerman(metric: String) throws {
        let folder = data.appendingPathComponent("wmt21")
        var references: [String: [String]] = [:]
        for name in ["A", "C", "D"] {
            references[name] = try MetricFixtures.lines(folder.appendingPathComponent("txt/references/newstest2021.en-de.ref.\(name).de"))
        }
        var outputs: [String: [String]] = [:]
        let table = try MetricFixtures.table(folder.appendingPathComponent("scores/automatic-scores.tsv"))
        let rows = table.filter { $0[0] == "en-de" && $0[4].hasPrefix(metric) }
        #expect(rows.count == 80)
        for row in rows {
            let name = row[1]
            let file = folder.appendingPathComponent("txt/system-outputs/newstest2021.en-de.hyp.\(name).de")
            let output = try outputs[name] ?? MetricFixtures.lines(file)
            outputs[name] = output
            let parts = row[4].split(separator: "-")
            let chosen = parts[1] == "all" ? ["A", "C", "D"] : [String(parts[1])]
            let sets = try chosen.map { try #require(references[$0]) }
            let score =
                metric == "bleu"
                ? BLEU().score(hypotheses: output, references: sets).score : CharacterFScore().score(hypotheses: output, references: sets)
            #expect(abs(score - (try #require(Double(row[5])))) <= 1e-9, "\(name) \(row[4])")
        }
    }

    /// The expected value is the one of that project's unit test. It counts an empty word between two spaces, hence the tolerance.
    @Test(arguments: [("deen_ref_bpe", false), ("deen_ref_spm", true)])
    func equalsTheScoreOfTFNMTAfterJoiningPieces(file: String, isSentencePiece: Bool) throws {
        let folder = data.appendingPathComponent("reference/tf-nmt-bleu")
        let output = try MetricFixtures.lines(folder.appendingPathComponent("deen_output"))
        let reference = try MetricFixtures.lines(folder.appendingPathComponent(file)).map { line in
            isSentencePiece
                ? line.replacingOccurrences(of: " ", with: "").replacingOccurrences(of: "\u{2581}", with: " ")
                : line.replacingOccurrences(of: "@@ ", with: "")
        }
        let score = BLEU(tokenizer: .none).score(hypotheses: output, references: [reference]).score
        #expect(abs(score - 22.5855084573) <= 1e-3, "\(score)")
    }
}

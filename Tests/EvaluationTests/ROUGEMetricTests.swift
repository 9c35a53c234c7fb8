import Evaluation
import Foundation
import Testing

@Suite struct ROUGEMetricTests {
    @Test(arguments: MetricFixtures.metrics.rouge.indices)
    func equalsRougeScore(index: Int) {
        let expected = MetricFixtures.metrics.rouge[index]
        var scorer = ROUGE(usesStemmer: expected.stemmer)
        expectEqual(scorer.score(reference: expected.reference, prediction: expected.prediction), expected.single, 1e-12, "\(index)")
        expectEqual(
            scorer.score(references: [expected.reference, expected.other], prediction: expected.prediction), expected.multiple, 1e-12, "\(index)")
    }

    @Test func meansOfPartsAddUp() {
        var scorer = ROUGE()
        var whole = ROUGEStatistics()
        var sum = ROUGEStatistics()
        let cases = MetricFixtures.metrics.rouge
        for expected in cases {
            let scores = scorer.score(reference: expected.reference, prediction: expected.prediction)
            whole.add(scores)
            var part = ROUGEStatistics()
            part.add(scores)
            sum += ROUGEStatistics(encoded: part.encoded)
        }
        #expect(sum == whole && sum.count == cases.count)
        let mean = cases.indices.reduce(0.0) { total, index in
            var scorer = ROUGE()
            return total + scorer.score(reference: cases[index].reference, prediction: cases[index].prediction).rougeLsum.f1
        } / Double(cases.count)
        #expect(abs(whole.mean.rougeLsum.f1 - mean) <= 1e-12)
        #expect(ROUGEStatistics().mean.rouge1.f1 == 0)
    }

    @Test(.enabled(if: MetricFixtures.data != nil, "MNEME_DATA names no folder of real data"))
    func equalsRougeScoreOnAllSummariesOfREALSumm() throws {
        let file = try #require(MetricFixtures.data).appendingPathComponent("reference/realsumm-rouge/abs.json.gz")
        let documents = try JSONDecoder().decode([String: Document].self, from: MetricFixtures.decompressed(file))
        let expected = try MetricFixtures.table(MetricFixtures.golden.appendingPathComponent("realsumm-rouge.tsv"))
        var scorer = ROUGE()
        var row = 0
        for (_, document) in documents.sorted(by: { (Int($0.key) ?? 0) < (Int($1.key) ?? 0) }) {
            let reference = sentences(document.ref_summ)
            for (system, summary) in document.system_summaries.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
                let scores = scorer.score(reference: reference, prediction: sentences(summary.system_summary))
                let values = expected[row].compactMap { Double($0).map { $0 * 1e-8 } }
                let triples = stride(from: 0, to: 12, by: 3).map { Array(values[$0..<($0 + 3)]) }
                expectEqual(scores, triples, 1e-6, "document \(document.doc_id), \(system)")
                row += 1
            }
        }
        #expect(row == 1400)
    }

    private struct Document: Decodable {
        let doc_id: Int
        let ref_summ: String
        let system_summaries: [String: Summary]

        struct Summary: Decodable {
            let system_summary: String
        }
    }

    private func sentences(_ text: String) -> String {
        text.replacingOccurrences(of: "<t>", with: "").replacingOccurrences(of: "</t>", with: "\n")
    }

    private func expectEqual(_ scores: ROUGEScores, _ expected: [[Double]], _ tolerance: Double, _ place: String) {
        for ((name, score), expected) in zip(scores.all, expected) {
            let worst = zip([score.precision, score.recall, score.f1], expected).map { abs($0 - $1) }.max() ?? 0
            #expect(worst <= tolerance, "\(place) \(name): \(score), expected \(expected)")
        }
    }
}

@Suite struct PorterStemmerMetricTests {
    @Test func equalsTheReferenceOnWordsOfTheCorpora() throws {
        let pairs = try MetricFixtures.table(MetricFixtures.golden.appendingPathComponent("porter-stems.tsv"))
        #expect(pairs.count > 4000)
        var stemmer = PorterStemmer()
        let wrong = pairs.compactMap { pair in
            let stem = String(decoding: stemmer.stem(Array(pair[0].utf8)), as: UTF8.self)
            return stem == pair[1] ? nil : "\(pair[0]): \(stem), expected \(pair[1])"
        }
        #expect(wrong.isEmpty, "\(wrong.count) of \(pairs.count): \(wrong.prefix(10))")
    }
}

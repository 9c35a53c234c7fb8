import Evaluation
import Testing

@Suite struct CharacterFScoreMetricTests {
    @Test(arguments: MetricFixtures.metrics.bleu)
    func equalsSacreBLEU(corpus: MetricGolden.Corpus) {
        for expected in corpus.chrf {
            let metric = CharacterFScore(wordOrder: expected.wordOrder, beta: expected.beta, lowercase: expected.lowercase)
            let score = metric.score(hypotheses: corpus.hypotheses, references: corpus.references)
            #expect(abs(score - expected.score) <= 1e-9, "\(expected.name) \(expected.signature): \(score), expected \(expected.score)")
            #expect(metric.name == expected.name)
            #expect(metric.signature(referenceCount: corpus.references.count) == expected.signature + "|version:mneme")
        }
    }

    @Test func countsOfPartsAddUp() {
        let corpus = MetricFixtures.metrics.bleu[1]
        let metric = CharacterFScore.plusPlus
        var sum = CharacterFScoreStatistics(orderCount: 8)
        for (index, hypothesis) in corpus.hypotheses.enumerated() {
            var part = CharacterFScoreAccumulator(metric)
            part.add(hypothesis: hypothesis, references: corpus.references.map { $0[index] })
            sum += CharacterFScoreStatistics(encoded: part.statistics.encoded)
        }
        #expect(metric.score(sum) == metric.score(hypotheses: corpus.hypotheses, references: corpus.references))
        #expect(sum.encoded.count == 24)
    }
}

import Diagnostics
import Evaluation
import Foundation
import Testing

@Suite struct AnswerMetricTests {
    @Test func countsBABIAnswersByTask() {
        var accuracy = BABIAccuracy()
        for question in 0..<20 { accuracy.add(task: 1, answer: question == 0 ? "garden" : " kitchen\n", expected: "kitchen") }
        for question in 0..<20 { accuracy.add(task: 8, answer: question < 2 ? "milk" : "milk,apple", expected: "milk,apple") }
        #expect(accuracy[1].accuracy == 0.95 && !accuracy[1].isFailed)
        #expect(accuracy[8].error == 0.1 && accuracy[8].isFailed)
        #expect(accuracy.failedTasks == [8] && accuracy.tasksAsked == [1, 8])
        #expect(abs((accuracy.meanError ?? 1) - 0.075) <= 1e-12)
        var sum = BABIAccuracy(encoded: accuracy.encoded)
        sum += accuracy
        #expect(sum[8].questions == 40 && sum[8].correct == 36 && sum.encoded.count == 40)
        #expect(accuracy[2].error == nil && BABIAccuracy().meanError == nil)
    }

    @Test func wholeAnswersCount() {
        var accuracy = BABIAccuracy()
        accuracy.add(task: 20, answer: "Kitchen", expected: "kitchen")
        accuracy.add(task: 20, answer: "the kitchen", expected: "kitchen")
        #expect(accuracy[20].correct == 0)
    }

    @Test func perplexityIsWhatItsDefinitionSays() throws {
        var statistics = LanguageModelStatistics(nats: 10 * log(8.0), tokens: 10, words: 5, bytes: 30, characters: 15)
        #expect(abs(try #require(statistics.perplexityPerToken) - 8) <= 1e-12)
        #expect(abs(try #require(statistics.perplexityPerWord) - 64) <= 1e-11)
        #expect(abs(try #require(statistics.bitsPerByte) - 1) <= 1e-12)
        #expect(abs(try #require(statistics.bitsPerCharacter) - 2) <= 1e-12)
        statistics += LanguageModelStatistics(encoded: statistics.encoded)
        #expect(statistics == LanguageModelStatistics(nats: 20 * log(8.0), tokens: 20, words: 10, bytes: 60, characters: 30))
        let empty = LanguageModelStatistics()
        #expect(empty.perplexityPerToken == nil && empty.perplexityPerWord == nil && empty.bitsPerByte == nil && empty.bitsPerCharacter == nil && empty.lossPerToken == nil)
    }

    @Test(arguments: [
        ("The Cat's  hat!", ["cats", "hat"]), ("a an the", []), ("A–the–b", ["–", "–b"]), ("theatre another", ["theatre", "another"]),
        ("1,000 km.", ["1000", "km"]),
        ("an_other", ["another"]), ("É\u{a0}Ç", ["é", "ç"]),
    ])
    func normalisesAnswers(text: String, words: [String]) {
        #expect(AnswerScoring.normalizedWords(text) == words)
    }

    @Test func answersOverlapByWords() {
        #expect(AnswerScoring.f1("the big red dog", "a red dog") == 0.8)
        #expect(AnswerScoring.f1("dog dog", "dog") == 2.0 / 3)
        #expect(AnswerScoring.f1("", "the") == 1 && AnswerScoring.f1("x", "") == 0)
        #expect(AnswerScoring.isExactMatch("The Dog.", "dog") && !AnswerScoring.isExactMatch("dogs", "dog"))
    }

    /// Where nothing is left of an answer, `evaluate-v1.1.py` finds no shared word and gives 0; `evaluate-v2.0.py` compares.
    @Test(arguments: [("\"version\":\"1.1\",", 100.0, 100.0 / 3), ("\"version\":\"v2.0\",", 100.0, 100.0), ("", 100.0, 100.0 / 3)])
    func answersOfNothingButArticles(version: String, exactMatch: Double, f1: Double) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mneme-squad-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let questions = [("1", "The The"), ("2", "..."), ("3", "x")].map { #"{"id":"\#($0)","answers":[{"text":"\#($1)"}]}"# }.joined(separator: ",")
        let (dataset, predictions) = (folder.appendingPathComponent("d.json"), folder.appendingPathComponent("p.json"))
        try Data("{\(version)\"data\":[{\"paragraphs\":[{\"qas\":[\(questions)]}]}]}".utf8).write(to: dataset)
        try Data(#"{"1":"a","2":"!!!","3":"x"}"#.utf8).write(to: predictions)
        let scores = try AnswerScoring.scoreSQuAD(dataset: dataset.path, predictions: predictions.path)
        #expect(abs(scores.exactMatch - exactMatch) < 1e-9 && abs(scores.f1 - f1) < 1e-9)
    }

    /// Expected: see the README of the data; the values of models' predictions on the questions published again with XQuAD.
    @Test(
        .enabled(if: MetricFixtures.data != nil, "MNEME_DATA names no folder of real data"),
        arguments: [("bert-ensemble", 74.8739, 86.3247, 0), ("logreg-baseline", 34.5378, 45.8523, 2)])
    func equalsKnownScoresOnSQuAD(model: String, exactMatch: Double, f1: Double, unanswered: Int) throws {
        let folder = try #require(MetricFixtures.data).appendingPathComponent("squad")
        let scores = try AnswerScoring.scoreSQuAD(
            dataset: folder.appendingPathComponent("xquad.en.json").path,
            predictions: folder.appendingPathComponent("predictions-dev-v1.1/\(model).json").path)
        #expect(abs(scores.exactMatch - exactMatch) <= 5e-5 && abs(scores.f1 - f1) <= 5e-5)
        #expect(scores.questions == 1190 && scores.unanswered == unanswered)
    }
}

// The model that sums records out: its loss from its own logits in float64, gradients of query and decoder, and answers against all that there are.

import Foundation
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("Marginal language models") struct MarginalModelTests {
    private static let vocabulary = 11

    private func model(_ form: MarginalForm, wordWeight: Float = 0.5, records: Int = 3) -> MarginalLanguageModel {
        var transformer = TransformerConfiguration(layers: 1, width: 12, heads: 3)
        transformer.context = 12
        let marginal = MarginalConfiguration(form: form, records: records, wordWeight: wordWeight)
        let model = MarginalLanguageModel(
            transformer, LookupConfiguration(keyWidth: 5, temperature: 0.5), marginal, vocabularySize: Self.vocabulary)
        model.store.allocate(seed: 4)
        // Starting values are so small that every record says the same.
        for parameter in model.store.parameters { for place in 0..<parameter.value.count { parameter.value.floats[place] *= 4 } }
        return model
    }

    private let questions: [[Int32]] = [[0, 1, 2], [0, 3, 4], [0, 5, 1]]
    private let answers: [[Int32]] = [[6], [7, 8, 9], [10, 6]]

    /// The first records of four, whatever is asked.
    private var batch: QuestionBatch {
        let keys = randomTensor("keys", [3, 4, 5])
        return QuestionBatch(questions: questions, words: randomTensor("words", [3, 5]), answers: answers) { _, count in
            let rows = (0..<3).flatMap { question in (0..<count).map { question * 4 + $0 } }
            let first = rows.flatMap { row in (0..<5).map { keys.floats[row * 5 + $0] } }
            return RetrievedRecords(keys: Tensor(first, [3, count, 5]), texts: rows.map { Array([0, Int32($0 % 7), 9, 8].prefix(2 + $0 % 3)) })
        }
    }

    /// log p(token | text) of each token of an answer.
    private func likelihoods(_ model: MarginalLanguageModel, _ text: [Int32], _ answer: [Int32]) -> [Double] {
        let input = text + answer.dropLast()
        let logits = model.decoder.logits(Tensor(input, [1, input.count]), ForwardPass())
        return answer.enumerated().map { place, token in
            let row = (0..<Self.vocabulary).map { Double(logits.floats[(text.count - 1 + place) * Self.vocabulary + $0]) }
            return row[Int(token)] - log(row.reduce(0) { $0 + exp($1) })
        }
    }

    /// p(z | x) and, for each record, log p(y_t | x, z) of an answer.
    private func parts(_ model: MarginalLanguageModel, _ question: Int, _ answer: [Int32]) -> (priors: [Double], likelihoods: [[Double]]) {
        let batch = batch
        let queries = model.queries(questions, words: batch.words, ForwardPass())
        let records = batch.find(queries, model.marginal.records)
        let count = model.marginal.records
        let scores = (0..<count).map { record in
            (0..<5).reduce(0.0) { $0 + Double(queries.floats[question * 5 + $1] * records.keys.floats[(question * count + record) * 5 + $1]) } / 0.5
        }
        let total = scores.reduce(0) { $0 + exp($1) }
        return (
            scores.map { exp($0) / total },
            (0..<count).map { likelihoods(model, records.texts[question * count + $0] + questions[question].dropFirst(), answer) }
        )
    }

    /// p(y | x).
    private func probability(_ model: MarginalLanguageModel, _ question: Int, _ answer: [Int32]) -> Double {
        let (priors, likelihoods) = parts(model, question, answer)
        switch model.marginal.form {
        case .sequence: return zip(priors, likelihoods).reduce(0) { $0 + $1.0 * exp($1.1.reduce(0, +)) }
        case .token:
            return answer.indices.reduce(1.0) { (product: Double, token: Int) -> Double in
                let sum: Double = priors.indices.reduce(0.0) { $0 + priors[$1] * exp(likelihoods[$1][token]) }
                return product * sum
            }
        }
    }

    @Test("the loss is -log of the marginal probability of each answer", arguments: MarginalForm.allCases, [Float(0), 0.5])
    func loss(_ form: MarginalForm, wordWeight: Float) {
        let model = model(form, wordWeight: wordWeight)
        let queries = model.queries(questions, words: batch.words, ForwardPass())
        for row in 0..<3 { #expect(abs((0..<5).reduce(0) { $0 + pow(Double(queries.floats[row * 5 + $1]), 2) } - 1) < 1e-5) }
        let sums = model.loss(batch, ForwardPass())
        #expect(sums.count == 6)
        for question in 0..<3 {
            let expected = -log(probability(model, question, answers[question]))
            #expect(abs(Double(sums.perPosition[question]) - expected) < 1e-4 * expected, "\(sums.perPosition[question]), not \(expected)")
        }
    }

    @Test("gradients reach the query and the decoder", arguments: MarginalForm.allCases)
    func gradients(_ form: MarginalForm) {
        let (model, batch) = (model(form), batch)
        let report = checkGradients(store: model.store, elementLimit: 40) { tape, _ in model.loss(batch, ForwardPass(tape: tape)).loss }
        #expect(report.passes(worst: 2e-2, ofNorm: 3e-3), "\(report)")
        #expect(Set(report.deviations.map(\.name)).isSuperset(of: ["query.weight", "tokenEmbedding.weight"]))
        let tape = Tape()
        tape.backward(from: model.loss(batch, ForwardPass(tape: tape)).loss)
        #expect(model.store["query.weight"]?.gradient.array.contains { abs($0) > 1e-3 } == true)
    }

    @Test("answers are the likeliest of all, token by token, and the likeliest of the records' own", arguments: MarginalForm.allCases)
    func answers(_ form: MarginalForm) {
        let model = model(form)
        let batch = batch
        let queries = model.queries(questions, words: batch.words, ForwardPass())
        let records = batch.find(queries, 3)
        let scores = matmul(queries.reshaped(to: [3, 1, 5]), records.keys, transposeB: true).reshaped(to: [3, 3])
        let found = model.answers(questions, records.texts, likeness: scores, lengths: [1, 2, 2])
        let tokens = (0..<Int32(Self.vocabulary))
        func best(_ candidates: [[Int32]], _ question: Int) -> [Int32] {
            candidates.max { probability(model, question, $0) < probability(model, question, $1) } ?? []
        }
        #expect(found[0] == best(tokens.map { [$0] }, 0))
        for question in 1...2 {
            switch form {
            case .token:
                let first = best(tokens.map { [$0] }, question)
                #expect(found[question] == best(tokens.map { first + [$0] }, question))
            case .sequence:
                let candidates = (0..<3).map { record -> [Int32] in
                    (0..<2).reduce(into: []) { answer, _ in
                        let all = tokens.map { answer + [$0] }
                        answer = all.max {
                            parts(model, question, $0).likelihoods[record].reduce(0, +) < parts(model, question, $1).likelihoods[record].reduce(0, +)
                        } ?? []
                    }
                }
                #expect(candidates.contains(found[question]) && found[question] == best(candidates, question))
            }
        }
    }
}

// Answers of a model that sums records out.
//
// Legend: Q questions, K records of each, V vocabulary; x a question, z a record, y an answer.

import Foundation
import NeuralNetworks
import Tensors

extension MarginalLanguageModel {
    /// The answers to questions, by the form that the model learns with.
    ///
    /// By token, the likeliest one of sum over z of p(z | x) p(y_t | x, z, y_<t), one after the other. By sequence, the likeliest answer beside each
    /// record is a candidate, and the one with the largest marginal is given: the paper's thorough decoding, its beam of one. Answers of one token need
    /// no candidates, since there both forms agree.
    ///
    /// - Parameters:
    ///   - records: the tokens of Q K records, question by question.
    ///   - likeness: of the queries and the keys, [Q, K]; -infinity where there is no record. Each question has one at least.
    ///   - lengths: tokens of each answer.
    /// - Complexity: Q K texts a token; by sequence as many more, and at most Q K^2 texts to compare candidates by.
    /// - Source: Lewis et al. 2020, section 2.5.
    public func answers(_ questions: [[Int32]], _ records: [[Int32]], likeness: Tensor, lengths: [Int]) -> [[Int32]] {
        let count = likeness.shape[1]
        var answers = [[Int32]](repeating: [], count: questions.count)
        func ask(_ places: [Int], by decode: ([[Int32]], [[Int32]], Tensor, [Int]) -> [[Int32]]) {
            guard !places.isEmpty else { return }
            let own = places.flatMap { Array(records[$0 * count..<($0 + 1) * count]) }
            let found = decode(places.map { questions[$0] }, own, likeness.rows(places), places.map { lengths[$0] })
            for (place, answer) in zip(places, found) { answers[place] = answer }
        }
        ask(questions.indices.filter { marginal.form == .token || lengths[$0] <= 1 }, by: answersByToken)
        ask(questions.indices.filter { marginal.form == .sequence && lengths[$0] > 1 }, by: answersBySequence)
        return answers
    }

    private func answersByToken(_ questions: [[Int32]], _ records: [[Int32]], _ likeness: Tensor, _ lengths: [Int]) -> [[Int32]] {
        let count = likeness.shape[1]
        let priors = softmax(likeness, scale: 1 / configuration.temperature)
        var answers = [[Int32]](repeating: [], count: questions.count)
        for step in 0..<(lengths.max() ?? 0) {
            let asked = questions.indices.filter { lengths[$0] > step }
            let texts = asked.flatMap { question in
                (0..<count).map { Self.text(records[question * count + $0], questions[question]) + answers[question] }
            }
            let probabilities = softmax(logits(texts, last: [Int](repeating: 1, count: texts.count), ForwardPass()))
            let vocabulary = probabilities.shape.columns
            for (place, question) in asked.enumerated() {
                let sums = Tensor(zeros: [vocabulary])
                for record in 0..<count {
                    let (row, prior) = (probabilities.floats + (place * count + record) * vocabulary, priors.floats[question * count + record])
                    for token in 0..<vocabulary { sums.floats[token] += prior * row[token] }
                }
                answers[question].append(Int32((0..<vocabulary).max { sums.floats[$0] < sums.floats[$1] } ?? 0))
            }
        }
        return answers
    }

    private func answersBySequence(_ questions: [[Int32]], _ records: [[Int32]], _ likeness: Tensor, _ lengths: [Int]) -> [[Int32]] {
        let count = likeness.shape[1]
        // Each record by itself.
        let alone = Tensor(zeros: [records.count, 1])
        let owners = records.indices.map { $0 / count }
        let said = answersByToken(owners.map { questions[$0] }, records, alone, owners.map { lengths[$0] })
        var candidates: [(question: Int, answer: [Int32])] = []
        for question in questions.indices {
            for answer in said[question * count..<(question + 1) * count] where !candidates.contains(where: { $0 == (question, answer) }) {
                candidates.append((question, answer))
            }
        }
        var best = [(loss: Float, answer: [Int32])](repeating: (.infinity, []), count: questions.count)
        for start in stride(from: 0, to: candidates.count, by: 64) {
            let part = candidates[start..<min(start + 64, candidates.count)]
            let places = part.map(\.question)
            let losses = loss(
                part.map(\.answer), places.map { questions[$0] }, places.flatMap { Array(records[$0 * count..<($0 + 1) * count]) },
                likeness: likeness.rows(places), form: .sequence, ForwardPass()
            ).perPosition
            for (candidate, loss) in zip(part, losses) where loss < best[candidate.question].loss {
                best[candidate.question] = (loss, candidate.answer)
            }
        }
        return best.map(\.answer)
    }
}

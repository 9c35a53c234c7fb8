// The losses of classes and of candidates, summed over positions.
//
// Legend: R positions, V classes, D width.

/// -log p(target) of each position that has a target, p = softmax(logits), summed; with label smoothing e the target is 1 - e of the class and e / V
/// of every class (Szegedy et al. 2016, section 7).
///
/// - Parameters:
///   - logits: [R, V].
///   - targets: R classes; a negative one does not count.
public func crossEntropy(_ logits: ReferenceArray, targets: [Int], labelSmoothing: Double = 0) -> ReferenceArray {
    var loss: ReferenceArray = 0
    for (row, target) in zip(logits.rows, targets) where target >= 0 {
        let logProbabilities = row - logSumExponential(row)
        loss = loss - ReferenceArray(1 - labelSmoothing) * logProbabilities[target] - ReferenceArray(labelSmoothing) * logProbabilities.mean()[0]
    }
    return loss
}

/// -log of the probability that softmax(scores) gives to all right answers of a question together, summed over questions with an answer.
///
/// - Parameters:
///   - query: [B, D]; table: [V, D].
///   - candidates: rows of the table for each question.
///   - answers: places among them.
public func candidateCrossEntropy(_ query: ReferenceArray, _ table: ReferenceArray, candidates: [[Int]], answers: [[Int]]) -> ReferenceArray {
    var loss: ReferenceArray = 0
    for (b, rows) in candidates.enumerated() where !answers[b].isEmpty {
        let scores = embedding(table, rows).times(query[b])
        let right = ReferenceArray.stacked(answers[b].map { scores[$0] })
        loss = loss + (logSumExponential(scores) - logSumExponential(right))[0]
    }
    return loss
}

/// -log of the probability of answers, summed over questions: p(z) = softmax(scores) of K records and p(y_t | z, y_<t) = softmax(logits), the
/// records summed out of a whole answer, or of each token by itself (Lewis et al. 2020, section 2.1, RAG-Sequence and RAG-Token).
///
/// - Parameters:
///   - logits: [R, V]: question by question, record by record, a row for each target.
///   - scores: [Q, K].
///   - targets: Q answers; a negative target does not count.
public func marginalCrossEntropy(_ logits: ReferenceArray, scores: ReferenceArray, targets: [[Int]], isPerToken: Bool) -> ReferenceArray {
    var (loss, first): (ReferenceArray, Int) = (0, 0)
    for (question, answer) in targets.enumerated() {
        let answer = answer.filter { $0 >= 0 }
        guard !answer.isEmpty else { continue }
        let prior = scores[question] - logSumExponential(scores[question])
        // log p(y_t | z, y_<t): [K, T].
        let likelihoods = ReferenceArray.stacked(
            (0..<scores.shape[1]).map { record in
                ReferenceArray.stacked(
                    answer.enumerated().map { token, target in
                        let row = logits[first + record * answer.count + token]
                        return (row - logSumExponential(row))[target]
                    })
            })
        first += scores.shape[1] * answer.count
        if isPerToken {
            for token in answer.indices { loss = loss - logSumExponential(prior + likelihoods.transposed[token])[0] }
        } else {
            loss = loss - logSumExponential(prior + likelihoods.sum().flattened)[0]
        }
    }
    return loss
}

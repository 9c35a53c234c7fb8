// The loss of answers that a model gives with any of several records: the records are summed out.
//
// Legend: Q questions, K records of each, T tokens of the longest answer, R rows of logits, V classes (vocabulary); z a record, y_t token t of an
// answer.

import Diagnostics
import Foundation
import Kernels

/// What the probability of an answer is, of those that its tokens have beside each of K records.
public enum MarginalForm: String, Sendable, CaseIterable {
    /// One record is behind the whole answer: sum over z of p(z) product over t of p(y_t | z, y_<t).
    case sequence
    /// Each token has a record of its own: product over t of sum over z of p(z) p(y_t | z, y_<t).
    case token
}

/// -log p(answer), where p(z) = softmax(scores) and p(y_t | z, y_<t) = softmax(logits), summed over questions.
///
/// The gradient of a score is p(z) less the share that record z has in the probability of the answer, its posterior; that of a row of logits is the
/// cross-entropy's times the posterior. With one record this is ordinary cross-entropy, and answers of one token are the same in both forms.
///
/// - Parameters:
///   - logits: [R, V], float32: a row for each token of an answer beside each record, question by question, in it record by record. Tokens that do
///     not count have none, so R is K times the number of targets.
///   - scores: [Q, K], float32; -infinity stands for no record, and each question with an answer has one at least.
///   - targets: int32 [Q, T]; a negative target does not count. A question without targets has no part in the loss.
///   - form: how tokens and records are put together.
/// - Returns: the summed loss; `count` is the number of targets, `perPosition` -log p of each question's answer, [Q].
/// - Complexity: R V exponentials; keeps R V numbers, the gradient of the logits. All sums are in float64.
/// - Source: Lewis et al. 2020, "Retrieval-augmented generation for knowledge-intensive NLP tasks", section 2.1 (RAG-Sequence and RAG-Token).
public func marginalCrossEntropy(_ logits: Tensor, scores: Tensor, targets: Tensor, form: MarginalForm) -> SummedLoss {
    let operation = Operation("marginal cross-entropy")
    let (rows, classes) = (logits.shape.rows, logits.shape.columns)
    operation.require(
        scores.shape.rank == 2 && targets.shape.rank == 2 && targets.shape[0] == scores.shape[0], "scores \(scores.shape), targets \(targets.shape)")
    let (questions, records) = (scores.shape[0], scores.shape[1])
    let tokens = (0..<targets.count).filter { targets.integers[$0] >= 0 }
    operation.require(rows == records * tokens.count, "logits \(logits.shape) for \(tokens.count) targets beside \(records) records")
    // Both become gradients in place.
    let (work, scoreGradient) = (logits.copied(), Tensor(zeros: scores.shape))
    var sums = MarginalSums(work, scoreGradient, classes: classes, form)
    var perQuestion = [Float](repeating: 0, count: questions)
    for question in 0..<questions {
        let own = targets.integers + question * targets.shape[1]
        let answer = (0..<targets.shape[1]).map { Int(own[$0]) }.filter { $0 >= 0 }
        guard !answer.isEmpty else { continue }
        operation.require(answer.allSatisfy { $0 < classes }, "an answer \(answer) of \(classes) classes")
        let ownScores = UnsafeBufferPointer(start: scores.floats + question * records, count: records)
        perQuestion[question] = Float(sums.add(answer, scores: ownScores, question))
    }
    let loss = operation.record(Tensor(Float(sums.total)), from: logits, scores) { gradient in
        let scale = gradient.scalar
        for (input, kept) in [(logits, work), (scores, scoreGradient)] {
            input.node?.withGradient { target, accumulate in
                if accumulate {
                    kernels.addScaled(target, kept.floats, scale: scale, kept.count)
                } else {
                    kernels.affine(target, kept.floats, scale: scale, offset: 0, kept.count)
                }
            }
        }
    }
    return SummedLoss(loss: loss, negativeLogLikelihood: sums.total, count: tokens.count, perPosition: perQuestion)
}

/// The answers so far: their loss, and the gradients in the places of what they are of.
private struct MarginalSums {
    private let logits: UnsafeMutablePointer<Float>
    private let scoreGradient: UnsafeMutablePointer<Float>
    private let classes: Int
    private let form: MarginalForm
    /// The row that the next question begins at.
    private var first = 0
    private(set) var total = 0.0

    init(_ logits: Tensor, _ scoreGradient: Tensor, classes: Int, _ form: MarginalForm) {
        (self.logits, self.scoreGradient, self.classes, self.form) = (logits.floats, scoreGradient.floats, classes, form)
    }

    /// Turns the next rows of logits into their gradient.
    /// - Returns: -log p(answer).
    mutating func add(_ answer: [Int], scores: UnsafeBufferPointer<Float>, _ question: Int) -> Double {
        let (records, length) = (scores.count, answer.count)
        let all = logSumExponential(scores.map { Double($0) })
        let priors = scores.map { Double($0) - all }
        // log p(y_t | z, y_<t), record by record; the logits become the gradients of ordinary cross-entropy.
        var likelihoods = [Double](repeating: 0, count: records * length)
        for place in likelihoods.indices {
            let row = logits + (first + place) * classes
            likelihoods[place] = -Double(
                kernels.crossEntropy(Elements(row), logits: row, target: answer[place % length], labelSmoothing: 0, classes).negativeLogLikelihood)
        }
        var loss = 0.0
        // The tokens that have one record together.
        for part in form == .sequence ? [0..<length] : (0..<length).map({ $0..<$0 + 1 }) {
            let joint = priors.indices.map { record in part.reduce(priors[record]) { $0 + likelihoods[record * length + $1] } }
            let marginal = logSumExponential(joint)
            loss -= marginal
            for record in 0..<records {
                let posterior = exp(joint[record] - marginal)
                scoreGradient[question * records + record] += Float(exp(priors[record]) - posterior)
                for token in part {
                    let row = logits + (first + record * length + token) * classes
                    kernels.affine(row, row, scale: Float(posterior), offset: 0, classes)
                }
            }
        }
        first += records * length
        total += loss
        return loss
    }

    private func logSumExponential(_ values: [Double]) -> Double {
        let largest = values.max() ?? -.infinity
        return largest + log(values.reduce(0) { $0 + exp($1 - largest) })
    }
}

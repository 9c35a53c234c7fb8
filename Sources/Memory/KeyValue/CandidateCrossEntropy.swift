// Answers chosen among candidates that are rows of a table, and the loss of the choice.
//
// Legend: B questions, V rows of the table, D width, C candidates of one question, N candidates of all questions together.

import Diagnostics
import Kernels
import Tensors

/// The rows that an answer is chosen from.
public enum AnswerCandidates {
    /// The same consecutive rows for every question. `excluded` are places among them that do not take part, question by question.
    case range(first: Int, count: Int, excluded: Segments, places: [Int32])
    /// Rows of its own for each question: `rows` of the segments. A question may have none.
    case lists(Segments, rows: [Int32])

    /// C of a question.
    func count(of question: Int) -> Int {
        switch self {
        case .range(_, let count, _, _): count
        case .lists(let segments, _): segments[question].count
        }
    }
}

/// The places of the right answers among the candidates of each question. A question without any does not count.
public struct AnswerPlaces {
    let segments: Segments
    let places: [Int32]

    /// - Parameters:
    ///   - starts: question b has the answers `starts[b] ..< starts[b + 1]`; B + 1 places.
    ///   - places: of the answers among the question's candidates, from 0.
    public init(starts: [Int32], places: [Int32]) {
        segments = Segments(starts: starts)
        require(places.count == segments.total, "\(places.count) answers in segments of \(segments.total)")
        self.places = places
    }
}

/// The scores of each question's candidates.
public struct CandidateScores {
    /// [N]: one question after the other; minus infinity where excluded.
    public let values: Tensor
    /// Where each question's scores are, B segments.
    public let questions: Segments
}

/// query . row of the table for every candidate, off the tape.
///
/// - Parameters:
///   - query: [B, D].
///   - table: [V, D].
/// - Complexity: 2 N D flops.
public func scoreCandidates(_ query: Tensor, _ table: Tensor, _ candidates: AnswerCandidates) -> CandidateScores {
    let (batch, width) = (query.shape[0], query.shape.columns)
    require(query.shape.rank == 2 && table.shape.rank == 2 && table.shape[1] == width, "scoreCandidates: query \(query.shape), table \(table.shape)")
    switch candidates {
    case .range(let first, let count, let excluded, let places):
        require(
            first >= 0 && count > 0 && first + count <= table.shape[0], "scoreCandidates: rows \(first) to \(first + count) of a table \(table.shape)"
        )
        require(excluded.count == batch, "scoreCandidates: exclusions of \(excluded.count) questions for \(batch)")
        let scores = Tensor(uninitialized: [batch * count])
        multiplyMatrices(
            scores.floats, leadingC: count, query.floats, leadingA: width, table.floats + first * width, .transposed, leadingB: width, m: batch,
            n: count, k: width)
        for b in 0..<batch { for i in excluded[b] { scores.floats[b * count + Int(places[i])] = -.infinity } }
        return CandidateScores(values: scores, questions: Segments(starts: (0...batch).map { Int32($0 * count) }))
    case .lists(let segments, let rows):
        require(
            segments.count == batch && rows.count == segments.total,
            "scoreCandidates: \(rows.count) candidates, \(segments.count) lists, \(batch) questions")
        let scores = Tensor(uninitialized: [segments.total])
        for b in 0..<batch {
            for i in segments[b] {
                require(rows[i] >= 0 && rows[i] < table.shape[0], "scoreCandidates: row \(rows[i]) of a table \(table.shape)")
                scores.floats[i] = kernels.dot(query.floats + b * width, table.floats + Int(rows[i]) * width, width)
            }
        }
        return CandidateScores(values: scores, questions: segments)
    }
}

/// The cross-entropy of choosing any right answer: -log of the probability that softmax(scores) gives to all right answers of a question together.
///
/// With one right answer it is ordinary cross-entropy. Candidates that are excluded have probability 0, and no gradient.
///
/// - Parameters:
///   - query: [B, D].
///   - table: [V, D].
///   - candidates: of each question.
///   - answers: of B questions; a question without answers does not count.
/// - Complexity: 2 N D flops forward, 4 N D backward; keeps N scores, which become their gradient.
public func candidateCrossEntropy(_ query: Tensor, _ table: Tensor, _ candidates: AnswerCandidates, answers: AnswerPlaces) -> SummedLoss {
    let (batch, width) = (query.shape[0], query.shape.columns)
    require(answers.segments.count == batch, "candidateCrossEntropy: answers of \(answers.segments.count) questions for \(batch)")
    let scores = scoreCandidates(query, table, candidates)
    var (total, counted) = (0.0, 0)
    var perQuestion = [Float](repeating: 0, count: batch)
    for b in 0..<batch {
        let range = scores.questions[b]
        let row = scores.values.floats + range.lowerBound
        let right = answers.segments[b].map { Int(answers.places[$0]) }
        for place in right { require(place >= 0 && place < range.count, "candidateCrossEntropy: answer \(place) of \(range.count) candidates") }
        guard !right.isEmpty else {
            kernels.fill(row, 0, range.count)
            continue
        }
        let all = kernels.logSumExponential(row, range.count)
        let rightScores = right.map { row[$0] }
        let chosen = kernels.logSumExponential(rightScores, right.count)
        require(chosen != -.infinity, "candidateCrossEntropy: every right answer of question \(b) is excluded")
        kernels.softmax(row, row, scale: 1, range.count)
        for (place, score) in zip(right, rightScores) { row[place] -= kernels.exponential(score - chosen) }
        perQuestion[b] = all - chosen
        total += Double(all - chosen)
        counted += 1
    }
    let loss = Operation("candidate cross-entropy").record(Tensor(Float(total)), from: query, table) { gradient in
        let scale = gradient.scalar
        let g = scores.values
        if scale != 1 { kernels.affine(g.floats, g.floats, scale: scale, offset: 0, g.count) }
        switch candidates {
        case .range(let first, let count, _, _):
            query.node?.withGradient { target, accumulate in
                multiplyMatrices(
                    target, leadingC: width, g.floats, leadingA: count, table.floats + first * width, leadingB: width, m: batch, n: width, k: count,
                    beta: accumulate ? 1 : 0)
            }
            table.node?.withZeroedGradient { target in
                multiplyMatrices(
                    target + first * width, leadingC: width, g.floats, .transposed, leadingA: count, query.floats, leadingB: width, m: count,
                    n: width, k: batch, beta: 1)
            }
        case .lists(let segments, let rows):
            query.node?.withZeroedGradient { target in
                for b in 0..<batch {
                    for i in segments[b] { kernels.addScaled(target + b * width, table.floats + Int(rows[i]) * width, scale: g.floats[i], width) }
                }
            }
            table.node?.withZeroedGradient { target in
                for b in 0..<batch {
                    for i in segments[b] { kernels.addScaled(target + Int(rows[i]) * width, query.floats + b * width, scale: g.floats[i], width) }
                }
            }
        }
    }
    return SummedLoss(loss: loss, negativeLogLikelihood: total, count: counted, perPosition: perQuestion)
}

extension KernelSet {
    /// exp of one number, by the same polynomial as the others.
    fileprivate func exponential(_ x: Float) -> Float {
        var (input, output) = (x, Float(0))
        unary(.exponential, &output, &input, 1)
        return output
    }
}

// The marginal cross-entropy against an independent program, and what both of its forms have in common. Golden/generate_marginal.py made
// Golden/marginal.json.

import TestSupport
import Tensors
import Testing

@Suite("Marginal cross-entropy") struct MarginalCrossEntropyTests {
    /// The loss of answers and the gradients of logits and scores.
    private func result(
        _ logits: Tensor, _ scores: Tensor, _ targets: [Int32], length: Int, _ form: MarginalForm
    ) -> (sums: SummedLoss, logits: [Float], scores: [Float]) {
        let tape = Tape()
        let (logits, scores) = (tape.variable(logits), tape.variable(scores))
        let sums = marginalCrossEntropy(logits, scores: scores, targets: Tensor(targets, [targets.count / length, length]), form: form)
        tape.backward(from: sums.loss)
        return (sums, logits.node?.gradient?.array ?? [], scores.node?.gradient?.array ?? [])
    }

    @Test("losses and gradients are those of an independent program")
    func golden() throws {
        let file = try GoldenFile.read("marginal")
        #expect(file.cases.count == 6)
        for one in file.cases {
            let form = try #require(MarginalForm(rawValue: String(one.name.dropFirst("marginal-".count))))
            let (logits, scores) = (try #require(one.inputs["logits"]).tensor, try #require(one.inputs["scores"]).tensor)
            let targets = try #require(one.integers("targets")).map { Int32($0) }
            let found = result(logits, scores, targets, length: try #require(one.integers("length"))[0], form)
            GoldenOperationTests().compare(found.sums.loss, one.output, "\(one.name): output")
            GoldenOperationTests().compare(Tensor(found.logits, logits.shape), try #require(one.gradients["logits"]), "\(one.name): logits")
            GoldenOperationTests().compare(Tensor(found.scores, scores.shape), try #require(one.gradients["scores"]), "\(one.name): scores")
            #expect(found.sums.count == targets.count { $0 >= 0 })
            #expect(abs(found.sums.perPosition.reduce(0, +) - found.sums.loss.scalar) < 1e-4)
        }
    }

    @Test("both forms are one for answers of one token, and ordinary cross-entropy with one record", arguments: [1, 2, 5])
    func forms(records: Int) {
        let targets: [Int32] = [2, -1, 4, 0]
        let (logits, scores) = (randomTensor("logits", [records * 3, 7]), randomTensor("scores", [4, records]))
        let (whole, single) = (result(logits, scores, targets, length: 1, .sequence), result(logits, scores, targets, length: 1, .token))
        #expect(whole.sums.loss.scalar == single.sums.loss.scalar && whole.logits == single.logits && whole.scores == single.scores)
        guard records == 1 else { return }
        let longer: [Int32] = [2, 6, 4, -1]
        let tape = Tape()
        let variable = tape.variable(logits)
        let plain = crossEntropy(variable, targets: Tensor([2, 6, 4] as [Int32], [3]))
        tape.backward(from: plain.loss)
        for form in MarginalForm.allCases {
            let found = result(logits, randomTensor("scores", [2, 1]), longer, length: 2, form)
            #expect(abs(found.sums.loss.scalar - plain.loss.scalar) < 1e-5 && found.scores == [0, 0])
            #expect(zip(found.logits, variable.node?.gradient?.array ?? []).allSatisfy { abs($0 - $1) < 1e-6 })
        }
    }

    @Test("a score of -infinity is no record", arguments: MarginalForm.allCases)
    func absentRecords(_ form: MarginalForm) {
        // Two questions of two and of one token; the second of three records is none.
        let targets: [Int32] = [1, 2, 3, -1]
        let logits = randomTensor("logits", [9, 5])
        let scores = Tensor([0.5, -.infinity, -1, 0.25, -.infinity, 2], [2, 3])
        let found = result(logits, scores, targets, length: 2, form)
        let kept = result(logits.rows([0, 1, 4, 5, 6, 8]), Tensor([0.5, -1, 0.25, 2], [2, 2]), targets, length: 2, form)
        #expect(found.sums.loss.scalar == kept.sums.loss.scalar)
        #expect(found.scores == [kept.scores[0], 0, kept.scores[1], kept.scores[2], 0, kept.scores[3]])
        #expect(Array(found.logits[10..<20] + found.logits[35..<40]).allSatisfy { $0 == 0 })
        #expect(Array(found.logits[..<10]) == Array(kept.logits[..<10]) && Array(found.logits[40...]) == Array(kept.logits[25...]))
    }
}

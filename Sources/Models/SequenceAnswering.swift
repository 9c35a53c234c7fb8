// Models that answer at some of the steps of a sequence: what they have in common, whatever reads the steps.
//
// Legend: B sequences (one a lane), T steps, O output width, A steps that are answered, of all sequences.

import Diagnostics
import NeuralNetworks
import Tensors

/// A model that reads sequences and answers at the steps that count.
public protocol SequenceAnsweringModel: TrainableModel where Batch == SequenceBatch {
    /// What the task gives and asks for.
    var form: SequenceModelForm { get }
    /// The outputs of the A steps that are answered, sequence by sequence: float32 [A, O], logits of bits or of classes, or values.
    func answers(_ batch: SequenceBatch, _ pass: ForwardPass) -> Tensor
}

extension SequenceAnsweringModel {
    /// The loss summed over the steps that are answered.
    ///
    /// - Returns: of bits the sum of their cross-entropies in nats, `count` the number of bits; of classes the sum of cross-entropies in nats,
    ///   `count` the number of answers; of values the sum of squared errors, `count` the number of values. `negativeLogLikelihood` is the same sum
    ///   in float64, and `perPosition` its parts, one for each of the B T steps.
    public func loss(_ batch: SequenceBatch, _ pass: ForwardPass) -> SummedLoss { loss(ofAnswers: answers(batch, pass), batch) }

    /// The loss of `answers(_:_:)`.
    public func loss(ofAnswers answers: Tensor, _ batch: SequenceBatch) -> SummedLoss {
        let rows = batch.answeredRows
        /// Rows of [B, T, O]: [A, O].
        func answered(_ all: Tensor) -> Tensor { all.viewed(as: [batch.counts.count, all.shape.columns]).rows(rows) }
        switch batch.targets {
        case .classes(let classes):
            let targets = Tensor(rows.map { classes.integers[$0] }, [rows.count])
            let sums = crossEntropy(answers, targets: targets)
            return SummedLoss(
                loss: sums.loss, negativeLogLikelihood: sums.negativeLogLikelihood, count: sums.count,
                perPosition: spread(sums.perPosition, rows, batch.counts.count))
        case .bits(let bits): return elementwiseLoss(binaryCrossEntropy(logits: answers, targets: answered(bits)), batch, rows)
        case .values(let values): return elementwiseLoss((answers - answered(values)).squared(), batch, rows)
        }
    }

    private func elementwiseLoss(_ losses: Tensor, _ batch: SequenceBatch, _ rows: [Int]) -> SummedLoss {
        let width = losses.shape.columns
        var total = 0.0
        let perRow = rows.indices.map { row in
            let sum = (0..<width).reduce(0.0) { $0 + Double(losses.floats[row * width + $1]) }
            total += sum
            return Float(sum)
        }
        return SummedLoss(
            loss: losses.sum(), negativeLogLikelihood: total, count: losses.count, perPosition: spread(perRow, rows, batch.counts.count))
    }

    /// Values of some rows at their places among all, 0 elsewhere.
    private func spread(_ values: [Float], _ rows: [Int], _ count: Int) -> [Float] {
        var result = [Float](repeating: 0, count: count)
        for (value, row) in zip(values, rows) { result[row] = value }
        return result
    }
}

// How well a sequence model answers: counts and sums over batches, the same for any number of ranks.
//
// Legend: B sequences of a batch, T steps, O outputs.

import Collectives
import Foundation
import Models
import NeuralNetworks
import Tensors

/// What the answers to some sequences add up to.
struct SequenceMeasurement {
    /// What was answered decides what is scored.
    private let output: SequenceModelForm.Output
    /// Sequences measured.
    private(set) var sequences = 0
    /// Bits, classes or values answered.
    private(set) var answers = 0
    /// Nats; for values the sum of squared errors.
    private(set) var loss = 0.0
    /// Bits on the wrong side of one half, or wrong classes.
    private(set) var errors = 0
    /// Sequences without an error.
    private(set) var faultless = 0

    /// Runs a batch through the model.
    /// - Parameter onAnswer: called for each answered step with the row of its sequence, and whether the whole answer is right.
    init(of model: some SequenceAnsweringModel, _ batch: SequenceBatch, onAnswer: (_ row: Int, _ isCorrect: Bool) -> Void = { _, _ in }) {
        output = model.form.output
        let outputs = model.answers(batch, ForwardPass())
        let sums = model.loss(ofAnswers: outputs, batch)
        (sequences, answers, loss) = (batch.lanes.count, sums.count, sums.negativeLogLikelihood)
        let steps = batch.counts.count / max(sequences, 1)
        var wrong = [Int](repeating: 0, count: sequences)
        for (place, row) in batch.answeredRows.enumerated() {
            let errors = Self.errors(outputs, place, batch.targets, row)
            wrong[row / steps] += errors
            onAnswer(row / steps, errors == 0)
        }
        errors = wrong.reduce(0, +)
        faultless = wrong.count { $0 == 0 }
    }

    private init(_ output: SequenceModelForm.Output) { self.output = output }

    /// Errors of one answer.
    private static func errors(_ outputs: Tensor, _ place: Int, _ targets: SequenceTargets, _ row: Int) -> Int {
        let width = outputs.shape.columns
        let answer = outputs.floats + place * width
        switch targets {
        case .bits(let bits): return (0..<width).count { (answer[$0] > 0) != (bits.floats[row * width + $0] > 0.5) }
        case .classes(let classes): return outputs.largest(inRow: place) == Int(classes.integers[row]) ? 0 : 1
        case .values: return 0
        }
    }

    /// The mean loss of a bit, a class or a value.
    var meanLoss: Double { loss / Double(max(answers, 1)) }

    /// The figures of the kind of answers, the most telling one first.
    var scores: [TaskScores.Score] {
        let count = Double(max(sequences, 1))
        let bits = TaskScores.Score("bits_per_sequence", loss / log(2) / count)
        switch output {
        case .bits:
            return [.init("bit_errors_per_sequence", Double(errors) / count), bits, .init("sequence_accuracy", Double(faultless) / count)]
        case .classes:
            return [.init("accuracy", 1 - Double(errors) / Double(max(answers, 1))), bits, .init("sequence_accuracy", Double(faultless) / count)]
        case .values: return [.init("mean_squared_error", meanLoss)]
        }
    }

    private var encoded: [Double] { [Double(sequences), Double(answers), loss, Double(errors), Double(faultless)] }

    /// The sum over batches, which are dealt out to ranks; sums are added in the order of batches. Collective.
    static func summed(
        _ output: SequenceModelForm.Output, batches: Int, _ communicator: any Communicator, _ measure: (Int) throws -> SequenceMeasurement
    ) throws -> SequenceMeasurement {
        let sums = try communicator.orderedSum(parts: batches, width: 5) { try measure($0).encoded }
        var total = SequenceMeasurement(output)
        total.sequences = Int(sums[0])
        total.answers = Int(sums[1])
        total.loss = sums[2]
        total.errors = Int(sums[3])
        total.faultless = Int(sums[4])
        return total
    }
}

extension Tensor {
    /// The column of the largest element of a row.
    func largest(inRow row: Int) -> Int {
        let values = floats + row * shape.columns
        return (0..<shape.columns).max { values[$0] < values[$1] } ?? 0
    }
}

// One sequence and what a sequence model made of it, for a person to look at.
//
// Legend: T steps, I inputs, O outputs, A answered steps.

import Foundation
import Models
import NeuralNetworks
import Tensors

extension SequenceAnsweringModel {
    /// Runs one sequence through the model with a trace.
    ///
    /// - Parameters:
    ///   - batch: of one sequence.
    ///   - labels: the names of symbols and classes; empty where their numbers are enough.
    func explanation(of batch: SequenceBatch, labels: [String]) -> Explanation {
        let trace = MemoryTrace()
        let outputs = answers(batch, ForwardPass(trace: trace))
        let rows = batch.answeredRows
        var pictures: [MemoryTrace.Picture] = []
        if case .vectors(let vectors) = batch.inputs { pictures.append(Self.picture("input", vectors, columns: "channel")) }
        pictures += trace.pictures
        let (given, expected): ([String], [String])
        var probability: Double?
        switch batch.targets {
        case .bits(let bits):
            let probabilities = outputs.sigmoid()
            pictures.append(Self.picture("answer", probabilities, columns: "bit", rowLabels: rows.map(\.description)))
            given = rows.indices.map { Self.bits(probabilities, $0) }
            expected = rows.map { Self.bits(bits, $0) }
        case .classes(let classes):
            let name = { (number: Int) in number < labels.count ? labels[number] : "\(number)" }
            let probabilities = softmax(outputs)
            let chosen = rows.indices.map { outputs.largest(inRow: $0) }
            if let first = chosen.first, chosen.count == 1 { probability = Double(probabilities.floats[first]) }
            given = chosen.map(name)
            expected = rows.map { classes.integers[$0] < 0 ? "?" : name(Int(classes.integers[$0])) }
        case .values(let values):
            given = rows.indices.map { Self.numbers(outputs, $0) }
            expected = rows.map { Self.numbers(values, $0) }
        }
        return Explanation(
            input: Self.lines(batch.inputs, labels), answer: given.joined(separator: " "), expected: expected.joined(separator: " "),
            probability: probability, pictures: pictures)
    }

    /// One line a channel, a column a step: `1` and `.` for bits, two decimals for other numbers. Symbols are one line.
    private static func lines(_ inputs: SequenceInputs, _ labels: [String]) -> [String] {
        switch inputs {
        case .symbols(let symbols):
            let numbers = (0..<symbols.count).map { Int(symbols.integers[$0]) }
            return [numbers.map { $0 < labels.count ? labels[$0] : "\($0)" }.joined(separator: " ")]
        case .vectors(let vectors):
            let (steps, width) = (vectors.shape[1], vectors.shape[2])
            return (0..<width).map { channel in
                let values = (0..<steps).map { vectors.floats[$0 * width + channel] }
                if values.allSatisfy({ $0 == 0 || $0 == 1 }) { return String(values.map { $0 == 1 ? "1" : "." }) }
                return values.map { String(format: "%.2f", $0) }.joined(separator: " ")
            }
        }
    }

    private static func picture(_ name: String, _ values: Tensor, columns: String, rowLabels: [String] = []) -> MemoryTrace.Picture {
        let trace = MemoryTrace()
        trace.record(
            name, rowAxis: "step", columnAxis: columns, rowLabels: rowLabels, rows: values.shape.rows, columns: values.shape.columns,
            values: values.array)
        return trace.pictures[0]
    }

    private static func bits(_ values: Tensor, _ row: Int) -> String {
        let width = values.shape.columns
        return String((0..<width).map { values.floats[row * width + $0] > 0.5 ? "1" : "0" })
    }

    private static func numbers(_ values: Tensor, _ row: Int) -> String {
        let width = values.shape.columns
        return (0..<width).map { String(format: "%.3f", values.floats[row * width + $0]) }.joined(separator: ",")
    }
}

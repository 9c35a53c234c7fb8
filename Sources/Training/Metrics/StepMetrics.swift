// The figures of one logged step.

import Diagnostics
import Foundation
import NeuralNetworks

/// What is known after a logged step: a value for each ``Metric`` that the step has.
public struct StepMetrics: Sendable {
    /// The evaluation after the step, where there was one.
    public var validation: TaskScores?

    private var values: [String: Double]

    /// The figures of the step with this number.
    public init(step: Int) { values = [Metric.step.name: Double(step)] }

    /// The optimizer step, from 1.
    public var step: Int { Int(values[Metric.step.name] ?? 0) }

    /// The value of a figure; `nil` where the step does not have it.
    public subscript(metric: Metric) -> Double? {
        get { values[metric.name] }
        set { values[metric.name] = newValue }
    }

    /// Says what the step has read of stored pairs; nothing where it has read none.
    mutating func set(_ read: PairStatistics) {
        guard read.queries > 0 else { return }
        self[.memoryHitRate] = read.hits / read.queries
        self[.memoryGate] = read.gate / read.queries
        self[.memoryEntropy] = read.entropy / read.queries
        self[.memoryAge] = read.age / read.queries
    }

    /// The figures that the step has, in the order of metrics.jsonl: those of the step, then those of its evaluation.
    public var entries: [(metric: Metric, value: Double)] {
        let known = Metric.all.compactMap { metric in values[metric.name].map { (metric, $0) } }
        let names = Set(Metric.all.map(\.name))
        let others = values.filter { !names.contains($0.key) }.sorted { $0.key < $1.key }.map { (Metric($0.key, .none, "unknown to this version"), $0.value) }
        return known + others + validationEntries
    }

    /// The figures of the step's evaluation.
    public var validationEntries: [(metric: Metric, value: Double)] {
        guard let validation else { return [] }
        return (validation.loss.map { [(Metric.validation("loss"), $0)] } ?? []) + validation.scores.map { (Metric.validation($0.name), $0.value) }
    }
}

extension StepMetrics: Encodable {
    /// One object whose members stand in the order of `entries`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Name.self)
        for (metric, value) in entries {
            if let whole = metric.isCount ? Int(exactly: value) : nil {
                try container.encode(whole, forKey: Name(stringValue: metric.name))
            } else {
                try container.encode(value, forKey: Name(stringValue: metric.name))
            }
        }
    }

    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// Reads a line of metrics.jsonl, of this version or an earlier one; `nil` for a line that does not hold the figures of a step, such as one that a
    /// crash cut short. `null` is a number that JSON does not have.
    public init?(line: some DataProtocol) {
        // Not JSONSerialization: it reads long numbers by way of decimals and loses their last bit.
        guard let object = try? JSONDecoder().decode([String: JSONNumber].self, from: Data(line)),
            let step = object[Metric.step.name]?.value, let whole = Int(exactly: step)
        else { return nil }
        self.init(step: whole)
        let prefix = Metric.validation("").name
        var (loss, scores) = (Double?.none, [TaskScores.Score]())
        for (name, value) in object.sorted(by: { $0.key < $1.key }) {
            guard let value = value.value else { continue }
            if !name.hasPrefix(prefix) {
                values[name] = value
            } else if name == Metric.validation("loss").name {
                loss = value
            } else {
                scores.append(TaskScores.Score(String(name.dropFirst(prefix.count)), value))
            }
        }
        if loss != nil || !scores.isEmpty { validation = TaskScores(examples: 0, loss: loss, scores: scores) }
    }
}

/// A number of a JSON object; null stands for one that JSON lacks. What is no number is passed over.
private struct JSONNumber: Decodable {
    let value: Double?

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        value = container.decodeNil() ? .nan : try? container.decode(Double.self)
    }
}

// What mneme evaluate prints for a run with a task section.

import Foundation
import Training

struct TaskReport {
    let run: String
    let step: Int
    let task: String
    let part: EvaluationPart
    let scores: TaskScores

    /// A table for people.
    var text: String {
        var rows = [("run", "\(run), step \(step)"), ("task", task), ("examples", "\(scores.examples), \(part.rawValue)")]
        if let loss = scores.loss { rows.append(("loss", "\(number(loss)) nats an answer")) }
        rows += (scores.scores + scores.details).map { ($0.name.replacing("_", with: " "), number($0.value)) }
        let width = (rows.map(\.0.count).max() ?? 0) + 3
        return rows.map { $0.padding(toLength: width, withPad: " ", startingAt: 0) + $1 + "\n" }.joined()
    }

    /// One JSON object.
    func json() throws -> String {
        var object: [String: Any] = ["run": run, "step": step, "task": task, "part": part.rawValue, "examples": scores.examples]
        object["loss"] = scores.loss
        for score in scores.scores + scores.details { object[score.name] = score.value.isFinite ? score.value as Any : NSNull() }
        let data = try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    private func number(_ value: Double) -> String { value == value.rounded() && abs(value) < 1e9 ? "\(Int(value))" : String(format: "%.4f", value) }
}

// The loss curve of a run, read from its metrics.

import Diagnostics
import Foundation
import Storage

/// What a loss curve shows of a run.
public struct LossCurve: Sendable {
    /// A point of a curve.
    public struct Point: Sendable, Equatable {
        /// The optimizer step.
        public var step: Int
        /// Nats a token.
        public var loss: Double

        /// One logged step.
        public init(step: Int, loss: Double) {
            self.step = step
            self.loss = loss
        }
    }

    /// The run's name.
    public var title: String
    /// The training loss of each logged step.
    public var training: [Point]
    /// The validation loss of each evaluation.
    public var validation: [Point]

    /// Reads `metrics.jsonl` of a run directory. What stands behind the last whole line is being written, or was cut short by a crash: it is passed
    /// over, as a session that resumes removes it.
    /// - Throws: `UserError` when there is none (.missingInput), or a line before the last whole one is no metrics object (.badData).
    public init(runDirectory: String) throws {
        let path = "\(runDirectory)/metrics.jsonl"
        guard Directory.exists(path) != nil else {
            throw UserError(
                .missingInput, "does not exist or cannot be read", at: path, advice: "name a run directory in which a run has logged a step")
        }
        let data = Data(try DurableFile.read(path))
        title = PathText.shown(Directory.lastName(of: runDirectory))
        training = []
        validation = []
        let lines = data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map { (isEmpty: $0.isEmpty, metrics: StepMetrics(line: $0)) }
        let whole = lines.lastIndex { $0.metrics != nil }.map { $0 + 1 } ?? 0
        for (index, line) in lines[..<whole].enumerated() where !line.isEmpty {
            guard let metrics = line.metrics else {
                throw UserError(.badData, "is not a metrics object", at: "\(path):\(index + 1)", advice: "remove the line")
            }
            if let loss = metrics[.loss], loss.isFinite { training.append(Point(step: metrics.step, loss: loss)) }
            if let loss = metrics.validation?.loss, loss.isFinite { validation.append(Point(step: metrics.step, loss: loss)) }
        }
    }

    /// A curve from points at hand.
    public init(title: String, training: [Point], validation: [Point]) {
        self.title = title
        self.training = training
        self.validation = validation
    }

    /// The training points averaged over a centred window, so that the trend shows through the noise of batches.
    var smoothedTraining: [Point] {
        let radius = max(1, training.count / 50)
        return training.indices.map { index in
            let window = training[max(0, index - radius)...min(training.count - 1, index + radius)]
            return Point(step: training[index].step, loss: window.reduce(0) { $0 + $1.loss } / Double(window.count))
        }
    }

    /// The extents of all points.
    var range: (steps: ClosedRange<Double>, losses: ClosedRange<Double>)? { Self.range(of: training + validation) }

    /// The extents of points; `nil` for none.
    static func range(of all: [Point]) -> (steps: ClosedRange<Double>, losses: ClosedRange<Double>)? {
        guard let first = all.first else { return nil }
        let start = (first.step, first.step, first.loss, first.loss)
        let (low, high, least, most) = all.reduce(start) { (min($0.0, $1.step), max($0.1, $1.step), min($0.2, $1.loss), max($0.3, $1.loss)) }
        let margin = max((most - least) * 0.05, 1e-6)
        return (Double(low)...Double(max(high, low + 1)), (least - margin)...(most + margin))
    }
}

/// Round numbers for an axis: 1, 2 or 5 times a power of ten apart.
func axisTicks(_ range: ClosedRange<Double>, about count: Int) -> [Double] {
    let span = range.upperBound - range.lowerBound
    let rough = span / Double(max(count, 1))
    let power = pow(10, floor(log10(rough)))
    let step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough } ?? power * 10
    return stride(from: (range.lowerBound / step).rounded(.up) * step, through: range.upperBound + step * 1e-9, by: step).map { $0 }
}

/// A tick's label without superfluous digits.
func axisLabel(_ value: Double) -> String {
    if value == value.rounded() && abs(value) < 1e15 { return String(Int(value)) }
    return String(format: "%.3g", value)
}
